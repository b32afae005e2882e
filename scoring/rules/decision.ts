import { assert } from '../../core/assert.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { PromotionRule, Suite } from '../../core/suite.ts';
import type { CandidateAssessment, IncumbentAssessment } from './assessment.ts';
import type { GuardrailEvidence } from './guardrail.ts';
import type { MetricEvidence } from './msprt.ts';
import type { PublishedInteger, PublishedModel, WindowName } from './published.ts';

/** Immutable, and JSON through and through: it is signed as its RFC 8785 form. */
export type Decision = PromotionDecision | DemotionDecision;

interface DecisionHead {
  readonly suite: string;
  readonly suiteHash: string;
  /** RFC 3339. */
  readonly tick: string;
  readonly model: string;
}

export interface PromotionDecision extends DecisionHead {
  readonly action: 'promotion';
  readonly evidence: PromotionEvidence;
}

export interface DemotionDecision extends DecisionHead {
  readonly action: 'demotion';
  readonly evidence: DemotionEvidence;
}

interface ScoreEvidence {
  readonly composite: number | null;
  readonly lower: number | null;
  readonly upper: number | null;
  readonly windows: readonly WindowEvidence[];
  readonly guardrails: readonly GuardrailEvidence[];
  /** Counted ticks in a row, this one included. */
  readonly run: number;
}

export interface PromotionEvidence extends ScoreEvidence {
  readonly promoteAbove: number;
  readonly promoteTicks: number;
  readonly alpha: number;
  /** RFC 3339; null: before the suite's first report. */
  readonly challengeStart: string | null;
  /** The model that leaves the seat. */
  readonly displaced: string | null;
  readonly metrics: readonly MetricEvidence[];
}

export interface DemotionEvidence extends ScoreEvidence {
  readonly cause: 'below' | 'guardrail';
  readonly demoteBelow: number;
  readonly demoteTicks: number;
  /** RFC 3339: when the model took the seat. */
  readonly seatedAt: string | null;
}

export interface WindowEvidence {
  readonly window: WindowName;
  readonly start: string;
  readonly end: string;
  readonly n: number;
  readonly weight: PublishedInteger;
  readonly revision: number;
  readonly score: number | null;
}

/** The rule's numbers and the composites of the ticks that counted, by RFC 3339 tick. */
export type RecordedEvidence = Decision['evidence'] & { readonly compositeByTick: { readonly [tick: string]: number } };

export type RecordedAction = 'promote' | 'demote';

export function recordedAction(decision: Decision): RecordedAction {
  return decision.action === 'promotion' ? 'promote' : 'demote';
}

/** A decision's evidence as its record carries it, online and in a backtest. */
export function recordedEvidence(decision: Decision, compositeByTick: ReadonlyMap<number, number>): RecordedEvidence {
  const composites = Array.from(compositeByTick, ([tickMs, composite]) => [formatRfc3339(tickMs), composite] as const);
  return { ...decision.evidence, compositeByTick: Object.fromEntries(composites) };
}

export function promotionDecision(
  suite: Suite,
  rule: PromotionRule,
  tickMs: number,
  winner: CandidateAssessment,
  displaced: string | null,
): PromotionDecision {
  assert((winner.score?.composite ?? null) !== null, 'promotionDecision: a winner has a composite');
  return {
    action: 'promotion',
    ...head(suite, tickMs, winner.watch.model),
    evidence: {
      ...scoreEvidence(suite, winner),
      promoteAbove: rule.promoteAbove,
      promoteTicks: rule.promoteTicks,
      alpha: rule.alpha,
      challengeStart: instant(winner.watch.startMs),
      displaced,
      metrics: winner.evidence,
    },
  };
}

export function demotionDecision(
  suite: Suite,
  rule: PromotionRule,
  tickMs: number,
  seated: IncumbentAssessment,
  cause: 'below' | 'guardrail',
): DemotionDecision {
  return {
    action: 'demotion',
    ...head(suite, tickMs, seated.watch.model),
    evidence: {
      ...scoreEvidence(suite, seated),
      cause,
      demoteBelow: rule.demoteBelow,
      demoteTicks: rule.demoteTicks,
      seatedAt: instant(seated.watch.startMs),
    },
  };
}

function head(suite: Suite, tickMs: number, model: string): DecisionHead {
  return { suite: suite.name, suiteHash: suite.hash, tick: formatRfc3339(tickMs), model };
}

function scoreEvidence(suite: Suite, assessed: CandidateAssessment | IncumbentAssessment): ScoreEvidence {
  const { score } = assessed;
  return {
    composite: score?.composite ?? null,
    lower: score?.lower ?? null,
    upper: score?.upper ?? null,
    windows: score === null ? [] : windowEvidence(suite, score),
    guardrails: assessed.guardrails,
    run: assessed.watch.run,
  };
}

function windowEvidence(suite: Suite, score: PublishedModel): readonly WindowEvidence[] {
  return suite.windows.flatMap(({ name }) => {
    const window = score.windows[name];
    if (window === undefined) return [];
    const { start, end, n, weight, revision, score: value } = window;
    return [{ window: name, start, end, n, weight, revision, score: value }];
  });
}

function instant(ms: number | null): string | null {
  return ms === null ? null : formatRfc3339(ms);
}
