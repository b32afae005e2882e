import { randomBytes } from 'node:crypto';
import type { BookingEvent, Placement } from '../../../core/booking.ts';
import { ulid } from '../../../core/ids.ts';
import { jobSpec } from '../../../core/job.ts';
import { type AccountSpec, ensureAccounts, placementAccounts } from '../../../ledger/quota/account.ts';
import type { Tx } from '../../../platform/postgres.ts';
import { BOOKING_COLUMNS, type Booking, bookingOf } from '../../../scheduler/apply/booking-store.ts';
import { createBookings } from '../../../scheduler/apply/create-booking.ts';
import { GroupCommit } from '../../../scheduler/apply/group-commit.ts';
import { pendingIds, reserveTransfers } from '../../../scheduler/apply/money.ts';
import { commitMoves, type Move } from '../../../scheduler/apply/moves.ts';
import { type BenchDatabase, TENANT } from '../database.ts';
import type { Quota } from './bounds.ts';
import type { CommitCycle } from './commit-cycle.ts';
import { KUEUE_FLAVOUR, KUEUE_RESOURCE } from './kueue-generators.ts';
import type { Work } from './work.ts';

/**
 * As the engine commits, by its own moves and its group commit. What is in, for each booking: its row and version, quota and money as pending transfers, the
 * attempt's row, the policy's answer as evidence, an audit event a transition; at its end both voided, and the transitions to
 * `releasing` and on. What is not: the transitions between `reserved` and the end (requesting, confirming, applied), the peers and the provider, the
 * sequencer, and the creation of the bookings, which are there before the clock starts.
 */
export async function movesCommit(
  database: BenchDatabase,
  works: readonly Work[],
  quotas: readonly Quota[],
): Promise<CommitCycle> {
  const { db, epoch } = database;
  await db.asEngine((tx) => openPlaces(tx, quotas));
  const bookings = await createAll(database, works);
  const group = new GroupCommit({ commit: (moves) => db.asLeader(epoch, (tx) => commitMoves(tx, moves)) });
  return async ({ released, booked }, nowMs) => {
    const move = async (work: Work, event: BookingEvent, more: Partial<Move> = {}): Promise<void> => {
      const booking = bookings.get(work)!;
      bookings.set(work, await group.commit({ booking, event, actor: 'bench', nowMs, ...more }));
    };
    await Promise.all(
      released.map(({ work, evicted }) => {
        const booking = bookings.get(work)!;
        const reason = { code: 'bench', text: 'it ended', mend: 'none' };
        const outcome = evicted ? 'retry' : 'released';
        const event = { type: 'release', outcome, reason, atMs: nowMs } as const;
        return move(work, event, { voids: pendingIds(booking, booking.state.attempt) });
      }),
    );
    await Promise.all([
      ...released.map(({ work }) => move(work, { type: 'released', notBeforeMs: nowMs })),
      ...booked.map(({ work }) => {
        const booking = bookings.get(work)!;
        const { attempt } = booking.state;
        const placement = placementOf(work);
        const { pool, flavour, provider } = placement;
        return move(
          work,
          { type: 'reserve', placement, policy: policyOf(booking) },
          {
            transfers: reserveTransfers(booking, attempt, placement, nowMs),
            attempt: { kind: 'begin', pool, flavour, provider },
            evidence: [{ decision: 'allow', booking: booking.bookingId, attempt }],
          },
        );
      }),
    ]);
  };
}

const CURRENCY = 'USD';

function placementOf({ root, askMilli }: Work): Placement {
  const money = { holdCents: '1', currency: CURRENCY, centsPerUnitHour: '100' };
  const asked = { gpuMilli: '0', cpuMilli: String(askMilli) };
  return { pool: root, flavour: KUEUE_FLAVOUR, provider: 'bench', ...asked, ...money };
}

function policyOf({ specHash, bookingId }: Booking) {
  return { decisionId: bookingId, policyVersion: '1', requestHash: specHash, signatures: 0 };
}

async function openPlaces(tx: Tx, quotas: readonly Quota[]): Promise<void> {
  const divisions = [...new Set(quotas.map(({ queue }) => queue))];
  await tx.execute('insert into divisions (tenant, division) select $1, name from unnest($2::text[]) as d (name)', [
    TENANT,
    divisions,
  ]);
  const capacities = new Map<string, bigint>();
  for (const { root, nominalMilli } of quotas)
    capacities.set(root, (capacities.get(root) ?? 0n) + BigInt(nominalMilli));
  const accounts = quotas.flatMap(({ queue, root, nominalMilli, borrowMilli }) =>
    placementAccounts({
      tenant: TENANT,
      division: queue,
      pool: root,
      flavour: KUEUE_FLAVOUR,
      resource: KUEUE_RESOURCE,
      currency: CURRENCY,
      capacityMilli: capacities.get(root)!,
      quotaMilli: BigInt(nominalMilli + borrowMilli),
    }),
  );
  await ensureAccounts(tx, [...new Map(accounts.map((one): [string, AccountSpec] => [one.id, one])).values()]);
}

/** Bookings of one call. */
const CREATED_AT_ONCE = 1_000;

async function createAll({ db }: BenchDatabase, works: readonly Work[]): Promise<Map<Work, Booking>> {
  const nowMs = Date.now();
  const bookings = new Map<Work, Booking>();
  for (let from = 0; from < works.length; from += CREATED_AT_ONCE) {
    const inputs = works.slice(from, from + CREATED_AT_ONCE).map((work) => ({
      work,
      bookingId: ulid(nowMs, randomBytes(10)),
      tenant: TENANT,
      division: work.queue,
      requester: 'bench',
      actor: 'bench',
      traceId: '0'.repeat(31).concat('1'),
      nowMs,
      spec: jobSpec({
        name: work.className,
        division: work.queue,
        resources: { cpus: work.askMilli / 1000 },
        pools: [work.root],
        run: 'true',
        lease: '1h',
      }),
    }));
    await db.asTenant(TENANT, (tx) => createBookings(tx, inputs));
    const rows = await db.asEngine((tx) =>
      tx.query(`select ${BOOKING_COLUMNS} from bookings where booking_id = any($1::text[])`, [
        inputs.map(({ bookingId }) => bookingId),
      ]),
    );
    const byId = new Map(rows.map((row) => [String(bookingOf(row).bookingId), bookingOf(row)]));
    for (const { work, bookingId } of inputs) bookings.set(work, byId.get(bookingId)!);
  }
  return bookings;
}
