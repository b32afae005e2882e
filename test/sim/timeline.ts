import { Heap } from '../../scheduler/admission/heap.ts';

export const T0 = 1_800_000_000_000;

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** One draw of everything that is left to chance, in the order in which it is asked for. */
export class Chance {
  readonly #next: () => number;

  constructor(next: () => number) {
    this.#next = next;
  }

  /** In [0, 1). */
  draw(): number {
    return this.#next();
  }

  is(probability: number): boolean {
    return this.#next() < probability;
  }

  /** An integer, both ends included. */
  between(least: number, most: number): number {
    return least + Math.floor(this.#next() * (most - least + 1));
  }

  of<T>(choices: readonly T[]): T {
    return choices[Math.floor(this.#next() * choices.length)]!;
  }
}

/**
 * Virtual time: what is to happen when. One event is run at a time, and the next one only once nothing of the engine can go on without
 * it: all its promises wait for something that only an event brings.
 */
export class Timeline {
  readonly trace: string[] = [];
  readonly #events = new Heap<Event>((a, b) => a.atMs - b.atMs || a.order - b.order);
  #nowMs = T0;
  #order = 0;

  now(): number {
    return this.#nowMs;
  }

  note(what: string): void {
    this.trace.push(`${((this.#nowMs - T0) / 1000).toFixed(3)} ${what}`);
  }

  after(ms: number, run: () => void): void {
    this.#events.push({ atMs: this.#nowMs + Math.max(0, ms), order: this.#order++, run });
  }

  /** When the next event is due; undefined: there is none. */
  nextMs(): number | undefined {
    return this.#events.peek()?.atMs;
  }

  async step(): Promise<boolean> {
    const event = this.#events.pop();
    if (event === undefined) return false;
    this.#nowMs = event.atMs;
    event.run();
    await settled();
    return true;
  }
}

/** Promises and ticks all come before it; the engine has no other I/O here. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
