import { Heap } from './heap.ts';
import type { Member, Shape } from './shape.ts';

interface Place {
  readonly shape: Shape;
  readonly member: Member;
}

/** Highest priority, oldest, id. */
export function byQueueOrder(a: Member, b: Member): number {
  const x = a.input;
  const y = b.input;
  return y.priority - x.priority || x.createdAtMs - y.createdAtMs || (x.id < y.id ? -1 : x.id > y.id ? 1 : 0);
}

/**
 * The queue of one division, by shape: its first booking, and the first whose shape is not parked. Both heaps forget lazily, so that
 * a cycle costs O(log shapes) here, however many bookings wait.
 */
export class ShapeQueue {
  readonly strict: boolean;
  readonly #all = new Heap<Place>((a, b) => byQueueOrder(a.member, b.member));
  readonly #ready = new Heap<Place>((a, b) => byQueueOrder(a.member, b.member));

  constructor(strict: boolean) {
    this.strict = strict;
  }

  /** The shape's first booking, or its state, may have changed. */
  refresh(shape: Shape): void {
    const member = shape.first();
    if (member === undefined || shape.never !== null) return;
    if (shape.inAll !== member) this.#all.push({ shape, member });
    shape.inAll = member;
    if (shape.state !== 'ready') return;
    if (shape.inReady !== member) this.#ready.push({ shape, member });
    shape.inReady = member;
  }

  /** The first of all, parked or not. */
  front(): Member | undefined {
    for (;;) {
      const place = this.#all.peek();
      if (place === undefined) return undefined;
      const { shape, member } = place;
      if (shape.inAll === member && shape.first() === member && shape.never === null) return member;
      this.#all.pop();
      if (shape.inAll === member) shape.inAll = null;
    }
  }

  /** Whom the division sends into the next cycle. */
  head(): Member | undefined {
    if (this.strict) {
      const front = this.front();
      return front?.shape.state === 'ready' ? front : undefined;
    }
    for (;;) {
      const place = this.#ready.peek();
      if (place === undefined) return undefined;
      const { shape, member } = place;
      if (shape.inReady === member && shape.state === 'ready' && shape.first() === member && shape.never === null)
        return member;
      this.#ready.pop();
      if (shape.inReady === member) shape.inReady = null;
    }
  }
}
