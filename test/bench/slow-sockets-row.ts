import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { startBenchPostgres } from './database.ts';
import { median, type Row, row } from './harness.ts';
import { sampleReport, startServer, stopServer } from './latency-row.ts';
import { Caller, openLoop, quantile, saturation } from './open-loop.ts';

/**
 * What other callers of a door feel of 1,000 sockets that send a byte of their headers a second, and come again whenever they are turned away: p99 of
 * the same constant load with them and without, in turns.
 */

const SLOW_SOCKETS = 1_000;
const DRIP_MS = 1_000;
/** Not all in one moment: that would be a thousand connections, and not a thousand slow ones. MERIT_SLOW_ARRIVE_MS=0 measures that. */
const ARRIVE_EVERY_MS = Number(process.env.MERIT_SLOW_ARRIVE_MS ?? 4);
const ROUNDS = 3;
/** Longer than headers may take, so that all are turned away once. */
const ROUND_MS = 15_000;
const WARM_UP_MS = 3_000;
const SATURATE_MS = 3_000;
const CALLERS = 16;
/** Far from its saturation, where a p99 is the machine's and not the queue's. */
const SHARE_OF_SATURATION = 0.2;
const FLOOR = 2;

export async function slowSocketsRows(): Promise<readonly Row[]> {
  const postgres = await startBenchPostgres();
  try {
    const base = await postgres.database();
    const server = startServer(base);
    try {
      const [url] = (await once(server, 'message')) as [string];
      return [await measured(url)];
    } finally {
      await stopServer(server);
      await base.close();
    }
  } finally {
    await postgres.stop();
  }
}

async function measured(url: string): Promise<Row> {
  const caller = new Caller(`${url}/v1/scores:compute`);
  let calls = 0;
  const call = () => caller.post(sampleReport(calls++));
  const slow = new SlowSockets(Number(new URL(url).port));
  try {
    await saturation(call, CALLERS, WARM_UP_MS);
    const rate = (await saturation(call, CALLERS, SATURATE_MS)) * SHARE_OF_SATURATION;
    const p99s: { readonly alone: number; readonly beside: number }[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const alone = quantile(await openLoop(call, rate, ROUND_MS), 0.99);
      await slow.open();
      const beside = quantile(await openLoop(call, rate, ROUND_MS), 0.99);
      await slow.close();
      p99s.push({ alone, beside });
    }
    const figures = p99s.map(({ alone, beside }) => `${beside.toFixed(1)}/${alone.toFixed(1)}`).join(', ');
    return row({
      what: `p99 of a door beside ${SLOW_SOCKETS} slow sockets against without them, at the same constant load`,
      value: median(p99s.map(({ alone, beside }) => beside / alone)),
      unit: '×',
      sense: 'at most',
      floor: FLOOR,
      aim: null,
      detail: `${rate.toFixed(0)} calls/s; ms beside/alone: ${figures}; slow sockets turned away and back: ${slow.turnedAway}`,
      limit: 'generator, slow sockets, server and Postgres share the cores',
      command: 'npm run bench -- slow-sockets',
    });
  } finally {
    await slow.close();
    caller.close();
  }
}

class SlowSockets {
  turnedAway = 0;
  readonly #port: number;
  readonly #sockets = new Set<Socket>();
  #dripping: NodeJS.Timeout | undefined;
  #isOpen = false;

  constructor(port: number) {
    this.#port = port;
  }

  /** Resolves when all are connected. */
  async open(): Promise<void> {
    this.#isOpen = true;
    for (let i = 0; i < SLOW_SOCKETS; i++) {
      this.#come();
      if (ARRIVE_EVERY_MS > 0) await sleep(ARRIVE_EVERY_MS);
    }
    this.#dripping = setInterval(() => {
      for (const socket of this.#sockets) if (!socket.connecting) socket.write('x');
    }, DRIP_MS);
    while ([...this.#sockets].some((socket) => socket.connecting)) await sleep(10);
  }

  async close(): Promise<void> {
    this.#isOpen = false;
    clearInterval(this.#dripping);
    for (const socket of this.#sockets) socket.destroy();
    while (this.#sockets.size > 0) await sleep(10);
  }

  #come(): void {
    const socket = connect(this.#port, '127.0.0.1', () => {
      socket.write('POST /v1/scores:compute HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ');
    });
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.resume();
    socket.on('close', () => {
      this.#sockets.delete(socket);
      if (!this.#isOpen) return;
      this.turnedAway++;
      this.#come();
    });
  }
}
