import { compareShares, type Share } from '../../pools/share.ts';
import type { Demand } from '../../pools/tree-usage.ts';
import type { Profile, Slot } from './eta-profile.ts';
import type { Scene } from './scene.ts';
import type { Member } from './shape.ts';
import { byQueueOrder } from './shape-queue.ts';
import type { Option } from './world.ts';

/** Heads whose slots are held; those that come later in the order hold none. Each costs a copy of the tree's usage. */
export const MAX_PINS = 64;

/** A blocked head and the slot it is promised. */
export interface Pin extends Slot {
  /** null: a reservation, which goes before everybody. */
  readonly member: Member | null;
  readonly id: string;
  readonly level: number;
}

interface Head {
  readonly member: Member;
  readonly option: Option;
}

/**
 * Blocked heads pin their earliest slots: what starts behind them ends before, or fits beside. Slots are only worked out once somebody
 * would start whose lease may reach into one.
 */
export class Backfill {
  readonly #scene: () => Scene;
  readonly #profile: () => Profile;
  readonly #heads: Head[] = [];
  readonly #pins: Pin[] = [];
  #done = 0;

  constructor(scene: () => Scene, profile: () => Profile, reservations: readonly Pin[]) {
    this.#scene = scene;
    this.#profile = profile;
    this.#pins.push(...reservations);
  }

  block(member: Member, option: Option): void {
    if (this.#heads.length < MAX_PINS) this.#heads.push({ member, option });
  }

  /** The pin that a start now would delay; undefined: it ends before all of them, or fits beside. */
  delayed(member: Member, option: Option, level: number): Pin | undefined {
    const { nowMs } = this.#scene();
    const { division, sample } = member.shape;
    const endsAtMs = nowMs + (sample.leaseMs ?? Number.POSITIVE_INFINITY);
    for (const pin of this.pins()) {
      if (pin.member === member || endsAtMs <= pin.slotMs) continue;
      if (!shares(pin.option.demand, option.demand) || pin.usage.fits(division, option.demand)) continue;
      if (this.#goesFirst(pin, member, option, level)) return pin;
    }
    return undefined;
  }

  /** Somebody started whose lease ends then: what is left beside the slots is less. */
  started(division: number, option: Option, endsAtMs: number | null): void {
    for (const pin of this.#pins)
      if (endsAtMs === null || endsAtMs > pin.slotMs) pin.usage.charge(division, option.demand);
  }

  pins(): readonly Pin[] {
    while (this.#done < this.#heads.length) {
      const { member, option } = this.#heads[this.#done++]!;
      const slot = this.#profile().earliest(member.shape, option, 0, this.#pins);
      if (slot === undefined) continue;
      const level = this.#scene().coming.usage.borrowingLevel(slot.division, option.demand);
      this.#pins.push({ ...slot, member, id: member.input.id, level });
    }
    return this.#pins;
  }

  /** The order of the cycle: a division's own head, else the borrowing level, then shares or not, priority, age. */
  #goesFirst(pin: Pin, member: Member, option: Option, level: number): boolean {
    if (pin.member === null || pin.division === member.shape.division) return true;
    if (pin.level !== level) return pin.level < level;
    const { strategies, tree } = this.#scene();
    const common = strategies === null ? undefined : tree.commonAncestor(pin.division, member.shape.division);
    if (common !== undefined) {
      const first = this.#shareBelow(common, pin.division, pin.option.demand);
      const order = compareShares(first, this.#shareBelow(common, member.shape.division, option.demand));
      if (order !== 0) return order < 0;
    }
    return byQueueOrder(pin.member, member) < 0;
  }

  #shareBelow(common: number, division: number, demand: Demand): Share {
    const { tree, coming } = this.#scene();
    let node = division;
    while (tree.nodes[node]!.parent !== common) node = tree.nodes[node]!.parent;
    coming.usage.charge(division, demand);
    const share = coming.usage.share(node);
    coming.usage.release(division, demand);
    return share;
  }
}

function shares(a: Demand, b: Demand): boolean {
  return a.cells.some((cell) => b.cells.includes(cell));
}
