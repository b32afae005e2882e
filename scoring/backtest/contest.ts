import { assert } from '../../core/assert.ts';
import { OperatingError } from '../../core/operating-error.ts';
import type { Suite } from '../../core/suite.ts';
import type { Contribution } from '../rules/contribution.ts';
import type { Decision } from '../rules/decision.ts';
import { Edge } from '../rules/edge.ts';
import {
  addEvidence,
  type EvidenceSums,
  evidenceOf,
  NO_EVIDENCE,
  requiredMetrics,
  tickAfter,
  withoutEvidence,
} from '../rules/evidence.ts';
import { type ArmSums, type ChallengeInput, decideTick, type ModelFacts, startWatch } from '../rules/promotion.ts';
import type { PublishedModel } from '../rules/published.ts';
import { type ReportEvidence, Watch } from './watch.ts';

/** Models that an archive may name: each keeps a few hundred bytes of evidence to the end. */
export const MAX_MODELS = 1_000_000;

/** A candidate's challenge of the seat as it stands. */
interface Challenge {
  readonly watch: Watch;
  /**
   * What the incumbent's own watch counts and this challenge does not: the incumbent's reports of before its start. So that
   * a report of the incumbent is counted once, and not once a candidate.
   */
  readonly before: Map<string, EvidenceSums>;
  /** The seat it challenges. */
  readonly seat: number;
}

/** Models that have a report in the tick, with their scores at it; null where no window reaches their reports yet. */
export type TickScores = ReadonlyMap<string, PublishedModel | null>;

export interface DecidedTick {
  readonly decision: Decision;
  readonly incumbentBefore: string | null;
}

/**
 * The seat, its incumbent and everyone who challenges it, driven by the same rules as online. Assumed, since an archive of
 * reports does not tell: a model is registered just before its first report is read, none is ever retired, and policy
 * allows.
 */
export class Contest {
  readonly #suite: Suite;
  readonly #required: readonly string[];
  /** Every model ever seen; a challenge of an earlier seat is as good as none. */
  readonly #models = new Map<string, Challenge | null>();
  #incumbent: Watch | null;
  /** Counts seats. */
  #seat = 0;
  #seatStartMs: number | null = null;
  /** Challenges that began after the seat last changed, in order of their starts. */
  #joined: Challenge[] = [];
  /** The incumbent's reports at the watermark, which a challenge that begins now counts too. */
  #edge = new Edge();
  readonly #lastChangeMs = new Map<string, number>();

  constructor(suite: Suite, incumbent: string | null) {
    this.#suite = suite;
    this.#required = requiredMetrics(suite);
    this.#incumbent = incumbent === null ? null : new Watch(startWatch(incumbent, null));
    if (incumbent !== null) this.#models.set(incumbent, null);
  }

  get incumbent(): string | null {
    return this.#incumbent?.state.model ?? null;
  }

