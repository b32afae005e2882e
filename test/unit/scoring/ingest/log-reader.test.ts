import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseSuite, type Suite } from '../../../../core/suite.ts';
import type { LogMessage } from '../../../../platform/event-log.ts';
import { Batch } from '../../../../scoring/ingest/batch.ts';
import { DedupIndex, packBlocks, shardOf } from '../../../../scoring/ingest/dedup-index.ts';
import { LogReader } from '../../../../scoring/ingest/log-reader.ts';
import { packMessages } from '../../../../scoring/ingest/packed-messages.ts';
import type { PaneDeltas } from '../../../../scoring/ingest/pane-deltas.ts';
import { PartitionReader } from '../../../../scoring/ingest/partition-reader.ts';
import { type LogLine, readLines } from '../../../../scoring/ingest/read-lines.ts';
import type { Effects, SuiteWorld, VersionEffects, World } from '../../../../scoring/ingest/reader-tasks.ts';
import { PRODUCER_HEADER, STRAY_HEADER, TRACE_HEADER } from '../../../../scoring/ingest/report-log.ts';
import { Routing } from '../../../../scoring/ingest/routing.ts';
import { partitionOfShard, routesOf } from '../../../../scoring/ingest/shards.ts';
import { MAX_STRAY_HOPS } from '../../../../scoring/ingest/strays.ts';
import { type OpenWatch, SuiteBatch } from '../../../../scoring/ingest/suite-batch.ts';
import { type SuiteState, suiteKey } from '../../../../scoring/ingest/suite-state.sql.ts';
import { RESOLUTIONS } from '../../../../scoring/rules/pane.ts';
import { PaneTable } from '../../../../scoring/rules/pane-table.ts';
import { reportLine } from '../../../support/scoring-reports.ts';

const T0 = Date.parse('2026-01-05T09:00:00Z');
const MANY = 1_000_000;

function suiteOf(name: string, ceil: number): Suite {
  return parseSuite({
    apiVersion: 'merit/v1',
    kind: 'Suite',
    name,
    tick: '1m',
    metrics: {
      a: { direction: 'higher', floor: 0, ceil, valid: [0, 1], required: true },
      b: { direction: 'lower', kind: 'quantile', quantile: 0.9, floor: 100, ceil: 0, guardrail: { max: 50 } },
    },
  });
}
const ACTIVE = suiteOf('s', 1);
const NEXT = suiteOf('s', 0.9);

function stateOf(tenant: string, suite: Suite): SuiteState {
  const none = { watermarkMs: null, maxObservedMs: null, scoredTickMs: null, decidedTickMs: null, traceId: null };
  return { tenant, suite, ...none };
}

const WATCHES: readonly OpenWatch[] = [
  { watchId: 'w1', model: 'm1', role: 'incumbent', startMs: null },
  { watchId: 'w2', model: 'm2', role: 'candidate', startMs: T0 },
];

function worldOf(tenants: readonly string[]): World {
  const suites: SuiteWorld[] = tenants.map((tenant) => {
    const version = (suite: Suite) => ({ state: stateOf(tenant, suite), watches: WATCHES, marks: [], edge: [] });
    return { active: version(ACTIVE), next: tenant === 't1' ? version(NEXT) : null };
  });
  const versions = new Map(
    tenants.flatMap((tenant) => [
      [suiteKey(tenant, 'm1'), false] as const,
      [suiteKey(tenant, 'm2'), false] as const,
      [suiteKey(tenant, 'old'), true] as const,
    ]),
  );
  return { logAppendMs: T0, lastAppendMs: T0, suites, versions, strayMarks: [] };
}

