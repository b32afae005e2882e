import { setTimeout as sleep } from 'node:timers/promises';
import type { EventLog } from '../../../platform/event-log.ts';
import type { KafkaClientName } from '../../../platform/event-log-config.ts';
import { openLog } from '../../support/kafka-logs.ts';

/** `child.ts CLIENT BROKER`: one client in a process of its own, which does what it is told and says what CPU it took. */
export type Order =
  | { readonly do: 'produce'; readonly topic: string; readonly messages: number; readonly reports: number }
  | { readonly do: 'consume'; readonly topic: string; readonly messages: number }
  | { readonly do: 'idle'; readonly topic: string; readonly ms: number }
  /** From now on it writes and reads until it did both, twice: before and after the broker is killed. */
  | { readonly do: 'heal'; readonly topic: string };

export interface Told {
  readonly cpuMs: number;
  readonly wallMs: number;
  /** `heal`: when both worked again, ms since the epoch. */
  readonly atMs: number;
}

/** Appends under way at once: what a door has of a few uploads. */
const AT_ONCE = 16;
const READ_MESSAGES = 1_024;
const READ_BYTES = 10 * 1024 * 1024;
/** As the consumer pauses after a fault. */
const PAUSE_MS = 1_000;
const REPORT = Buffer.from(
  `${JSON.stringify({ schemaVersion: 1, reportId: '0'.repeat(36), producer: 'bench', model: 'model-1', suite: 'quality', observedAt: '2026-11-01T00:00:00Z', sampleSize: 100, metrics: { accuracy: 0.912345, f1: 0.887654, latency_ms: 123.4, loss: 0.3456 }, note: 'x'.repeat(300) })}\n`,
);

const [name = '', broker = ''] = process.argv.slice(2);
const { log } = await openLog(name as KafkaClientName, broker);
const { signal } = new AbortController();

async function produce(topic: string, messages: number, reports: number): Promise<void> {
  const value = Buffer.concat(Array.from({ length: reports }, () => REPORT));
  let left = messages;
  const lane = async () => {
    while (left-- > 0) await log.append({ tenant: 'acme', topic, key: 'k', value, headers: {} });
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

async function consume(from: EventLog, topic: string, messages: number): Promise<void> {
  let at = 0n;
  for (let found = 0; found < messages; ) {
    const some = await from.read(topic, 0, at, READ_MESSAGES, READ_BYTES);
    found += some.length;
    at = (some.at(-1)?.offset ?? at - 1n) + 1n;
    if (some.length === 0) await from.wait(topic, PAUSE_MS, signal);
  }
}

async function idle(topic: string, ms: number): Promise<void> {
  const untilMs = performance.now() + ms;
  while (performance.now() < untilMs) {
    try {
      for (const partition of await log.partitions(topic)) {
        const { nextOffset } = await log.end(topic, partition);
        await log.read(topic, partition, nextOffset, READ_MESSAGES, READ_BYTES);
      }
      await log.wait(topic, PAUSE_MS, signal);
    } catch {
      // A topic that was just made may have no leader yet.
      await sleep(PAUSE_MS);
    }
  }
}

async function heal(topic: string): Promise<number> {
  const works = async (): Promise<boolean> => {
    try {
      const { offset } = await log.append({ tenant: 'acme', topic, key: 'k', value: REPORT, headers: {} });
      return (await log.read(topic, 0, offset, 1, 1)).length === 1;
    } catch {
      await sleep(PAUSE_MS / 10);
      return false;
    }
  };
  while (!(await works()));
  process.send?.('works');
  await new Promise((resolve) => process.once('message', resolve));
  while (!(await works()));
  return Date.now();
}

process.on('message', async (order: Order | 'killed') => {
  if (order === 'killed') return;
  const before = process.cpuUsage();
  const startedMs = performance.now();
  let atMs = 0;
  switch (order.do) {
    case 'produce':
      await produce(order.topic, order.messages, order.reports);
      break;
    case 'consume':
      await consume(log, order.topic, order.messages);
      break;
    case 'idle':
      await idle(order.topic, order.ms);
      break;
    case 'heal':
      atMs = await heal(order.topic);
      break;
  }
  const { user, system } = process.cpuUsage(before);
  const told: Told = { cpuMs: (user + system) / 1_000, wallMs: performance.now() - startedMs, atMs };
  process.send?.(told);
});
process.on('disconnect', () => process.exit());
process.send?.('ready');
