import type { Restart, WitnessRecord } from './witness-record.ts';

/**
 * Each generation after the first begins with a record that says what it leaves behind, which is no less than the one before it had seen. One that
 * begins without a word hides what was witnessed: whoever may write there could put a record of any trail.
 */
export class WitnessGenerations {
  readonly #seen = new Map<number, number>();
  readonly #abandoned = new Map<number, Restart['abandoned']>();
  #newest = 0;

  take(record: WitnessRecord): void {
    const { generation } = record;
    this.#newest = Math.max(this.#newest, generation);
    if (record.kind === 'restart') this.#abandoned.set(generation, record.restart.abandoned);
    else this.#seen.set(generation, Math.max(this.#seen.get(generation) ?? 0, record.checkpoint.treeSize));
  }

  /** What is wrong with them, once all records were taken. */
  problem(): string | undefined {
    for (let generation = 2; generation <= this.#newest; generation++) {
      const left = this.#abandoned.get(generation);
      if (left === undefined) return silent(generation);
      const seen = this.#seen.get(generation - 1) ?? 0;
      if (left.generation !== generation - 1 || left.treeSize < seen)
        return `generation ${generation} leaves behind ${left.treeSize} events, and the one before it had seen ${seen}`;
    }
    return undefined;
  }
}

export function silent(generation: number): string {
  return `generation ${generation} begins without a record that says why`;
}
