import { type BookingState, isEnded, type Placement } from '../../core/booking.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { isDatabaseAway, StaleLeader } from '../../platform/postgres.ts';
import { runInTraceId, withSpan } from '../../platform/trace.ts';
import { ProviderError } from '../../providers/provider.ts';
import { Disappearances } from '../reconcile/disappearance.ts';
import { watchSignatures } from '../signatures/await-signatures.ts';
import { ACTOR, confirmAndApply, holdMoney, requestProvider, type StepResult } from './apply.saga.ts';
import { type Booking, StaleBooking } from './booking-store.ts';
import type { SagaContext, StepContext } from './context.ts';
import { DueQueue } from './due-queue.ts';
import { EtaSampler } from './eta-record.ts';
import { watchLease } from './extend.saga.ts';
import { GroupCommit } from './group-commit.ts';
import { RETRY_MAX_MS, RETRY_MIN_MS } from './limits.ts';
import { LiveBookings } from './live-bookings.ts';
import { LogKeeper } from './log-keeper.ts';
import { reconcileHold, watchMoney } from './money-alone.saga.ts';
import { isMoneyAlone } from './money-alone.ts';
import { leavePool, preempt } from './preempt.ts';
import { releaseAll } from './release.saga.ts';
import { keepReasons, reserve } from './reserve.ts';
import { watchRun } from './run.saga.ts';
import { RunKeeper } from './run-keeper.ts';
import { type Lane, StepSlots } from './step-slots.ts';
import type { TenantDecisions, TenantPlan } from './tenant-plan.ts';
import { reasonsOf } from './wait-reasons.ts';

/**
 * The allocator: plans the waiting bookings, and carries every other live booking to its next state. One leader runs it; all
 * it knows is in Postgres, so that a restart, on this machine or another, goes on where it was. One step of a booking runs at a time;
 * different bookings run side by side, as many as StepSlots gives, and commit together.
 */
export class Allocator {
  readonly #ctx: StepContext;
  readonly #live: LiveBookings;
  readonly #slots = new StepSlots();
  readonly #running = new Set<Promise<void>>();
  /** Admitted, and waiting for a step. */
  readonly #admitted = new Map<string, Placement>();
  readonly #due = new DueQueue();
  readonly #tries = new Map<string, number>();
  readonly #etas = new EtaSampler();
  #wakeUp: (() => void) | undefined;
  #woken = false;

