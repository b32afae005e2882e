import type { Placement } from '../../core/booking.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { isDatabaseAway, StaleLeader } from '../../platform/postgres.ts';
import { runInTraceId, withSpan } from '../../platform/trace.ts';
import { loadSnapshot } from '../../pools/load-snapshot.ts';
import { ProviderError } from '../../providers/provider.ts';
import { admit, type Waiting } from '../admission/admit.ts';
import { ACTOR, confirmAndApply, holdMoney, requestProvider, type StepResult } from './apply.saga.ts';
import { type Booking, liveBookings, StaleBooking } from './booking-store.ts';
import type { SagaContext, StepContext } from './context.ts';
import { GroupCommit } from './group-commit.ts';
import { MAX_STEPS_IN_FLIGHT, RETRY_MAX_MS, RETRY_MIN_MS } from './limits.ts';
import { releaseAll } from './release.saga.ts';
import { keepReasons, reserve } from './reserve.ts';
import { watchRun } from './run.saga.ts';

interface Pause {
  readonly untilMs: number;
  readonly tries: number;
}

/**
 * The allocator: plans the waiting bookings, and carries every other live booking to its next state. One leader runs it; all
 * it knows is in Postgres, so that a restart, on this machine or another, goes on where it was. One step of a booking runs at a time;
 * different bookings run side by side, at most MAX_STEPS_IN_FLIGHT.
 */
export class Allocator {
  readonly #ctx: StepContext;
  readonly #inFlight = new Map<string, Promise<void>>();
  readonly #paused = new Map<string, Pause>();
  #wakeUp: (() => void) | undefined;
  #woken = false;

  constructor(ctx: SagaContext) {
    const moves = new GroupCommit(ctx.db, ctx.epoch);
    this.#ctx = { ...ctx, commit: (move) => moves.commit(move) };
  }

  /** Something may have changed: look now. */
  wake(): void {
    this.#woken = true;
    this.#wakeUp?.();
  }

  /** Runs until `signal`; then waits for the steps under way. Throws StaleLeader when another process leads. */
  async run(signal: AbortSignal): Promise<void> {
    let stale: StaleLeader | undefined;
    while (!signal.aborted && stale === undefined) {
      this.#woken = false;
      try {
        await this.#pass();
      } catch (error) {
        if (error instanceof StaleLeader) stale = error;
        else if (isDatabaseAway(error) || error instanceof OperatingError)
          this.#ctx.log.warn({ error: String(error) }, 'the allocator cannot reach its state; it tries again');
        else throw error;
      }
      if (!this.#woken && stale === undefined) await this.#sleep(this.#nextPauseMs(), signal);
    }
    await Promise.allSettled(this.#inFlight.values());
    if (stale !== undefined) throw stale;
  }

  /** One look at everything that is live. Resolves once each due step was started, not once it ended. */
  async #pass(): Promise<void> {
    const bookings = await this.#ctx.db.asEngine(liveBookings);
    const live = new Set(bookings.map((booking) => booking.bookingId as string));
    for (const id of this.#paused.keys()) if (!live.has(id)) this.#paused.delete(id);
    const due = bookings.filter((booking) => this.#isDue(booking));
    await this.#plan(due.filter((booking) => booking.state.state === 'waiting'));
    for (const booking of due) if (booking.state.state !== 'waiting') this.#start(booking, undefined);
  }

  async #plan(waiting: readonly Booking[]): Promise<void> {
    if (waiting.length === 0) return;
    const ctx = this.#ctx;
    const snapshot = await loadSnapshot(ctx.db, waiting, (tenant, pool) => ctx.providers.away(tenant, pool));
    const queue: Waiting[] = [];
    for (const { bookingId, tenant, spec, createdAtMs, state } of waiting) {
      if (state.state === 'waiting')
        queue.push({ bookingId, tenant, spec, createdAtMs, notBeforeMs: state.notBeforeMs });
    }
    const byId = new Map(waiting.map((booking) => [booking.bookingId as string, booking]));
    for (const decision of admit(snapshot, queue, ctx.clock.now())) {
      const booking = byId.get(decision.bookingId);
      if (booking === undefined) continue;
      if (decision.kind === 'admit') this.#start(booking, decision.placement);
      else if (decision.kind === 'wait') await this.#unlessStale(() => keepReasons(ctx, booking, decision.reasons));
      else {
        const event = { type: 'declare_infeasible', reason: decision.reason } as const;
        await this.#unlessStale(() => ctx.commit({ booking, event, actor: ACTOR, nowMs: ctx.clock.now() }));
        ctx.metrics.transition('infeasible');
      }
    }
  }

  async #unlessStale(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof StaleBooking)) throw error;
    }
  }

