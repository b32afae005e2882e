import type { Suite } from '../../core/suite.ts';
import type { EvidenceSums } from '../../scoring/rules/evidence.ts';
import {
  type ChallengeInput,
  type ModelFacts,
  type SeatInput,
  startWatch,
  type WatchState,
} from '../../scoring/rules/promotion.ts';
import type { PublishedMetric, PublishedModel } from '../../scoring/rules/published.ts';

/** What a test says about one model at one tick. */
export interface ModelCase {
  /** Null: too little data for a composite. */
  readonly composite: number | null;
  /** n of every required metric in its best window. */
  readonly n?: number;
  readonly newData?: boolean;
  readonly beyond?: number;
  readonly within?: number;
}

export function factsOf(suite: Suite, model: string, given: ModelCase): ModelFacts {
  const { composite, n = 1000, newData = true, beyond = 0, within = 0 } = given;
  const guarded = suite.metrics.filter((rule) => rule.guardrail !== null);
  return {
    newData,
    score: publishedModel(suite, model, composite, n),
    guardrails: new Map(guarded.map((rule) => [rule.name, { beyond, within }])),
  };
}

function publishedModel(suite: Suite, model: string, composite: number | null, n: number): PublishedModel {
  const nothing = { mean: null, variance: null, min: null, max: null, p50: null, p95: null };
  const metric: PublishedMetric = { n, weight: n, ...nothing, score: composite, lower: composite, upper: composite };
  const window = {
    start: '2026-11-23T11:00:00.000Z',
    end: '2026-11-23T12:00:00.000Z',
    n,
    weight: n,
    revision: 0,
    score: composite,
    lower: composite,
    upper: composite,
    missing: [],
    metrics: Object.fromEntries(suite.metrics.map((rule) => [rule.name, metric])),
  };
  const status = composite === null ? 'insufficient' : 'ranked';
  return { model, rank: null, status, composite, lower: composite, upper: composite, windows: { '1h': window } };
}

/** An arm of n reports of weight 1, half at mean + spread and half at mean − spread (in s). */
export function armOf(mean: number, spread: number, n: number): EvidenceSums {
  const high = BigInt(Math.round((mean + spread) * 1e12));
  const low = BigInt(Math.round((mean - spread) * 1e12));
  const half = BigInt(n) / 2n;
  return {
    n: Number(half) * 2,
    weight: half * 2n,
    sumWs: half * (high + low),
    sumWs2: half * (high * high + low * low),
    beyond: 0,
  };
}

export function seatOf(
  suite: Suite,
  model: string,
  given: ModelCase,
  watch: WatchState = startWatch(model, 0),
): SeatInput {
  return { watch, facts: factsOf(suite, model, given) };
}

export interface ChallengeCase extends ModelCase {
  readonly watch?: WatchState;
  readonly candidate?: EvidenceSums;
  readonly incumbent?: EvidenceSums | null;
  readonly lastChangeMs?: number | null;
  readonly policy?: ChallengeInput['policy'];
}

/** A candidate that is plainly better unless the case says otherwise. */
export function challengeOf(suite: Suite, model: string, given: ChallengeCase): ChallengeInput {
  const { candidate = armOf(0.95, 0.02, 400), incumbent = null } = given;
  const required = suite.metrics.filter((rule) => rule.required);
  return {
    watch: given.watch ?? startWatch(model, 0),
    facts: factsOf(suite, model, given),
    evidence: new Map(required.map((rule) => [rule.name, { candidate, incumbent }])),
    lastChangeMs: given.lastChangeMs ?? null,
    policy: given.policy ?? 'allow',
  };
}
