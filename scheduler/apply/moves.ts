import { assert } from '../../core/assert.ts';
import { advance, type BookingEvent, type BookingState, eventName, type Hold, isEnded } from '../../core/booking.ts';
import type { Json } from '../../core/canonical.ts';
import { appendAfter, type LastNumbers, lastNumbers, type NewAuditEvent } from '../../ledger/audit/append.ts';
import { sealEvidences, storeEvidences } from '../../ledger/audit/evidence.ts';
import { trailAgeMs } from '../../ledger/audit/sequencer.ts';
import { executeMany } from '../../ledger/quota/execute.sql.ts';
import type { Batch, BatchResult, Failure, TransferRequest } from '../../ledger/quota/transfer.ts';
import { textArray } from '../../platform/pg-arrays.ts';
import type { Tx } from '../../platform/postgres.ts';
import { settleProposals, usableProposals } from '../signatures/move-proposals.sql.ts';
import type { NewProposal } from '../signatures/proposal.ts';
import type { Booking } from './booking-store.ts';
import { MAX_UNSEALED_MS } from './limits.ts';
import { storeAttempts, storeStates } from './move-rows.sql.ts';

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
  /** What people have to sign from now on. */
  readonly proposes?: NewProposal;
  /** The signatures it rests on, counted by this version of the signing policy: used up by it, once. */
  readonly quorum?: { readonly proposal: string; readonly signers: bigint };
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
  | { readonly kind: 'trail_not_sealed' }
  /** The signatures it rests on count no more, or are used. */
  | { readonly kind: 'quorum_lost' };

/** Moves of one transaction. */
export const MAX_MOVES = 500;

/** A move that the ledger took: what has to be written of it. */
export interface Taken {
  readonly index: number;
  readonly move: Move;
  readonly next: BookingState;
  /** Transfers as the audit event names them. */
  readonly records: readonly Json[];
}

interface Going extends Omit<Taken, 'records'> {
  readonly transfers: readonly TransferRequest[];
}

/** Age of the oldest audit event that is not under a signed checkpoint, at the moment of the call. */
export type TrailAge = (tx: Tx) => Promise<number>;

/** The trail grew too old while its transaction was under way: all of it is undone. */
export class TrailAged extends Error {
  override name = 'TrailAged';
}

/**
 * Commits moves of different bookings in the caller's transaction, in a number of statements that does not depend on how many they are.
 * Rows are locked booking first, in id order, accounts after. What asks for a sealed trail is refused by itself where it is not; looked at again
 * after all else is written, so that what a slow transaction commits is no older: throws TrailAged then. Its caller commits at once.
 */
export async function commitMoves(
  tx: Tx,
  moves: readonly Move[],
  ageOf: TrailAge = trailAgeMs,
): Promise<readonly MoveResult[]> {
  assert(moves.length <= MAX_MOVES, `at most ${MAX_MOVES} moves a transaction`);
  assert(new Set(moves.map((move) => move.booking.bookingId)).size === moves.length, 'one move a booking');
  const results: MoveResult[] = moves.map(() => ({ kind: 'stale' }));
  const { going, numbers } = await lockAndAdvance(tx, moves, results, ageOf);
  let taken: readonly Taken[] = [];
  await executeMany(tx, going.map(batchOf), async (answers) => {
    taken = takenOf(going, answers, results);
    if (taken.length === 0) return;
    // Each is made ready while Postgres does the one before it.
    await Promise.all([
      storeStates(tx, taken),
      storeAttempts(tx, taken),
      tell(tx, taken, numbers),
      settleProposals(tx, taken),
    ]);
  });
  const sealed = taken.some(({ move }) => move.needsSealedTrail === true);
  if (sealed && (await ageOf(tx)) >= MAX_UNSEALED_MS) throw new TrailAged(`of ${taken.length} moves`);
  return results;
}

