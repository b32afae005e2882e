import { describe, expect, test } from 'vitest';
import { readEvalReport } from '../../../../core/eval-report.ts';
import type { LogMessage } from '../../../../platform/event-log.ts';
import { packMessages, type Stretch } from '../../../../scoring/batch/messages.ts';
import { unpackPanes } from '../../../../scoring/batch/pane-deltas.ts';
import { ShardEffects } from '../../../../scoring/batch/shard-effects.ts';
import { contribute, isContributionFault } from '../../../../scoring/rules/contribution.ts';
import { PaneTable } from '../../../../scoring/rules/pane-table.ts';
import { bytesOf, reportLine, smallSuite } from '../../../support/scoring-reports.ts';

const suite = smallSuite({
  metrics: { accuracy: { direction: 'higher', floor: 0, ceil: 1, valid: [-5, 5], scale: 9, required: true } },
});
const DAY_MS = 86_400_000;
const T = Date.parse('2026-03-01T00:00:00Z');
const EVER = { '1m': 0, '15m': 0, '1h': 0 };

function line(reportId: string, atMs: number, accuracy: number, extra: object = {}): string {
  return reportLine({ reportId, observedAt: new Date(atMs).toISOString(), metrics: { accuracy }, ...extra });
}

function message(offset: bigint, lines: readonly string[], appendedAtMs = T + 30 * DAY_MS): LogMessage {
  const value = bytesOf(lines.join('\n'));
  return { tenant: 't', topic: 'r', partition: 0, offset, key: '', headers: {}, value, appendedAtMs };
}

function panesOf(lines: readonly string[]) {
  const table = new PaneTable(suite.hash);
  for (const text of lines) {
    const reading = readEvalReport(bytesOf(text));
    const contribution = reading.ok ? contribute(suite, reading.report) : undefined;
    if (contribution === undefined || isContributionFault(contribution)) throw new Error('a good report');
    table.add(contribution);
  }
  return table.rows();
}

function shard(rules: Partial<ConstructorParameters<typeof ShardEffects>[0]> = {}) {
  const one = { tenant: 't', partition: 0, onTimeFromMs: null };
  return new ShardEffects({ suite, keptFrom: EVER, ...one, ...rules });
}

/** The shard's own, of a log of one partition. */
function own(of: Partial<Stretch> = {}): Stretch {
  return { partition: 0, partitions: 1, afterLine: 0, untilLine: 0, servedSince: null, ...of };
}

function drained(effects: ShardEffects) {
  const { panes, counts } = effects.drain();
  return { panes: unpackPanes(panes, suite.hash), counts };
}

