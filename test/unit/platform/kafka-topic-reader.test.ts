import { describe, expect, test } from 'vitest';
import {
  type Ends,
  type Fetched,
  type FetchFrom,
  type KafkaClient,
  KafkaFault,
  type KafkaRecord,
} from '../../../platform/kafka/client.ts';
import { TopicReader } from '../../../platform/kafka/topic-reader.ts';

const BYTES = 1_000;

/** One partition as a broker has it: offsets with a record, the others are markers or were aborted. */
class FakeKafka {
  records = new Map<bigint, KafkaRecord>();
  ends: Ends = { firstOffset: 0n, endOffset: 0n };
  id = 'one';
  /** The reply of a fetch that waited is so long on its way. */
  replyMs = 0;
  readonly fetches: FetchFrom[] = [];
  /** A fetch is answered only then. */
  answered: Promise<void> | undefined;
  #arrived: (() => void) | undefined;

  append(count: number, markers = 0): void {
    for (let i = 0; i < count; i++) {
      const offset = this.ends.endOffset + BigInt(i);
      this.records.set(offset, {
        offset,
        key: null,
        value: Buffer.alloc(BYTES),
        headers: [],
        appendedAtMs: 100 + Number(offset),
      });
    }
    this.ends = { ...this.ends, endOffset: this.ends.endOffset + BigInt(count + markers) };
    this.#arrived?.();
  }

  get client(): KafkaClient {
    return {
      topic: async () => ({ id: this.id, partitions: [0] }),
      ends: async () => new Map([[0, this.ends]]),
      lastTimes: async () => new Map([[0, Math.max(0, ...[...this.records.values()].map((one) => one.appendedAtMs))]]),
      fetch: async (_topic: string, [from]: readonly FetchFrom[], { maxWaitMs }: { readonly maxWaitMs: number }) => {
        this.fetches.push(from!);
        if (from!.offset < this.ends.firstOffset || from!.offset > this.ends.endOffset)
          throw new KafkaFault('out-of-range', 'no');
        if (from!.offset === this.ends.endOffset && maxWaitMs > 0)
          await new Promise<void>((resolve) => {
            this.#arrived = resolve;
            setTimeout(resolve, maxWaitMs);
          });
        const reply = this.#fetched(from!);
        if (this.answered !== undefined) await this.answered;
        if (maxWaitMs > 0 && this.replyMs > 0) await new Promise((resolve) => setTimeout(resolve, this.replyMs));
        return reply;
      },
    } as unknown as KafkaClient;
  }

  #fetched({ partition, offset, maxBytes }: FetchFrom): readonly Fetched[] {
    const room = BigInt(Math.max(1, Math.floor(maxBytes / BYTES)));
    const nextOffset = offset + room < this.ends.endOffset ? offset + room : this.ends.endOffset;
    if (nextOffset === offset) return [];
    const records = [...this.records.values()].filter((one) => one.offset >= offset && one.offset < nextOffset);
    return [{ partition, offset, records, nextOffset, ends: this.ends }];
  }
}

const offsets = (records: readonly KafkaRecord[]) => records.map(({ offset }) => Number(offset));
const open = (kafka: FakeKafka) => new TopicReader(kafka.client, 't', Date.now);

