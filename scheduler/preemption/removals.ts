import type { Work, World } from '../admission/world.ts';
import type { Victim } from './candidates.ts';

/** Victims taken out of a world one after the other, each first by what it can be shrunk by. */
export class Removals {
  readonly #world: World;
  /** work → replicas it keeps, in the order in which they were first touched. */
  readonly #kept = new Map<Work, number>();

  constructor(world: World) {
    this.#world = world;
  }

  isGone(work: Work): boolean {
    return this.#kept.get(work) === 0;
  }

  /** The next, mildest step: shrink where it can be, else all of it. */
  step(work: Work): void {
    const before = this.#kept.get(work) ?? work.replicas;
    const after = before > work.minReplicas ? work.minReplicas : 0;
    this.#world.remove(work, before, after);
    this.#kept.set(work, after);
  }

  unstep(work: Work, before: number): void {
    this.#world.restore(work, before, this.#kept.get(work)!);
    if (before === work.replicas) this.#kept.delete(work);
    else this.#kept.set(work, before);
  }

  keptOf(work: Work): number {
    return this.#kept.get(work) ?? work.replicas;
  }

  /** Adds back in reverse what `fits` spares, all of a victim or as much as shrinking leaves. */
  minimal(fits: () => boolean): void {
    for (const [work, kept] of [...this.#kept].reverse()) {
      for (const replicas of new Set([work.replicas, work.minReplicas])) {
        if (replicas <= kept) continue;
        this.unstep(work, replicas);
        if (fits()) break;
        this.#world.remove(work, replicas, kept);
        this.#kept.set(work, kept);
      }
    }
  }

  victims(): readonly Victim[] {
    return [...this.#kept].map(([work, kept]) => ({ work, kept }));
  }

  /** Puts everything back. */
  undo(): void {
    for (const [work, kept] of this.#kept) this.#world.restore(work, work.replicas, kept);
    this.#kept.clear();
  }
}