describe('a shard’s panes', () => {
  test('come back from their packed form as the exact sums they were: negative, of 128 bits, at the ends of the sketch', () => {
    const heavy = { sampleSize: 2 ** 20 };
    const lines = [
      line('a', T, -4.999999999, heavy),
      line('b', T + 1, -4.5, heavy),
      line('c', T + 2, 0),
      line('d', T + 3, 5, heavy),
      line('e', T + DAY_MS, 0.000000001, { model: 'other' }),
    ];
    const effects = shard();
    effects.take(packMessages([message(0n, lines)], [], own()), false);
    expect(drained(effects)).toEqual({
      panes: panesOf(lines),
      counts: { counted: 5, late: 0, refused: 0, outdated: 0 },
    });
    expect(drained(effects)).toEqual({ panes: [], counts: { counted: 0, late: 0, refused: 0, outdated: 0 } });
  });

  test('are the same where the kernel has room for a few of them only', () => {
    const lines = Array.from({ length: 300 }, (_, i) =>
      line(`r${i}`, T + (i % 50) * 60_000, (i % 2 === 0 ? -1 : 1) * 10 ** -(i % 9), { model: `m${i % 3}` }),
    );
    const [roomy, narrow] = [shard(), shard({ maxPaneBytes: 64 * 1024 })];
    for (const effects of [roomy, narrow])
      for (const [at, part] of [lines.slice(0, 200), lines.slice(200)].entries())
        effects.take(packMessages([message(BigInt(at), part)], [], own()), false);
    expect(narrow.panes).toBeGreaterThan(0);
    expect(drained(narrow)).toEqual(drained(roomy));
    expect(narrow.panes).toBe(0);
    narrow.take(packMessages([message(2n, [line('last', T, 0.5)])], [], own()), false);
    expect(drained(narrow).panes).toEqual(panesOf([line('last', T, 0.5)]));
  });

  test('hold what was accepted: no line that was set aside, no repeat, nothing of another suite, nothing past the last line', () => {
    const good = [line('a', T, 0.1), line('b', T + 60_000, 0.2), line('a', T, 0.7)];
    const effects = shard();
    const batch = packMessages(
      [
        message(4n, [good[0]!, '', line('x', T, 0.5), line('y', T, 0.5, { suite: 'other' })]),
        message(7n, [good[0]!, 'rubbish', good[1]!, good[2]!, line('z', T, 0.9)]),
      ],
      [
        { offset: 4n, line: 3, size: 100 },
        { offset: 7n, line: 2, size: 7 },
      ],
      own({ untilLine: 4 }),
    );
    effects.take(batch, false);
    // The id of `a` is another report's in the end: it was not set aside, so the consumer had forgotten the first.
    expect(drained(effects)).toEqual({
      panes: panesOf(good),
      counts: { counted: 3, late: 0, refused: 0, outdated: 0 },
    });
  });

  test('leave out what the version refuses, what was too late when it was read, and what is kept no more', () => {
    const effects = shard({ keptFrom: { '1m': T + DAY_MS, '15m': T, '1h': T - DAY_MS } });
    effects.take(
      packMessages(
        [
          message(0n, [line('a', T - 2 * DAY_MS, 0.1), line('b', T, 0.2), line('c', T + 7 * DAY_MS, 9)]),
          message(1n, [line('d', T - 1, 0.3), line('e', T, 0.4)]),
        ],
        [],
        own(),
      ),
      false,
    );
    const { panes, counts } = drained(effects);
    expect(counts).toEqual({ counted: 2, refused: 1, late: 1, outdated: 1 });
    expect(panes).toEqual(panesOf([line('b', T, 0.2), line('e', T, 0.4)]).filter((pane) => pane.resolution !== '1m'));
  });

  test('hold nothing of a message that was set aside whole, which its first line stands for', () => {
    const lines = [line('a', T, 0.1), line('b', T, 0.2)];
    const effects = shard();
    const whole = message(0n, lines);
    effects.take(
      packMessages([whole, message(1n, lines)], [{ offset: 0n, line: 1, size: whole.value!.length }], own()),
      true,
    );
    effects.take(packMessages([message(2n, lines)], [{ offset: 2n, line: 1, size: lines[0]!.length }], own()), false);
    expect(drained(effects)).toEqual({ panes: [], counts: { counted: 0, late: 0, refused: 0, outdated: 0 } });
  });

  test('of one partition of several hold its own lines only, all of them that were on time in whatever order it was read', () => {
    const several = { onTimeFromMs: T };
    // One ahead of all the others: by this partition alone they were too late, and the first of them would be forgotten.
    const lines = [
      line('ahead', T + 20 * DAY_MS, 0.9),
      ...['a', 'b', 'c', 'd', 'e', 'a', 'f'].map((id, i) => line(id, T, i / 10)),
      line('g', T - 1, 0.3),
    ];
    const of = [0, 1].map((partition) => {
      const effects = shard({ ...several, partition });
      const stretch = own({ partition, partitions: 2 });
      effects.take(packMessages([message(0n, lines), message(1n, lines)], [], stretch), false);
      return drained(effects);
    });
    expect(of[0]!.counts.counted).toBeGreaterThan(0);
    expect(of[1]!.counts.counted).toBeGreaterThan(0);
    // Each counts where it is served, once.
    expect(of[0]!.counts.counted + of[1]!.counts.counted).toBe(8);
    expect(of[0]!.counts.outdated + of[1]!.counts.outdated).toBe(2);
    expect(of.map(({ counts }) => counts.late)).toEqual([0, 0]);
  });

  test('of a log that was raised hold each line where it was served when it was read, and none again that another partition had before', () => {
    const lines = Array.from({ length: 20 }, (_, i) => line(`r-${i}`, T, i / 100));
    const counted = [0, 1, 2].map((partition) => {
      const effects = shard({ onTimeFromMs: T, partition });
      // Of one partition became three: line 10 of the message in it was the last that was read before.
      const messages = [message(0n, lines)];
      if (partition === 0) effects.take(packMessages(messages, [], own({ untilLine: 10 })), false);
      else effects.take(packMessages(messages, [], own({ untilLine: 10, servedSince: 3 })), true);
      if (partition === 0) effects.take(packMessages(messages, [], own({ partitions: 3, afterLine: 10 })), false);
      // All of them once more, where they are served now.
      effects.take(packMessages([message(1n, lines)], [], own({ partition, partitions: 3 })), false);
      return drained(effects).counts.counted;
    });
    expect(counted.every((count) => count > 0)).toBe(true);
    expect(counted.reduce((total, count) => total + count)).toBe(lines.length);
  });

  test('are the same when what lies before a place was replayed', () => {
    const lines = [line('a', T + 8 * DAY_MS, 0.1), line('b', T + 8 * DAY_MS, 0.2)];
    const effects = shard();
    effects.take(packMessages([message(0n, lines)], [], own()), true);
    effects.take(
      packMessages([message(1n, [lines[0]!, line('late', T, 0.5), line('c', T + 2 * DAY_MS, 0.3)])], [], own()),
      false,
    );
    expect(drained(effects)).toEqual({
      panes: panesOf([line('c', T + 2 * DAY_MS, 0.3)]),
      counts: { counted: 1, late: 1, refused: 0, outdated: 0 },
    });
  });
});
