import { describe, expect, test } from 'vitest';
import type { Suite } from '../../../../core/suite.ts';
import { packPanes } from '../../../../scoring/batch/pane-deltas.ts';
import { paneFile, readPaneFile } from '../../../../scoring/batch/pane-file.ts';
import { shareProblem } from '../../../../scoring/batch/share-bounds.ts';
import { ANY_METRIC, type Pane, paneStartMs, RESOLUTIONS, type Sums } from '../../../../scoring/rules/pane.ts';
import { completeTick } from '../../../../scoring/rules/rollout.ts';
import { bucketOf, MAX_BUCKET } from '../../../../scoring/rules/sketch.ts';
import { smallSuite } from '../../../support/scoring-reports.ts';

const HOUR_MS = 3_600_000;
const T = Date.parse('2026-03-01T00:00:00Z');
const SUITE = 'a'.repeat(64);
const named = {
  claim: 'jobs/x',
  rollout: 'r',
  suiteHash: SUITE,
  partition: 0,
  share: { index: 0, of: 1 },
  from: '0',
  until: '1',
  untilLine: 0,
  onTimeFromMs: null,
  counts: { counted: 5, late: 0, refused: 0, outdated: 0 },
};
/** Five reports, of 2 and of 3, with weight 2 each. */
const VALUES: Sums = {
  n: 5,
  weight: 10n,
  sumWq: 24n,
  sumWq2: 60n,
  min: 2,
  max: 3,
  buckets: [
    [bucketOf(2), 3],
    [bucketOf(3), 2],
  ],
};
const REPORTS: Sums = { n: 5, weight: 10n, sumWq: 0n, sumWq2: 0n, min: 0, max: 0, buckets: [] };

function pane(sums: Sums, metric: string, resolution: Pane['resolution'] = '1h', atMs = T): Pane {
  return {
    suiteHash: SUITE,
    model: 'm',
    metric,
    resolution,
    paneStartMs: paneStartMs(resolution, atMs),
    sums,
  };
}

const read = (panes: readonly Pane[], counted = 5) =>
  readPaneFile('shard.panes', paneFile({ ...named, counts: { ...named.counts, counted } }, packPanes(panes)));

describe('a pane that no reports give is refused:', () => {
  test.each<[string, Partial<Sums>, string]>([
    ['no buckets', { buckets: [] }, '0 reports in its buckets in place of 5'],
    ['fewer reports in buckets', { buckets: [[bucketOf(2), 1]] }, '1 reports in its buckets'],
    ['a bucket beyond the sketch', { buckets: [[2 ** 30, 5]] }, 'beyond the sketch'],
    ['a bucket below the sketch', { buckets: [[-MAX_BUCKET - 1, 5]] }, 'beyond the sketch'],
    ['a bucket that no value is in', { buckets: [[7, 5]] }, 'are not in'],
    ['weight 0', { weight: 0n }, 'a weight'],
    ['weight below 0', { weight: -1n }, 'a weight'],
    ['less weight than reports', { weight: 4n }, 'a weight'],
    ['more weight than reports may have', { weight: 5n * 2n ** 20n + 1n }, 'a weight'],
    ['weight beyond 64 bits', { n: 2 ** 50, weight: 2n ** 64n + 2n ** 50n }, 'a weight'],
    ['the least above the greatest', { min: 4 }, 'above its greatest'],
    ['a sum beyond the greatest', { sumWq: 31n }, 'a sum of values'],
    ['a sum below the least', { sumWq: 19n }, 'a sum of values'],
    ['a huge sum', { sumWq: 10n ** 37n }, 'a sum of values'],
    ['squares beyond the greatest', { sumWq2: 91n }, 'a sum of squares'],
    ['squares below those of the mean', { sumWq2: 57n }, 'a sum of squares'],
    ['squares below 0', { sumWq2: -1n }, 'a sum of squares'],
  ])('%s', async (_, change, problem) => {
    await expect(read([pane(VALUES, 'accuracy')])).resolves.toBeDefined();
    await expect(read([pane({ ...VALUES, ...change }, 'accuracy')])).rejects.toThrow(problem);
  });

  test.each<[string, Partial<Sums>, string]>([
    ['buckets', { buckets: [[0, 5]] }, '5 reports in its buckets in place of 0'],
    ['values', { sumWq: 1n }, 'values of no metric'],
    ['squares', { sumWq2: 1n }, 'values of no metric'],
    ['a greatest', { max: 1 }, 'values of no metric'],
  ])('%s where reports alone are counted', async (_, change, problem) => {
    await expect(read([pane(REPORTS, ANY_METRIC)])).resolves.toBeDefined();
    await expect(read([pane({ ...REPORTS, ...change }, ANY_METRIC)])).rejects.toThrow(problem);
  });

  test('a series that is named twice', async () => {
    const packed = packPanes([pane(REPORTS, ANY_METRIC), pane(VALUES, 'accuracy')]);
    const file = paneFile(named, { ...packed, series: ['m ', 'm '] });
    await expect(readPaneFile('shard.panes', file)).rejects.toThrow('names a series twice');
  });
});