const report = fc
  .record({
    id: fc.integer({ min: 0, max: 12 }),
    producer: fc.constantFrom('p', 'q'),
    model: fc.constantFrom('m1', 'm2', 'm2', 'old', 'nobody'),
    suite: fc.constantFrom('s', 's', 's', 's', 'elsewhere'),
    at: fc.integer({ min: -8 * 86_400_000, max: 59_000 }),
    near: fc.boolean(),
    a: fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(1.5, 0.1 + 0.2)),
    b: fc.option(fc.double({ min: 0, max: 100, noNaN: true }), { nil: undefined }),
    w: fc.constantFrom(undefined, 3),
  })
  .map(({ id, producer, model, suite, at, near, a, b, w }) =>
    JSON.stringify({
      schemaVersion: 1,
      reportId: `r${id}`,
      producer,
      model,
      suite,
      observedAt: new Date(T0 + (near ? Math.abs(at) % 59_000 : at)).toISOString(),
      ...(w === undefined ? {} : { sampleSize: w }),
      metrics: { a, ...(b === undefined ? {} : { b }), other: 1 },
    }),
  );
const line = fc.oneof(
  { weight: 12, arbitrary: report },
  { weight: 1, arbitrary: fc.constantFrom('', '  ', '{', 'null', '{"schemaVersion":1}', '\u0001') },
  { weight: 1, arbitrary: report.map((text) => text.replace('"p"', '"\\u0070"')) },
);
const message = fc.record({
  tenant: fc.constantFrom('t1', 't1', 't2'),
  text: fc.oneof(
    { weight: 10, arbitrary: fc.array(line, { maxLength: 8 }).map((lines) => lines.join('\n')) },
    { weight: 1, arbitrary: fc.constantFrom(null, '', '\n \n') },
  ),
  end: fc.constantFrom('', '\n', '\r\n\n'),
  sender: fc.constantFrom(undefined, undefined, undefined, 'p', 'p', 'q', 'pp', 'p p', ''),
  // Partition and message of the line before, and how often it was sent on.
  origin: fc.option(fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 3, max: 6 }), fc.constantFrom(1, 16)), {
    nil: undefined,
    freq: 4,
  }),
});

function messagesOf(
  given: readonly {
    tenant: string;
    text: string | null;
    end: string;
    sender?: string | undefined;
    origin?: readonly [partition: number, offset: number, hops: number] | undefined;
  }[],
) {
  return given.map(
    ({ tenant, text, end, sender, origin }, i): LogMessage => ({
      tenant,
      topic: 'x',
      partition: 0,
      offset: BigInt(i + 3),
      key: 'k',
      value: text === null ? null : Buffer.from(text + end),
      headers: {
        traceparent: `00-${String(i).padStart(32, 'a')}-b7ad6b7169203331-01`,
        ...(sender === undefined ? {} : { [PRODUCER_HEADER]: sender }),
        ...(origin === undefined ? {} : { [STRAY_HEADER]: `${origin[0]}:${origin[1]}:${T0}:${origin[2]}` }),
      },
      appendedAtMs: T0 + 60_000,
    }),
  );
}

/** The effects of the first `count` lines by the reference alone. */
function expected(
  lines: readonly LogLine[],
  world: World,
  known: DedupIndex,
  partitions: number,
): { effects: unknown; batch: Batch } {
  const works = world.suites.map(({ active, next }) => ({
    key: suiteKey(active.state.tenant, active.state.suite.name),
    active: new SuiteBatch(active.state, active.watches, active.marks, active.edge),
    next: next === null ? null : new SuiteBatch(next.state, next.watches, next.marks, next.edge),
  }));
  const batch = new Batch({
    partition: 0,
    logAppendMs: world.logAppendMs,
    lastAppendMs: world.lastAppendMs,
    suites: new Map(works.map(({ key, active }) => [key, active])),
    next: new Map(works.flatMap(({ key, next }) => (next === null ? [] : [[key, next] as const]))),
    versions: world.versions,
    known,
    routing: new Routing(0, routesOf(partitions)),
    strayMarks: world.strayMarks,
  });
  for (const one of lines) if (!batch.take(one)) break;
  const version = (suite: SuiteBatch) => ({
    state: suite.state,
    touched: suite.touched,
    counted: suite.counted,
    refused: suite.refused,
    missed: suite.missed,
    panes: suite.panes.rows(),
    evidence: suite.evidenceRows(),
    edge: suite.edge.entries(),
    tickReports: [...suite.tickReports.values()],
    mark: suite.marks.get(0),
    rescore: suite.rescore,
  });
  return {
    batch,
    effects: {
      kind: 'effects',
      lines: batch.lines,
      next: batch.next,
      traceId: batch.final?.traceId ?? lines[batch.lines - 1]!.traceId,
      suites: works.map(({ active, next }) => ({
        active: version(active),
        next: next === null ? null : version(next),
      })),
      counters: [...batch.counters.values()],
      asides: batch.asides,
      dedup: packBlocks(batch.dedupEntries()),
      strayMarks: batch.strayMarks,
    },
  };
}

