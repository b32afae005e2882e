import { describe, expect, test } from 'vitest';
import { parseSuite } from '../../../../core/suite.ts';
import { Batch } from '../../../../scoring/ingest/batch.ts';
import { DedupIndex } from '../../../../scoring/ingest/dedup-index.ts';
import { type LogLine, readLines } from '../../../../scoring/ingest/read-lines.ts';
import { type OpenWatch, SuiteBatch } from '../../../../scoring/ingest/suite-batch.ts';
import { ANY_METRIC } from '../../../../scoring/rules/pane.ts';

const suite = parseSuite({
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 's',
  tick: '1m',
  metrics: {
    a: { direction: 'higher', floor: 0, ceil: 1, required: true },
    b: { direction: 'higher', floor: 0, ceil: 1 },
  },
});
const T0 = Date.parse('2026-01-05T09:00:00Z');

function linesOf(
  reports: readonly { readonly at: number; readonly model?: string; readonly id?: string; readonly a?: number }[],
): readonly LogLine[] {
  const text = reports
    .map(({ at, model = 'x', id, a = 0.5 }, i) =>
      JSON.stringify({
        schemaVersion: 1,
        reportId: id ?? `r${i}`,
        producer: 'p',
        model,
        suite: 's',
        observedAt: new Date(T0 + at).toISOString(),
        metrics: { a, b: a },
      }),
    )
    .join('\n');
  const message = {
    tenant: 't',
    topic: 'x',
    key: 'k',
    value: Buffer.from(text),
    headers: {},
    partition: 0,
    offset: 4n,
    appendedAtMs: T0 + 86_400_000,
  };
  return readLines(message, 0, 'e'.repeat(32));
}

function world(watches: readonly OpenWatch[] = [], state: Partial<SuiteBatch['state']> = {}) {
  const work = new SuiteBatch(
    {
      tenant: 't',
      suite,
      watermarkMs: null,
      maxObservedMs: null,
      scoredTickMs: null,
      decidedTickMs: null,
      traceId: null,
      ...state,
    },
    watches,
    state.watermarkMs === undefined || state.watermarkMs === null
      ? []
      : [{ partition: 0, watermarkMs: state.watermarkMs, lastAppendMs: T0 }],
    [],
  );
  const versions = new Map([
    ['t/x', false],
    ['t/y', false],
  ]);
  const batch = new Batch({
    partition: 0,
    logAppendMs: T0 + 86_400_000,
    suites: new Map([['t/s', work]]),
    versions,
    known: new DedupIndex(),
  });
  return { work, batch };
}

describe('a batch', () => {
  test('ends behind the line that makes a tick final, and not before', () => {
    const { batch, work } = world();
    const lines = linesOf([{ at: 10_000 }, { at: 20_000 }, { at: 59_999 }, { at: 60_000 }, { at: 61_000 }]);
    const taken = lines.map((line) => batch.take(line));
    expect(taken.slice(0, 4)).toEqual([true, true, true, false]);
    expect(work.state.scoredTickMs).toBe(T0);
    expect(batch.next).toMatchObject({ offset: 5n });
  });

  test('counts a line once: a repeat in the same batch is a duplicate, other content a conflict', () => {
    const { batch, work } = world();
    for (const line of linesOf([
      { at: 1, id: 'same' },
      { at: 1, id: 'same' },
      { at: 1, id: 'same', a: 0.9 },
    ]))
      batch.take(line);
    expect([...batch.counters.values()].map((one) => one.counts)).toEqual([
      { accepted: 1, quarantined: 0, duplicates: 1, conflicts: 1, lateArchived: 0 },
    ]);
    expect(
      work.panes
        .rows()
        .filter((pane) => pane.metric === ANY_METRIC)
        .map((pane) => pane.sums.n),
    ).toEqual([1, 1, 1]);
    expect(batch.asides.map((one) => one.aside.code)).toEqual(['conflict']);
  });

  test('a late report asks for the published ticks it touches to be published again', () => {
    const { batch, work } = world([], {
      watermarkMs: T0 + 600_000,
      scoredTickMs: T0 + 600_000,
      decidedTickMs: T0 + 600_000,
      maxObservedMs: T0 + 600_000,
    });
    for (const line of linesOf([{ at: 90_000 }, { at: 300_000 }])) batch.take(line);
    expect(work.rescore).toEqual({ fromMs: T0 + 120_000, toMs: T0 + 600_000 });
  });

  test('the incumbent’s reports count in its own watch and in every challenge, a candidate’s in its own only', () => {
    const watches: OpenWatch[] = [
      { watchId: 'seat', model: 'x', role: 'incumbent', startMs: T0 },
      { watchId: 'challenge', model: 'y', role: 'candidate', startMs: T0 + 20_000 },
      { watchId: 'other', model: 'z', role: 'candidate', startMs: null },
    ];
    const { batch, work } = world(watches);
    for (const line of linesOf([{ at: 10_000 }, { at: 20_000 }, { at: 30_000, model: 'y' }])) batch.take(line);
    expect(work.evidenceRows().map((row) => [row.watchId, row.model, row.metric, row.tickMs - T0, row.sums.n])).toEqual(
      [
        ['seat', 'x', 'a', 60_000, 2],
        ['other', 'x', 'a', 60_000, 2],
        ['challenge', 'x', 'a', 60_000, 1],
        ['challenge', 'y', 'a', 60_000, 1],
      ],
    );
    expect(work.edge.entries().map((entry) => entry.observedAtMs - T0)).toEqual([30_000]);
  });
});
