import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { deltasOfPanes, type PaneDeltas } from '../../../../scoring/ingest/pane-deltas.ts';
import { advanceSums } from '../../../../scoring/realtime/advance-sums.ts';
import { RecentCommits } from '../../../../scoring/realtime/recent-commits.ts';
import type { Contribution } from '../../../../scoring/rules/contribution.ts';
import { liveWindows } from '../../../../scoring/rules/live.ts';
import { PaneTable } from '../../../../scoring/rules/pane-table.ts';
import { contributionOf, liveSums, NOW, past, suite } from '../../../support/live-sums.ts';

const of = { tenant: 'acme', suiteHash: suite.hash };
const ours = { ...of, model: 'm' };

function deltasOf(contributions: readonly Contribution[]): readonly PaneDeltas[] {
  const panes = new PaneTable(suite.hash);
  for (const one of contributions) panes.add(one);
  const deltas = deltasOfPanes(panes.rows());
  return deltas === undefined ? [] : [deltas];
}

const one = (model: string) => deltasOf([{ ...contributionOf(NOW, 0.5), model }]);

describe('live windows', () => {
  test('brought up by what was committed since are, to the bit, those of all panes, whatever fell into them and whatever did not', () => {
    const commits = fc.array(fc.array(past, { maxLength: 6 }), { maxLength: 5 });
    fc.assert(
      fc.property(fc.array(past, { maxLength: 12 }), commits, (before, after) => {
        const drawn = (list: typeof before) => list.map(({ agoMs, value, w }) => contributionOf(NOW - agoMs, value, w));
        const [held, flushes] = [drawn(before), after.map(drawn)];
        const recent = new RecentCommits();
        flushes.forEach((flush, i) => {
          // Another model's reports of the same moments are not ours.
          const others = flush.map((contribution) => ({ ...contribution, model: 'other' }));
          recent.note({ ...of, from: `s${i}`, to: `s${i + 1}`, panes: deltasOf([...others, ...flush]) });
        });
        const rows = recent.between(ours, 's0', `s${flushes.length}`)!;
        const advanced = advanceSums(liveSums(held, NOW), liveWindows(suite, NOW), rows);
        expect(advanced).toEqual(liveSums([...held, ...flushes.flat()], NOW));
      }),
      { numRuns: 300 },
    );
  });
});

describe('recent commits', () => {
  test('tell what a model was given from one state to another, in order, and nothing where one between is not known', () => {
    const recent = new RecentCommits();
    recent.note({ ...of, from: 'a', to: 'b', panes: one('m') });
    recent.note({ ...of, from: 'b', to: 'c', panes: one('other') });
    recent.note({ ...of, from: 'd', to: 'e', panes: one('m') });
    const rows = (from: string, to: string, name = ours) => recent.between(name, from, to)?.length;
    // A row that counts, and one of each metric, in three sizes.
    expect([rows('a', 'a'), rows('a', 'b'), rows('b', 'c'), rows('a', 'c')]).toEqual([0, 9, 0, 9]);
    expect([rows('a', 'd'), rows('c', 'd'), rows('b', 'a')]).toEqual([undefined, undefined, undefined]);
    expect([
      rows('a', 'b', { ...ours, tenant: 'other' }),
      rows('a', 'b', { ...ours, suiteHash: 'other' }),
      rows('a', 'b', { ...ours, model: 'none' }),
    ]).toEqual([undefined, undefined, 0]);
  });

  test('forget one that was aborted as soon as another begins from where it began', () => {
    const recent = new RecentCommits();
    recent.note({ ...of, from: 'a', to: 'aborted', panes: one('m') });
    recent.note({ ...of, from: 'a', to: 'b', panes: one('other') });
    expect(recent.between(ours, 'a', 'b')).toEqual([]);
    expect(recent.between(ours, 'a', 'aborted')).toBeUndefined();
  });

  test('are followed over some dozens, and kept by number: beyond that the windows are read', () => {
    const recent = new RecentCommits();
    for (let i = 0; i < 1_100; i++) recent.note({ ...of, from: `s${i}`, to: `s${i + 1}`, panes: [] });
    expect(recent.between(ours, 's1000', 's1064')).toEqual([]);
    expect(recent.between(ours, 's1000', 's1065')).toBeUndefined();
    expect(recent.between(ours, 's0', 's1')).toBeUndefined();
  });
});
