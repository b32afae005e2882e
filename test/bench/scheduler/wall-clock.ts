import { setTimeout as sleep } from 'node:timers/promises';
import { assert } from '../../../core/assert.ts';
import type { Attempt, CommitCycle, Released } from './commit-cycle.ts';
import { Heap } from './heap.ts';
import type { Judge, Scheduler, Start } from './simulate.ts';
import type { Run, Work } from './work.ts';

/**
 * The same by the wall clock: work arrives when it is due, decisions are durable before they count, and a work runs from the commit of
 * its booking for its run time. One commit is on its way at a time; what becomes due meanwhile goes into the next one.
 */

/** Bookings and releases of one transaction: more only makes the others wait for it. */
const MAX_CHANGES_A_COMMIT = 1_000;
/** What nothing is due for longer than is slept through in pieces. */
const MAX_SLEEP_MS = 20;

export interface WallClockOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (ended: number, all: number) => void;
  readonly judge?: Judge;
}

export interface WallClockRun {
  readonly runs: readonly Run[];
  readonly commits: number;
  /** From the first commit's begin to the last one's end. */
  readonly busyMs: number;
  /** In the planner and in waiting for commits. */
  readonly decidingMs: number;
  readonly committingMs: number;
}

interface Running extends Attempt {
  readonly flavour: string;
  readonly fromMs: number;
}

export async function runOnWallClock(
  works: readonly Work[],
  scheduler: Scheduler,
  commit: CommitCycle,
  options: WallClockOptions = {},
): Promise<WallClockRun> {
  const run = new WallClock(works, scheduler, commit, options.judge);
  while (run.ended < works.length) {
    options.signal?.throwIfAborted();
    const idleMs = await run.turn();
    options.onProgress?.(run.ended, works.length);
    if (idleMs > 0) await sleep(Math.min(idleMs, MAX_SLEEP_MS));
  }
  return run.told();
}

class WallClock {
  ended = 0;
  readonly #works: readonly Work[];
  readonly #scheduler: Scheduler;
  readonly #commit: CommitCycle;
  readonly #judge: Judge | undefined;
  readonly #zeroMs = performance.now();
  readonly #running = new Map<Work, Running>();
  readonly #attempts = new Map<Work, number>();
  readonly #ends = new Heap<Running>();
  readonly #runs: Run[] = [];
  #arrived = 0;
  #commits = 0;
  #decidingMs = 0;
  #committingMs = 0;
  #firstMs: number | undefined;
  #lastMs = 0;

  constructor(works: readonly Work[], scheduler: Scheduler, commit: CommitCycle, judge: Judge | undefined) {
    this.#works = works;
    this.#scheduler = scheduler;
    this.#commit = commit;
    this.#judge = judge;
  }

  told(): WallClockRun {
    return {
      runs: this.#runs,
      commits: this.#commits,
      busyMs: this.#lastMs - (this.#firstMs ?? 0),
      decidingMs: this.#decidingMs,
      committingMs: this.#committingMs,
    };
  }

  /** Takes what is due, decides and commits. How long nothing will be due; 0: go on at once. */
  async turn(): Promise<number> {
    const nowMs = this.#nowMs();
    const released: Released[] = [];
    this.#arrive(nowMs);
    while ((this.#ends.peekKey() ?? Number.POSITIVE_INFINITY) <= nowMs) {
      const running = this.#ends.pop()!;
      if (this.#running.get(running.work) !== running) continue;
      this.#stop(running, nowMs, true);
      released.push({ ...running, evicted: false });
    }
    const booked = this.#decide(nowMs, released);
    if (released.length === 0 && booked.length === 0) return this.#untilDue(nowMs);
    await this.#makeDurable(released, booked);
    return 0;
  }

  #nowMs(): number {
    return performance.now() - this.#zeroMs;
  }

  #arrive(nowMs: number): void {
    while (this.#arrived < this.#works.length && this.#works[this.#arrived]!.createdAtMs <= nowMs)
      this.#scheduler.wait(this.#works[this.#arrived++]!, nowMs);
  }

  #decide(nowMs: number, released: Released[]): readonly Start[] {
    const beganMs = performance.now();
    const booked: Start[] = [];
    while (booked.length + released.length < MAX_CHANGES_A_COMMIT) {
      const { started, evicted } = this.#scheduler.decide(nowMs);
      if (started.length === 0 && evicted.length === 0) break;
      for (const work of evicted) {
        const running = this.#running.get(work);
        if (running === undefined) this.#takeBack(booked, work, nowMs);
        else {
          this.#stop(running, nowMs, false);
          released.push({ ...running, evicted: true });
        }
        this.#scheduler.wait(work, nowMs);
      }
      for (const start of started) this.#judge?.start(start);
      booked.push(...started);
    }
    this.#decidingMs += performance.now() - beganMs;
    return booked;
  }

  /** Decided in this very turn, and evicted before it was made durable. */
  #takeBack(booked: Start[], work: Work, nowMs: number): void {
    const at = booked.findIndex((start) => start.work === work);
    assert(at >= 0, `${work.id} runs or was just booked`);
    this.#judge?.stop(booked[at]!);
    booked.splice(at, 1);
    this.#scheduler.leave(work, nowMs);
  }

  /** What ended first: it makes the room. More than one commit's worth is committed in pieces, and runs as its piece is durable. */
  async #makeDurable(released: readonly Released[], booked: readonly Start[]): Promise<void> {
    if (released.length + booked.length <= MAX_CHANGES_A_COMMIT) return this.#commitPiece(released, booked);
    for (let from = 0; from < released.length; from += MAX_CHANGES_A_COMMIT)
      await this.#commitPiece(released.slice(from, from + MAX_CHANGES_A_COMMIT), []);
    for (let from = 0; from < booked.length; from += MAX_CHANGES_A_COMMIT)
      await this.#commitPiece([], booked.slice(from, from + MAX_CHANGES_A_COMMIT));
  }

  async #commitPiece(released: readonly Released[], booked: readonly Start[]): Promise<void> {
    const attempts = booked.map(({ work }) => {
      const attempt = (this.#attempts.get(work) ?? 0) + 1;
      this.#attempts.set(work, attempt);
      return { work, attempt };
    });
    const beganMs = this.#nowMs();
    this.#firstMs ??= beganMs;
    await this.#commit({ released, booked: attempts }, Date.now());
    const fromMs = this.#nowMs();
    this.#lastMs = fromMs;
    this.#committingMs += fromMs - beganMs;
    this.#commits++;
    for (const [at, one] of attempts.entries()) {
      const running = { ...one, flavour: booked[at]!.flavour, fromMs };
      this.#running.set(one.work, running);
      this.#ends.push(fromMs + one.work.runtimeMs, running);
    }
  }

  #stop(running: Running, nowMs: number, finished: boolean): void {
    const { work, flavour, fromMs } = running;
    this.#running.delete(work);
    this.#judge?.stop(running);
    this.#runs.push({ work, flavour, fromMs, toMs: nowMs, finished });
    this.#scheduler.leave(work, nowMs);
    if (finished) this.ended++;
  }

  #untilDue(nowMs: number): number {
    const nextArrivalMs = this.#works[this.#arrived]?.createdAtMs ?? Number.POSITIVE_INFINITY;
    const dueMs = Math.min(nextArrivalMs, this.#ends.peekKey() ?? Number.POSITIVE_INFINITY);
    assert(Number.isFinite(dueMs) || this.ended === this.#works.length, 'something is still to come');
    return Math.max(0, dueMs - nowMs);
  }
}
