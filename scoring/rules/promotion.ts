import type { Suite } from '../../core/suite.ts';
import type { EvidenceSums } from './evidence.ts';
import type { PublishedModel } from './published.ts';

/** Since when a guardrail's two counts run: reports of ticks > restartTickMs count (null: since the watch began). */
export interface GuardrailState {
  readonly metric: string;
  readonly restartTickMs: number | null;
}

/**
 * A watch over one model from `startMs` on: its evidence rows (evidence.ts) count reports with observedAt ≥ startMs.
 * A candidate's watch is its challenge; the incumbent's watch is its time in the seat.
 */
export interface WatchState {
  readonly model: string;
  /** The suite's watermark when the candidate was registered or the seat last changed, whichever is later. */
  readonly startMs: number;
  /** Consecutive counted ticks: at or above θ_up for a candidate, below θ_dn for the incumbent. */
  readonly run: number;
  readonly guardrails: readonly GuardrailState[];
}

/** What is known of one model at a final tick. */
export interface ModelFacts {
  /** Does [tick − tickMs, tick) hold an accepted report of this model (of any metric)? Without one the tick does not count. */
  readonly newData: boolean;
  /** Its published scores at the tick; null where it has none at all. */
  readonly score: PublishedModel | null;
  /** Guardrail metric → counts over the ticks in (restartTickMs, tick] of its watch. */
  readonly guardrails: ReadonlyMap<string, GuardrailCounts>;
}

/** From evidence rows: beyond = Σ beyond, within = Σ (n − beyond). */
export interface GuardrailCounts {
  readonly beyond: number;
  readonly within: number;
}

/** `unknown` fails closed: the tick neither counts nor resets, and the model is named in `policyWanted`. */
export type PolicyAnswer = 'allow' | 'deny' | 'unknown';

export interface ChallengeInput {
  readonly watch: WatchState;
  readonly facts: ModelFacts;
  /** Required metric → cumulative sums of s from the challenge's start up to the tick, both arms over the same stretch. */
  readonly evidence: ReadonlyMap<string, { readonly candidate: EvidenceSums; readonly incumbent: EvidenceSums | null }>;
  /** Tick of the model's last promotion or demotion; null: none. */
  readonly lastChangeMs: number | null;
  readonly policy: PolicyAnswer;
}

export interface TickInput {
  /** With promotion rules; a suite without them decides nothing and must not be passed. */
  readonly suite: Suite;
  /** A final tick. Ticks are decided in ascending order, each once. */
  readonly tickMs: number;
  /** The suite's watermark at which the decision is made: ≥ tickMs; restarted watches start here. */
  readonly watermarkMs: number;
  readonly incumbent: { readonly watch: WatchState; readonly facts: ModelFacts } | null;
  readonly challenges: readonly ChallengeInput[];
}

export interface TickOutcome {
  /** The seat after the tick; null: empty. */
  readonly incumbent: WatchState | null;
  /** Every candidate's watch after the tick, in code-point order of models; restarted ones where the seat changed. */
  readonly challenges: readonly WatchState[];
  /** True where the seat changed: evidence rows of the old watches are closed, the returned watches are new ones. */
  readonly seatChanged: boolean;
  readonly decision: Decision | null;
  /** One a model: what counted, what reset, and why. For `merit promotions` and tests. */
  readonly assessments: readonly Assessment[];
  /** Candidates that only a policy answer keeps from counting this tick; ask, then decide the same tick again. */
  readonly policyWanted: readonly string[];
}

export type Condition =
  | 'no_new_data'
  | 'below_min_n'
  | 'composite_null'
  | 'composite_below'
  | 'evidence_short'
  | 'evidence_unmet'
  | 'guardrail_breach'
  | 'cooldown'
  | 'policy_denied'
  | 'policy_unknown';

export interface Assessment {
  readonly model: string;
  readonly role: 'incumbent' | 'candidate';
  /** counted: the run grew; reset: it is 0; skipped: inconclusive or without new data, the run stays. */
  readonly verdict: 'counted' | 'reset' | 'skipped';
  readonly run: number;
  /** What kept the tick from counting; empty where it counted. */
  readonly unmet: readonly Condition[];
}

/** JSON through and through: integers above 2^53 are strings, times RFC 3339. It is signed as its RFC 8785 form. */
export interface Decision {
  readonly action: 'promotion' | 'demotion';
  readonly suite: string;
  readonly suiteHash: string;
  /** RFC 3339. */
  readonly tick: string;
  readonly model: string;
  readonly evidence: PromotionEvidence | DemotionEvidence;
}

export interface PromotionEvidence {
  /** The model that leaves the seat; it stays a candidate. */
  readonly displaced: string | null;
  readonly composite: number;
  readonly promoteAbove: number;
  readonly run: number;
  readonly challengeStart: string;
  readonly metrics: readonly MetricEvidence[];
  readonly guardrails: readonly GuardrailEvidence[];
}

export interface DemotionEvidence {
  readonly cause: 'below' | 'guardrail';
  readonly composite: number | null;
  readonly demoteBelow: number;
  readonly run: number;
  readonly seatedAt: string;
  readonly guardrails: readonly GuardrailEvidence[];
}

/** One required metric's mSPRT. */
export interface MetricEvidence {
  readonly metric: string;
  readonly candidate: PublishedArm;
  /** Null where the test was against θ_up. */
  readonly incumbent: PublishedArm | null;
  readonly d: number;
  readonly delta: number;
  /** V. */
  readonly varianceOfD: number;
  readonly tau2: number;
  /** Null at V = 0, where d > δ decides. */
  readonly logLikelihoodRatio: number | null;
  readonly threshold: number;
  readonly holds: boolean;
}

export interface PublishedArm {
  readonly n: number;
  readonly weight: number | string;
  readonly mean: number;
  readonly variance: number;
}

export interface GuardrailEvidence {
  readonly metric: string;
  readonly beyond: number;
  readonly within: number;
  readonly p0: number;
  readonly logLikelihoodRatio: number;
  readonly breachAt: number;
  readonly verdict: 'breach' | 'accept' | 'continue';
}

export function decideTick(_input: TickInput): TickOutcome {
  throw new Error('being written');
}
