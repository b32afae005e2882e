import { expect, test } from 'vitest';
import type { Clock } from '../../../platform/clock.ts';
import { MAX_MESSAGE_BYTES } from '../../../platform/event-log.ts';
import { endsOf, type KafkaClient, KafkaFault, type ToProduce } from '../../../platform/kafka/client.ts';
import { openKafkaEventLog } from '../../../platform/kafka/event-log.ts';
import { Positions } from '../../../platform/kafka/positions.ts';

/** A clock on which nobody waits for anything: every limit is reached at once. */
const impatient: Clock = { now: () => 0, sleep: async () => {} };
const opened = (record: { readonly value: Uint8Array | null }) => ({ key: '', value: record.value, headers: {} });

function open(produce: (messages: readonly ToProduce[]) => Promise<ReadonlyMap<number, bigint>>, clock?: Clock) {
  const client = {
    topic: async () => ({ id: 'one', partitions: [0, 1] }),
    produce: (_topic: string, messages: readonly ToProduce[]) => produce(messages),
    close: async () => {},
  } as unknown as KafkaClient;
  const faults: string[] = [];
  const options = { client, prefix: 'p.', tenant: 'acme', group: 'g', open: opened };
  const log = openKafkaEventLog({
    ...options,
    watch: { fault: (kind) => faults.push(kind) },
    ...(clock === undefined ? {} : { clock }),
  });
  return { log, faults };
}
const message = (size: number, partition: number, tenant = 'acme') => ({
  tenant,
  topic: 't',
  key: 'k',
  value: Buffer.alloc(size),
  headers: {},
  partition,
});

test('what nobody confirms in time is told as safe to repeat, and counts as waiting until its outcome is known', async () => {
  const { log } = open(() => new Promise(() => {}), impatient);
  const size = MAX_MESSAGE_BYTES;
  const found: unknown[] = [];
  for (let bytes = 0; bytes <= 64 * 1024 * 1024; bytes += size)
    found.push(await log.append(message(size, 0)).catch(({ code, retry }) => `${code} ${retry}`));
  expect(new Set(found.slice(0, -1))).toEqual(new Set(['timeout safe']));
  expect(found.at(-1)).toBe('capacity safe');
});

test('another tenant’s message is never written here', async () => {
  const { log } = open(async () => new Map([[0, 0n]]));
  await expect(log.append(message(1, 0, 'umbrella'))).rejects.toMatchObject({ code: 'conflict', retry: 'never' });
});

test('of several tenants each message says whose it is, and one of none that the log was told of is written nowhere', async () => {
  const written: ToProduce[] = [];
  const client = {
    topic: async () => ({ id: 'one', partitions: [0] }),
    produce: async (_topic: string, messages: readonly ToProduce[]) => {
      written.push(...messages);
      return new Map([[0, 0n]]);
    },
    close: async () => {},
  } as unknown as KafkaClient;
  const tenants = ['globex', 'acme'];
  const log = openKafkaEventLog({ client, prefix: '', tenant: 'acme', tenants, group: 'g', open: opened });
  await log.append(message(1, 0, 'globex'));
  await log.append(message(1, 0));
  expect(written.map(({ headers }) => headers)).toEqual([{ 'merit-tenant': 'globex' }, {}]);
  const refused = log.append(message(1, 0, 'umbrella'));
  await expect(refused).rejects.toMatchObject({
    code: 'conflict',
    mend: expect.stringMatching(/eventLog.kafka.tenants/),
  });
});

test('what waits is written together, of one partition no more than a broker takes, and each learns its own offset', async () => {
  const writes: number[][] = [];
  const next = [0n, 100n];
  const { log } = open(async (messages) => {
    writes.push(messages.map(({ partition }) => partition));
    const firsts = new Map([0, 1].map((partition) => [partition, next[partition]!]));
    for (const { partition } of messages) next[partition]!++;
    return firsts;
  });
  const half = MAX_MESSAGE_BYTES / 2;
  const sizes = [1, half, half, half, half, half];
  const appended = await Promise.all(sizes.map((size, i) => log.append(message(size, i % 2))));
  expect(appended.map(({ offset }) => Number(offset))).toEqual([0, 100, 1, 101, 2, 102]);
  expect(writes.length).toBeGreaterThan(1);
  expect(writes.flat()).toEqual([0, 1, 0, 1, 0, 1]);
});

test('a fault is counted by its kind, and tells what can be done', async () => {
  const { log, faults } = open(async () => {
    throw new KafkaFault('too-large', 'no');
  });
  await expect(log.append(message(1, 0))).rejects.toMatchObject({
    code: 'capacity',
    retry: 'never',
    mend: 'raise max.message.bytes of the topic',
  });
  expect(faults).toEqual(['too-large']);
});

test('a position that could not be told is tried again until it is, and once more when the log closes', async () => {
  let away = true;
  const told: unknown[] = [];
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
  const positions = new Positions(
    async (topic, at) => {
      if (away) throw new KafkaFault('away', 'no');
      told.push([topic, Object.fromEntries(at)]);
    },
    { now: () => 0, sleep: turn },
  );
  const turns = async () => {
    for (let i = 0; i < 3; i++) await turn();
  };
  positions.set('t', 0, 5n);
  positions.set('u', 0, 1n);
  await turns();
  positions.set('t', 0, 6n);
  positions.set('t', 1, 7n);
  await turns();
  expect(told).toEqual([]);
  away = false;
  await turns();
  expect(told).toEqual([
    ['t', { 0: 6n, 1: 7n }],
    ['u', { 0: 1n }],
  ]);
  away = true;
  positions.set('t', 0, 8n);
  await turns();
  away = false;
  await positions.close();
  expect(told.slice(2)).toEqual([['t', { 0: 8n }]]);
});

test('a partition of which a leader told one end only is left out: nobody takes it for an empty one', () => {
  const first = new Map([[0, { offset: 3n }]]);
  const end = new Map([0, 1].map((partition) => [partition, { offset: 9n }] as const));
  expect(endsOf(first, end)).toEqual(new Map([[0, { firstOffset: 3n, endOffset: 9n }]]));
});
