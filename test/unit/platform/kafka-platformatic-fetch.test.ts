import * as library from '@platformatic/kafka';
import { describe, expect, test } from 'vitest';
import { type PartitionReply, readFetched } from '../../../platform/kafka/platformatic-fetch.ts';

const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;
const APPEND_TIME = 0x08;
const COMMIT = Buffer.from([0, 0, 0, 1]);
const ABORT = Buffer.from([0, 0, 0, 0]);

/** A batch as a broker stores it. */
function batch(
  firstOffset: number,
  values: readonly string[],
  more: {
    readonly producer?: number;
    readonly attributes?: number;
    readonly keys?: readonly Buffer[];
    readonly atMs?: number;
  } = {},
): Buffer {
  const { producer = -1, attributes = 0, keys = [], atMs = 1_000 } = more;
  const messages = values.map((value, i) => ({
    topic: 't',
    key: keys[i] ?? Buffer.from('k'),
    value: Buffer.from(value),
    timestamp: BigInt(atMs + i),
  }));
  const bytes = Buffer.from(library.createRecordsBatch(messages, { producerId: BigInt(producer) }).buffer);
  bytes.writeBigInt64BE(BigInt(firstOffset), 0);
  bytes.writeInt16BE(attributes, 21);
  bytes.writeUInt32BE(library.crc32c(bytes.subarray(21)), 17);
  return bytes;
}
const marker = (offset: number, producer: number, kind: Buffer) =>
  batch(offset, [''], { producer, attributes: TRANSACTIONAL | CONTROL, keys: [kind] });

function read(records: readonly Buffer[], offset = 0, aborted: PartitionReply['aborted'] = []) {
  const bytes = Buffer.concat(records);
  const reply = { partition: 0, errorCode: 0, firstOffset: 0n, endOffset: 99n, aborted, records: bytes };
  const { records: found, nextOffset } = readFetched(library, reply, BigInt(offset));
  return { found: found.map(({ offset: at, value }) => `${at} ${value}`), nextOffset, records: found };
}

describe('records of a fetch', () => {
  test('come from the offset on that was asked for, though a batch begins before it', () => {
    expect(read([batch(3, ['a', 'b', 'c']), batch(6, ['d'])], 4)).toMatchObject({
      found: ['4 b', '5 c', '6 d'],
      nextOffset: 7n,
    });
  });

  test('come without the batch that the limit cut, which is fetched next', () => {
    const cut = batch(2, ['c']);
    expect(read([batch(0, ['a', 'b']), cut.subarray(0, cut.length - 1)])).toMatchObject({
      found: ['0 a', '1 b'],
      nextOffset: 2n,
    });
    expect(read([batch(0, ['a']).subarray(0, 5)]).nextOffset).toBe(0n);
    expect(read([]).nextOffset).toBe(0n);
  });

  test('have the broker’s time where the topic says so, else the producer’s', () => {
    const [own] = read([batch(0, ['a', 'b'])]).records;
    const [brokers] = read([batch(0, ['a', 'b'], { attributes: APPEND_TIME })]).records;
    expect([own?.appendedAtMs, brokers?.appendedAtMs]).toEqual([1_000, 1_001]);
  });

  test('K41 are those of committed transactions only, with a marker in this reply or in a later one', () => {
    const one = { producer: 1, attributes: TRANSACTIONAL };
    const two = { producer: 2, attributes: TRANSACTIONAL };
    const log = [
      batch(0, ['aborted'], one),
      batch(1, ['kept'], two),
      marker(2, 1, ABORT),
      batch(3, ['kept too'], one),
      marker(4, 1, COMMIT),
      batch(5, ['plain']),
      marker(6, 2, COMMIT),
      batch(7, ['aborted later'], one),
    ];
    const aborted = [
      { producerId: 1n, firstOffset: 7n },
      { producerId: 1n, firstOffset: 0n },
    ];
    expect(read(log, 0, aborted)).toMatchObject({
      found: ['1 kept', '3 kept too', '5 plain'],
      nextOffset: 8n,
    });
  });

  test('K40 are none of a batch whose bytes are not those of its CRC: the place is named', () => {
    const broken = batch(7, ['report']);
    broken[broken.length - 3] = broken[broken.length - 3]! ^ 1;
    expect(() => read([batch(6, ['a']), broken], 6)).toThrow('the batch at partition 0, offset 7 has another CRC');
  });
});
