import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readEvalReport, reportDigest } from '../../core/eval-report.ts';
import { parseSuite, type Suite } from '../../core/suite.ts';
import { type OfflineScores, scoreStream } from '../../scoring/offline/score-stream.ts';
import { checksumOf, checksumRows, inputDigestOf } from '../../scoring/rules/checksum.ts';
import { type Contribution, contribute, isContributionFault } from '../../scoring/rules/contribution.ts';
import { intervalOf } from '../../scoring/rules/interval.ts';
import { PaneTable } from '../../scoring/rules/pane-table.ts';
import { scoreModels } from '../../scoring/rules/score-models.ts';
import { windowSumsFromPanes } from '../../scoring/rules/window-sums.ts';
import { type Corpus, corpus } from '../support/corpus.ts';
import { disagreements } from '../support/numpy-oracle.ts';
import { pythonModulesMissing, pythonVenv } from '../support/python.ts';
import { bytesOf, seededRandom } from '../support/scoring-reports.ts';

/** `npm run test:corpus` takes all 58 models and 808 examples; here a cut of 12 × 200. */
const SIZE = process.env.MERIT_CORPUS === 'whole' ? 'whole' : 'cut';
const SHUFFLES = SIZE === 'whole' ? 20 : 5;
/** 940,000 reports are scored in the orders of the whole. */
const TIMEOUT_MS = SIZE === 'whole' ? 600_000 : 60_000;
const MERIT = resolve(import.meta.dirname, '../../api/cli/main.ts');
const ORACLE = resolve(import.meta.dirname, '../support/scoring-oracle.py');
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

const why = pythonModulesMissing(['numpy', 'scipy.stats', 'sklearn']);

if (why !== '' && process.env.MERIT_REQUIRE_PARTS === '1') {
  test('scikit-learn is there where every part is required', () => {
    expect.fail(why);
  });
}

