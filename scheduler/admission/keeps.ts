import type { Demand, TreeUsage } from '../../pools/tree-usage.ts';

/** What waiting heads keep of their divisions' own quota from borrowers; charged in the usage of what is coming. */
export class Keeps {
  readonly #usage: TreeUsage;
  readonly #kept = new Map<number, { readonly ask: Demand; readonly kept: Demand }>();

  constructor(usage: TreeUsage) {
    this.#usage = usage;
  }

  has(division: number): boolean {
    return this.#kept.has(division);
  }

  get divisions(): Iterable<number> {
    return this.#kept.keys();
  }

  /** Keeps min(ask, nominal − usage) in each cell. */
  keep(division: number, ask: Demand): void {
    const { tree } = this.#usage;
    const cells: number[] = [];
    const amounts: number[] = [];
    for (const [i, cell] of ask.cells.entries()) {
      const own = tree.subtree[tree.at(division, cell)]! - this.#usage.usage(division, cell);
      const amount = Math.min(ask.amounts[i]!, own);
      if (amount <= 0) continue;
      cells.push(cell);
      amounts.push(amount);
    }
    const kept = { cells, amounts };
    this.#usage.charge(division, kept);
    this.#kept.set(division, { ask, kept });
  }

  /** A division keeps nothing from itself; what is left of its own afterwards is kept again. */
  without<T>(division: number, look: () => T): T {
    const known = this.#kept.get(division);
    if (known === undefined) return look();
    this.#usage.release(division, known.kept);
    this.#kept.delete(division);
    try {
      return look();
    } finally {
      this.keep(division, known.ask);
    }
  }

  /** Takes all of it out of a copy of the usage. */
  releaseFrom(usage: TreeUsage): void {
    for (const [division, { kept }] of this.#kept) usage.release(division, kept);
  }
}