async function lockAndAdvance(
  tx: Tx,
  moves: readonly Move[],
  results: MoveResult[],
  ageOf: TrailAge,
): Promise<{ readonly going: readonly Going[]; readonly numbers: LastNumbers }> {
  const locked = await tx.query<{ booking_id: string; version: bigint; held: Hold | null }>(
    "select booking_id, version, data->'held' as held from bookings where booking_id = any($1::text[]) order by booking_id for update",
    [textArray(moves.map((move) => move.booking.bookingId))],
  );
  const rows = new Map(locked.map((row) => [row.booking_id, row]));
  // Under the locks: nobody else writes of these bookings any more.
  const [unsealed, resolved, numbers, usable] = await Promise.all([
    moves.some((move) => move.needsSealedTrail === true) && ageOf(tx).then((ageMs) => ageMs >= MAX_UNSEALED_MS),
    resolvedOf(
      tx,
      moves.flatMap((move) => move.voids ?? []),
    ),
    lastNumbers(
      tx,
      moves.map(({ booking }) => ({ tenant: booking.tenant, subject: subjectOf(booking) })),
    ),
    usableProposals(tx, moves),
  ]);
  const going = moves.flatMap((move, index): readonly Going[] => {
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
    if (move.quorum !== undefined && !usable.has(move.quorum.proposal)) {
      results[index] = { kind: 'quorum_lost' };
      return [];
    }
    const voids = (move.voids ?? [])
      .filter((pendingId) => !resolved.has(pendingId))
      .map((pendingId) => ({ id: `${pendingId}-void`, kind: 'void', pendingId }) as const);
    return [{ index, move, next, transfers: [...(move.transfers ?? []), ...voids] }];
  });
  return { going, numbers };
}

async function resolvedOf(tx: Tx, pendingIds: readonly string[]): Promise<ReadonlySet<string>> {
  if (pendingIds.length === 0) return new Set();
  const rows = await tx.query<{ pending_id: string }>(
    'select pending_id from transfers where pending_id = any($1::text[])',
    [textArray(pendingIds)],
  );
  return new Set(rows.map((row) => row.pending_id));
}

function batchOf({ move, transfers }: Going): Batch {
  const { booking, nowMs } = move;
  const { tenant, bookingId, state } = booking;
  return { context: { tenant, bookingId, attempt: state.attempt, nowMs }, transfers };
}

/** Those that the ledger took; of each its result is noted. */
function takenOf(going: readonly Going[], answers: readonly BatchResult[], results: MoveResult[]): readonly Taken[] {
  return going.flatMap((one, i): readonly Taken[] => {
    const answer = answers[i];
    assert(answer !== undefined, 'each batch has a result');
    const { booking, nowMs } = one.move;
    results[one.index] = answer.ok
      ? { kind: 'moved', booking: { ...booking, state: one.next, version: booking.version + 1n, updatedAtMs: nowMs } }
      : { kind: 'ledger_refused', outcome: answer.outcome };
    return answer.ok ? [{ ...one, records: answer.records.map((record) => ({ ...record })) }] : [];
  });
}

/** The evidence and the audit event of each. */
async function tell(tx: Tx, taken: readonly Taken[], numbers: LastNumbers): Promise<void> {
  const evidence = sealEvidences(
    taken.flatMap(({ move }) => (move.evidence ?? []).map((content) => ({ tenant: move.booking.tenant, content }))),
  );
  const kept = storeEvidences(tx, evidence);
  let at = 0;
  const events = taken.map((one) => {
    const from = at;
    at += one.move.evidence?.length ?? 0;
    return eventOf(
      one,
      evidence.slice(from, at).map(({ hash }) => hash),
    );
  });
  await Promise.all([kept, appendAfter(tx, numbers, events)]);
}

const subjectOf = (booking: Booking): string => `booking/${booking.bookingId}`;

function eventOf({ move, next, records }: Taken, evidence: readonly string[]): NewAuditEvent {
  const { booking } = move;
  return {
    tenant: booking.tenant,
    subject: subjectOf(booking),
    type: eventName(move.event, next),
    at: new Date(move.nowMs).toISOString(),
    actor: move.actor,
    trace: booking.traceId,
    data: {
      attempt: next.attempt,
      ...reasonData(next),
      ...(evidence.length === 0 ? {} : { evidence }),
      ...(records.length === 0 ? {} : { transfers: records }),
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
