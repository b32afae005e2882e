import { parseSuite, type Suite } from '../../core/suite.ts';

/** The suite of scoring.md, word for word. */
export const EXAMPLE_SUITE = {
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'search-relevance',
  tick: '15m',
  windows: { '1h': 0.5, '24h': 0.3, '7d': 0.2 },
  minN: 30,
  shrinkage: { kappa: 20, prior: 0.5 },
  metrics: {
    accuracy: {
      direction: 'higher',
      kind: 'mean',
      scale: 6,
      floor: 0,
      ceil: 1,
      valid: [0, 1],
      weight: 1,
      required: true,
    },
    latency_ms: {
      direction: 'lower',
      kind: 'quantile',
      quantile: 0.95,
      scale: 3,
      floor: 1000,
      ceil: 100,
      weight: 0.5,
      guardrail: { max: 500 },
    },
    solved: { direction: 'higher', kind: 'binary', scale: 6, floor: 0, ceil: 1, weight: 1 },
  },
  cohort: { version: 3, metrics: { perplexity: { median: 12.1, mad: 0.8, meanAd: 1.1 } } },
  promotion: {
    promoteAbove: 0.8,
    promoteTicks: 3,
    demoteBelow: 0.75,
    demoteTicks: 2,
    cooldown: '6h',
    minEffect: 0,
    alpha: 0.05,
  },
} as const;

/** A suite of one required metric in [0, 1], and whatever else is given. */
export function smallSuite(overrides: Record<string, unknown> = {}): Suite {
  return parseSuite({
    apiVersion: 'merit/v1',
    kind: 'Suite',
    name: 'small',
    metrics: { accuracy: { direction: 'higher', floor: 0, ceil: 1, required: true } },
    ...overrides,
  });
}

export interface ReportFields {
  readonly reportId: string;
  readonly model?: string;
  readonly producer?: string;
  readonly suite?: string;
  readonly observedAt: string;
  readonly sampleSize?: number;
  readonly metrics: Readonly<Record<string, number>>;
}

export function reportLine(fields: ReportFields): string {
  return JSON.stringify({
    schemaVersion: 1,
    producer: 'ci-eval',
    model: 'm',
    suite: 'small',
    ...fields,
  });
}

export function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, 'utf8');
}

/** A small deterministic generator (mulberry32), so that a failing seed can be run again. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
