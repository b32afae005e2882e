import { isEnded } from '../../core/booking.ts';
import { type BookingId, jobProducer } from '../../core/ids.ts';
import type { Tx } from '../../platform/postgres.ts';
import { type Booking, loadBooking } from './booking-store.ts';
import { createBooking } from './create-booking.ts';

export interface RetryAsk {
  readonly jobId: string;
  /** The booking that is made. */
  readonly bookingId: BookingId;
  readonly requester: string;
  readonly traceId: string;
  readonly nowMs: number;
  /** Also where it ended well. */
  readonly force: boolean;
}

export interface RetryRefusal {
  readonly kind: 'refused';
  readonly code: 'not_ended' | 'succeeded' | 'already_retried' | 'retrain' | 'deadline_passed';
  readonly text: string;
}

export type Retried = { readonly kind: 'booked' } | RetryRefusal;

/**
 * Books the job of a booking that has ended once more, with its file and code as they were; restarts and back-off begin anew. The booking that
 * ended stays as it is, and has one such successor at most. undefined: this tenant has no such booking. Throws RefusedInput where its
 * division or its class of priority is there no more.
 */
export async function retryBooking(tx: Tx, ask: RetryAsk): Promise<Retried | undefined> {
  const ended = await loadBooking(tx, ask.jobId, 'lock');
  if (ended === undefined) return undefined;
  const refusal = refusalOf(ended, ask) ?? (await successorRefusal(tx, ask.jobId));
  if (refusal !== undefined) return refusal;
  const { bookingId, requester, traceId, nowMs } = ask;
  await createBooking(tx, {
    bookingId,
    tenant: ended.tenant,
    division: ended.division,
    requester,
    actor: requester,
    traceId,
    spec: ended.spec,
    nowMs,
    retryOf: ended.bookingId,
  });
  return { kind: 'booked' };
}

/** What of the booking itself stands against another go. Pure. */
function refusalOf(
  { bookingId, spec, state }: Booking,
  ask: Pick<RetryAsk, 'nowMs' | 'force'>,
): RetryRefusal | undefined {
  if (!isEnded(state.state))
    return refused('not_ended', `the job is ${state.state}: only one that has ended starts again; cancel it first`);
  if (state.state === 'released' && !ask.force)
    return refused('succeeded', 'the job ended well: force it to have it run again');
  // Its parameters name the booking that its reports are taken in under.
  if (spec.parameters.producer === jobProducer(bookingId))
    return refused('retrain', 'the job is a retrain: `merit models retrain` asks for another one');
  if (spec.deadlineMs !== undefined && ask.nowMs >= spec.deadlineMs)
    return refused(
      'deadline_passed',
      `its deadline, ${new Date(spec.deadlineMs).toISOString()}, has passed: submit it with a later one`,
    );
  return undefined;
}

async function successorRefusal(tx: Tx, jobId: string): Promise<RetryRefusal | undefined> {
  const [row] = await tx.query<{ booking_id: string }>('select booking_id from bookings where retry_of = $1', [jobId]);
  if (row === undefined) return undefined;
  return refused('already_retried', `the job was started again as ${row.booking_id}: retry that one`);
}

function refused(code: RetryRefusal['code'], text: string): RetryRefusal {
  return { kind: 'refused', code, text };
}
