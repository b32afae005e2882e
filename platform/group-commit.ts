interface Waiting<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

/** Group commit: while one write is under way the next items gather, and go together, in order. A lone one goes at once. */
export class GroupCommit<Item, Result> {
  readonly #take: (items: Iterable<Item>) => number;
  readonly #write: (items: readonly Item[]) => Promise<readonly Result[]>;
  #waiting: Waiting<Item, Result>[] = [];
  #running: Promise<void> | undefined;

  /** `take`: how many of those that wait, from the first on, the next write takes; at least one. `write` answers one result an item. */
  constructor(take: (items: Iterable<Item>) => number, write: (items: readonly Item[]) => Promise<readonly Result[]>) {
    this.#take = take;
    this.#write = write;
  }

  add(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.#running ??= this.#drain().finally(() => {
        this.#running = undefined;
      });
    });
  }

  async settled(): Promise<void> {
    await this.#running;
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, this.#take(this.#items()));
      try {
        const results = await this.#write(batch.map(({ item }) => item));
        batch.forEach(({ resolve }, i) => {
          resolve(results[i]!);
        });
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
  }

  *#items(): Generator<Item> {
    for (const { item } of this.#waiting) yield item;
  }
}
