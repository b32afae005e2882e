import type { Placement } from './machines.ts';
import type { World } from './world.ts';

/**
 * The room of machines that are cordoned or draining, kept out of a walk through time: it is part of its flavour's capacity, and nobody can have it
 * until the machine is opened, which nobody says when. Taken from no division's quota.
 */
export class ShutRoom {
  readonly #world: World;
  /** Cell → by how much the flavour's free capacity is more than what its open machines have free. Only of flavours with machines that are shut. */
  readonly #beyond = new Map<number, number>();

  constructor(world: World) {
    this.#world = world;
    const { machines, tree, usage } = world;
    for (const flavour of machines?.shutFlavours ?? [])
      for (const [resource, free] of Object.entries(machines!.openRoom(flavour))) {
        const cell = tree.cellOf(flavour, resource);
        if (cell >= 0) this.#grow(cell, tree.capacity[cell]! - usage.used(cell) - free);
      }
  }

  /** Gives back what is kept out, in the world or in a copy of it. */
  openIn({ usage }: World): void {
    for (const [cell, beyond] of this.#beyond) usage.withhold(cell, -Math.max(0, beyond));
  }

  /** What was there has left: what it had on a machine that is shut is nobody's. */
  left(placement: Placement): void {
    if (this.#beyond.size === 0) return;
    const { machines, tree } = this.#world;
    for (const replica of placement) {
      const flavour = machines!.shutFlavourOf(replica);
      if (flavour === undefined) continue;
      for (const [resource, amount] of Object.entries(replica.others)) {
        const cell = tree.cellOf(flavour, resource);
        if (this.#beyond.has(cell)) this.#grow(cell, amount);
      }
    }
  }

  /** Machines that have more than their flavour declares leave nothing to keep out. */
  #grow(cell: number, more: number): void {
    const before = this.#beyond.get(cell) ?? 0;
    this.#beyond.set(cell, before + more);
    this.#world.usage.withhold(cell, Math.max(0, before + more) - Math.max(0, before));
  }
}
