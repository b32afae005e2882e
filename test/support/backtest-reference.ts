import type { Suite } from '../../core/suite.ts';
import type { BacktestDecision } from '../../scoring/backtest/decision-list.ts';
import type { Contribution } from '../../scoring/rules/contribution.ts';
import { recordedAction, recordedEvidence } from '../../scoring/rules/decision.ts';
import {
  addEvidence,
  type EvidenceSums,
  evidenceOf,
  NO_EVIDENCE,
  requiredMetrics,
  tickAfter,
} from '../../scoring/rules/evidence.ts';
import { PaneTable } from '../../scoring/rules/pane-table.ts';
import {
  type ChallengeInput,
  decideTick,
  type ModelFacts,
  startWatch,
  type WatchState,
} from '../../scoring/rules/promotion.ts';
import type { PublishedModel } from '../../scoring/rules/published.ts';
import { scoreModels } from '../../scoring/rules/score-models.ts';
import { isTooLate, tickAt } from '../../scoring/rules/watermark.ts';
import { windowSumsFromPanes } from '../../scoring/rules/window-sums.ts';

/**
 * What a backtest decides, by the words of the rules and nothing clever: every number is added up anew from the list of
 * all reports whenever it is needed. The judge of scoring/backtest.
 */
export class BacktestReference {
  readonly #suite: Suite;
  readonly #read: Contribution[] = [];
  #watermarkMs: number | null = null;
  #scoredMs: number | null = null;
  #incumbent: WatchState | null = null;
  #challenges: readonly WatchState[] = [];
  readonly #changes = new Map<string, number>();
  readonly decisions: BacktestDecision[] = [];

  constructor(suite: Suite) {
    this.#suite = suite;
  }

  take(report: Contribution): void {
    const { tickMs } = this.#suite;
    const before = this.#watermarkMs;
    const known = [this.#incumbent, ...this.#challenges].some((watch) => watch?.model === report.model);
    if (!known) this.#challenges = [...this.#challenges, startWatch(report.model, before)];
    this.#watermarkMs = Math.max(before ?? report.observedAtMs, report.observedAtMs);
    const reached = tickAt(this.#watermarkMs, tickMs);
    this.#scoredMs ??= reached;
    for (; this.#scoredMs < reached; this.#scoredMs += tickMs) this.#decide(this.#scoredMs + tickMs, this.#watermarkMs);
    if (!isTooLate(report.observedAtMs, before)) this.#read.push(report);
  }

  #decide(tickMs: number, watermarkMs: number): void {
    const suite = this.#suite;
    if (!this.#read.some((report) => tickAfter(report.observedAtMs, suite.tickMs) === tickMs)) return;
    const scores = this.#scoresAt(tickMs);
    const before = this.#incumbent;
    const challenges = this.#challenges.map((watch): ChallengeInput => {
      const arms = requiredMetrics(suite).map((metric) => {
        const incumbent = before === null ? null : this.#evidence(watch.startMs, before.model, metric, tickMs, null);
        return [
          metric,
          { candidate: this.#evidence(watch.startMs, watch.model, metric, tickMs, null), incumbent },
        ] as const;
      });
      const lastChangeMs = this.#changes.get(watch.model) ?? null;
      return {
        watch,
        facts: this.#facts(watch, tickMs, scores),
        evidence: new Map(arms),
        lastChangeMs,
        policy: 'allow',
      };
    });
    const incumbent = before === null ? null : { watch: before, facts: this.#facts(before, tickMs, scores) };
    const outcome = decideTick({ suite, tickMs, watermarkMs, incumbent, challenges });
    this.#incumbent = outcome.incumbent;
    this.#challenges = outcome.challenges;
    if (outcome.decision === null) return;
    const { tick, model, evidence } = outcome.decision;
    this.#changes.set(model, tickMs);
    this.decisions.push({
      tick,
      model,
      action: recordedAction(outcome.decision),
      incumbentBefore: before?.model ?? null,
      evidence: recordedEvidence(outcome.decision, this.#composites(model, tickMs, evidence.run)),
    });
  }

  /** Over reports with start ≤ observedAt < tick, and of ticks behind a restart. */
  #evidence(
    startMs: number | null,
    model: string,
    metric: string,
    tickMs: number,
    restartMs: number | null,
  ): EvidenceSums {
    return this.#read
      .filter(({ observedAtMs }) => {
        const own = tickAfter(observedAtMs, this.#suite.tickMs);
        return (
          observedAtMs < tickMs &&
          (startMs === null || observedAtMs >= startMs) &&
          (restartMs === null || own > restartMs)
        );
      })
      .filter((report) => report.model === model)
      .flatMap((report) => evidenceOf(report).filter((one) => one.metric === metric))
      .reduce((sums, one) => addEvidence(sums, one.sums), NO_EVIDENCE);
  }

  #facts(watch: WatchState, tickMs: number, scores: readonly PublishedModel[]): ModelFacts {
    const guarded = this.#suite.metrics.filter((rule) => rule.guardrail !== null);
    const counts = guarded.map(({ name }) => {
      const restartMs = watch.guardrails.find((one) => one.metric === name)?.restartTickMs ?? null;
      const { n, beyond } = this.#evidence(watch.startMs, watch.model, name, tickMs, restartMs);
      return [name, { beyond, within: n - beyond }] as const;
    });
    const found = scores.find((one) => one.model === watch.model);
    const score = found === undefined ? null : { ...found, rank: null };
    return { newData: this.#reportsIn(watch.model, tickMs), score, guardrails: new Map(counts) };
  }

  #reportsIn(model: string, tickMs: number): boolean {
    return this.#read.some((one) => one.model === model && tickAfter(one.observedAtMs, this.#suite.tickMs) === tickMs);
  }

  #scoresAt(tickMs: number): readonly PublishedModel[] {
    const panes = new PaneTable(this.#suite.hash);
    for (const report of this.#read) panes.add(report);
    return scoreModels({
      suite: this.#suite,
      atMs: tickMs,
      models: windowSumsFromPanes(this.#suite, tickMs, panes.rows()),
    });
  }

  #composites(model: string, tickMs: number, run: number): ReadonlyMap<number, number> {
    const found = new Map<number, number>();
    for (
      let at = tickMs;
      at >= tickMs - 7 * 86_400_000 && found.size < Math.min(Math.max(run, 1), 64);
      at -= this.#suite.tickMs
    ) {
      if (!this.#reportsIn(model, at)) continue;
      const composite = this.#scoresAt(at).find((one) => one.model === model)?.composite ?? null;
      if (composite !== null) found.set(at, composite);
    }
    return found;
  }
}
