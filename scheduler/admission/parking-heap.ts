import { Heap } from './heap.ts';
import type { Shape } from './shape.ts';

/** An entry of an earlier parking is stale. */
interface Entry {
  readonly shape: Shape;
  readonly parking: number;
  readonly key: number;
}

/** Entries are looked through for stale ones when there are so many, and whenever they have doubled since. */
const SWEEP_AT = 64;

/** Parked shapes by a number, the least first. What was put here for an earlier parking counts no more. */
export class ParkingHeap {
  readonly #entries = new Heap<Entry>((a, b) => a.key - b.key);
  #sweepAt = SWEEP_AT;

  push(shape: Shape, key: number): void {
    this.#entries.push({ shape, parking: shape.parking, key });
    if (this.#entries.size < this.#sweepAt) return;
    this.#entries.filter(isParked);
    this.#sweepAt = Math.max(SWEEP_AT, 2 * this.#entries.size);
  }

  /** Takes out all up to a number; what `isReady` does not agree to stays. */
  upTo(most: number, isReady: (shape: Shape, key: number) => boolean = () => true): readonly Shape[] {
    const ready: Shape[] = [];
    const others: Entry[] = [];
    for (let least = this.#least(); least !== undefined && least.key <= most; least = this.#least()) {
      this.#entries.pop();
      if (isReady(least.shape, least.key)) ready.push(least.shape);
      else others.push(least);
    }
    for (const entry of others) this.#entries.push(entry);
    return ready;
  }

  /** Infinity: nothing is here. */
  get leastKey(): number {
    return this.#least()?.key ?? Number.POSITIVE_INFINITY;
  }

  #least(): Entry | undefined {
    for (;;) {
      const least = this.#entries.peek();
      if (least === undefined || isParked(least)) return least;
      this.#entries.pop();
    }
  }
}

function isParked({ shape, parking }: Entry): boolean {
  return shape.parking === parking;
}
