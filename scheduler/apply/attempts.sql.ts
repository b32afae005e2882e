import type { Booking } from './booking-store.ts';
import type { StepContext } from './context.ts';

/** How earlier attempts of a booking that had started ended: preempted, or otherwise with another attempt. */
export async function endedAttempts(
  ctx: StepContext,
  { bookingId }: Booking,
): Promise<{ readonly failed: number; readonly preempted: number }> {
  const [row] = await ctx.db.asEngine((tx) =>
    tx.query<{ failed: bigint; preempted: bigint }>(
      `select count(*) filter (where end_code is distinct from 'preempted') as failed, count(*) filter (where end_code = 'preempted') as preempted
       from attempts where booking_id = $1 and started_at is not null and outcome = 'retry'`,
      [bookingId],
    ),
  );
  return { failed: Number(row?.failed ?? 0n), preempted: Number(row?.preempted ?? 0n) };
}
