import type { RecordedAction, RecordedEvidence } from '../rules/decision.ts';
import { type FlippedTick, flippedTicks } from '../rules/review.ts';

/** What would have been decided: an online decision's record without what only a server has. */
export interface BacktestDecision {
  /** RFC 3339. */
  readonly tick: string;
  readonly model: string;
  readonly action: RecordedAction;
  readonly incumbentBefore: string | null;
  readonly evidence: RecordedEvidence;
  /** Ticks it rests on that later data put on the other side of the threshold; absent where there are none. */
  readonly review?: readonly FlippedTick[];
}

interface Made {
  readonly decision: BacktestDecision;
  /** Composites of its ticks as they were in the end. */
  readonly settled: Map<number, number | null>;
}

/** Decisions in the order of their ticks, each watched until the ticks that it rests on can change no more. */
export class DecisionList {
  readonly #made: Made[] = [];
  /** model → tick → decisions that rest on it. */
  readonly #waiting = new Map<string, Map<number, Made[]>>();

  add(decision: BacktestDecision, restsOn: Iterable<number>): void {
    const made: Made = { decision, settled: new Map() };
    this.#made.push(made);
    const ticks = this.#waiting.get(decision.model) ?? new Map<number, Made[]>();
    this.#waiting.set(decision.model, ticks);
    for (const tickMs of restsOn) ticks.set(tickMs, [...(ticks.get(tickMs) ?? []), made]);
  }

  /** A tick of a model can change no more. */
  settle(model: string, tickMs: number, composite: number | null): void {
    const ticks = this.#waiting.get(model);
    for (const { settled } of ticks?.get(tickMs) ?? []) settled.set(tickMs, composite);
    ticks?.delete(tickMs);
  }

  all(): readonly BacktestDecision[] {
    return this.#made.map(({ decision, settled }) => {
      const review = flippedTicks(decision, settled);
      return review.length === 0 ? decision : { ...decision, review };
    });
  }
}
