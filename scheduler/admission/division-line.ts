import type { Slot } from './eta-profile.ts';
import type { Member } from './shape.ts';
import { byQueueOrder } from './shape-queue.ts';

/** Bookings before one in its division whose slots are worked out for its own, each beside all before it: the work grows by their square. */
export const MAX_BEFORE = 200;

/**
 * Those of one division that wait, in the order in which they go, and the slots that they get one behind the other: worked out once,
 * however many of them are asked about.
 */
export class DivisionLine {
  /** Who has a preemption pending goes before all others, and takes no slot here: it is charged already. */
  readonly #holders: number;
  readonly #order: readonly Member[];
  readonly #at: ReadonlyMap<Member, number>;
  readonly #slotOf: (member: Member, before: readonly Slot[]) => Slot | undefined;
  readonly #strict: boolean;
  readonly #slots: Slot[];
  /** How many slots there are behind so many of the order. */
  readonly #counts: number[];
  #isStuck = false;

  /** `first`: what goes before everybody. `slotOf`: the slot of one beside those before it. */
  constructor(
    members: readonly Member[],
    strict: boolean,
    first: readonly Slot[],
    slotOf: (member: Member, before: readonly Slot[]) => Slot | undefined,
  ) {
    this.#order = members.filter(({ place }) => place !== 'holder').sort(byQueueOrder);
    this.#holders = members.length - this.#order.length;
    this.#at = new Map(this.#order.map((member, at) => [member, at]));
    this.#strict = strict;
    this.#slots = [...first];
    this.#counts = [first.length];
    this.#slotOf = slotOf;
  }

  /** How many go before it. */
  before(member: Member): number {
    const at = this.#at.get(member);
    return at === undefined ? this.#holders - 1 : this.#holders + at;
  }

  /** The slots of those before it; undefined: of too many, or of a strict queue one that is told none stands before it. */
  slotsBefore(member: Member): readonly Slot[] | undefined {
    const at = this.#at.get(member);
    if (at === undefined || this.before(member) > MAX_BEFORE) return undefined;
    while (this.#counts.length <= at && !this.#isStuck) this.#takeNext();
    const count = this.#counts[at];
    return count === undefined ? undefined : this.#slots.slice(0, count);
  }

  #takeNext(): void {
    const slot = this.#slotOf(this.#order[this.#counts.length - 1]!, this.#slots);
    if (slot !== undefined) this.#slots.push(slot);
    else if (this.#strict) {
      this.#isStuck = true;
      return;
    }
    this.#counts.push(this.#slots.length);
  }
}
