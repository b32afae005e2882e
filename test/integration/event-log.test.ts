import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { appendInside, createTopic, openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { eventLogConformance } from '../support/event-log-conformance.ts';

let t: TestDatabase;
beforeAll(async () => {
  t = await testDatabase();
  await t.db.asEngine((tx) => tx.execute("insert into tenants (tenant) values ('acme'), ('umbrella')"));
});
afterAll(() => t.close());

let topics = 0;
async function newTopic(partitions = 1): Promise<string> {
  const topic = `topic-${topics++}`;
  await t.db.asEngine((tx) => createTopic(tx, topic, partitions));
  return topic;
}

const bytes = (text: string) => Buffer.from(text);
const message = (topic: string, text: string, more: { tenant?: string; key?: string; partition?: number } = {}) => ({
  tenant: 'acme',
  topic,
  key: 'k',
  value: bytes(text),
  headers: {},
  ...more,
});
const open = (appendAs: 'engine' | 'tenant' = 'engine') =>
  openPostgresEventLog({ db: t.db, listenUrl: t.urls.engine, appendAs });

eventLogConformance(() => ({
  open: async () => open(),
  makeTopic: (topic, partitions) => t.db.asEngine((tx) => createTopic(tx, topic, partitions)),
}));

describe('appending to the embedded log', () => {
  test.each(['engine', 'tenant'] as const)(
    'a thousand at once from two logs get dense offsets, each its own, in order of appending (%s)',
    async (as) => {
      const [one, two] = [open(as), open(as)];
      const topic = await newTopic();
      const texts = Array.from({ length: 500 }, (_, i) => `${i}`);
      const appended = await Promise.all([
        ...texts.map((text) => one.append(message(topic, `one ${text}`))),
        ...texts.map((text) => two.append(message(topic, `two ${text}`, { tenant: 'umbrella' }))),
      ]);
      expect(appended.map((each) => each.offset).toSorted((a, b) => Number(a - b))).toEqual(
        Array.from({ length: 1000 }, (_, i) => BigInt(i)),
      );
      const read = await one.read(topic, 0, 0n, 2000, 1e9);
      for (const [i, each] of appended.entries()) {
        const expected = i < 500 ? `one ${i}` : `two ${i - 500}`;
        expect(read[Number(each.offset)]?.value?.toString()).toBe(expected);
      }
      const ones = read.map((each) => String(each.value)).filter((text) => text.startsWith('one'));
      expect(ones).toEqual(texts.map((text) => `one ${text}`));
      await Promise.all([one.close(), two.close()]);
    },
  );

  test('appends that come together share transactions', async () => {
    const log = open();
    const topic = await newTopic();
    await Promise.all(Array.from({ length: 400 }, (_, i) => log.append(message(topic, `${i}`))));
    const transactions = await asAdmin(
      t.urls.admin,
      `select count(distinct xmin::text)::int as n from log_messages where topic = '${topic}'`,
    );
    expect(transactions[0]?.n).toBeLessThan(20);
    await log.close();
  });

  test('in a transaction that fails nothing is appended and no offset is lost', async () => {
    const log = open();
    const topic = await newTopic();
    const failing = t.db.asEngine(async (tx) => {
      expect(await appendInside(tx, topic, 0, [message(topic, 'lost'), message(topic, 'lost')])).toBe(0n);
      throw new Error('stop');
    });
    await expect(failing).rejects.toThrow('stop');
    expect(await log.append(message(topic, 'kept'))).toEqual({ partition: 0, offset: 0n });
    expect(await log.read(topic, 0, 0n, 10, 1e6)).toHaveLength(1);
    await log.close();
  });

  test('one bad message of a batch takes its batch down with it, never silently', async () => {
    const log = open('engine');
    const topic = await newTopic();
    const results = await Promise.allSettled([
      log.append(message(topic, 'a', { tenant: 'nobody' })),
      log.append(message(topic, 'b')),
    ]);
    const read = await log.read(topic, 0, 0n, 10, 1e6);
    expect(results[0]?.status).toBe('rejected');
    expect(read).toHaveLength(results.filter((one) => one.status === 'fulfilled').length);
    await log.close();
  });

  test("a tenant's log appends nothing for another, and reads nothing of it", async () => {
    const topic = await newTopic();
    const forging = t.db.asTenant('acme', (tx) =>
      appendInside(tx, topic, 0, [message(topic, 'x', { tenant: 'umbrella' })]),
    );
    await expect(forging).rejects.toMatchObject({ code: '42501' });
    await t.db.asTenant('umbrella', (tx) => appendInside(tx, topic, 0, [message(topic, 'x', { tenant: 'umbrella' })]));
    expect(
      await t.db.asTenant('acme', (tx) => tx.query('select * from log_messages where topic = $1', [topic])),
    ).toEqual([]);
    await expect(
      t.db.asTenant('acme', (tx) => tx.execute('update log_messages set key = $1', ['x'])),
    ).rejects.toMatchObject({ code: '42501' });
  });

  test('raising partitions keeps what is there; lowering changes nothing', async () => {
    const topic = await newTopic(1);
    await t.db.asEngine((tx) => createTopic(tx, topic, 3));
    await t.db.asEngine((tx) => createTopic(tx, topic, 2));
    const log = open();
    expect(await log.partitions(topic)).toEqual([0, 1, 2]);
    await log.close();
  });
});

describe('waiting for the embedded log', () => {
  const LONG_MS = 45_000;

  test(
    'a listener whose connection was cut listens again',
    async () => {
      const log = open();
      const topic = await newTopic();
      const signal = new AbortController().signal;
      await log.wait(topic, 1, signal);
      await log.wait(topic, 1000, signal);
      const cut = await asAdmin(
        t.urls.admin,
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'merit listen' and datname = current_database()",
      );
      expect(cut.length).toBeGreaterThan(0);
      await log.append(message(topic, 'x'));
      // Whatever was missed meanwhile, reconnecting says "look".
      await log.wait(topic, LONG_MS, signal);
      expect(await log.read(topic, 0, 0n, 10, 1e6)).toHaveLength(1);
      await log.close();
    },
    LONG_MS - 5_000,
  );
});
