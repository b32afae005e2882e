import { randomBytes } from 'node:crypto';
import { attemptKey, type BookingId, ulid } from '../../core/ids.ts';
import { jobSpec } from '../../core/job.ts';
import { type Booking, loadBooking } from '../../scheduler/apply/booking-store.ts';
import { createBooking } from '../../scheduler/apply/create-booking.ts';
import type { TestDatabase } from './db.ts';

/** A booking with an attempt, as far as logs and artifacts are concerned; `state`: of its row, that nothing else follows. */
export async function bookingWithAttempt(
  { db }: Pick<TestDatabase, 'db'>,
  tenant: string,
  state: 'applied' | 'released' = 'applied',
): Promise<Booking> {
  const bookingId = ulid(Date.now(), randomBytes(10)) as BookingId;
  const spec = jobSpec({ name: 'train', division: 'vision', resources: { cpus: 1 }, pools: ['cpu'], run: 'true' });
  const by = {
    tenant,
    division: 'vision',
    requester: 'ada',
    actor: 'test',
    traceId: '0af7651916cd43dd8448eb211c80319c',
  };
  await db.asEngine((tx) =>
    tx.execute("insert into divisions (tenant, division) values ($1, 'vision') on conflict do nothing", [tenant]),
  );
  await db.asTenant(tenant, (tx) => createBooking(tx, { ...by, bookingId, spec, nowMs: Date.now() }));
  return db.asEngine(async (tx) => {
    await tx.execute(
      `insert into attempts (booking_id, attempt, tenant, pool, flavour, provider, key) values ($1, 1, $2, 'cpu', 'cpu', 'memory', $3)`,
      [bookingId, tenant, attemptKey(bookingId, 1)],
    );
    await tx.execute(
      `update bookings set state = $2, data = data || jsonb_build_object('state', $2::text, 'attempt', 1) where booking_id = $1`,
      [bookingId, state],
    );
    return (await loadBooking(tx, bookingId))!;
  });
}
