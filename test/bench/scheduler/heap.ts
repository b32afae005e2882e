/** A binary heap: the least key first, and of equal keys the one that was pushed first. */
export class Heap<T> {
  readonly #items: { readonly key: number; readonly turn: number; readonly value: T }[] = [];
  #turns = 0;

  get size(): number {
    return this.#items.length;
  }

  peekKey(): number | undefined {
    return this.#items[0]?.key;
  }

  push(key: number, value: T): void {
    const items = this.#items;
    const item = { key, turn: this.#turns++, value };
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(item, items[parent]!)) break;
      items[at] = items[parent]!;
      at = parent;
    }
    items[at] = item;
  }

  pop(): T | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (first === undefined || last === undefined) return undefined;
    if (items.length > 0) this.#sink(last);
    return first.value;
  }

  #sink(item: { readonly key: number; readonly turn: number; readonly value: T }): void {
    const items = this.#items;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && before(items[child + 1]!, items[child]!)) child++;
      if (!before(items[child]!, item)) break;
      items[at] = items[child]!;
      at = child;
    }
    items[at] = item;
  }
}

function before(a: { readonly key: number; readonly turn: number }, b: typeof a): boolean {
  return a.key !== b.key ? a.key < b.key : a.turn < b.turn;
}
