import { assert } from '../../core/assert.ts';
import { MAX_STEPS_IN_FLIGHT, MAX_STEPS_IN_POOL, MAX_STEPS_OF_TENANT } from './limits.ts';

/** Where a step may hang: at one pool's provider. */
export interface Lane {
  readonly tenant: string;
  readonly pool: string;
}

/** `due`: what is already placed is to be looked at; `admitted`: what the planner admitted is to be reserved. */
export type StepKind = 'due' | 'admitted';
const OTHER: Readonly<Record<StepKind, StepKind>> = { due: 'admitted', admitted: 'due' };

interface Queue extends Lane {
  readonly waits: Readonly<Record<StepKind, Set<string>>>;
  inFlight: number;
  /** Who goes first next time. */
  turn: StepKind;
}

/**
 * The steps in flight, and the bookings that wait for one. A provider that hangs keeps each step that asks it for as long as a call may take, so
 * a pool and a tenant have only so many at a time; those that have room take turns, and within a pool so do the two kinds: neither
 * keeps the other from starting.
 */
export class StepSlots {
  /** In the order in which they have their turns. */
  readonly #queues = new Map<string, Queue>();
  readonly #waiting = new Map<string, { readonly queue: Queue; readonly kind: StepKind }>();
  readonly #inFlight = new Map<string, Queue>();
  readonly #ofTenant = new Map<string, number>();

  isInFlight(id: string): boolean {
    return this.#inFlight.has(id);
  }

  /** It waits for a step of this kind, and of no other any more. */
  wait(id: string, lane: Lane, kind: StepKind): void {
    const before = this.#waiting.get(id);
    const queue = this.#queueOf(lane);
    if (before?.queue === queue && before.kind === kind) return;
    this.forget(id);
    queue.waits[kind].add(id);
    this.#waiting.set(id, { queue, kind });
  }

  /** It waits for no step. */
  forget(id: string): void {
    const before = this.#waiting.get(id);
    if (before === undefined) return;
    before.queue.waits[before.kind].delete(id);
    this.#waiting.delete(id);
    this.#dropIdle(before.queue);
  }

  /** Whose step is to begin now; it is in flight until it has `ended`. undefined: nobody waits, or nobody who does has room. */
  take(): { readonly id: string; readonly kind: StepKind } | undefined {
    if (this.#inFlight.size >= MAX_STEPS_IN_FLIGHT) return undefined;
    for (const [name, queue] of this.#queues) {
      if (queue.inFlight >= MAX_STEPS_IN_POOL) continue;
      if ((this.#ofTenant.get(queue.tenant) ?? 0) >= MAX_STEPS_OF_TENANT) continue;
      const next = this.#firstOf(queue, queue.turn) ?? this.#firstOf(queue, OTHER[queue.turn]);
      if (next === undefined) continue;
      this.#queues.delete(name);
      this.#queues.set(name, queue);
      queue.turn = OTHER[next.kind];
      queue.waits[next.kind].delete(next.id);
      this.#waiting.delete(next.id);
      this.#inFlight.set(next.id, queue);
      this.#count(queue, 1);
      return next;
    }
    return undefined;
  }

  ended(id: string): void {
    const queue = this.#inFlight.get(id);
    assert(queue !== undefined, 'a step that ended was in flight');
    this.#inFlight.delete(id);
    this.#count(queue, -1);
    this.#dropIdle(queue);
  }

  #firstOf(queue: Queue, kind: StepKind): { readonly id: string; readonly kind: StepKind } | undefined {
    for (const id of queue.waits[kind]) if (!this.#inFlight.has(id)) return { id, kind };
    return undefined;
  }

  #count(queue: Queue, by: 1 | -1): void {
    queue.inFlight += by;
    const ofTenant = (this.#ofTenant.get(queue.tenant) ?? 0) + by;
    if (ofTenant === 0) this.#ofTenant.delete(queue.tenant);
    else this.#ofTenant.set(queue.tenant, ofTenant);
  }

  #queueOf({ tenant, pool }: Lane): Queue {
    const name = nameOf({ tenant, pool });
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      queue = { tenant, pool, waits: { due: new Set(), admitted: new Set() }, inFlight: 0, turn: 'due' };
      this.#queues.set(name, queue);
    }
    return queue;
  }

  #dropIdle(queue: Queue): void {
    if (queue.inFlight === 0 && queue.waits.due.size === 0 && queue.waits.admitted.size === 0)
      this.#queues.delete(nameOf(queue));
  }
}

function nameOf({ tenant, pool }: Lane): string {
  return `${tenant}/${pool}`;
}
