/** When each of at most so many things was first seen; the oldest is forgotten, and then seen anew. */
export class FirstSeen {
  readonly #limit: number;
  readonly #atMs = new Map<string, number>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  at(what: string, nowMs: number): number {
    const known = this.#atMs.get(what);
    if (known !== undefined) return known;
    this.#atMs.set(what, nowMs);
    if (this.#atMs.size > this.#limit)
      for (const oldest of this.#atMs.keys()) {
        this.#atMs.delete(oldest);
        break;
      }
    return nowMs;
  }

  forget(what: string): void {
    this.#atMs.delete(what);
  }
}
