import { assert } from '../../core/assert.ts';
import type { PromotionRule, Suite } from '../../core/suite.ts';
import { assessCandidate, assessIncumbent, type CandidateAssessment, type IncumbentAssessment } from './assessment.ts';
import type { Decision } from './decision.ts';
import { demotionDecision, promotionDecision } from './decision.ts';
import type { EvidenceSums } from './evidence.ts';
import type { GuardrailCounts } from './guardrail.ts';
import { compareText } from './pane-table.ts';
import type { PublishedModel } from './published.ts';

/** Since when a guardrail's two counts run: rows of ticks > restartTickMs count (null: since the watch began). */
export interface GuardrailState {
  readonly metric: string;
  readonly restartTickMs: number | null;
}

/**
 * A watch over one model from `startMs` on: its evidence rows (evidence.ts) count reports with observedAt ≥ startMs.
 * A candidate's watch is its challenge, with rows for the incumbent too; the incumbent's own watch is its time in the
 * seat.
 */
export interface WatchState {
  readonly model: string;
  /**
   * The suite's watermark when the candidate was registered or the seat last changed, whichever is later; null: there
   * was no report yet.
   */
  readonly startMs: number | null;
  /** Counted ticks in a row: at or above θ_up for a candidate, below θ_dn for the incumbent. */
  readonly run: number;
  readonly guardrails: readonly GuardrailState[];
}

/** What is known of one model at a final tick. */
export interface ModelFacts {
  /** Does [tick − length, tick) hold an accepted report of this model (of any metric)? Without one nothing changes. */
  readonly newData: boolean;
  /** Its published scores at the tick; null where it has none at all. */
  readonly score: PublishedModel | null;
  /** Guarded metric → counts over the watch's rows with restartTickMs < tickMs ≤ tick; absent means 0 and 0. */
  readonly guardrails: ReadonlyMap<string, GuardrailCounts>;
}

/** `unknown` fails closed: the tick neither counts nor resets, and the model is named in `policyWanted`. */
export type PolicyAnswer = 'allow' | 'deny' | 'unknown';

export interface ArmSums {
  readonly candidate: EvidenceSums;
  /** Over the same stretch, from the challenge's start; null: the seat is empty. */
  readonly incumbent: EvidenceSums | null;
}

export interface ChallengeInput {
  readonly watch: WatchState;
  readonly facts: ModelFacts;
  /** Required metric → cumulative sums over the challenge's rows with tickMs ≤ tick; absent means none. */
  readonly evidence: ReadonlyMap<string, ArmSums>;
  /** Tick of the model's last promotion or demotion; null: none. */
  readonly lastChangeMs: number | null;
  readonly policy: PolicyAnswer;
}

export interface SeatInput {
  readonly watch: WatchState;
  readonly facts: ModelFacts;
}

export interface TickInput {
  /** Must have promotion rules. */
  readonly suite: Suite;
  /** A final tick. Ticks are decided in ascending order, each once. */
  readonly tickMs: number;
  /** The suite's watermark at which the decision is made, ≥ tickMs: watches that restart start here. */
  readonly watermarkMs: number;
  /** Null: the seat is empty. */
  readonly incumbent: SeatInput | null;
  readonly challenges: readonly ChallengeInput[];
  /** The models that this version of the suite decides about; absent: all. The others are assessed, and only that. */
  readonly decidesFor?: (model: string) => boolean;
}

export interface TickOutcome {
  /** The seat after the tick. */
  readonly incumbent: WatchState | null;
  /** Every candidate's watch after the tick, in code-point order of models. */
  readonly challenges: readonly WatchState[];
  /** True: the returned watches are new ones from watermarkMs on, the old ones and their evidence rows are closed. */
  readonly seatChanged: boolean;
  readonly decision: Decision | null;
  /** What it would have decided if it decided about all models, where that is something else. */
  readonly wouldBe: Decision | null;
  /** One a model: what counted, what reset, and why. */
  readonly assessments: readonly Assessment[];
  /** Candidates that only a missing policy answer keeps from counting: ask, then decide the same tick again. */
  readonly policyWanted: readonly string[];
}

export type Condition =
  | 'no_new_data'
  | 'below_min_n'
  | 'composite_null'
  | 'evidence_short'
  | 'policy_unknown'
  | 'composite_below'
  | 'composite_holds'
  | 'evidence_unmet'
  | 'guardrail_breach'
  | 'cooldown'
  | 'policy_denied';

