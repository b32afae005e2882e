import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseSuite } from '../../../../core/suite.ts';
import type { LogMessage } from '../../../../platform/event-log.ts';
import { packMessages } from '../../../../scoring/batch/messages.ts';
import { unpackPanes } from '../../../../scoring/batch/pane-deltas.ts';
import { ShardEffects } from '../../../../scoring/batch/shard-effects.ts';
import { isFault } from '../../../../scoring/ingest/line-report.ts';
import { readLines } from '../../../../scoring/ingest/read-lines.ts';
import { PaneTable } from '../../../../scoring/rules/pane-table.ts';
import { isTooLate } from '../../../../scoring/rules/watermark.ts';

const T0 = Date.parse('2026-01-05T09:00:00Z');
const DAY_MS = 86_400_000;
const SUITE = parseSuite({
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 's',
  metrics: {
    a: { direction: 'higher', floor: 0, ceil: 1, valid: [0, 1] },
    b: { direction: 'lower', kind: 'quantile', quantile: 0.9, scale: 3, floor: 100, ceil: 0 },
  },
});

const report = fc
  .record({
    id: fc.nat(9),
    model: fc.constantFrom('m1', 'm2'),
    suite: fc.constantFrom('s', 's', 's', 'elsewhere'),
    at: fc.oneof(fc.integer({ min: -60_000, max: 60_000 }), fc.integer({ min: -9 * DAY_MS, max: 0 })),
    // Some are past what the suite takes, or what any does.
    a: fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(1.5, -0, 1e300)),
    b: fc.option(fc.double({ min: -100, max: 100, noNaN: true }), { nil: undefined }),
    w: fc.constantFrom(undefined, 1, 3, 2 ** 20, 2 ** 21),
  })
  .map(({ id, model, suite, at, a, b, w }) =>
    JSON.stringify({
      schemaVersion: 1,
      reportId: `r${id}`,
      producer: 'p',
      model,
      suite,
      observedAt: new Date(T0 + at).toISOString(),
      ...(w === undefined ? {} : { sampleSize: w }),
      metrics: { a, ...(b === undefined ? {} : { b }), other: 1 },
    }),
  );
const line = fc.oneof(
  { weight: 12, arbitrary: report },
  { weight: 2, arbitrary: fc.constantFrom('', ' \t', '{', 'null', '{"schemaVersion":1}', '\u0001') },
  { weight: 2, arbitrary: report.map((text) => text.replace('"a":', '"\\u0061":')) },
  { weight: 1, arbitrary: report.map((text) => text.replace('"p"', '"p","producer":"p"')) },
);
const messages = fc
  .array(fc.tuple(fc.array(line, { maxLength: 9 }), fc.constantFrom('', '\n', '\r\n\n')), {
    minLength: 1,
    maxLength: 5,
  })
  .map((given) =>
    given.map(([lines, end], i): LogMessage => {
      const value = Buffer.from(lines.join('\n') + end);
      const at = { topic: 'r', partition: 0, offset: BigInt(i), appendedAtMs: T0 + DAY_MS };
      return { tenant: 't', key: '', headers: {}, value, ...at };
    }),
  );

/** What the reference makes of the same lines, all in one partition. */
function byReference(given: readonly LogMessage[], afterLine: number, untilLine: number) {
  const panes = new PaneTable(SUITE.hash);
  const counts = { counted: 0, late: 0, refused: 0, outdated: 0 };
  const known = new Set<string>();
  let watermarkMs: number | null = null;
  given.forEach((message, i) => {
    for (const { line: number, reading } of readLines(message, i === 0 ? afterLine : 0, '')) {
      if (i === given.length - 1 && untilLine > 0 && number > untilLine) continue;
      if (!reading.ok || reading.report.suite !== 's') continue;
      const { entry, observedAtMs } = reading.report;
      const late = isTooLate(observedAtMs, watermarkMs);
      watermarkMs = Math.max(watermarkMs ?? observedAtMs, observedAtMs);
      const content = entry.digest.toString('hex');
      if (late) counts.late++;
      else if (!known.has(content)) {
        known.add(content);
        const counted = reading.report.under(SUITE);
        if (isFault(counted)) counts.refused++;
        else {
          counts.counted++;
          panes.add(counted.contribution!);
        }
      }
    }
  });
  return { panes: panes.rows(), counts };
}

test('a shard reads by the kernel what the reference reads, bit for bit, from and up to any line', () => {
  const of = fc.tuple(messages, fc.nat(3), fc.nat(6), fc.boolean());
  let counted = 0;
  fc.assert(
    fc.property(of, ([given, afterLine, untilLine, apart]) => {
      const rules = { tenant: 't', partition: 0, onTimeFromMs: null, keptFrom: { '1m': 0, '15m': 0, '1h': 0 } };
      const effects = new ShardEffects({ suite: SUITE, ...rules });
      const own = { partition: 0, partitions: 1, servedSince: null };
      const batches = apart ? given.map((one) => [one]) : [given];
      batches.forEach((batch, i) => {
        const until = i === batches.length - 1 ? untilLine : 0;
        const stretch = { ...own, afterLine: i === 0 ? afterLine : 0, untilLine: until };
        effects.take(packMessages(batch, [], stretch), false);
      });
      const expected = byReference(given, afterLine, untilLine);
      expect(effects.panes).toBeGreaterThanOrEqual(expected.panes.length);
      const { counts, panes } = effects.drain();
      expect({ counts, panes: unpackPanes(panes, SUITE.hash) }).toEqual({
        counts: expected.counts,
        panes: expected.panes,
      });
      counted += counts.counted;
    }),
    { numRuns: 150 },
  );
  expect(counted).toBeGreaterThan(250);
});
