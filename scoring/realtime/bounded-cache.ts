/** What was used longest ago goes first, beyond so many entries or so many cells of all of them. */
export class BoundedCache<Value> {
  readonly #entries = new Map<string, { readonly value: Value; readonly cells: number }>();
  readonly #maxEntries: number;
  readonly #maxCells: number;
  #cells = 0;

  constructor(maxEntries: number, maxCells: number) {
    this.#maxEntries = maxEntries;
    this.#maxCells = maxCells;
  }

  get size(): number {
    return this.#entries.size;
  }

  get cells(): number {
    return this.#cells;
  }

  get(key: string): Value | undefined {
    const held = this.#entries.get(key);
    if (held === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, held);
    return held.value;
  }

  set(key: string, value: Value, cells: number): void {
    this.delete(key);
    // One that leaves no room for others is not kept: it is read again each time.
    if (cells * 2 > this.#maxCells) return;
    this.#entries.set(key, { value, cells });
    this.#cells += cells;
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#maxEntries && this.#cells <= this.#maxCells) return;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    const held = this.#entries.get(key);
    if (held === undefined) return;
    this.#entries.delete(key);
    this.#cells -= held.cells;
  }
}
