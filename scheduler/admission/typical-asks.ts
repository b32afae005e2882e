import type { Amounts } from '../../pools/planner-input.ts';

/** An ask that is common here: what one replica takes, and how many replicas ask so. */
export interface TypicalAsk {
  readonly amounts: Amounts;
  readonly weight: number;
}

/** With the commonest 24 only, a real GPU trace (151 distinct asks) left 390 of 6,212 GPUs stranded, with all of them 354. */
const MAX_TYPICAL = 160;

/** What waits and runs, counted by what one replica asks: a function of the state, whatever came first. */
export class TypicalAsks {
  readonly #counts = new Map<string, TypicalAsk>();
  #top: readonly TypicalAsk[] | undefined;

  count(amounts: Amounts, replicas: number): void {
    const key = signature(amounts);
    const weight = (this.#counts.get(key)?.weight ?? 0) + replicas;
    this.#top = undefined;
    if (weight <= 0) this.#counts.delete(key);
    else this.#counts.set(key, { amounts, weight });
  }

  top(): readonly TypicalAsk[] {
    this.#top ??= [...this.#counts]
      .sort(([a, x], [b, y]) => y.weight - x.weight || (a < b ? -1 : 1))
      .slice(0, MAX_TYPICAL)
      .map(([, ask]) => ask);
    return this.#top;
  }
}

function signature(amounts: Amounts): string {
  return Object.entries(amounts)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([resource, amount]) => `${resource}=${amount}`)
    .join(' ');
}
