import { attemptKey } from '../../core/ids.ts';
import { int8Array, textArray, timestampArray } from '../../platform/pg-arrays.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { Taken } from './moves.ts';

/** Where each booking is now. As JSON of any form: jsonb has its own. */
export async function storeStates(tx: Tx, taken: readonly Taken[]): Promise<void> {
  await tx.execute(
    `update bookings b set state = n.state, data = n.data::jsonb, version = b.version + 1, updated_at = n.at
     from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) as n (id, state, data, at) where b.booking_id = n.id`,
    [
      textArray(taken.map(({ move }) => move.booking.bookingId)),
      textArray(taken.map(({ next }) => next.state)),
      textArray(taken.map(({ next }) => JSON.stringify(next))),
      timestampArray(taken.map(({ move }) => move.nowMs)),
    ],
  );
}

/** What becomes of each attempt's row. */
export async function storeAttempts(tx: Tx, taken: readonly Taken[]): Promise<void> {
  const begun = taken.flatMap(({ move }) => (move.attempt?.kind === 'begin' ? [{ ...move.attempt, move }] : []));
  if (begun.length > 0) {
    await tx.execute(
      `insert into attempts (booking_id, attempt, tenant, pool, flavour, provider, key)
       select * from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])`,
      [
        textArray(begun.map(({ move }) => move.booking.bookingId)),
        int8Array(begun.map(({ move }) => move.booking.state.attempt)),
        textArray(begun.map(({ move }) => move.booking.tenant)),
        textArray(begun.map(({ pool }) => pool)),
        textArray(begun.map(({ flavour }) => flavour)),
        textArray(begun.map(({ provider }) => provider)),
        textArray(begun.map(({ move }) => attemptKey(move.booking.bookingId, move.booking.state.attempt))),
      ],
    );
  }
  const changed = taken.flatMap(({ move }) =>
    move.attempt === undefined || move.attempt.kind === 'begin' ? [] : [{ change: move.attempt, move }],
  );
  if (changed.length === 0) return;
  const ends = changed.map(({ change }) => (change.kind === 'ended' ? change : undefined));
  await tx.execute(
    `update attempts a set handle = coalesce(n.handle::jsonb, a.handle), started_at = coalesce(n.started, a.started_at),
       ended_at = coalesce(n.ended, a.ended_at), outcome = coalesce(n.outcome, a.outcome), end_code = coalesce(n.code, a.end_code),
       message = coalesce(n.message, a.message)
     from unnest($1::text[], $2::bigint[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[], $8::text[])
       as n (id, attempt, handle, started, ended, outcome, code, message)
     where a.booking_id = n.id and a.attempt = n.attempt`,
    [
      textArray(changed.map(({ move }) => move.booking.bookingId)),
      int8Array(changed.map(({ move }) => move.booking.state.attempt)),
      textArray(changed.map(({ change }) => (change.kind === 'started' ? JSON.stringify(change.handle) : null))),
      timestampArray(changed.map(({ change, move }) => (change.kind === 'started' ? move.nowMs : null))),
      timestampArray(ends.map((end) => end?.endedAtMs ?? null)),
      textArray(ends.map((end) => end?.outcome ?? null)),
      textArray(ends.map((end) => end?.code ?? null)),
      textArray(ends.map((end) => end?.message ?? null)),
    ],
  );
}
