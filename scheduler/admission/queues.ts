import type { Member, Shape } from './shape.ts';
import type { ShapeQueue } from './shape-queue.ts';

/**
 * The queues of all divisions, and which of them matter to a cycle: those that send a head, and those whose first booking is blocked. Only queues
 * that were touched since are looked at again.
 */
export class Queues {
  readonly #byDivision = new Map<number, ShapeQueue>();
  readonly #touched = new Set<number>();
  // Divisions, ascending: in the order of the configuration.
  readonly #sending: number[] = [];
  readonly #blocked: number[] = [];
  /** Of the blocked ones those that could not win back what is theirs. */
  readonly #keeping: number[] = [];

  add(division: number, queue: ShapeQueue): void {
    this.#byDivision.set(division, queue);
  }

  get(division: number): ShapeQueue | undefined {
    return this.#byDivision.get(division);
  }

  /** The shape's first booking, or its state, may have changed. */
  refresh(shape: Shape): void {
    this.#byDivision.get(shape.division)?.refresh(shape);
    this.#touched.add(shape.division);
  }

  /** The first bookings of all divisions. */
  fronts(): readonly Member[] {
    return [...this.#byDivision.values()].flatMap((queue) => queue.front() ?? []);
  }

  /** One a division. A strict queue waits behind its holder. */
  heads(holding: ReadonlySet<number>): Member[] {
    this.#look();
    return this.#sending.flatMap((division) => {
      const queue = this.#byDivision.get(division)!;
      const head = queue.strict && holding.has(division) ? undefined : queue.head();
      return head === undefined ? [] : [head];
    });
  }

  /** The first bookings of their divisions, where they are blocked for want of room; so many at most. */
  blockedFronts(most: number): readonly Member[] {
    this.#look();
    return this.#blocked.slice(0, most).map((division) => this.#byDivision.get(division)!.front()!);
  }

  /** Of them those that could not win back what is theirs. */
  keepingFronts(): readonly Member[] {
    this.#look();
    return this.#keeping.map((division) => this.#byDivision.get(division)!.front()!);
  }

  #look(): void {
    for (const division of this.#touched) {
      const queue = this.#byDivision.get(division);
      if (queue === undefined) continue;
      const front = queue.front();
      const isBlocked = front?.shape.state === 'parked' && front.shape.blocked?.byRoom === true;
      if (isBlocked) front.shape.holds = true;
      put(this.#sending, division, queue.head() !== undefined);
      put(this.#blocked, division, isBlocked);
      put(this.#keeping, division, isBlocked && front.shape.config.preemption.reclaim !== 'any');
    }
    this.#touched.clear();
  }
}

/** Into a sorted list, or out of it. */
function put(list: number[], value: number, isIn: boolean): void {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle]! < value) low = middle + 1;
    else high = middle;
  }
  if ((list[low] === value) === isIn) return;
  if (isIn) list.splice(low, 0, value);
  else list.splice(low, 1);
}
