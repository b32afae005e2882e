import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type EventLog, type LogMessage, MAX_MESSAGE_BYTES, partitionOf } from '../../platform/event-log.ts';

/** An event log under test: what every adapter is asked to make and to open. */
export interface LogUnderTest {
  /** Of the tenant `acme`. Closed by the test. */
  open(): Promise<EventLog>;
  /** A new topic with so many partitions, or one of the log raised to so many. */
  makeTopic(topic: string, partitions: number): Promise<void>;
}

const TRACE = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
/** Longer than any test waits for what should end it. */
const LONG_MS = 45_000;
const AT_ONCE = 300;

/** Reads on behind the last message, as a consumer does, until `count` came. */
export async function readOn(log: EventLog, topic: string, count: number, from = 0n): Promise<readonly LogMessage[]> {
  const found: LogMessage[] = [];
  const { signal } = new AbortController();
  for (let at = from; found.length < count; at = (found.at(-1)?.offset ?? at - 1n) + 1n) {
    const read = await log.read(topic, 0, at, 1_000, 1e7);
    found.push(...read);
    if (read.length === 0) await log.wait(topic, 1_000, signal);
  }
  return found;
}

const texts = (messages: readonly LogMessage[]) => messages.map(({ value }) => Buffer.from(value ?? []).toString());

