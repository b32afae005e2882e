import { assert } from '../../core/assert.ts';
import { advance, type BookingEvent, type BookingState, type Hold, isEnded } from '../../core/booking.ts';
import type { Json } from '../../core/canonical.ts';
import { attemptKey } from '../../core/ids.ts';
import { appendAudits, type NewAuditEvent } from '../../ledger/audit/append.ts';
import { putEvidences } from '../../ledger/audit/evidence.ts';
import { trailAgeMs } from '../../ledger/audit/sequencer.ts';
import { executeMany } from '../../ledger/quota/execute.sql.ts';
import type { Failure, TransferRequest } from '../../ledger/quota/transfer.ts';
import { int8Array, textArray, timestampArray } from '../../platform/pg-arrays.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { Booking } from './booking-store.ts';
import { MAX_UNSEALED_MS } from './limits.ts';

/**
 * One transition of a booking with all that changes beside it, as a value: what is committed together can then be many
 * bookings' moves, each of which succeeds or is refused by itself.
 */
export interface Move {
  readonly booking: Booking;
  readonly event: BookingEvent;
  readonly actor: string;
  readonly nowMs: number;
  /** What peers were asked and answered; the audit event names it by hash. */
  readonly evidence?: readonly object[];
  /** Linked: all of them, or the move is refused with the first one's failure. */
  readonly transfers?: readonly TransferRequest[];
  /** Pending transfers to void where they are still open; one that expired meanwhile is undone already. */
  readonly voids?: readonly string[];
  readonly attempt?: AttemptChange;
  /** Every older audit event must be under a signed checkpoint. */
  readonly needsSealedTrail?: boolean;
  /** More of what the audit event tells. */
  readonly data?: { readonly [key: string]: Json };
}

/** What becomes of the attempt's row. */
export type AttemptChange =
  | { readonly kind: 'begin'; readonly pool: string; readonly flavour: string; readonly provider: string }
  | { readonly kind: 'started'; readonly handle: object }
  | {
      readonly kind: 'ended';
      readonly endedAtMs: number;
      readonly outcome: string;
      readonly code: string;
      readonly message: string;
    };

export type MoveResult =
  | { readonly kind: 'moved'; readonly booking: Booking }
  /** Somebody else moved the booking first. */
  | { readonly kind: 'stale' }
  | { readonly kind: 'ledger_refused'; readonly outcome: Failure }
  | { readonly kind: 'trail_not_sealed' };

/** Moves of one transaction. */
export const MAX_MOVES = 500;

interface Going {
  readonly index: number;
  readonly move: Move;
  readonly next: BookingState;
  readonly transfers: readonly TransferRequest[];
}

/**
 * Commits moves of different bookings in the caller's transaction, in a number of statements that does not depend on how many they are.
 * Rows are locked booking first, in id order, accounts after.
 */
export async function commitMoves(tx: Tx, moves: readonly Move[]): Promise<readonly MoveResult[]> {
  assert(moves.length <= MAX_MOVES, `at most ${MAX_MOVES} moves a transaction`);
  assert(new Set(moves.map((move) => move.booking.bookingId)).size === moves.length, 'one move a booking');
  const results: MoveResult[] = moves.map(() => ({ kind: 'stale' }));
  const going = await lockAndAdvance(tx, moves, results);
  const taken = await moveMoney(tx, going, results);
  if (taken.length === 0) return results;
  await storeStates(tx, taken);
  await storeAttempts(tx, taken);
  const hashes = await putEvidences(
    tx,
    taken.flatMap(({ move }) => (move.evidence ?? []).map((content) => ({ tenant: move.booking.tenant, content }))),
  );
  let at = 0;
  const events: NewAuditEvent[] = [];
  for (const one of taken) {
    const count = one.move.evidence?.length ?? 0;
    events.push(eventOf(one, hashes.slice(at, at + count), one.records));
    at += count;
    const { booking, nowMs } = one.move;
    const moved = { ...booking, state: one.next, version: booking.version + 1n, updatedAtMs: nowMs };
    results[one.index] = { kind: 'moved', booking: moved };
  }
  await appendAudits(tx, events);
  return results;
}

