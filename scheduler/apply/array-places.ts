import type { Booking } from './booking-store.ts';

/** Tasks that are offered to the planner or run, and those that wait for a place among them, in the order in which they came. */
interface JobArray {
  readonly under: Set<string>;
  readonly behind: Set<string>;
}

/** The places of job arrays: as many of an array's tasks are under way as its `maxParallel` says. What is no task of an array needs none. */
export class ArrayPlaces {
  readonly #arrays = new Map<string, JobArray>();

  /** The width of its array, where that is full: it is behind then. undefined: it has a place, or may take one. */
  fullAt(booking: Booking): number | undefined {
    const array = this.#of(booking);
    const { maxParallel } = booking.spec.array ?? {};
    if (array === undefined || maxParallel === undefined || array.under.has(booking.bookingId)) return undefined;
    if (array.under.size < maxParallel) return undefined;
    array.behind.add(booking.bookingId);
    return maxParallel;
  }

  /** Whether there is one or not: what runs has it. */
  take(booking: Booking): void {
    this.#of(booking)?.under.add(booking.bookingId);
  }

  giveBack(booking: Booking): void {
    this.#of(booking)?.under.delete(booking.bookingId);
  }

  /** A task that runs has its place, whichever was read first: where that makes too many, those only offered go behind. Returns them. */
  narrow(booking: Booking, offered: ReadonlySet<string>): readonly string[] {
    const array = this.#of(booking);
    const { maxParallel } = booking.spec.array ?? {};
    if (array === undefined || maxParallel === undefined) return [];
    const beyond: string[] = [];
    for (const id of array.under) {
      if (array.under.size <= maxParallel) break;
      if (!offered.has(id)) continue;
      array.under.delete(id);
      array.behind.add(id);
      beyond.push(id);
    }
    return beyond;
  }

  /** It has ended. Those behind are offered in turn, until one is that takes its place. */
  leave(booking: Booking, offer: (id: string) => boolean): void {
    const array = this.#of(booking);
    if (array === undefined) return;
    array.under.delete(booking.bookingId);
    array.behind.delete(booking.bookingId);
    for (const next of [...array.behind]) {
      array.behind.delete(next);
      if (offer(next)) break;
    }
    if (array.under.size === 0 && array.behind.size === 0) this.#arrays.delete(booking.spec.array?.id ?? '');
  }

  #of(booking: Booking): JobArray | undefined {
    const id = booking.spec.array?.id;
    if (id === undefined) return undefined;
    let array = this.#arrays.get(id);
    if (array === undefined) {
      array = { under: new Set(), behind: new Set() };
      this.#arrays.set(id, array);
    }
    return array;
  }
}
