import { describe, expect, test } from 'vitest';
import type { LogMessage } from '../../../../platform/event-log.ts';
import type { Database } from '../../../../platform/postgres.ts';
import { nonBlankLines } from '../../../../scoring/ingest/read-lines.ts';
import { join, placeIn, type Vector } from '../../../../scoring/ingest/vector.ts';
import { ReplayLog } from '../../../../scoring/replay/replay-log.ts';
import { random } from '../../../integration/scoring-online-support.ts';

const TOPIC = 'merit.reports';
const PARTITIONS = [0, 1, 2];

interface World {
  readonly log: ReplayLog;
  /** `partition offset line text` of all that a replay is to read, by partition. */
  readonly expected: ReadonlyMap<number, readonly string[]>;
  readonly end: Vector;
  readonly paced: number[];
}

/** Messages of two tenants with gaps, blank lines, tombstones, and lines that were set aside then. */
function world(seed: number, minutesApart = 0): World {
  const next = random(seed);
  const messages = new Map<number, LogMessage[]>();
  const asides: { partition: number; offset: bigint; line: number }[] = [];
  const expected = new Map<number, string[]>();
  const end = new Map<number, { offset: bigint; line: number }>();
  for (const partition of PARTITIONS) {
    const list: LogMessage[] = [];
    const lines: string[] = [];
    let offset = 0n;
    for (let i = 0; i < 30; i++) {
      offset += next() < 0.2 ? 2n : 1n;
      const tenant = next() < 0.3 ? 'other' : 'acme';
      const texts = Array.from({ length: 1 + Math.floor(next() * 5) }, (_, n) => (next() < 0.15 ? '' : `m${i}-${n}`));
      const isTombstone = next() < 0.05;
      const value = isTombstone ? null : Buffer.from(texts.join('\n') + (next() < 0.5 ? '\n' : ''));
      const appendedAtMs = i * minutesApart * 60_000 + partition;
      list.push({ tenant, topic: TOPIC, partition, offset, key: '', value, headers: {}, appendedAtMs });
      texts.forEach((text, n) => {
        if (tenant !== 'acme' || isTombstone || text === '') return;
        if (next() < 0.2) asides.push({ partition, offset, line: n + 1 });
        else lines.push(`${partition} ${offset} ${n + 1} ${text}`);
      });
    }
    messages.set(partition, list);
    expected.set(partition, lines);
    end.set(partition, { offset: offset + 1n, line: 0 });
  }
  const db = {
    asEngine: (work: (tx: object) => Promise<unknown>) =>
      work({
        query: async (_sql: string, [, partition, from, to]: [string, number, bigint, bigint]) =>
          asides.filter((one) => one.partition === partition && one.offset >= from && one.offset <= to),
      }),
  } as unknown as Database;
  const source = {
    read: async (_topic: string, partition: number, offset: bigint, maxMessages: number) =>
      messages
        .get(partition)!
        .filter((one) => one.offset >= offset)
        .slice(0, Math.min(maxMessages, 3)),
    firstOffset: async () => 0n,
  };
  const paced: number[] = [];
  const pace = async (lines: number) => void paced.push(lines);
  const log = new ReplayLog({
    db,
    source,
    topic: TOPIC,
    tenant: 'acme',
    partitions: PARTITIONS.length,
    whole: true,
    pace,
  });
  return { log, expected, end, paced };
}

/** As a consumer reads: whole messages from its place on, the lines that it has not done, until there is nothing left. */
async function drain(
  log: ReplayLog,
  at: Map<number, { offset: bigint; line: number }>,
): Promise<Map<number, string[]>> {
  const read = new Map<number, string[]>();
  for (const partition of PARTITIONS) {
    const lines: string[] = [];
    for (;;) {
      const place = placeIn(at, partition);
      const messages = await log.read(TOPIC, partition, place.offset, 2, 1e6);
      if (messages.length === 0) break;
      for (const { offset, value } of messages) {
        const from = offset === place.offset ? place.line : 0;
        for (const { line, bytes } of value === null ? [] : nonBlankLines(value))
          if (line > from) lines.push(`${partition} ${offset} ${line} ${Buffer.from(bytes)}`);
      }
      at.set(partition, { offset: messages.at(-1)!.offset + 1n, line: 0 });
    }
    read.set(partition, lines);
  }
  return read;
}