async function lockAndAdvance(tx: Tx, moves: readonly Move[], results: MoveResult[]): Promise<readonly Going[]> {
  const locked = await tx.query<{ booking_id: string; version: bigint; held: Hold | null }>(
    "select booking_id, version, data->'held' as held from bookings where booking_id = any($1::text[]) order by booking_id for update",
    [textArray(moves.map((move) => move.booking.bookingId))],
  );
  const rows = new Map(locked.map((row) => [row.booking_id, row]));
  const unsealed =
    moves.some((move) => move.needsSealedTrail === true) &&
    (await trailAgeMs(tx, Math.max(...moves.map((move) => move.nowMs)))) >= MAX_UNSEALED_MS;
  const asked = moves.flatMap((move) => move.voids ?? []);
  const resolved = new Set(
    asked.length === 0
      ? []
      : (
          await tx.query<{ pending_id: string }>(
            'select pending_id from transfers where pending_id = any($1::text[])',
            [textArray(asked)],
          )
        ).map((row) => row.pending_id),
  );
  return moves.flatMap((move, index): readonly Going[] => {
    const { booking, event } = move;
    const row = rows.get(booking.bookingId);
    if (row === undefined || row.version !== booking.version) return [];
    // A hold is a flag that leaves the version as it is: what is stored decides, not what this writer knew.
    const { state } = booking;
    const next = advance(state.state === 'waiting' && row.held !== null ? { ...state, held: row.held } : state, event);
    if (next === undefined) return [];
    if (unsealed && move.needsSealedTrail === true) {
      results[index] = { kind: 'trail_not_sealed' };
      return [];
    }
    const voids = (move.voids ?? [])
      .filter((pendingId) => !resolved.has(pendingId))
      .map((pendingId) => ({ id: `${pendingId}-void`, kind: 'void', pendingId }) as const);
    return [{ index, move, next, transfers: [...(move.transfers ?? []), ...voids] }];
  });
}

type Taken = Going & { readonly records: readonly Json[] };

async function moveMoney(tx: Tx, going: readonly Going[], results: MoveResult[]): Promise<readonly Taken[]> {
  const batches = going.map(({ move, transfers }) => ({
    context: {
      tenant: move.booking.tenant,
      bookingId: move.booking.bookingId,
      attempt: move.booking.state.attempt,
      nowMs: move.nowMs,
    },
    transfers,
  }));
  const answers = await executeMany(tx, batches);
  return going.flatMap((one, i): readonly Taken[] => {
    const answer = answers[i];
    assert(answer !== undefined, 'each batch has a result');
    if (answer.ok) return [{ ...one, records: answer.records.map((record) => ({ ...record })) }];
    results[one.index] = { kind: 'ledger_refused', outcome: answer.outcome };
    return [];
  });
}

async function storeStates(tx: Tx, taken: readonly Taken[]): Promise<void> {
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

async function storeAttempts(tx: Tx, taken: readonly Taken[]): Promise<void> {
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

function eventOf({ move, next }: Going, evidence: readonly string[], transfers: readonly Json[]): NewAuditEvent {
  const { booking } = move;
  return {
    tenant: booking.tenant,
    subject: `booking/${booking.bookingId}`,
    type: `booking.${next.state}`,
    at: new Date(move.nowMs).toISOString(),
    actor: move.actor,
    trace: booking.traceId,
    data: {
      attempt: next.attempt,
      ...reasonData(next),
      ...(evidence.length === 0 ? {} : { evidence }),
      ...(transfers.length === 0 ? {} : { transfers }),
      ...move.data,
    },
  };
}

function reasonData(state: BookingState): { readonly [key: string]: Json } {
  if (state.state === 'releasing' || state.state === 'draining')
    return { outcome: state.outcome, reason: { ...state.reason } };
  if (isEnded(state.state) && 'reason' in state) return { reason: { ...state.reason } };
  return {};
}