function wide(words: Uint32Array, row: number, count: number): bigint {
  const value = Array.from({ length: count }, (_, i) => BigInt(words[row * count + i]!) << BigInt(32 * i));
  return BigInt.asIntN(
    32 * count,
    value.reduce((sum, word) => sum | word, 0n),
  );
}

/** Deltas as rows, added up where several speak of one pane. */
function panesOf(suiteHash: string, all: readonly PaneDeltas[]) {
  const table = new PaneTable(suiteHash);
  for (const deltas of all) {
    for (let row = 0; row < deltas.rows; row++) {
      const first = deltas.firstBucket[row]!;
      table.merge({
        suiteHash: deltas.suiteHash,
        ...deltas.series[deltas.seriesOf[row]!]!,
        resolution: RESOLUTIONS[deltas.resolution[row]!]!,
        paneStartMs: deltas.startMs[row]!,
        sums: {
          n: Number(wide(deltas.n, row, 2)),
          weight: wide(deltas.weight, row, 2),
          sumWq: wide(deltas.sumWq, row, 4),
          sumWq2: wide(deltas.sumWq2, row, 4),
          min: deltas.min[row]!,
          max: deltas.max[row]!,
          buckets: Array.from({ length: deltas.buckets[row]! }, (_, i) => [
            deltas.bucketIndex[first + i]!,
            deltas.bucketCount[first + i]!,
          ]),
        },
      });
    }
  }
  return table.rows();
}

function withRows(effects: Effects) {
  const rows = (version: VersionEffects) => ({ ...version, panes: panesOf(version.state.suite.hash, version.panes) });
  return {
    ...effects,
    suites: effects.suites.map(({ active, next }) => ({
      active: rows(active),
      next: next === null ? null : rows(next),
    })),
  };
}

function effectsOf(reader: LogReader, lines: number, world: World): Effects {
  const effects = reader.apply({ kind: 'apply', partition: 0, lines, world });
  if (effects.kind !== 'effects') throw new Error('the reading is outdated');
  return effects;
}

function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_key, one: unknown) => {
      if (typeof one === 'bigint') return `${one}n`;
      return one instanceof Uint8Array ? Buffer.from(one).toString('hex') : one;
    }),
  );
}

const SUITES = ['t1', 't2'].map((tenant) => ({ tenant, suite: ACTIVE }));

/** When the lines of a message came first. */
function arrivedAt(messages: readonly LogMessage[], offset: string): number {
  const { appendedAtMs, headers } = messages.find((one) => String(one.offset) === offset)!;
  return headers[STRAY_HEADER] === undefined ? appendedAtMs : T0;
}

