import type { Decisions, Scheduler, Start } from './simulate.ts';
import type { Work } from './work.ts';

/**
 * What one gets from a plain queue: first in, first out, which never overtakes; and EASY backfill (Lifka 1995): the head gets the earliest
 * slot that leases promise, others may overtake where they do not move it. Quotas, priorities and preemption are unknown to both.
 */
export class QueuePeer implements Scheduler {
  readonly name: string;
  readonly #backfill: boolean;
  readonly #freeMilli: Map<string, number>;
  readonly #waiting: Work[] = [];
  readonly #running = new Map<Work, { readonly flavour: string; readonly untilMs: number }>();
  readonly #placeOf: (work: Work, flavour: string) => string;

  /** `placeOf`: what has the capacity that a work takes on a flavour; the flavour itself where nothing else is said. */
  constructor(
    kind: 'first in, first out' | 'EASY backfill',
    capacityMilli: ReadonlyMap<string, number>,
    placeOf = (_work: Work, flavour: string): string => flavour,
  ) {
    this.name = kind;
    this.#backfill = kind === 'EASY backfill';
    this.#freeMilli = new Map(capacityMilli);
    this.#placeOf = placeOf;
  }

  wait(work: Work): void {
    this.#waiting.push(work);
  }

  leave(work: Work): void {
    const { flavour } = this.#running.get(work)!;
    this.#running.delete(work);
    const place = this.#placeOf(work, flavour);
    this.#freeMilli.set(place, this.#freeMilli.get(place)! + work.askMilli);
  }

  decide(nowMs: number): Decisions {
    const started: Start[] = [];
    while (this.#waiting.length > 0) {
      const head = this.#waiting[0]!;
      const flavour = this.#roomFor(head);
      if (flavour === undefined) break;
      this.#waiting.shift();
      started.push(this.#start(head, flavour, nowMs));
    }
    if (this.#backfill && this.#waiting.length > 1) started.push(...this.#overtake(nowMs));
    return { started, evicted: [] };
  }

  #roomFor(work: Work): string | undefined {
    return work.flavours.find((flavour) => this.#freeMilli.get(this.#placeOf(work, flavour))! >= work.askMilli);
  }

  #start(work: Work, flavour: string, nowMs: number): Start {
    const place = this.#placeOf(work, flavour);
    this.#freeMilli.set(place, this.#freeMilli.get(place)! - work.askMilli);
    this.#running.set(work, { flavour, untilMs: nowMs + work.leaseMs });
    return { work, flavour };
  }

  #overtake(nowMs: number): readonly Start[] {
    const head = this.#waiting[0]!;
    const slot = this.#earliestSlot(head, nowMs);
    let spareMilli = slot.freeMilli - head.askMilli;
    const started: Start[] = [];
    let kept = 1;
    for (let at = 1; at < this.#waiting.length; at++) {
      const work = this.#waiting[at]!;
      const flavour = work.flavours.find((one) => {
        const place = this.#placeOf(work, one);
        if (this.#freeMilli.get(place)! < work.askMilli) return false;
        return place !== slot.place || nowMs + work.leaseMs <= slot.atMs || work.askMilli <= spareMilli;
      });
      if (flavour === undefined) {
        this.#waiting[kept++] = work;
        continue;
      }
      if (this.#placeOf(work, flavour) === slot.place && nowMs + work.leaseMs > slot.atMs) spareMilli -= work.askMilli;
      started.push(this.#start(work, flavour, nowMs));
    }
    this.#waiting.length = kept;
    return started;
  }

  /** Where and when the head would have room by the leases of what runs, and how much is free there then. */
  #earliestSlot(
    head: Work,
    nowMs: number,
  ): { readonly place: string; readonly atMs: number; readonly freeMilli: number } {
    const ends = [...this.#running].toSorted(([, a], [, b]) => a.untilMs - b.untilMs);
    let best = { place: '', atMs: Number.POSITIVE_INFINITY, freeMilli: 0 };
    for (const flavour of head.flavours) {
      const place = this.#placeOf(head, flavour);
      let freeMilli = this.#freeMilli.get(place)!;
      for (const [work, running] of ends) {
        if (this.#placeOf(work, running.flavour) !== place) continue;
        freeMilli += work.askMilli;
        const atMs = Math.max(nowMs, running.untilMs);
        if (freeMilli < head.askMilli) continue;
        if (atMs < best.atMs) best = { place, atMs, freeMilli };
        break;
      }
    }
    return best;
  }
}
