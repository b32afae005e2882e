import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/** Calls of one door on this machine: as fast as it answers, and at a constant rate whether it answers or not. */

const MAX_SOCKETS = 256;
/** Calls on their way at once; one more, and the door is not keeping up: the run fails rather than flood it. */
const MAX_IN_FLIGHT = 4_096;
const ANSWER_LIMIT_MS = 30_000;
/** A connection that is idle for longer is not used again: before the door closes it, which a call on its way would take for a hang-up. */
const IDLE_LIMIT_MS = 1_000;

export class Caller {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: MAX_SOCKETS, timeout: IDLE_LIMIT_MS, scheduling: 'lifo' });
  readonly #url: URL;

  constructor(url: string) {
    this.#url = new URL(url);
    if (this.#url.hostname !== '127.0.0.1') throw new Error('the load generator calls this machine only');
  }

  /** Resolves when the whole answer is there; throws where it is not a 200. */
  post(body: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
      const sent = request(this.#url, { method: 'POST', agent: this.#agent, headers, timeout: ANSWER_LIMIT_MS });
      sent.on('error', reject);
      sent.on('timeout', () => sent.destroy(new Error('no answer in time')));
      sent.on('response', (response) => {
        response.on('error', reject);
        response.on('end', () =>
          response.statusCode === 200 ? resolve() : reject(new Error(`answered ${response.statusCode}`)),
        );
        response.resume();
      });
      sent.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** Calls a second with `callers` of them, each making its next call when the last was answered. */
export async function saturation(call: () => Promise<void>, callers: number, durationMs: number): Promise<number> {
  const endMs = performance.now() + durationMs;
  let calls = 0;
  const loop = async () => {
    while (performance.now() < endMs) {
      await call();
      calls++;
    }
  };
  const startMs = performance.now();
  await Promise.all(Array.from({ length: callers }, loop));
  return (calls * 1000) / (performance.now() - startMs);
}

/**
 * Milliseconds from when each call should have been sent to its whole answer, ascending. Call i is due at i/rate, whatever became of
 * those before it: a door or a generator that falls behind makes the later ones late, and shows.
 */
export async function openLoop(call: () => Promise<void>, ratePerS: number, durationMs: number): Promise<Float64Array> {
  const count = Math.floor((ratePerS * durationMs) / 1000);
  const latencies = new Float64Array(count);
  const pending = new Set<Promise<void>>();
  const startMs = performance.now();
  for (let i = 0; i < count; i++) {
    const dueMs = startMs + (i * 1000) / ratePerS;
    const earlyMs = dueMs - performance.now();
    if (earlyMs > 0) await sleep(earlyMs);
    if (pending.size >= MAX_IN_FLIGHT) throw new Error(`${MAX_IN_FLIGHT} calls are unanswered`);
    const one: Promise<void> = call().then(() => {
      latencies[i] = performance.now() - dueMs;
      pending.delete(one);
    });
    pending.add(one);
  }
  await Promise.all(pending);
  return latencies.sort();
}

/** The value that a share of them does not pass: nearest rank. */
export function quantile(ascending: Float64Array, share: number): number {
  return ascending[Math.max(0, Math.ceil(ascending.length * share) - 1)]!;
}