describe('a log reader', () => {
  test('draws the effects that the reference draws, message for message and line for line, in flushes of any size', () => {
    const flushes = fc.integer({ min: 1, max: 9 });
    const partitions = fc.constantFrom(1, 2, 5);
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 6 }), flushes, partitions, (given, flush, count) => {
        const messages = messagesOf(given);
        const lines = messages.flatMap((one) => readLines(one, 0, 'e'.repeat(32)));
        const world = { ...worldOf(['t1', 't2']), strayMarks: [{ source: 2, offset: 4n, line: 2 }] };
        const known = new DedupIndex();
        const reader = new LogReader(count);
        let segment = reader.load({
          kind: 'load',
          partition: 0,
          suites: SUITES,
          packed: packMessages(messages, 0),
          maxLines: flush,
        });
        let done = 0;
        while (segment.lines > 0) {
          const rest = lines.slice(done, done + segment.lines);
          expect(segment.firstOffset).toBe(rest[0]!.message.offset);
          const reference = expected(rest, world, known, count);
          // Once in vain, and of fewer lines, as after a transaction that failed.
          effectsOf(reader, 1, world);
          const effects = effectsOf(reader, segment.lines, world);
          const fresh = (traced: typeof effects) => plain({ ...withRows(traced), traceId: '' });
          expect(fresh(effects)).toEqual(plain({ ...(reference.effects as object), traceId: '' }));
          for (const { key, digest } of reference.batch.dedupEntries()) known.add(key, digest);
          done += effects.lines;
          segment = reader.done({ kind: 'done', partition: 0, maxLines: flush });
        }
        expect(done).toBe(lines.length);
        expect(reader.known).toBe(known.size);
      }),
      { numRuns: 70 },
    );
  });

  test('sends the lines that belong elsewhere on, each to its partition with its number, and its trace and sender', () => {
    const partitions = fc.integer({ min: 2, max: 5 });
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 6 }), partitions, fc.nat(20), (given, count, from) => {
        const messages = messagesOf(given);
        const lines = messages.flatMap((one) => readLines(one, 0, 'e'.repeat(32)));
        const wanted = lines.slice(from).flatMap((one) => {
          const { message, line, raw, uploadLine, reading } = one;
          if (!reading.ok || message.headers[STRAY_HEADER]?.endsWith(`:${MAX_STRAY_HOPS}`)) return [];
          const to = partitionOfShard(shardOf(reading.report.entry.key), count);
          const { offset, headers } = message;
          const sender = headers[PRODUCER_HEADER];
          return to === 0
            ? []
            : [[to, offset, line, uploadLine, headers[TRACE_HEADER], sender, Buffer.from(raw).toString()]];
        });
        const reader = new LogReader(count);
        const loaded = { partition: 0, suites: SUITES, packed: packMessages(messages, 0), maxLines: MANY };
        const segment = reader.load({ kind: 'load', ...loaded });
        let done = 0;
        // A flush may end early: what it sent on is not sent again.
        let sentOn = from;
        const found: unknown[] = [];
        for (let left = segment; left.lines > 0; left = reader.done({ kind: 'done', partition: 0, maxLines: MANY })) {
          const strays = reader.strays({
            kind: 'strays',
            partition: 0,
            from: Math.max(0, sentOn - done),
            to: left.lines,
          });
          expect(strays.length > 0).toBe(left.lastStray > Math.max(0, sentOn - done));
          for (const { partition, message } of strays) {
            const at = { ...message, partition, offset: 0n, appendedAtMs: 0 };
            for (const { line, raw, uploadLine, message: next } of readLines(at, 0, '')) {
              const [source, offset, arrived] = next.headers[STRAY_HEADER]!.split(':');
              expect([source, arrived]).toEqual(['0', String(arrivedAt(messages, offset!))]);
              const sender = next.headers[PRODUCER_HEADER];
              found.push([
                partition,
                BigInt(offset!),
                line,
                uploadLine,
                next.headers[TRACE_HEADER],
                sender,
                Buffer.from(raw).toString(),
              ]);
            }
          }
          sentOn = Math.max(sentOn, done + left.lines);
          done += effectsOf(reader, left.lines, worldOf(['t1', 't2'])).lines;
        }
        const sorted = (list: readonly unknown[]) => list.map((one) => JSON.stringify(plain(one))).sort();
        expect(sorted(found)).toEqual(sorted(wanted));
      }),
      { numRuns: 50 },
    );
  });

  test('takes messages of several senders into one flush', () => {
    const line = fc.sample(report, { numRuns: 4, seed: 1 }).join('\n');
    const given = ['p', undefined, 'q', 'p'].map((sender) => ({ tenant: 't1', text: line, end: '\n', sender }));
    const packed = packMessages(messagesOf(given), 0);
    const reader = new LogReader();
    expect(reader.load({ kind: 'load', partition: 0, suites: SUITES, packed, maxLines: MANY }).lines).toBe(16);
  });

  test('reads the rest of a block from its columns, however far the sums of its beginning made the kernel grow', () => {
    const text = Array.from({ length: 6_000 }, (_, i) =>
      reportLine({
        reportId: `r${i}`,
        model: 'm1',
        suite: 's',
        observedAt: new Date(T0 - i * 60_000).toISOString(),
        metrics: { b: 1.01 ** (i % 900) % 99 },
      }),
    ).join('\n');
    const packed = packMessages(messagesOf([{ tenant: 't1', text, end: '' }]), 0);
    const reader = new PartitionReader(() => new Map([['s', ACTIVE]]), new Routing(0, routesOf(1)));
    reader.load(packed);
    const { stretch } = reader;
    if (stretch.kind !== 'rows') throw new Error('the kernel reads it');
    const before = stretch.rows.suite;
    reader.begin(5_999);
    for (let row = 0; row < 5_999; row++) stretch.rows.accept(row);
    reader.panes(5_999);
    expect([before.length, stretch.rows.isRead(5_999), stretch.rows.suiteOf(5_999).hash]).toEqual([
      0,
      true,
      ACTIVE.hash,
    ]);
  });

  test('goes on behind the lines of the first message that were done before', () => {
    const text = [1, 2, 3].map((i) => `{"bad":${i}}`).join('\n\n');
    const reader = new LogReader();
    const packed = packMessages(messagesOf([{ tenant: 't1', text, end: '' }]), 3);
    const segment = reader.load({ kind: 'load', partition: 0, suites: SUITES, packed, maxLines: MANY });
    expect(segment.lines).toBe(1);
    const effects = effectsOf(reader, 1, worldOf(['t1']));
    expect(effects.asides.map((aside) => aside.line)).toEqual([5]);
    expect(effects.next).toMatchObject({ offset: 4n, line: 0 });
  });

  test('says so where a suite has another version than its lines were read by', () => {
    const reader = new LogReader();
    const packed = packMessages(messagesOf([{ tenant: 't1', text: '{}', end: '' }]), 0);
    reader.load({ kind: 'load', partition: 0, suites: [{ tenant: 't1', suite: NEXT }], packed, maxLines: MANY });
    const world = worldOf(['t1']);
    expect(reader.apply({ kind: 'apply', partition: 0, lines: 1, world })).toEqual({ kind: 'outdated' });
  });

  test('gives every line of a message up, however many blocks it takes, and goes on behind it', () => {
    const lines = 10_000;
    const reader = new LogReader();
    const given = [
      { tenant: 't1', text: '{}\n'.repeat(lines), end: '' },
      { tenant: 't1', text: '{}', end: '' },
    ];
    const packed = packMessages(messagesOf(given), 0);
    reader.load({ kind: 'load', partition: 0, suites: SUITES, packed, maxLines: 7 });
    const { asides, segment } = reader.giveUp({ kind: 'give-up', partition: 0, problem: 'no', maxLines: 7 });
    expect(asides).toHaveLength(lines);
    expect(asides.at(-1)).toMatchObject({ line: lines, offset: 3n, aside: { code: 'handler_failed', problem: 'no' } });
    expect(segment).toMatchObject({ lines: 1, firstOffset: 4n });
  });
});