/** What every adapter of the event log port keeps. */
export function eventLogConformance(under: () => LogUnderTest): void {
  let topics = 0;
  const newTopic = async (partitions = 1) => {
    const topic = `conformance-${process.pid}-${Date.now()}-${topics++}`;
    await under().makeTopic(topic, partitions);
    return topic;
  };
  const message = (topic: string, text: string, more: { readonly key?: string; readonly partition?: number } = {}) => ({
    tenant: 'acme',
    topic,
    key: 'k',
    value: Buffer.from(text),
    headers: {},
    ...more,
  });
  const withLogs = async (count: number, work: (...logs: EventLog[]) => Promise<void>) => {
    const logs = await Promise.all(Array.from({ length: count }, () => under().open()));
    try {
      await work(...logs);
    } finally {
      await Promise.all(logs.map((log) => log.close()));
    }
  };

  describe('appending', () => {
    test('what is appended is read back whole, with tombstones, empty values and headers', () =>
      withLogs(1, async (log) => {
        const topic = await newTopic();
        const all256 = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
        const headers = { traceparent: TRACE, 'first-line': '3', producer: '"quoted", {braced} \\ é' };
        await log.append({ tenant: 'acme', topic, key: 'a', value: all256, headers });
        await log.append({ tenant: 'acme', topic, key: 'b', value: null, headers: {} });
        await log.append({ tenant: 'acme', topic, key: '', value: new Uint8Array(0), headers: {} });
        const read = await readOn(log, topic, 3);
        expect(read.map(({ tenant, key, value, headers: of }) => [tenant, key, value, of])).toEqual([
          ['acme', 'a', all256, headers],
          ['acme', 'b', null, {}],
          ['acme', '', Buffer.alloc(0), {}],
        ]);
        expect(Math.abs((read[0]?.appendedAtMs ?? 0) - Date.now())).toBeLessThan(60_000);
      }));

    test('what two logs append at once gets offsets of its own, in the order of each', () =>
      withLogs(2, async (one, two) => {
        const topic = await newTopic();
        const named = Array.from({ length: AT_ONCE }, (_, i) => `${i}`);
        const appended = await Promise.all([
          ...named.map((text) => one!.append(message(topic, `one ${text}`))),
          ...named.map((text) => two!.append(message(topic, `two ${text}`))),
        ]);
        const read = await readOn(one!, topic, 2 * AT_ONCE);
        const at = new Map(read.map((each) => [each.offset, String(each.value)]));
        appended.forEach(({ offset }, i) => {
          expect(at.get(offset)).toBe(i < AT_ONCE ? `one ${i}` : `two ${i - AT_ONCE}`);
        });
        for (const who of ['one', 'two'])
          expect(texts(read).filter((text) => text.startsWith(who))).toEqual(named.map((text) => `${who} ${text}`));
      }));

    test('a key goes to the same partition always, and a partition that is named is taken', () =>
      withLogs(1, async (log) => {
        const topic = await newTopic(4);
        expect(await log.partitions(topic)).toEqual([0, 1, 2, 3]);
        const keys = Array.from({ length: 20 }, (_, i) => `model-${i}`);
        const appended = await Promise.all(keys.map((key) => log.append(message(topic, 'x', { key }))));
        expect(appended.map(({ partition }) => partition)).toEqual(keys.map((key) => partitionOf(key, 4)));
        const there = await log.append(message(topic, 'x', { key: 'model-0', partition: 2 }));
        expect(there.partition).toBe(2);
      }));

    test('the largest message fits; a larger one, an unknown topic and an unknown partition are errors', () =>
      withLogs(1, async (log) => {
        const topic = await newTopic();
        const value = Buffer.alloc(MAX_MESSAGE_BYTES, 7);
        await log.append({ ...message(topic, ''), value });
        expect((await readOn(log, topic, 1))[0]?.value).toEqual(value);
        await expect(log.append({ ...message(topic, ''), value: Buffer.alloc(value.length + 1) })).rejects.toThrow(
          /at most/,
        );
        await expect(log.append(message('nowhere', 'x'))).rejects.toMatchObject({ code: 'not-found' });
        await expect(log.append(message(topic, 'x', { partition: 9 }))).rejects.toMatchObject({ code: 'not-found' });
      }));

    test('partitions that were added are seen', () =>
      withLogs(1, async (log) => {
        const topic = await newTopic(1);
        expect(await log.partitions(topic)).toEqual([0]);
        await under().makeTopic(topic, 3);
        await expect.poll(() => log.partitions(topic)).toEqual([0, 1, 2]);
        expect(await log.append(message(topic, 'x', { partition: 2 }))).toMatchObject({ partition: 2 });
      }));
  });

  describe('reading', () => {
    test('it stops at the number of messages, near the byte limit, and always gives the first', () =>
      withLogs(1, async (log) => {
        const topic = await newTopic();
        for (let i = 0; i < 5; i++) await log.append({ ...message(topic, ''), value: Buffer.alloc(1000, i) });
        const all = await readOn(log, topic, 5);
        const count = async (from: number, messages: number, limit: number) =>
          (await log.read(topic, 0, all[from]!.offset, messages, limit)).length;
        expect(await count(0, 100, 1)).toBe(1);
        // A log counts what it stores beside the value, or does not.
        expect([2, 3]).toContain(await count(0, 100, 2500));
        expect(await count(0, 2, 1e9)).toBe(2);
        expect(await count(3, 100, 1e9)).toBe(2);
        expect(await log.read(topic, 0, all[4]!.offset + 1n, 100, 1e9)).toEqual([]);
      }));

    test('a reader may go back, and readers at the same place or at others do not disturb each other', () =>
      withLogs(1, async (log) => {
        const topic = await newTopic();
        const named = Array.from({ length: 40 }, (_, i) => `${i}`);
        await Promise.all(named.map((text) => log.append(message(topic, text))));
        const read = async (from: bigint) => texts(await log.read(topic, 0, from, 7, 1e6));
        for (const from of [0n, 7n, 3n, 0n, 14n, 21n, 7n, 33n])
          expect(await read(from)).toEqual(named.slice(Number(from), Number(from) + 7));
        const readers = await Promise.all(
          [0n, 0n, 11n, 22n].map((from) => readOn(log, topic, 40 - Number(from), from)),
        );
        expect(readers.map((one) => texts(one))).toEqual([named, named, named.slice(11), named.slice(22)]);
      }));

    test('where a partition begins and ends is told, and the greatest time of all partitions', () =>
      withLogs(1, async (log) => {
        const topic = await newTopic(2);
        expect(await log.end(topic, 0)).toEqual({ firstOffset: 0n, nextOffset: 0n, appendedAtMs: 0 });
        await log.append(message(topic, 'x', { partition: 0 }));
        const [first] = await readOn(log, topic, 1);
        const appendedAtMs = first?.appendedAtMs;
        expect(await log.end(topic, 0)).toEqual({ firstOffset: 0n, nextOffset: 1n, appendedAtMs });
        expect(await log.end(topic, 1)).toEqual({ firstOffset: 0n, nextOffset: 0n, appendedAtMs });
        for (const partition of [0, 1]) await log.append(message(topic, 'x', { partition }));
        expect(await log.end(topic, 0)).toMatchObject({ firstOffset: 0n, nextOffset: 2n });
        await expect(log.end(topic, 9)).rejects.toMatchObject({ code: 'not-found' });
        await expect(log.end('nowhere', 0)).rejects.toMatchObject({ code: 'not-found' });
      }));

    test('who has not read learns the end and the time of what another log appended', () =>
      withLogs(2, async (writer, watcher) => {
        const topic = await newTopic();
        await writer!.append(message(topic, 'x'));
        const [first] = await readOn(writer!, topic, 1);
        await expect
          .poll(() => watcher!.end(topic, 0))
          .toEqual({
            firstOffset: 0n,
            nextOffset: 1n,
            appendedAtMs: first?.appendedAtMs,
          });
      }));

    test('a topic stays the same one, and one that is not there has no identity', () =>
      withLogs(2, async (one, two) => {
        const topic = await newTopic();
        const identity = await one!.identity(topic);
        await one!.append(message(topic, 'x'));
        expect(await two!.identity(topic)).toBe(identity);
        await expect(one!.identity('nowhere')).rejects.toMatchObject({ code: 'not-found' });
        expect(await one!.partitions('nowhere')).toEqual([]);
      }));
  });

  describe('waiting', () => {
    test(
      'an append from elsewhere wakes a waiter',
      () =>
        withLogs(2, async (reader, writer) => {
          const topic = await newTopic();
          const { signal } = new AbortController();
          let offset = 0n;
          const consume = (async () => {
            while (offset < 3n) {
              offset += BigInt((await reader!.read(topic, 0, offset, 10, 1e6)).length);
              if (offset < 3n) await reader!.wait(topic, LONG_MS, signal);
            }
          })();
          for (const text of ['a', 'b', 'c']) {
            await writer!.append(message(topic, text));
            await sleep(50);
          }
          await consume;
        }),
      LONG_MS - 5_000,
    );

    test(
      'what is appended between a read and its wait is not slept through',
      () =>
        withLogs(2, async (log, writer) => {
          const topic = await newTopic();
          const { signal } = new AbortController();
          await log!.wait(topic, 1, signal);
          await log!.wait(topic, 300, signal);
          expect(await log!.read(topic, 0, 0n, 10, 1e6)).toEqual([]);
          await writer!.append(message(topic, 'x'));
          await sleep(200);
          await log!.wait(topic, LONG_MS, signal);
          expect(await log!.read(topic, 0, 0n, 10, 1e6)).toHaveLength(1);
        }),
      LONG_MS - 5_000,
    );

    test(
      'its own signal and the closing of the log end a wait, which else lasts as long as was said',
      () =>
        withLogs(1, async (log) => {
          const topic = await newTopic();
          const [mine, other] = [new AbortController(), new AbortController()];
          for (const { signal } of [mine, other]) {
            await log.read(topic, 0, 0n, 10, 1e6);
            await log.wait(topic, 1, signal);
            await log.wait(topic, 300, signal);
          }
          const first = log.wait(topic, LONG_MS, mine.signal);
          mine.abort();
          await first;
          const second = log.wait(topic, LONG_MS, other.signal);
          await log.close();
          await second;
        }),
      LONG_MS - 5_000,
    );
  });

  test('telling how far a reader is never fails, whatever it says', () =>
    withLogs(1, async (log) => {
      log.consumed('nowhere', 0, 5n);
      log.consumed(await newTopic(), 0, 0n);
    }));
}