describe.skipIf(why !== '')(`a corpus of real classifiers (${SIZE})${why}`, { timeout: TIMEOUT_MS }, () => {
  let measured: Corpus;
  let suite: Suite;
  let lines: readonly string[];
  let reports: readonly { readonly contribution: Contribution; readonly digest: Uint8Array }[];
  let atMs: number;
  let scores: OfflineScores;

  beforeAll(async () => {
    measured = corpus(SIZE);
    suite = parseSuite(JSON.parse(readFileSync(measured.suitePath, 'utf8')));
    lines = readFileSync(measured.reportsPath, 'utf8').trimEnd().split('\n');
    reports = lines.map((line) => readReport(suite, line));
    atMs = Date.parse(measured.at);
    scores = await meritScore(measured.reportsPath);
  });

  /** `merit score` in a process of its own. */
  async function meritScore(reports: string, env: Readonly<Record<string, string>> = {}): Promise<OfflineScores> {
    const args = ['score', '--suite', measured.suitePath, '--reports', reports, '--at', measured.at, '-o', 'json'];
    const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=merit-source', MERIT, ...args], {
      env: { ...process.env, ...env },
      maxBuffer: MAX_OUTPUT_BYTES,
    });
    return JSON.parse(stdout) as OfflineScores;
  }

  function python(command: string, input = ''): string {
    return execFileSync(join(pythonVenv(), 'bin', 'python'), [ORACLE, command, measured.folder, measured.at], {
      encoding: 'utf8',
      input,
      maxBuffer: MAX_OUTPUT_BYTES,
    });
  }

  test('is scored by one run, every report accepted', () => {
    expect(scores.accepted).toBe(measured.models * measured.examples);
    expect(scores).toMatchObject({ quarantined: 0, duplicates: 0, conflicts: 0, accepted: lines.length });
    expect(new Set(scores.models.map((model) => model.status))).toEqual(new Set(['ranked']));
  });

  test('agrees with numpy and scipy to 1e-9: means, variances, quantiles, scores, ranks, and the errors and intervals behind them', () => {
    const expected = JSON.parse(python('expect'));
    const published = disagreements(expected.models, scores.models);
    const table = new PaneTable(suite.hash);
    for (const { contribution } of reports) table.add(contribution);
    const behind: Record<string, Record<string, Record<string, unknown>>> = {};
    for (const { model, windows } of windowSumsFromPanes(suite, atMs, table.rows())) {
      for (const [window, { metrics }] of windows) {
        for (const rule of suite.metrics) {
          const sums = metrics.get(rule.name);
          const shown = scores.models.find((one) => one.model === model)?.windows[window]?.metrics[rule.name];
          if (sums === undefined || shown === undefined || shown.score === null) continue;
          const standardError = Math.sqrt((shown.variance ?? Number.NaN) / Number(shown.weight));
          behind[model] ??= {};
          behind[model][window] ??= {};
          behind[model][window][rule.name] = { standardError, ...intervalOf(rule, sums) };
        }
      }
    }
    const intervals = disagreements(withoutNulls(expected.behind), behind);
    expect([...published.wrong, ...intervals.wrong]).toEqual([]);
    expect(published.numbers).toBeGreaterThan(measured.models * 3 * 20);
    expect(intervals.numbers).toBeGreaterThan(measured.models * 3 * 3);
  });

  test('has the suiteHash, inputDigest and checksum that Python computes', () => {
    const { suiteHash, inputDigest, checksum } = scores;
    expect({ suiteHash, inputDigest, checksum }).toEqual(JSON.parse(python('proof', JSON.stringify(scores))));
  });

  test(`is the same in ${SHUFFLES} orders`, async () => {
    const random = seededRandom(58);
    for (let i = 0; i < SHUFFLES; i++) {
      const shuffled = shuffle(lines, random);
      const source = (async function* () {
        yield bytesOf(shuffled.join('\n'));
      })();
      expect(await scoreStream({ suite, atMs, sources: [source], onChunk: async () => {} })).toEqual(scores);
    }
  });

  test.each([1, 2, 7])('is the same over %i partitions, each read in batches of 1, 64 and 1000', (partitions) => {
    const shuffled = shuffle(reports, seededRandom(partitions));
    for (const size of [1, 64, 1000]) {
      const merged = new PaneTable(suite.hash);
      for (let partition = 0; partition < partitions; partition++) {
        // As a consumer keeps them: a batch has panes of its own, which are added to what is stored.
        const stored = new PaneTable(suite.hash);
        const mine = shuffled.filter((_, i) => i % partitions === partition);
        for (let from = 0; from < mine.length; from += size) {
          const batch = new PaneTable(suite.hash);
          for (const { contribution } of mine.slice(from, from + size)) batch.add(contribution);
          for (const pane of batch.rows()) stored.merge(pane);
        }
        for (const pane of stored.rows()) merged.merge(pane);
      }
      const models = scoreModels({ suite, atMs, models: windowSumsFromPanes(suite, atMs, merged.rows()) });
      expect(checksumOf(models.flatMap((model) => checksumRows(suite, atMs, model)))).toBe(scores.checksum);
      expect(inputDigestOf(shuffled.map(({ digest }) => digest))).toBe(scores.inputDigest);
    }
  });

  describe('elsewhere on earth', () => {
    const folder = mkdtempSync(join(tmpdir(), 'merit-corpus-'));
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    test.each([
      ['America/St_Johns', 'tr_TR.UTF-8'],
      ['Asia/Kathmandu', 'de_DE.UTF-8'],
      ['Pacific/Chatham', 'ar_EG.UTF-8'],
    ])('is the same in %s with %s', async (TZ, locale) => {
      const path = join(folder, 'shuffled.ndjson');
      writeFileSync(path, shuffle(lines, seededRandom(TZ.length)).join('\n'));
      expect(await meritScore(path, { TZ, LC_ALL: locale, LANG: locale })).toEqual(scores);
    });
  });
});

function readReport(suite: Suite, line: string) {
  const reading = readEvalReport(bytesOf(line));
  const contribution = reading.ok ? contribute(suite, reading.report) : undefined;
  if (!reading.ok || contribution === undefined || isContributionFault(contribution))
    throw new Error(`a report of the corpus is refused: ${line}`);
  return { contribution, digest: reportDigest(reading.report) };
}

function shuffle<T>(list: readonly T[], random: () => number): T[] {
  const out = [...list];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [out[i], out[j]] = [out[j]!, out[i]!];
  }
  return out;
}

/** Metrics without a score have no interval, there and here. */
function withoutNulls(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([, one]) => one !== null);
  return Object.fromEntries(kept.map(([key, one]) => [key, withoutNulls(one)]));
}
