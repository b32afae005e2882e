import { Heap } from '../admission/heap.ts';

/** What is to be looked at when. An id that is set again is due at its new time only. */
export class DueQueue {
  readonly #at = new Map<string, number>();
  readonly #heap = new Heap<{ readonly id: string; readonly atMs: number }>((a, b) => a.atMs - b.atMs);

  set(id: string, atMs: number): void {
    if (this.#at.get(id) === atMs) return;
    this.#at.set(id, atMs);
    this.#heap.push({ id, atMs });
  }

  delete(id: string): void {
    this.#at.delete(id);
  }

  nextMs(): number | undefined {
    this.#dropStale();
    return this.#heap.peek()?.atMs;
  }

  /** The ids that are due, each once; they are then no longer set. */
  take(nowMs: number): readonly string[] {
    const ids: string[] = [];
    for (;;) {
      this.#dropStale();
      const first = this.#heap.peek();
      if (first === undefined || first.atMs > nowMs) return ids;
      this.#heap.pop();
      this.#at.delete(first.id);
      ids.push(first.id);
    }
  }

  #dropStale(): void {
    for (let first = this.#heap.peek(); first !== undefined; first = this.#heap.peek()) {
      if (this.#at.get(first.id) === first.atMs) return;
      this.#heap.pop();
    }
  }
}