describe('a share that cannot have been counted is refused:', () => {
  const bounds = {
    keptFrom: { '1m': T, '15m': T, '1h': T },
    onTimeFromMs: null,
    ...beganBehind(smallSuite()),
  };
  const all = (atMs = T) =>
    [ANY_METRIC, 'accuracy'].flatMap((metric) =>
      RESOLUTIONS.map((resolution) => pane(metric === ANY_METRIC ? REPORTS : VALUES, metric, resolution, atMs)),
    );
  const problemOf = async (panes: readonly Pane[], change: object = {}, counted = 5) =>
    shareProblem(await read(panes, counted), { ...bounds, ...change });

  test.each([[{ '1h': 1 }], [{ '24h': 1 }], [{ '1h': 0.5, '7d': 0.5 }]])(
    'but not by the length of windows %o',
    async (windows) => {
      const began = beganBehind(smallSuite({ windows }));
      expect(await problemOf(all(), began)).toBeUndefined();
      expect(await problemOf(all(T + 2 * HOUR_MS), began)).toContain('after what the version began at');
    },
  );

  test('and one that can is not', async () => {
    expect(await problemOf(all())).toBeUndefined();
    expect(await problemOf(all(), { onTimeFromMs: T })).toBeUndefined();
    // The narrower panes of an hour that is kept in part only may be gone.
    const partly = all().filter(({ resolution }) => resolution !== '1m');
    expect(await problemOf(partly, { keptFrom: { ...bounds.keptFrom, '1m': T + 60_000 } })).toBeUndefined();
  });

  test.each<[string, () => Promise<string | undefined>, string]>([
    ['a pane of the year 2100', () => problemOf(all(4_102_444_800_000)), 'a pane of 2100-01-01T00:00:00.000Z, after'],
    ['a pane behind the version’s beginning', () => problemOf(all(T + 2 * HOUR_MS)), 'after what the version began at'],
    ['a version that began with no report', () => problemOf(all(), { completeTickMs: null }), 'after what'],
    ['a pane before what was on time', () => problemOf(all(), { onTimeFromMs: T + HOUR_MS }), 'before what is filled'],
    ['more reports than were counted', () => problemOf(all(), {}, 4), '5 reports in its panes, and says it counted 4'],
    ['values without reports', () => problemOf(all().slice(3)), 'more values of a metric than reports'],
    ['a width too few', () => problemOf(all().slice(0, -1)), 'different sums'],
    ['another sum in one width', () => problemOf(otherWidth()), 'different sums'],
  ])('%s', async (_, problem, text) => {
    expect(await problem()).toContain(text);
  });

  /** The version was begun when its reports had been read. */
  function beganBehind(suite: Suite) {
    return { suite, completeTickMs: completeTick(suite, T) };
  }

  function otherWidth(): readonly Pane[] {
    const [first, ...rest] = all() as [Pane, ...Pane[]];
    return [{ ...first, sums: { ...first.sums, weight: 11n } }, ...rest];
  }
});