  #isDue(booking: Booking): boolean {
    if (this.#inFlight.has(booking.bookingId)) return false;
    return (this.#paused.get(booking.bookingId)?.untilMs ?? 0) <= this.#ctx.clock.now();
  }

  #start(booking: Booking, placement: Placement | undefined): void {
    if (this.#inFlight.size >= MAX_STEPS_IN_FLIGHT || this.#inFlight.has(booking.bookingId)) return;
    const running = this.#drive(booking, placement).finally(() => {
      this.#inFlight.delete(booking.bookingId);
      this.wake();
    });
    this.#inFlight.set(booking.bookingId, running);
  }

  /** Steps one booking as far as it goes without waiting. */
  async #drive(first: Booking, placement: Placement | undefined): Promise<void> {
    let booking = first;
    for (;;) {
      const before = booking.state.state;
      const result = await this.#step(booking, before === 'waiting' ? placement : undefined);
      if (result.kind === 'moved') {
        this.#paused.delete(booking.bookingId);
        this.#ctx.metrics.transition(result.booking.state.state);
        booking = result.booking;
        if (booking.state.state === 'waiting') return;
        continue;
      }
      const tries = result.kind === 'retry' ? (this.#paused.get(booking.bookingId)?.tries ?? 0) + 1 : 0;
      const waitMs =
        result.kind === 'idle' ? result.againInMs : Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.min(tries - 1, 16));
      this.#paused.set(booking.bookingId, { untilMs: this.#ctx.clock.now() + waitMs, tries });
      return;
    }
  }

  async #step(booking: Booking, placement: Placement | undefined): Promise<StepResult> {
    try {
      const span = () =>
        withSpan('booking.step', { 'merit.state': booking.state.state }, () => this.#action(booking, placement));
      return await runInTraceId(booking.traceId, span);
    } catch (error) {
      if (error instanceof StaleBooking) return { kind: 'idle', againInMs: 0 };
      if (error instanceof StaleLeader) return { kind: 'idle', againInMs: this.#ctx.planEveryMs };
      const why = error instanceof Error ? error.message : String(error);
      const expected = error instanceof OperatingError || error instanceof ProviderError || isDatabaseAway(error);
      this.#ctx.log[expected ? 'warn' : 'error'](
        { booking: booking.bookingId, state: booking.state.state, trace: booking.traceId, error: why },
        'a step failed; it is tried again',
      );
      await this.#tellWhy(booking, error, why).catch(() => {});
      return { kind: 'retry', why };
    }
  }

  /** A booking that waits for a peer says so in `merit why`. */
  async #tellWhy(booking: Booking, error: unknown, why: string): Promise<void> {
    if (booking.state.state !== 'waiting' || !(error instanceof OperatingError)) return;
    await keepReasons(this.#ctx, booking, [
      {
        code: 'policy_unavailable',
        text: why,
        mend: error.mend ?? 'start or mend SentinelNet; the booking goes on by itself',
      },
    ]);
  }

  #action(booking: Booking, placement: Placement | undefined): Promise<StepResult> {
    const ctx = this.#ctx;
    const { state } = booking;
    switch (state.state) {
      case 'waiting':
        return placement === undefined
          ? Promise.resolve({ kind: 'idle', againInMs: 0 })
          : reserve(ctx, booking, placement);
      case 'reserved':
        return holdMoney(ctx, booking, state);
      case 'requesting':
        return requestProvider(ctx, booking, state);
      case 'confirming':
        return confirmAndApply(ctx, booking, state);
      case 'applied':
      case 'draining':
        return watchRun(ctx, booking, state);
      case 'releasing':
        return releaseAll(ctx, booking, state);
      case 'awaiting_signatures':
      case 'released':
      case 'rejected':
      case 'infeasible':
      case 'failed':
      case 'expired':
      case 'cancelled':
      case 'revoked':
        return Promise.resolve({ kind: 'idle', againInMs: ctx.planEveryMs });
    }
  }

  #nextPauseMs(): number {
    const nowMs = this.#ctx.clock.now();
    let next = this.#ctx.planEveryMs;
    for (const [id, { untilMs }] of this.#paused)
      if (!this.#inFlight.has(id)) next = Math.min(next, Math.max(20, untilMs - nowMs));
    return next;
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    const early = new AbortController();
    this.#wakeUp = () => early.abort();
    await this.#ctx.clock.sleep(ms, AbortSignal.any([signal, early.signal]));
    this.#wakeUp = undefined;
  }
}