describe('the log of a replay', () => {
  test.each(Array.from({ length: 20 }, (_, seed) => seed))(
    'gives each line of the tenant once, in order, whatever the cuts are (%i)',
    async (seed) => {
      const { log, expected, end, paced } = world(seed);
      const next = random(seed + 1000);
      const at = new Map<number, { offset: bigint; line: number }>();
      const read = new Map<number, string[]>(PARTITIONS.map((partition) => [partition, []]));
      let limit: Vector = new Map();
      for (let i = 0; i < 12; i++) {
        const cut = new Map(
          PARTITIONS.map((partition) => [
            partition,
            { offset: BigInt(Math.floor(next() * 45)), line: Math.floor(next() * 4) },
          ]),
        );
        limit = i === 11 ? end : join(limit, cut);
        log.readTo(limit, at);
        do for (const [partition, lines] of await drain(log, at)) read.get(partition)!.push(...lines);
        while (log.moveFront());
        // A consumer is put where the cut is, also within a message.
        for (const partition of PARTITIONS) at.set(partition, { ...placeIn(limit, partition) });
      }
      expect(read).toEqual(expected);
      expect(paced.reduce((sum, lines) => sum + lines, 0)).toBeGreaterThan(0);
    },
  );

  test('lets no partition run ahead of the others in append time', async () => {
    const { log, expected, end } = world(7, 10);
    const at = new Map<number, { offset: bigint; line: number }>();
    log.readTo(end, at);
    const read = new Map<number, string[]>(PARTITIONS.map((partition) => [partition, []]));
    let rounds = 0;
    do {
      const before = PARTITIONS.map((partition) => placeIn(at, partition).offset);
      for (const [partition, lines] of await drain(log, at)) read.get(partition)!.push(...lines);
      const steps = PARTITIONS.map((partition, i) => Number(placeIn(at, partition).offset - before[i]!));
      // Messages are ten minutes apart, and a step is a quarter of an hour.
      expect(Math.max(...steps)).toBeLessThanOrEqual(8);
      rounds++;
    } while (log.moveFront());
    expect(read).toEqual(expected);
    expect(rounds).toBeGreaterThan(8);
  });

  test('a partition that is at its limit does not lag', async () => {
    const { log, end } = world(3);
    log.readTo(end, new Map());
    expect((await log.end(TOPIC, 0)).nextOffset).toBe(placeIn(end, 0).offset);
    const at = new Map<number, { offset: bigint; line: number }>();
    do await drain(log, at);
    while (log.moveFront());
    expect((await log.end(TOPIC, 0)).nextOffset).toBe(0n);
  });

  test('of a message that was set aside whole, as its first line, gives nothing', async () => {
    const messages = ['ab\ncd\n', 'ef\ngh\n', 'ij\nkl\n'].map((text, i) => {
      const offset = BigInt(i);
      return {
        tenant: 'acme',
        topic: TOPIC,
        partition: 0,
        offset,
        key: '',
        value: Buffer.from(text),
        headers: {},
        appendedAtMs: i,
      };
    });
    const asides = [
      { offset: 0n, line: 1, size: 2 },
      { offset: 1n, line: 1, size: 6 },
    ];
    const log = new ReplayLog({
      db: { asEngine: (work: (tx: object) => unknown) => work({ query: async () => asides }) } as unknown as Database,
      source: { read: async () => messages, firstOffset: async () => 0n },
      topic: TOPIC,
      tenant: 'acme',
      partitions: 1,
      whole: true,
      pace: async () => {},
    });
    log.readTo(new Map([[0, { offset: 9n, line: 0 }]]), new Map());
    const read = await log.read(TOPIC, 0, 0n, 10, 1_000);
    expect(read.map(({ value }) => Buffer.from(value!).toString())).toEqual(['  \ncd\n', 'ij\nkl\n']);
  });
});
