import type { EvalReport } from '../../core/eval-report.ts';
import type { Suite } from '../../core/suite.ts';
import { Accumulator } from '../../scoring/rules/accumulator.ts';
import { contribute, isContributionFault } from '../../scoring/rules/contribution.ts';
import { addEvidence, type EvidenceSums, evidenceOf, NO_EVIDENCE, tickAfter } from '../../scoring/rules/evidence.ts';
import { mixtureTest } from '../../scoring/rules/msprt.ts';
import { decideTick, type ModelFacts, startWatch } from '../../scoring/rules/promotion.ts';
import type { PublishedModel } from '../../scoring/rules/published.ts';
import { scoreModels } from '../../scoring/rules/score-models.ts';
import { smallSuite } from './scoring-reports.ts';

/** Reports an arm at each look, and an arm in all: 100 looks. */
export const REPORTS_A_LOOK = 10;
export const LOOKS = 100;
const HOUR_MS = 3_600_000;
const CANDIDATE = 'candidate';
const INCUMBENT = 'incumbent';

/**
 * One required metric in [0, 1] and the defaults of a promotion: k_up 3, α 0.05, minEffect 0. A look is a tick. All 100 lie in the one
 * window, and θ_up lies far below both arms, so that evidence, minN and the run of ticks are all that stands between a candidate and
 * the seat: the hardest case for an error bound.
 */
export const TRIAL_SUITE: Suite = smallSuite({
  tick: '1h',
  windows: { '7d': 1 },
  metrics: { quality: { direction: 'higher', floor: 0, ceil: 1, required: true } },
  promotion: { promoteAbove: 0.02, demoteBelow: 0.01 },
});
const RULE = TRIAL_SUITE.promotion!;

/** One value of an arm and its weight. */
export interface Draw {
  readonly value: number;
  readonly weight: number;
}

export interface Trial {
  /** The first look (1…100) at which the evidence alone held; null: at none. */
  readonly heldAt: number | null;
  /** The look at which decideTick promoted, in at most 100. */
  readonly promotedAt: number | null;
  /** The last look that was made, and the test's log likelihood ratio at it. */
  readonly lastLook: number;
  readonly lastRatio: number | null;
}

/** A model's reports so far: evidence as a challenge keeps it, and the sums of the window. */
class Arm {
  readonly model: string;
  evidence: EvidenceSums = NO_EVIDENCE;
  readonly #metric = new Accumulator();
  readonly #any = new Accumulator();

  constructor(model: string) {
    this.model = model;
  }

  take(draw: Draw, observedAtMs: number): void {
    const report: EvalReport = {
      reportId: 'r',
      producer: 'p',
      model: this.model,
      suite: TRIAL_SUITE.name,
      observedAtMs,
      sampleSize: draw.weight,
      metrics: { quality: draw.value },
      document: {},
    };
    const contribution = contribute(TRIAL_SUITE, report);
    if (isContributionFault(contribution)) throw new Error('a drawn report must be acceptable');
    for (const metric of contribution.metrics) this.#metric.add(metric, contribution.w);
    this.#any.count(contribution.w);
    for (const { sums } of evidenceOf(contribution)) this.evidence = addEvidence(this.evidence, sums);
  }

  facts(tickMs: number): ModelFacts {
    const sums = { any: this.#any.toSums(), metrics: new Map([['quality', this.#metric.toSums()]]), revision: 0 };
    const models = [{ model: this.model, windows: new Map([['7d', sums]] as const) }];
    const score: PublishedModel | undefined = scoreModels({ suite: TRIAL_SUITE, atMs: tickMs, models })[0];
    return { newData: true, score: score ?? null, guardrails: new Map() };
  }
}

/** Both arms report until the candidate is promoted or all looks are made; each look is one decideTick. */
export function contest(drawCandidate: () => Draw, drawIncumbent: () => Draw): Trial {
  const arms = [new Arm(CANDIDATE), new Arm(INCUMBENT)] as const;
  const [candidate, incumbent] = arms;
  let challenge = startWatch(CANDIDATE, 0);
  let seat = startWatch(INCUMBENT, 0);
  let heldAt: number | null = null;
  let lastRatio: number | null = null;
  for (let look = 1; look <= LOOKS; look++) {
    const tickMs = look * HOUR_MS;
    for (let i = 0; i < REPORTS_A_LOOK; i++) {
      const observedAtMs = tickMs - HOUR_MS + i * 60_000;
      if (tickAfter(observedAtMs, TRIAL_SUITE.tickMs) !== tickMs) throw new Error('the report belongs to this tick');
      candidate.take(drawCandidate(), observedAtMs);
      incumbent.take(drawIncumbent(), observedAtMs);
    }
    const outcome = decideTick({
      suite: TRIAL_SUITE,
      tickMs,
      watermarkMs: tickMs,
      incumbent: { watch: seat, facts: incumbent.facts(tickMs) },
      challenges: [
        {
          watch: challenge,
          facts: candidate.facts(tickMs),
          evidence: new Map([['quality', { candidate: candidate.evidence, incumbent: incumbent.evidence }]]),
          lastChangeMs: null,
          policy: 'allow',
        },
      ],
    });
    const test = mixtureTest('quality', candidate.evidence, incumbent.evidence, RULE, 1);
    const unmet = outcome.assessments.find((one) => one.role === 'candidate')?.unmet ?? [];
    const held = !unmet.includes('evidence_short') && !unmet.includes('evidence_unmet');
    if (held !== (test?.holds === true)) throw new Error('decideTick and mixtureTest must see the same evidence');
    if (held) heldAt ??= look;
    lastRatio = test?.logLikelihoodRatio ?? null;
    if (outcome.decision !== null) {
      if (outcome.decision.action !== 'promotion') throw new Error('only a promotion can come of it');
      return { heldAt, promotedAt: look, lastLook: look, lastRatio };
    }
    challenge = outcome.challenges[0] ?? challenge;
    seat = outcome.incumbent ?? seat;
  }
  return { heldAt, promotedAt: null, lastLook: LOOKS, lastRatio };
}

/** An empty seat: the candidate is held against `promoteAbove` alone; looks at the evidence only. */
export function contestAgainst(promoteAbove: number, drawCandidate: () => Draw): Trial {
  const candidate = new Arm(CANDIDATE);
  for (let look = 1; look <= LOOKS; look++) {
    for (let i = 0; i < REPORTS_A_LOOK; i++) candidate.take(drawCandidate(), look);
    const test = mixtureTest('quality', candidate.evidence, null, { ...RULE, promoteAbove }, 1);
    if (test?.holds === true)
      return { heldAt: look, promotedAt: null, lastLook: look, lastRatio: test.logLikelihoodRatio };
  }
  return { heldAt: null, promotedAt: null, lastLook: LOOKS, lastRatio: null };
}

/** Standard normal numbers of uniform ones (Box and Muller 1958). */
export function normals(random: () => number): () => number {
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