export interface Assessment {
  readonly model: string;
  readonly role: 'incumbent' | 'candidate';
  /** counted: the run grew; reset: it is 0; skipped: inconclusive or no new data, it stays; breach: demoted at once. */
  readonly verdict: 'counted' | 'reset' | 'skipped' | 'breach';
  /** After the tick. */
  readonly run: number;
  /** What kept the tick from counting; empty where it counted. */
  readonly unmet: readonly Condition[];
}

/** The watch of a model that is registered, or whose seat changed, while the suite's watermark stands at `startMs`. */
export function startWatch(model: string, startMs: number | null): WatchState {
  return { model, startMs, run: 0, guardrails: [] };
}

/**
 * Decides one final tick: pure, so that replay at the same offsets decides the same. At most one decision a tick:
 * a demotion empties the seat and goes before any promotion; of several candidates that are ready, the greatest
 * composite wins, then the model id by code point. A model that leaves the seat stays a candidate.
 * With two versions side by side (joint-tick.ts) each decides about its own models.
 * Source: docs/scoring.md, Promotion and demotion.
 */
export function decideTick(input: TickInput): TickOutcome {
  const { suite, tickMs, watermarkMs } = input;
  const rule = suite.promotion;
  assert(rule !== null, 'decideTick: the suite has no promotion rules');
  assert(watermarkMs >= tickMs, 'decideTick: the tick is not final');
  const seat = input.incumbent;
  const seated = seat === null ? null : assessIncumbent(suite, rule, tickMs, seat);
  const challengers = input.challenges
    .map((challenge) => assessCandidate(suite, rule, tickMs, challenge, seat !== null))
    .sort((a, b) => compareText(a.watch.model, b.watch.model));
  const outcome = {
    assessments: [...(seated === null ? [] : [seated.assessment]), ...challengers.map((one) => one.assessment)],
    policyWanted: challengers.filter((one) => one.policyWanted).map((one) => one.watch.model),
  };
  const all = choose(input, rule, seated, challengers, () => true);
  const chosen = input.decidesFor === undefined ? all : choose(input, rule, seated, challengers, input.decidesFor);
  const same = all?.decision.model === chosen?.decision.model && all?.decision.action === chosen?.decision.action;
  const wouldBe = same ? null : (all?.decision ?? null);
  if (chosen !== undefined) {
    return {
      ...outcome,
      ...newSeat(chosen.incumbent, chosen.candidates, watermarkMs),
      decision: chosen.decision,
      wouldBe,
    };
  }
  return {
    ...outcome,
    incumbent: seated?.watch ?? null,
    challenges: challengers.map((one) => one.watch),
    seatChanged: false,
    decision: null,
    wouldBe,
  };
}

interface Chosen {
  readonly decision: Decision;
  readonly incumbent: string | null;
  readonly candidates: readonly string[];
}

/** What the assessments come to, among the models decided about. */
function choose(
  { suite, tickMs }: TickInput,
  rule: PromotionRule,
  seated: IncumbentAssessment | null,
  challengers: readonly CandidateAssessment[],
  decidesFor: (model: string) => boolean,
): Chosen | undefined {
  const models = challengers.map((one) => one.watch.model);
  if (seated !== null && seated.demote !== null && decidesFor(seated.watch.model)) {
    const decision = demotionDecision(suite, rule, tickMs, seated, seated.demote);
    return { decision, incumbent: null, candidates: [...models, seated.watch.model] };
  }
  const winner = ready(
    rule,
    challengers.filter((one) => decidesFor(one.watch.model)),
  );
  if (winner === undefined) return undefined;
  const displaced = seated === null ? null : seated.watch.model;
  const decision = promotionDecision(suite, rule, tickMs, winner, displaced);
  const rest = models.filter((model) => model !== winner.watch.model);
  return { decision, incumbent: winner.watch.model, candidates: displaced === null ? rest : [...rest, displaced] };
}

function newSeat(
  incumbent: string | null,
  candidates: readonly string[],
  watermarkMs: number,
): Pick<TickOutcome, 'incumbent' | 'challenges' | 'seatChanged'> {
  return {
    incumbent: incumbent === null ? null : startWatch(incumbent, watermarkMs),
    challenges: candidates.toSorted(compareText).map((model) => startWatch(model, watermarkMs)),
    seatChanged: true,
  };
}

/** The candidate to promote. `challengers` come in code-point order, so the first of equals stays. */
function ready(rule: PromotionRule, challengers: readonly CandidateAssessment[]): CandidateAssessment | undefined {
  let best: CandidateAssessment | undefined;
  for (const one of challengers) {
    if (one.assessment.verdict !== 'counted' || one.watch.run < rule.promoteTicks) continue;
    if (best === undefined || (one.score?.composite ?? 0) > (best.score?.composite ?? 0)) best = one;
  }
  return best;
}
