import { parseRfc3339 } from '../../core/rfc3339.ts';
import { parseSuite, type Suite } from '../../core/suite.ts';
import { type Backtest, type BacktestInput, backtestStream } from '../../scoring/backtest/backtest-stream.ts';
import { checksumOf, checksumRows } from '../../scoring/rules/checksum.ts';
import { oracle } from '../../scoring/rules/oracle.ts';
import { scoreModels } from '../../scoring/rules/score-models.ts';
import { tickAt } from '../../scoring/rules/watermark.ts';
import { windowSumsFromPanes } from '../../scoring/rules/window-sums.ts';
import { bytesOf, seededRandom } from './scoring-reports.ts';

const EPOCH_MS = Date.parse('2026-01-05T09:00:00Z');
const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

/** Quick enough to decide often in a few hours of reports. */
export const contestSuite = parseSuite({
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'contest',
  tick: '5m',
  windows: { '1h': 0.7, '24h': 0.3 },
  minN: 5,
  shrinkage: { kappa: 2 },
  metrics: {
    accuracy: { direction: 'higher', floor: 0, ceil: 1, valid: [0, 1], required: true },
    latency_ms: {
      direction: 'lower',
      kind: 'quantile',
      quantile: 0.9,
      scale: 2,
      floor: 1000,
      ceil: 0,
      weight: 0.2,
      guardrail: { max: 800 },
    },
  },
  promotion: { promoteAbove: 0.6, promoteTicks: 2, demoteBelow: 0.5, demoteTicks: 2, cooldown: '45m' },
});

export interface ContestReport {
  readonly schemaVersion: 1;
  readonly reportId: string;
  readonly producer: string;
  readonly model: string;
  readonly suite: 'contest';
  readonly observedAt: string;
  readonly sampleSize: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/** [from minute, accuracy, latency]: what a model is like from then on. */
type Life = readonly (readonly [fromMinute: number, accuracy: number, latency: number])[];
type Lives = Readonly<Record<string, Life>>;

const LIVES: Lives = {
  a: [[0, 0.7, 200]],
  b: [
    [5, 0.68, 300],
    [165, 0.2, 300],
  ],
  c: [
    [50, 0.9, 250],
    [105, 0.9, 900],
  ],
  d: [[190, 0.95, 100]],
};
/** Reports of `a` that arrive after it left the seat, and had kept it from it. */
const REGRETS = { atMinute: 125, observedMinute: 38, weight: 2 ** 20 };

/**
 * Some hours of reports in the order in which they arrive: four models that come one after the other, of which one gets worse
 * and one slow; a few reports out of order, late by up to an hour or by eight days, twice or in conflict; and at last a
 * night without any.
 */
export function contestReports(seed: number, minutes = 270, lives: Lives = LIVES): readonly ContestReport[] {
  const next = seededRandom(seed);
  const reports: ContestReport[] = [];
  let serial = 0;
  for (let minute = 0; minute < minutes; minute++) {
    for (const [model, life] of Object.entries(lives)) {
      const now = life.findLast(([from]) => from <= minute);
      if (now === undefined || next() < 0.1) continue;
      const atMs = EPOCH_MS + minute * MINUTE_MS + (minute >= 240 ? DAY_MS / 2 : 0) + Math.floor(next() * MINUTE_MS);
      reports.push({
        schemaVersion: 1,
        reportId: `r${serial++}`,
        producer: 'ci',
        model,
        suite: 'contest',
        observedAt: new Date(atMs - latenessMs(next)).toISOString(),
        sampleSize: 1 + Math.floor(next() * 20),
        metrics: {
          accuracy: Math.min(1, Math.max(0, now[1] + (next() - 0.5) * 0.2)),
          ...(next() < 0.9 ? { latency_ms: now[2] * (0.7 + next() * 0.5) } : {}),
          unknown: next(),
        },
      });
      const last = reports.at(-1)!;
      if (next() < 0.02) reports.push(last);
      if (next() < 0.02) reports.push({ ...last, sampleSize: last.sampleSize + 1 });
    }
    if (lives === LIVES && minute === REGRETS.atMinute) {
      const observedAt = new Date(EPOCH_MS + REGRETS.observedMinute * MINUTE_MS).toISOString();
      const metrics = { accuracy: 0 };
      reports.push({ ...reports[0]!, reportId: 'regret', observedAt, sampleSize: REGRETS.weight, metrics });
    }
  }
  return reports;
}

/** Models whose fortunes change at random. */
export function randomLives(seed: number): Lives {
  const next = seededRandom(seed);
  const life = (fromMinute: number) => [fromMinute, 0.25 + next() * 0.7, next() < 0.25 ? 900 : 300] as const;
  return Object.fromEntries(
    ['a', 'b', 'c', 'd', 'e'].map((model, i) => {
      const born = Math.floor(next() * 40 * i);
      return [model, [life(born), life(born + 40 + Math.floor(next() * 60)), life(born + 110)]];
    }),
  );
}

function latenessMs(next: () => number): number {
  const kind = next();
  if (kind < 0.005) return 8 * DAY_MS;
  return kind < 0.06 ? Math.floor(next() * 60 * MINUTE_MS) : kind < 0.2 ? Math.floor(next() * 2 * MINUTE_MS) : 0;
}

export async function* chunksOf(text: string, size: number): AsyncGenerator<Uint8Array> {
  const bytes = bytesOf(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

type Options = Partial<Omit<BacktestInput, 'suite' | 'sources'>> & { readonly chunkBytes?: number };

/** A backtest of reports in memory. */
export function backtestOf(suite: Suite, reports: readonly object[], options: Options = {}): Promise<Backtest> {
  const { chunkBytes = 4096, ...rest } = options;
  const text = reports.map((report) => `${JSON.stringify(report)}\n`).join('');
  return backtestStream({
    suite,
    against: null,
    incumbent: null,
    fromMs: null,
    untilMs: null,
    onChunk: async () => {},
    ...rest,
    sources: [chunksOf(text, chunkBytes)],
  });
}

/** The checksum by the pure rules: every tick from the first report to the last, from all panes there are. */
export function checksumByPanes(suite: Suite, reports: readonly { readonly observedAt: string }[]): string {
  const lines = reports.map((report) => JSON.stringify(report)).join('\n');
  const { panes } = oracle([suite], [bytesOf(lines)]);
  const times = reports.map(({ observedAt }) => parseRfc3339(observedAt)!);
  const rows: string[] = [];
  for (let tick = tickAt(Math.min(...times), suite.tickMs); tick <= Math.max(...times); tick += suite.tickMs) {
    for (const model of scoreModels({ suite, atMs: tick, models: windowSumsFromPanes(suite, tick, panes) })) {
      rows.push(...checksumRows(suite, tick, model));
    }
  }
  return checksumOf(rows);
}
