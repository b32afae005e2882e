import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MAX_MESSAGE_BYTES } from '../../platform/event-log.ts';
import { appendInside, createTopic, openPostgresEventLog, partitionOf } from '../../platform/event-log-postgres.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';

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

describe('appending', () => {
  test('what is appended is read back whole, tombstones, headers and all', async () => {
    const log = open();
    const topic = await newTopic();
    const before = Date.now();
    const all256 = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    await log.append({
      tenant: 'acme',
      topic,
      key: 'a',
      value: all256,
      headers: { traceparent: 'x', 'ce-id': '"quoted", {braced} \\' },
    });
    await log.append({ tenant: 'acme', topic, key: 'b', value: null, headers: {} });
    await log.append({ tenant: 'umbrella', topic, key: '', value: new Uint8Array(0), headers: {} });
    const read = await log.read(topic, 0, 0n, 10, 1e6);
    expect(read.map((one) => [one.tenant, one.offset, one.key, one.value, one.headers])).toEqual([
      ['acme', 0n, 'a', all256, { traceparent: 'x', 'ce-id': '"quoted", {braced} \\' }],
      ['acme', 1n, 'b', null, {}],
      ['umbrella', 2n, '', Buffer.alloc(0), {}],
    ]);
    expect(read[0]?.appendedAtMs).toBeGreaterThan(before - 60_000);
    expect(await log.end(topic, 0)).toEqual({ nextOffset: 3n, appendedAtMs: read[2]?.appendedAtMs });
    await log.close();
  });

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

  test('a key goes to the same partition always, and keys spread', async () => {
    const log = open();
    const topic = await newTopic(4);
    expect(await log.partitions(topic)).toEqual([0, 1, 2, 3]);
    const used = new Set<number>();
    for (const key of Array.from({ length: 40 }, (_, i) => `model-${i}`)) {
      const first = await log.append(message(topic, 'x', { key }));
      expect((await log.append(message(topic, 'y', { key }))).partition).toBe(first.partition);
      expect(first.partition).toBe(partitionOf(key, 4));
      used.add(first.partition);
    }
    expect(used.size).toBe(4);
    expect(await log.append(message(topic, 'x', { partition: 2 }))).toMatchObject({ partition: 2 });
    await log.close();
  });

  test("the log's greatest append time is that of all partitions", async () => {
    const log = open();
    const topic = await newTopic(2);
    expect(await log.end(topic, 1)).toEqual({ nextOffset: 0n, appendedAtMs: 0 });
    await log.append(message(topic, 'x', { partition: 0 }));
    const [first] = await log.read(topic, 0, 0n, 1, 1);
    expect(await log.end(topic, 1)).toEqual({ nextOffset: 0n, appendedAtMs: first?.appendedAtMs });
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

  test('an unknown topic or partition, and an oversized message, are errors', async () => {
    const log = open();
    const topic = await newTopic();
    await expect(log.append(message('nowhere', 'x'))).rejects.toMatchObject({ code: 'not-found' });
    await expect(log.append(message(topic, 'x', { partition: 9 }))).rejects.toMatchObject({ code: 'not-found' });
    await expect(log.end('nowhere', 0)).rejects.toMatchObject({ code: 'not-found' });
    await expect(log.append({ ...message(topic, ''), value: new Uint8Array(MAX_MESSAGE_BYTES + 1) })).rejects.toThrow(
      /at most/,
    );
    await log.append({ ...message(topic, ''), value: new Uint8Array(MAX_MESSAGE_BYTES) });
    await log.close();
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

describe('reading', () => {
  test('it stops near the byte limit, and always gives the first message', async () => {
    const log = open();
    const topic = await newTopic();
    for (let i = 0; i < 5; i++) await log.append({ ...message(topic, ''), value: new Uint8Array(1000) });
    const count = async (from: bigint, messages: number, limit: number) =>
      (await log.read(topic, 0, from, messages, limit)).length;
    expect(await count(0n, 100, 1)).toBe(1);
    expect(await count(0n, 100, 2500)).toBe(3);
    expect(await count(0n, 2, 1e9)).toBe(2);
    expect(await count(3n, 100, 1e9)).toBe(2);
    expect(await count(5n, 100, 1e9)).toBe(0);
    await log.close();
  });
});

describe('waiting', () => {
  const LONG_MS = 45_000;

  test(
    'an append from elsewhere wakes a waiter',
    async () => {
      const [reader, writer] = [open(), open()];
      const topic = await newTopic();
      const signal = new AbortController().signal;
      // The first return says "look"; further ones come from the connection's start. Then it sleeps until the append.
      let offset = 0n;
      const consume = (async () => {
        while (offset < 3n) {
          offset += BigInt((await reader.read(topic, 0, offset, 10, 1e6)).length);
          if (offset < 3n) await reader.wait(topic, LONG_MS, signal);
        }
      })();
      for (const text of ['a', 'b', 'c']) {
        await writer.append(message(topic, text));
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      await consume;
      expect(offset).toBe(3n);
      await Promise.all([reader.close(), writer.close()]);
    },
    LONG_MS - 5_000,
  );

  test(
    'what is appended between a read and its wait is not slept through',
    async () => {
      const log = open();
      const topic = await newTopic();
      const signal = new AbortController().signal;
      await log.wait(topic, 1, signal);
      await log.wait(topic, 300, signal);
      expect(await log.read(topic, 0, 0n, 10, 1e6)).toEqual([]);
      await log.append(message(topic, 'x'));
      await new Promise((resolve) => setTimeout(resolve, 200));
      await log.wait(topic, LONG_MS, signal);
      expect(await log.read(topic, 0, 0n, 10, 1e6)).toHaveLength(1);
      await log.close();
    },
    LONG_MS - 5_000,
  );

  test(
    'its own signal and the closing of the log end a wait',
    async () => {
      const log = open();
      const topic = await newTopic();
      const [mine, other] = [new AbortController(), new AbortController()];
      for (const signal of [mine.signal, other.signal]) {
        await log.wait(topic, 1, signal);
        await log.wait(topic, 300, signal);
      }
      const first = log.wait(topic, LONG_MS, mine.signal);
      mine.abort();
      await first;
      const second = log.wait(topic, LONG_MS, other.signal);
      await log.close();
      await second;
    },
    LONG_MS - 5_000,
  );

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
