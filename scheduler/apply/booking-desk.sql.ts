import type { Manifest } from '../../artifacts/manifest.ts';
import { loadManifest, recordManifest } from '../../artifacts/store.ts';
import { assert } from '../../core/assert.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import { putEvidence } from '../../ledger/audit/evidence.ts';
import { expire, MAX_EXPIRE_LIMIT } from '../../ledger/quota/execute.sql.ts';
import type { Database, Tx } from '../../platform/postgres.ts';
import { loadConfig } from '../../pools/load-config.ts';
import type { OwnedAttempt } from '../reconcile/plan.ts';
import { expireProposals, standingPolicy } from '../signatures/proposals.sql.ts';
import { enoughSigned, quorumOf } from '../signatures/quorum.ts';
import { unreachable } from '../signatures/reachable.ts';
import { ACTOR } from './apply.saga.ts';
import type { BookingDesk, EndedAttempts, PoolName } from './booking-desk.ts';
import {
  type Booking,
  bookingsById,
  dependencyStates,
  liveBookings,
  liveStamps,
  loadBooking,
  note,
  noteReasons,
  StaleBooking,
} from './booking-store.ts';
import { noteEtas } from './eta-record.sql.ts';
import { postgresLogBook } from './log-book.sql.ts';
import { commitMoves } from './moves.ts';
import { postgresRunBook } from './run-book.sql.ts';
import type { LiveBooking } from './tenant-plan.ts';

/** The desk of the process that leads by `epoch`. */
export function postgresDesk(db: Database, epoch: bigint): BookingDesk {
  return {
    logs: postgresLogBook(db, epoch),
    runs: postgresRunBook(db, epoch),
    live: () => db.asEngine(async (tx) => withNeeds(tx, await liveBookings(tx))),
    liveStamps: () => db.asEngine(liveStamps),
    byId: async (ids) =>
      ids.length === 0 ? [] : db.asEngine(async (tx) => withNeeds(tx, await bookingsById(tx, ids))),
    facts: (tenant, nowMs, health) => loadConfig(db, tenant, nowMs, health),
    endedAttempts: (bookingId) => db.asEngine((tx) => endedAttempts(tx, bookingId)),
    manifest: (bookingId, attempt) => db.asEngine((tx) => loadManifest(tx, bookingId, attempt)),
    quorum: (proposalId, nowMs) => db.asEngine((tx) => quorumOf(tx, proposalId, nowMs)),
    enoughSigned: (proposalId) => db.asEngine((tx) => enoughSigned(tx, proposalId)),
    unreachable: (proposal, nowMs) =>
      db.asEngine(async (tx) => unreachable((await standingPolicy(tx, proposal.tenant))?.policy, proposal, [], nowMs)),
    pools: () => db.asEngine((tx) => tx.query<PoolName>('select tenant, pool from pools order by tenant, pool')),
    openAttempts: (at, keys) => db.asEngine((tx) => openAttempts(tx, at, keys)),
    commit: (moves) => db.asLeader(epoch, (tx) => commitMoves(tx, moves)),
    note: (booking, state, nowMs) => db.asLeader(epoch, (tx) => note(tx, booking, state, nowMs)),
    noteReasons: (changed) => db.asLeader(epoch, (tx) => noteReasons(tx, changed)),
    noteEtas: (samples) => db.asLeader(epoch, (tx) => noteEtas(tx, samples)),
    recordManifest: (booking, keyPrefix, manifest, nowMs) =>
      db.asLeader(epoch, (tx) => keepManifest(tx, booking, keyPrefix, manifest, nowMs)),
    expire: async (nowMs) => {
      await db.asLeader(epoch, async (tx) => {
        await expire(tx, nowMs, MAX_EXPIRE_LIMIT);
        await expireProposals(tx, nowMs);
      });
    },
    forgetReplies: async (beforeMs) => {
      await db.asLeader(epoch, (tx) =>
        tx.execute('delete from idempotency_keys where created_at < $1', [new Date(beforeMs)]),
      );
    },
  };
}

async function withNeeds(tx: Tx, bookings: readonly Booking[]): Promise<readonly LiveBooking[]> {
  const needs = await dependencyStates(tx, bookings);
  return bookings.map((booking) => ({ booking, needs: needs.get(booking.bookingId) ?? new Map() }));
}

async function endedAttempts(tx: Tx, bookingId: string): Promise<EndedAttempts> {
  const [row] = await tx.query<{ failed: bigint; preempted: bigint }>(
    `select count(*) filter (where end_code is distinct from 'preempted') as failed, count(*) filter (where end_code = 'preempted') as preempted
     from attempts where booking_id = $1 and started_at is not null and outcome = 'retry'`,
    [bookingId],
  );
  return { failed: Number(row?.failed ?? 0n), preempted: Number(row?.preempted ?? 0n) };
}

function openAttempts(tx: Tx, { tenant, pool }: PoolName, keys: readonly string[]): Promise<readonly OwnedAttempt[]> {
  return tx.query<OwnedAttempt>(
    `select a.key, b.state from attempts a join bookings b using (booking_id)
     where a.key = any($1) and a.ended_at is null
     union all
     select a.key, b.state from attempts a join bookings b using (booking_id)
     where a.tenant = $2 and a.pool = $3 and b.state in ('applied', 'draining') and a.ended_at is null and not (a.key = any($1))`,
    [keys, tenant, pool],
  );
}

async function keepManifest(
  tx: Tx,
  booking: Booking,
  keyPrefix: string,
  manifest: Manifest,
  nowMs: number,
): Promise<void> {
  const { bookingId, tenant } = booking;
  const current = await loadBooking(tx, bookingId, 'lock');
  if (current?.version !== booking.version)
    throw new StaleBooking(`booking ${bookingId} moved while its artifacts were kept`);
  const outcome = await recordManifest(tx, keyPrefix, manifest);
  assert(outcome.kind !== 'conflict', `an attempt of ${bookingId} has one manifest`);
  if (outcome.kind === 'exists') return;
  await appendAudit(tx, {
    tenant,
    subject: `booking/${bookingId}`,
    type: 'artifact.manifest',
    at: new Date(nowMs).toISOString(),
    actor: ACTOR,
    trace: booking.traceId,
    data: {
      attempt: manifest.attempt,
      sha256: outcome.sha256,
      files: String(manifest.files.length),
      bytes: String(manifest.totalBytes),
      evidence: [await putEvidence(tx, tenant, manifest)],
    },
  });
}
