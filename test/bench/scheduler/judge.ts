import { assert } from '../../../core/assert.ts';
import type { Judge, Start } from './simulate.ts';

/** Counts what runs by itself, against limits that the schedulers do not see: none of them may be over-committed at any instant. */
export class LimitJudge implements Judge {
  readonly #limitsMilli: ReadonlyMap<string, number>;
  readonly #keysOf: (start: Start) => readonly string[];
  readonly #usedMilli = new Map<string, number>();

  constructor(limitsMilli: ReadonlyMap<string, number>, keysOf: (start: Start) => readonly string[]) {
    this.#limitsMilli = limitsMilli;
    this.#keysOf = keysOf;
  }

  start(start: Start): void {
    for (const key of this.#keysOf(start)) {
      const used = (this.#usedMilli.get(key) ?? 0) + start.work.askMilli;
      const limit = this.#limitsMilli.get(key);
      assert(limit !== undefined && used <= limit, `${start.work.id} brings ${key} to ${used} milli of ${limit}`);
      this.#usedMilli.set(key, used);
    }
  }

  stop(start: Start): void {
    for (const key of this.#keysOf(start)) {
      const used = this.#usedMilli.get(key)! - start.work.askMilli;
      assert(used >= 0, `${key} gives back what it took`);
      this.#usedMilli.set(key, used);
    }
  }
}