  /** Call it with each model before its report is taken in, while the watermark is what it was before. */
  register(model: string, watermarkMs: number | null): void {
    if (this.#models.has(model)) return;
    if (this.#models.size >= MAX_MODELS) {
      const mend = 'split the reports by model, or narrow them with --from and --to';
      throw new OperatingError('capacity', 'never', `following more than ${MAX_MODELS} models`, { mend });
    }
    // A parsed name may be a slice that keeps its whole line alive: keep a copy of its own.
    const name = Buffer.from(model, 'latin1').toString('latin1');
    const challenge = this.#begin(name, watermarkMs);
    this.#models.set(name, challenge);
    this.#joined.push(challenge);
    if (this.#incumbent === null) return;
    this.#edge.advance(watermarkMs);
    const seeds = new Map(
      this.#edge.seed([this.#incumbent.state.model], this.#suite.tickMs).map((row) => [row.metric, row.sums]),
    );
    for (const metric of this.#required) {
      challenge.before.set(metric, withoutEvidence(this.#incumbent.sums(metric), seeds.get(metric) ?? NO_EVIDENCE));
    }
  }

  #begin(model: string, startMs: number | null): Challenge {
    return { watch: new Watch(startWatch(model, startMs)), before: new Map(), seat: this.#seat };
  }

  /** Counts a report that is not too late; the watermark has taken it in, and the ticks up to it are decided. */
  count(contribution: Contribution, watermarkMs: number | null): void {
    const { model, observedAtMs } = contribution;
    const evidence = evidenceOf(contribution);
    const tickMs = tickAfter(observedAtMs, this.#suite.tickMs);
    if (model !== this.incumbent) {
      const { watch } = this.#challengeOf(model);
      if (watch.counts(observedAtMs)) watch.add(evidence, tickMs);
    } else if (this.#incumbent?.counts(observedAtMs) === true) {
      this.#incumbent.add(evidence, tickMs);
      this.#edge.take(contribution, watermarkMs);
      this.#leaveOut(evidence, observedAtMs);
    }
  }

  /** A late report of the incumbent is none of a challenge that began after it. */
  #leaveOut(evidence: ReportEvidence, observedAtMs: number): void {
    for (let i = this.#joined.length - 1; i >= 0; i--) {
      const { watch, before } = this.#joined[i]!;
      if (watch.counts(observedAtMs)) return;
      for (const { metric, sums } of evidence) {
        before.set(metric, addEvidence(before.get(metric) ?? NO_EVIDENCE, sums));
      }
    }
  }

  /** A model's challenge; when the seat changed, every one of them began again then. */
  #challengeOf(model: string): Challenge {
    const known = this.#models.get(model);
    assert(known !== undefined, 'Contest: a report of a model that is not registered');
    if (known !== null && known.seat === this.#seat) return known;
    const challenge = this.#begin(model, this.#seatStartMs);
    this.#models.set(model, challenge);
    return challenge;
  }

  /**
   * Decides a final tick by the models that have a report in it, all of which `scores` names: to the others a tick without
   * their data does nothing.
   */
  decide(tickMs: number, watermarkMs: number, scores: TickScores): DecidedTick | null {
    const incumbentBefore = this.incumbent;
    const challenges: ChallengeInput[] = [];
    for (const model of scores.keys())
      if (model !== incumbentBefore) challenges.push(this.#challengeInput(model, scores));
    const seat = this.#incumbent;
    const outcome = decideTick({
      suite: this.#suite,
      tickMs,
      watermarkMs,
      incumbent: seat === null ? null : { watch: seat.state, facts: factsOf(seat, scores) },
      challenges,
    });
    if (outcome.decision === null) {
      if (outcome.incumbent !== null) seat?.become(outcome.incumbent);
      for (const state of outcome.challenges) this.#challengeOf(state.model).watch.become(state);
      return null;
    }
    this.#lastChangeMs.set(outcome.decision.model, tickMs);
    this.#changeSeat(outcome.incumbent?.model ?? null, watermarkMs);
    return { decision: outcome.decision, incumbentBefore };
  }

  #challengeInput(model: string, scores: TickScores): ChallengeInput {
    const { watch, before } = this.#challengeOf(model);
    const evidence = new Map<string, ArmSums>();
    for (const metric of this.#required) {
      const all = this.#incumbent?.sums(metric);
      const incumbent = all === undefined ? null : withoutEvidence(all, before.get(metric) ?? NO_EVIDENCE);
      evidence.set(metric, { candidate: watch.sums(metric), incumbent });
    }
    return {
      watch: watch.state,
      facts: factsOf(watch, scores),
      evidence,
      lastChangeMs: this.#lastChangeMs.get(model) ?? null,
      policy: 'allow',
    };
  }

  #changeSeat(incumbent: string | null, watermarkMs: number): void {
    this.#seat++;
    this.#seatStartMs = watermarkMs;
    this.#incumbent = incumbent === null ? null : new Watch(startWatch(incumbent, watermarkMs));
    this.#joined = [];
    // What was read so far was observed before the watermark: only the report that moved it there is at it, and that one
    // is not counted yet.
    this.#edge = new Edge();
  }
}

function factsOf(watch: Watch, scores: TickScores): ModelFacts {
  const { model } = watch.state;
  return { newData: scores.has(model), score: scores.get(model) ?? null, guardrails: watch.guardrails };
}