describe('reading on', () => {
  test('fetches ahead once more is known to be there, and no further', async () => {
    const kafka = new FakeKafka();
    kafka.append(10);
    const reader = open(kafka);
    expect(offsets(await reader.read(0, 0n, 100, 4 * BYTES))).toEqual([0, 1, 2, 3]);
    expect(kafka.fetches.map(({ offset }) => offset)).toEqual([0n, 4n]);
    expect(offsets(await reader.read(0, 4n, 100, 4 * BYTES))).toEqual([4, 5, 6, 7]);
    expect(offsets(await reader.read(0, 8n, 100, 4 * BYTES))).toEqual([8, 9]);
    expect(kafka.fetches.map(({ offset }) => offset)).toEqual([0n, 4n, 8n]);
    expect(await reader.read(0, 10n, 100, 4 * BYTES)).toEqual([]);
  });

  test('what was fetched and not taken is given without another fetch; who goes back fetches', async () => {
    const kafka = new FakeKafka();
    kafka.append(4);
    const reader = open(kafka);
    expect(offsets(await reader.read(0, 0n, 2, 1e6))).toEqual([0, 1]);
    expect(offsets(await reader.read(0, 3n, 2, 1e6))).toEqual([3]);
    expect(kafka.fetches).toHaveLength(1);
    expect(offsets(await reader.read(0, 1n, 1, 1e6))).toEqual([1]);
    expect(kafka.fetches).toHaveLength(2);
  });

  test('two readers that wait at the same place are both given what lies there', async () => {
    const kafka = new FakeKafka();
    kafka.append(6);
    const reader = open(kafka);
    const both = await Promise.all([reader.read(0, 0n, 100, 2 * BYTES), reader.read(0, 0n, 100, 2 * BYTES)]);
    expect(both.map(offsets)).toEqual([
      [0, 1],
      [0, 1],
    ]);
    const again = await Promise.all([reader.read(0, 2n, 1, 1e6), reader.read(0, 2n, 1, 1e6)]);
    expect(again.map(offsets)).toEqual([[2], [2]]);
  });

  test('goes over any number of markers, and tells the end before those behind the last message', async () => {
    const kafka = new FakeKafka();
    kafka.append(1, 30);
    kafka.append(1, 5);
    const reader = open(kafka);
    expect(offsets(await reader.read(0, 0n, 1, BYTES))).toEqual([0]);
    expect(offsets(await reader.read(0, 1n, 1, BYTES))).toEqual([31]);
    expect(await reader.end(0)).toEqual({ firstOffset: 0n, nextOffset: 37n, appendedAtMs: 131 });
    expect(await reader.read(0, 32n, 1, BYTES)).toEqual([]);
    expect(await reader.end(0)).toEqual({ firstOffset: 0n, nextOffset: 32n, appendedAtMs: 131 });
    kafka.append(1);
    expect(offsets(await reader.read(0, 32n, 1, BYTES))).toEqual([37]);
    expect(await reader.end(0)).toMatchObject({ nextOffset: 38n });
  });

  test('below what is left it begins with what is left; above the end there is nothing', async () => {
    const kafka = new FakeKafka();
    kafka.append(5);
    kafka.ends = { firstOffset: 3n, endOffset: 5n };
    const reader = open(kafka);
    expect(offsets(await reader.read(0, 1n, 10, 1e6))).toEqual([3, 4]);
    expect(await reader.read(0, 50n, 10, 1e6)).toEqual([]);
  });

  test('an end is never behind what was read', async () => {
    const kafka = new FakeKafka();
    kafka.append(1);
    const reader = open(kafka);
    expect(await reader.end(0)).toMatchObject({ nextOffset: 1n });
    kafka.append(3);
    expect(offsets(await reader.read(0, 0n, 10, 1e6))).toEqual([0, 1, 2, 3]);
    expect(await reader.end(0)).toEqual({ firstOffset: 0n, nextOffset: 4n, appendedAtMs: 103 });
  });
});

describe('waiting', () => {
  test('an arrival wakes, and the read behind it needs no fetch', async () => {
    const kafka = new FakeKafka();
    const reader = open(kafka);
    expect(await reader.read(0, 0n, 10, 1e6)).toEqual([]);
    const waiting = reader.arrival(20_000);
    const another = reader.arrival(20_000);
    await new Promise((resolve) => setTimeout(resolve, 10));
    kafka.append(2);
    expect(await Promise.all([waiting, another])).toEqual([true, true]);
    const fetched = kafka.fetches.length;
    expect(offsets(await reader.read(0, 0n, 10, 1e6))).toEqual([0, 1]);
    expect(kafka.fetches).toHaveLength(fetched);
  });

  test('what a read took meanwhile is not given once more by a wait that brings it late', async () => {
    const kafka = new FakeKafka();
    kafka.replyMs = 30;
    const reader = open(kafka);
    await reader.read(0, 0n, 10, 1e6);
    const waiting = reader.arrival(200);
    await new Promise((resolve) => setTimeout(resolve, 10));
    kafka.append(2);
    expect(offsets(await reader.read(0, 0n, 10, 1e6))).toEqual([0, 1]);
    expect(await waiting).toBe(false);
    expect(await reader.read(0, 2n, 10, 1e6)).toEqual([]);
  });

  test('where nothing comes, or only markers, it ends in time; where nothing was read it asks nobody', async () => {
    const kafka = new FakeKafka();
    const reader = open(kafka);
    expect(await reader.arrival(20)).toBe(false);
    expect(kafka.fetches).toEqual([]);
    await reader.read(0, 0n, 10, 1e6);
    const waiting = reader.arrival(50);
    await new Promise((resolve) => setTimeout(resolve, 10));
    kafka.append(0, 2);
    expect(await waiting).toBe(false);
  });
});

test('a reply of a topic that was made anew meanwhile says nothing of the new one', async () => {
  const kafka = new FakeKafka();
  let now = 0;
  const reader = new TopicReader(kafka.client, 't', () => now);
  kafka.append(10);
  expect((await reader.end(0)).nextOffset).toBe(10n);
  const { promise, resolve } = Promise.withResolvers<void>();
  kafka.answered = promise;
  const reading = reader.read(0, 0n, 100, 4 * BYTES);
  kafka.records.clear();
  Object.assign(kafka, { id: 'two', ends: { firstOffset: 0n, endOffset: 0n } });
  now += 2_000;
  expect((await reader.end(0)).nextOffset).toBe(0n);
  resolve();
  await reading;
  expect((await reader.end(0)).nextOffset).toBe(0n);
});