  constructor(ctx: SagaContext) {
    const moves = new GroupCommit(ctx.desk);
    this.#live = new LiveBookings(ctx);
    this.#ctx = {
      ...ctx,
      commit: (move) => moves.commit(move),
      disappearances: new Disappearances(),
      logs: new LogKeeper(ctx),
      runs: new RunKeeper(ctx),
      runningIn: (tenant, pool) => this.#live.runningIn(tenant, pool),
      signingOf: (tenant) => this.#live.signingOf(tenant),
    };
  }

  /** Something may have changed: look now. `bookingId` empty or undefined: anything may have. */
  wake(bookingId?: string): void {
    this.#live.tell(bookingId);
    this.#wake();
  }

  #wake(): void {
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
    await Promise.allSettled(this.#running);
    if (stale !== undefined) throw stale;
  }

  /** One look at what changed and what is due. Resolves once each step that has room was started, not once it ended. */
  async #pass(): Promise<void> {
    const nowMs = this.#ctx.clock.now();
    for (const booking of await this.#live.follow((id) => this.#slots.isInFlight(id))) this.#took(booking);
    for (const plan of await this.#live.plans()) {
      const startedAt = performance.now();
      const decisions = plan.decide(nowMs);
      this.#ctx.metrics.planned((performance.now() - startedAt) / 1000);
      await this.#carryOut(plan, decisions);
    }
    this.#ctx.metrics.waiting(this.#live.waiting());
    for (const id of this.#due.take(nowMs)) {
      const booking = this.#live.get(id);
      // One that is in flight is due again when its step says.
      if (booking !== undefined && !this.#slots.isInFlight(id)) this.#slots.wait(id, laneOf(booking), 'due');
    }
    this.#startSteps();
  }

  /** A booking as it now stands, from Postgres or from a step of ours. */
  #took(booking: Booking): void {
    const id = booking.bookingId;
    if (isEnded(booking.state.state)) this.#tries.delete(id);
    if (booking.state.state !== 'waiting') this.#admitted.delete(id);
    if (isEnded(booking.state.state) || booking.state.state === 'waiting') this.#due.delete(id);
    else this.#due.set(id, this.#ctx.clock.now());
  }

  async #carryOut(plan: TenantPlan, decisions: TenantDecisions): Promise<void> {
    const ctx = this.#ctx;
    for (const { booking, placement } of decisions.admitted) {
      this.#admitted.set(booking.bookingId, placement);
      this.#slots.wait(booking.bookingId, { tenant: booking.tenant, pool: placement.pool }, 'admitted');
    }
    for (const preemption of decisions.preempted) plan.owe(preemption);
    const refusals = decisions.refused
      .filter(({ booking }) => !this.#slots.isInFlight(booking.bookingId))
      .filter((refusal) => this.#isFinal(refusal))
      .map(async ({ booking, type, reason }) => {
        this.#admitted.delete(booking.bookingId);
        await this.#moved(
          ctx.commit({ booking, event: { type, reason }, actor: ACTOR, nowMs: ctx.clock.now() }),
          booking,
        );
      });
    const owed = plan.owed().filter(({ victim }) => !this.#slots.isInFlight(victim.bookingId));
    const preemptions = owed.map(({ victim, decision }) =>
      this.#moved(preempt(ctx, victim, decision, plan.booking(decision.for)), victim),
    );
    const leaving = decisions.leaving
      .filter(({ booking }) => !this.#slots.isInFlight(booking.bookingId))
      .map(({ booking, pool, machine }) => this.#moved(leavePool(ctx, booking, pool, machine), booking));
    const reasons = keepReasons(
      ctx,
      decisions.waiting.map(({ booking, waiting }) => ({ booking, reasons: reasonsOf(waiting) })),
    );
    const told = this.#etas.draw(plan, decisions, ctx.clock.now());
    const recorded = told.length === 0 ? [] : [ctx.desk.noteEtas(told)];
    const [noted] = await Promise.all([reasons, ...refusals, ...preemptions, ...leaving, ...recorded]);
    for (const booking of noted) this.#live.noted(booking);
  }

  /** That it can never start is said once, so it is said by what was read after it came. */
  #isFinal({ booking, type }: TenantDecisions['refused'][number]): boolean {
    if (type !== 'declare_infeasible' || this.#live.isJudged(booking)) return true;
    this.#woken = true;
    return false;
  }

  /** Takes up where a move led; what somebody else moved first is read again. */
  async #moved(move: Promise<Booking | undefined>, before: Booking): Promise<void> {
    try {
      const booking = await move;
      if (booking === undefined) return;
      this.#ctx.metrics.transition(booking.state.state);
      this.#live.put(booking);
      this.#took(booking);
    } catch (error) {
      if (!(error instanceof StaleBooking)) throw error;
      this.#live.tell(before.bookingId);
      this.#woken = true;
    }
  }

  #startSteps(): void {
    for (let next = this.#slots.take(); next !== undefined; next = this.#slots.take()) {
      const { id, kind } = next;
      const booking = this.#live.get(id);
      const placement = kind === 'admitted' ? this.#admitted.get(id) : undefined;
      const isAdmitted = placement !== undefined;
      // It may have moved on while it waited here.
      if (booking === undefined || isAdmitted !== (booking.state.state === 'waiting')) this.#slots.ended(id);
      else if (placement !== undefined && this.#live.isClosed(booking, placement)) {
        this.#slots.ended(id);
        this.#live.back(id, 0);
        this.#woken = true;
      } else this.#start(booking, placement);
      if (kind === 'admitted') this.#admitted.delete(id);
    }
  }

  #start(booking: Booking, placement: Placement | undefined): void {
    const running = this.#drive(booking, placement).finally(() => {
      this.#running.delete(running);
      this.#slots.ended(booking.bookingId);
      this.#wake();
    });
    this.#running.add(running);
  }

  /** Steps one booking as far as it goes without waiting. */
  async #drive(first: Booking, placement: Placement | undefined): Promise<void> {
    let booking = first;
    for (;;) {
      const before = booking.state.state;
      const result = await this.#step(booking, before === 'waiting' ? placement : undefined);
      if (result.kind !== 'moved') {
        this.#pause(booking, result);
        return;
      }
      booking = result.booking;
      this.#tries.delete(booking.bookingId);
      this.#ctx.metrics.transition(booking.state.state);
      this.#live.put(booking);
      this.#took(booking);
      if (booking.state.state === 'waiting' || isEnded(booking.state.state)) return;
    }
  }

  #pause(booking: Booking, result: Exclude<StepResult, { kind: 'moved' }>): void {
    const id = booking.bookingId;
    const tries = result.kind === 'retry' ? (this.#tries.get(id) ?? 0) + 1 : 0;
    this.#tries.set(id, tries);
    const waitMs =
      result.kind === 'idle' ? result.againInMs : Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.min(tries - 1, 16));
    const atMs = this.#ctx.clock.now() + waitMs;
    // What could not be reserved goes back to the planner, which offers it again then.
    if (booking.state.state === 'waiting') this.#live.back(id, atMs);
    else this.#due.set(id, atMs);
  }

  async #step(booking: Booking, placement: Placement | undefined): Promise<StepResult> {
    try {
      const span = () =>
        withSpan('booking.step', { 'merit.state': booking.state.state }, () => this.#action(booking, placement));
      return await runInTraceId(booking.traceId, span);
    } catch (error) {
      if (error instanceof StaleBooking) {
        this.#live.tell(booking.bookingId);
        return { kind: 'idle', againInMs: 0 };
      }
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
    const mend = error.mend ?? 'start or mend SentinelNet; the booking goes on by itself';
    const reasons = [{ code: 'policy_unavailable', text: why, mend }];
    for (const noted of await keepReasons(this.#ctx, [{ booking, reasons }])) this.#live.noted(noted);
  }

  #action(booking: Booking, placement: Placement | undefined): Promise<StepResult> {
    const ctx = this.#ctx;
    const state: BookingState = booking.state;
    switch (state.state) {
      case 'waiting':
        return placement === undefined
          ? Promise.resolve({ kind: 'idle', againInMs: 0 })
          : reserve(ctx, booking, placement);
      case 'reserved':
        return holdMoney(ctx, booking, state);
      case 'requesting':
        return isMoneyAlone(booking) ? reconcileHold(ctx, booking, state) : requestProvider(ctx, booking, state);
      case 'confirming':
        return confirmAndApply(ctx, booking, state);
      case 'applied':
        return isMoneyAlone(booking) ? watchMoney(ctx, booking, state) : watchLease(ctx, booking, state);
      case 'draining':
        return isMoneyAlone(booking) ? watchMoney(ctx, booking, state) : watchRun(ctx, booking, state);
      case 'releasing':
        return releaseAll(ctx, booking, state);
      case 'awaiting_signatures':
        return watchSignatures(ctx, booking, state);
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
    const next = Math.min(this.#due.nextMs() ?? Number.POSITIVE_INFINITY, this.#live.nextWakeMs(nowMs));
    return Math.min(this.#ctx.planEveryMs, Math.max(MIN_PAUSE_MS, next - nowMs));
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    const early = new AbortController();
    this.#wakeUp = () => early.abort();
    await this.#ctx.clock.sleep(ms, AbortSignal.any([signal, early.signal]));
    this.#wakeUp = undefined;
  }
}

const MIN_PAUSE_MS = 20;

/** Whoever waits for signatures asks no provider. */
function laneOf({ tenant, state }: Booking): Lane {
  return { tenant, pool: 'placement' in state ? state.placement.pool : '' };
}
