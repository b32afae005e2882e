import { setImmediate } from 'node:timers/promises';
import { assert } from '../../../core/assert.ts';
import { Heap } from './heap.ts';
import type { Run, Work } from './work.ts';

/**
 * A scheduler in virtual time: an event queue of arrivals and ends. At each instant it decides again and again until it has nothing more to say; deciding takes no virtual time. A work that is evicted leaves
 * at once, waits again with the age that it had, and starts over from nothing.
 */

export interface Start {
  readonly work: Work;
  readonly flavour: string;
}

export interface Decisions {
  readonly started: readonly Start[];
  readonly evicted: readonly Work[];
}

export interface Scheduler {
  readonly name: string;
  /** It waits: new, or evicted. */
  wait(work: Work, nowMs: number): void;
  /** It no longer runs: ended, or evicted (then `wait` follows). */
  leave(work: Work, nowMs: number): void;
  decide(nowMs: number): Decisions;
  /** When it wants to be asked again though nothing arrives or ends; undefined: never. */
  nextWakeMs?(nowMs: number): number | undefined;
}

/** Decisions in one instant; more of them is a scheduler that evicts what it has just started, for ever. */
const MAX_DECISIONS_AN_INSTANT = 100_000;
/** Between looks at the signal and at the terminal. */
const BREATH_MS = 200;

export interface SimulationOptions {
  readonly signal?: AbortSignal;
  /** Told now and then how much of the work has ended. */
  readonly onProgress?: (ended: number, all: number) => void;
  /** Throws where what runs is more than it may be. */
  readonly judge?: Judge;
}

export interface Judge {
  start(start: Start): void;
  stop(start: Start): void;
}

export interface Simulated {
  readonly runs: readonly Run[];
  readonly decisions: number;
}

interface Running extends Start {
  readonly fromMs: number;
}

type Event =
  | { readonly kind: 'arrives'; readonly work: Work }
  | { readonly kind: 'ends'; readonly running: Running }
  | { readonly kind: 'wakes' };

/** Until every work has ended; throws where one never does. */
export async function simulate(
  works: readonly Work[],
  scheduler: Scheduler,
  options: SimulationOptions = {},
): Promise<Simulated> {
  const simulation = new Simulation(works, scheduler, options.judge);
  let breathMs = performance.now();
  while (simulation.step()) {
    if (performance.now() - breathMs < BREATH_MS) continue;
    options.onProgress?.(simulation.ended, works.length);
    await setImmediate();
    options.signal?.throwIfAborted();
    breathMs = performance.now();
  }
  assert(
    simulation.ended === works.length,
    `${scheduler.name} lets ${works.length - simulation.ended} works wait for ever, ${simulation.stuck()} among them`,
  );
  return { runs: simulation.runs, decisions: simulation.decisions };
}

class Simulation {
  readonly runs: Run[] = [];
  ended = 0;
  decisions = 0;
  readonly #works: readonly Work[];
  readonly #scheduler: Scheduler;
  readonly #judge: Judge | undefined;
  readonly #events = new Heap<Event>();
  readonly #running = new Map<Work, Running>();
  readonly #done = new Set<Work>();
  #wakeMs = Number.POSITIVE_INFINITY;

  constructor(works: readonly Work[], scheduler: Scheduler, judge: Judge | undefined) {
    this.#works = works;
    this.#scheduler = scheduler;
    this.#judge = judge;
    for (const work of works) this.#events.push(work.createdAtMs, { kind: 'arrives', work });
  }

  /** The next instant; false when there is none. */
  step(): boolean {
    const nowMs = this.#events.peekKey();
    if (nowMs === undefined) return false;
    let changed = false;
    while (this.#events.peekKey() === nowMs) if (this.#happen(this.#events.pop()!, nowMs)) changed = true;
    if (changed) this.#decide(nowMs);
    return true;
  }

  stuck(): string {
    return this.#works.find((work) => !this.#done.has(work))?.id ?? 'none';
  }

  #happen(event: Event, nowMs: number): boolean {
    if (event.kind === 'arrives') this.#scheduler.wait(event.work, nowMs);
    else if (event.kind === 'wakes') this.#wakeMs = Number.POSITIVE_INFINITY;
    // The end of a run that was evicted meanwhile.
    else if (this.#running.get(event.running.work) !== event.running) return false;
    else this.#stop(event.running, nowMs, true);
    return true;
  }

  #decide(nowMs: number): void {
    for (let turns = 0; ; turns++) {
      assert(turns < MAX_DECISIONS_AN_INSTANT, `${this.#scheduler.name} does not come to rest at ${nowMs} ms`);
      const { started, evicted } = this.#scheduler.decide(nowMs);
      this.decisions++;
      for (const work of evicted) {
        const running = this.#running.get(work);
        assert(running !== undefined, `${this.#scheduler.name} evicts ${work.id}, which does not run`);
        this.#stop(running, nowMs, false);
        this.#scheduler.wait(work, nowMs);
      }
      for (const start of started) this.#start(start, nowMs);
      if (started.length === 0 && evicted.length === 0) break;
    }
    const wakeMs = this.#scheduler.nextWakeMs?.(nowMs);
    if (wakeMs === undefined || wakeMs <= nowMs || wakeMs >= this.#wakeMs) return;
    // Nothing waits for ever on a wake-up alone: it is asked for only while work is left.
    if (this.ended === this.#works.length) return;
    this.#wakeMs = wakeMs;
    this.#events.push(wakeMs, { kind: 'wakes' });
  }

  #start(start: Start, nowMs: number): void {
    const { work } = start;
    assert(!this.#running.has(work) && !this.#done.has(work), `${work.id} starts once`);
    assert(
      work.createdAtMs <= nowMs && work.flavours.includes(start.flavour),
      `${work.id} may start on ${start.flavour}`,
    );
    this.#judge?.start(start);
    const running = { ...start, fromMs: nowMs };
    this.#running.set(work, running);
    this.#events.push(nowMs + work.runtimeMs, { kind: 'ends', running });
  }

  #stop(running: Running, nowMs: number, finished: boolean): void {
    const { work, flavour, fromMs } = running;
    this.#running.delete(work);
    this.#judge?.stop(running);
    this.runs.push({ work, flavour, fromMs, toMs: nowMs, finished });
    this.#scheduler.leave(work, nowMs);
    if (!finished) return;
    this.#done.add(work);
    this.ended++;
  }
}
