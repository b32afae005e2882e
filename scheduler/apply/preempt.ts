import type { BookingEvent, Reason } from '../../core/booking.ts';
import type { Preempted } from '../admission/decision.ts';
import { ACTOR } from './apply.saga.ts';
import type { Booking } from './booking-store.ts';
import type { StepContext } from './context.ts';
import { graceMs } from './limits.ts';

/**
 * Gives a victim its notice: what runs is drained, with its grace to write a checkpoint, and goes on as its next attempt when there is room
 * again; what is still on its way is undone and waits. undefined: it leaves already, or it holds nothing any more.
 */
export async function preempt(
  ctx: StepContext,
  victim: Booking,
  decision: Preempted,
  asker: Booking | undefined,
): Promise<Booking | undefined> {
  const nowMs = ctx.clock.now();
  const event = await noticeOf(ctx, victim, decision, asker, nowMs);
  if (event === undefined) return undefined;
  const moved = await ctx.commit({ booking: victim, event, actor: ACTOR, nowMs, data: { for: decision.for } });
  ctx.metrics.preempted(victim.state.state === 'applied' ? 'drained' : 'undone');
  return moved;
}

/** Gives what runs in a pool, or on a machine of it, that is being drained its notice; it goes on as its next attempt, where it may run. */
export function leavePool(
  ctx: StepContext,
  booking: Booking,
  pool: string,
  machine: string | null,
): Promise<Booking | undefined> {
  if (booking.state.state !== 'applied') return Promise.resolve(undefined);
  const nowMs = ctx.clock.now();
  const deadlineMs = nowMs + graceMs(booking.spec);
  const until = new Date(deadlineMs).toISOString();
  const reason = {
    code: 'preempted',
    text: `${machine === null ? '' : `machine ${machine} of `}pool ${pool} is being drained; it has until ${until} to write its checkpoint`,
    mend: `nothing: it goes on as its next attempt, ${machine === null ? 'in another of its pools' : 'on another machine'} or when this one takes work again`,
  };
  const event = { type: 'drain', deadlineMs, outcome: 'retry', reason } as const;
  return ctx.commit({ booking, event, actor: ACTOR, nowMs, data: { pool, ...(machine === null ? {} : { machine }) } });
}

async function noticeOf(
  ctx: StepContext,
  victim: Booking,
  decision: Preempted,
  asker: Booking | undefined,
  nowMs: number,
): Promise<BookingEvent | undefined> {
  switch (victim.state.state) {
    case 'reserved':
    case 'requesting':
    case 'confirming':
      return { type: 'release', outcome: 'retry', reason: reasonOf(decision, asker, undefined), atMs: nowMs };
    case 'applied': {
      const deadlineMs = nowMs + graceMs(victim.spec);
      const most = victim.spec.maxPreemptions;
      const before = most === undefined ? 0 : (await ctx.desk.endedAttempts(victim.bookingId)).preempted;
      if (most !== undefined && before >= most) {
        const text = `it was preempted for the ${before + 1}. time, and may be ${most} times; makes room for ${decision.for}`;
        const reason = {
          code: 'preempted_too_often',
          text,
          mend: 'raise recovery.max_preemptions, or its priority',
          for: decision.for,
        };
        return { type: 'drain', deadlineMs, outcome: 'failed', reason };
      }
      return { type: 'drain', deadlineMs, outcome: 'retry', reason: reasonOf(decision, asker, deadlineMs) };
    }
    case 'waiting':
    case 'awaiting_signatures':
    case 'draining':
    case 'releasing':
    case 'released':
    case 'rejected':
    case 'infeasible':
    case 'failed':
    case 'expired':
    case 'cancelled':
    case 'revoked':
      return undefined;
  }
}

function reasonOf(decision: Preempted, asker: Booking | undefined, deadlineMs: number | undefined): Reason {
  const whose = asker === undefined ? '' : ` (${asker.jobName} of ${asker.division}, priority ${asker.spec.priority})`;
  const until =
    deadlineMs === undefined ? '' : `; it has until ${new Date(deadlineMs).toISOString()} to write its checkpoint`;
  return {
    code: 'preempted',
    text: `makes room for ${decision.for}${whose}${until}`,
    mend: 'nothing: it goes on as its next attempt when there is room again',
    for: decision.for,
  };
}
