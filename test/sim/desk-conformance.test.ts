import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildManifest } from '../../artifacts/manifest.ts';
import { artifactsPrefix } from '../../artifacts/paths.ts';
import type { BookingEvent, BookingState, Placement } from '../../core/booking.ts';
import { type BookingId, ulid } from '../../core/ids.ts';
import { jobSpec } from '../../core/job.ts';
import { trailAgeMs } from '../../ledger/audit/sequencer.ts';
import { capacityAccount, ensureAccounts, placementAccounts, setLimit } from '../../ledger/quota/account.ts';
import type { Tx } from '../../platform/postgres.ts';
import { postgresDesk } from '../../scheduler/apply/booking-desk.sql.ts';
import type { BookingDesk } from '../../scheduler/apply/booking-desk.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import { createBookings } from '../../scheduler/apply/create-booking.ts';
import { setHold } from '../../scheduler/apply/hold.ts';
import { costOf, pendingIds, postTransfers, reserveTransfers, returnTransfers } from '../../scheduler/apply/money.ts';
import { commitMoves, type Move } from '../../scheduler/apply/moves.ts';
import { seeded } from '../bench/random.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { isWhole } from '../support/rotating.ts';
import { Life, WELL } from './life.ts';
import { MemoryBooks } from './memory-books.ts';
import { memoryDesk } from './memory-desk.ts';
import { Chance, Timeline } from './timeline.ts';

/** The memory desk is held to Postgres: the same random calls on both, and every answer compared. CI does more of them. */
const CALLS = isWhole ? 3_000 : 250;
const TENANT = 'acme';
const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const DIVISIONS = ['blue', 'green'];
/** Long ago, so that what Postgres records by its own clock is younger, and the trail is taken for sealed. */
const BASE_MS = Date.now() - 240 * 3_600_000;
const HOUR = 3_600_000;
const AT = { tenant: TENANT, pool: 'pool', flavour: 'h100', resource: 'gpu', currency: 'USD' };

let database: TestDatabase;
let epoch: bigint;
beforeAll(async () => {
  database = await testDatabase();
  epoch = await database.db.asEngine(async (tx) => {
    await tx.execute('insert into tenants (tenant) values ($1)', [TENANT]);
    await tx.execute('insert into divisions (tenant, division) select $1, unnest($2::text[])', [TENANT, DIVISIONS]);
    for (const division of DIVISIONS) await ensureAccounts(tx, placementAccounts(openOf(division)));
    const [row] = await tx.query<{ epoch: bigint }>(
      "update leader_epochs set epoch = epoch + 1 where name = 'engine' returning epoch",
    );
    return row!.epoch;
  });
});
afterAll(() => database.close());

function openOf(division: string) {
  return { ...AT, division, capacityMilli: 14_000n, quotaMilli: 9_000n, budgetCents: 20_000n };
}

/** As JSON, so that bigints, maps and what is undefined compare as what they say. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value ?? null, (_key, member: unknown) => {
      if (typeof member === 'bigint') return `${member}n`;
      return member instanceof Map ? [...member].sort() : member;
    }),
  );
}

async function answerOf(call: () => Promise<unknown>): Promise<unknown> {
  try {
    return plain(await call());
  } catch (error) {
    return { thrown: (error as Error).name };
  }
}

/** Both desks, driven by one chain of draws. */
class Twins {
  readonly chance: Chance;
  readonly books = new MemoryBooks();
  readonly real: BookingDesk;
  readonly memory: BookingDesk;
  readonly staleReal: BookingDesk;
  readonly staleMemory: BookingDesk;
  readonly ids: BookingId[] = [];
  /** Copies that somebody read and still holds. */
  readonly copies: Booking[] = [];
  /** How often each kind of answer came. */
  readonly seen = new Map<string, number>();
  nowMs = BASE_MS;
  /** Of the newest move that is being committed. */
  commitMs = BASE_MS;

  constructor(seed: number) {
    this.chance = new Chance(seeded(seed));
    this.books.epoch = epoch;
    this.books.trailAgeMs = (nowMs) => (nowMs > BASE_MS + 240 * HOUR ? 10_000 : 0);
    for (const division of DIVISIONS) this.books.ledger.open(openOf(division));
    const timeline = new Timeline();
    const life = new Life(1, timeline, this.chance);
    // No wire between: what is compared is what a call does.
    life.call = ({ effect }) => new Promise((resolve) => resolve(effect()));
    const desk = (of: bigint) => memoryDesk(this.books, of, life, WELL, () => ({}) as never);
    this.memory = desk(epoch);
    this.staleMemory = desk(epoch - 1n);
    // Postgres has a clock of its own; here the time is that of the calls.
    const ageOf = (tx: Tx) => trailAgeMs(tx, this.commitMs);
    const real = (of: bigint): BookingDesk => ({
      ...postgresDesk(database.db, of),
      commit: (moves) => database.db.asLeader(of, (tx) => commitMoves(tx, moves, ageOf)),
    });
    this.real = real(epoch);
    this.staleReal = real(epoch - 1n);
  }

  async both(name: string, call: (desk: BookingDesk) => Promise<unknown>, isStale = false): Promise<unknown> {
    const real = await answerOf(() => call(isStale ? this.staleReal : this.real));
    const memory = await answerOf(() => call(isStale ? this.staleMemory : this.memory));
    expect({ call: name, answer: memory }).toEqual({ call: name, answer: real });
    return real;
  }

  async create(): Promise<void> {
    const { chance } = this;
    const spec = jobSpec({
      name: 'train',
      division: chance.of(DIVISIONS),
      resources: { gpus: chance.between(1, 3) },
      pools: ['pool'],
      run: 'true',
      lease: '1h',
      ...(this.ids.length > 0 && chance.is(0.3) ? { depends_on: [chance.of(this.ids)] } : {}),
    });
    const bookingId = ulid(
      this.nowMs,
      Uint8Array.from({ length: 10 }, () => chance.between(0, 255)),
    );
    const by = { tenant: TENANT, requester: 'ada', traceId: TRACE_ID };
    const input = { ...by, bookingId, division: spec.division, actor: 'ada', spec, nowMs: this.nowMs };
    await database.db.asTenant(TENANT, (tx) => createBookings(tx, [input]));
    this.books.create([{ bookingId, spec }], by, this.nowMs);
    this.ids.push(bookingId);
  }

  /** What a caller knows of some bookings: as they are, or as they were. */
  known(most: number): readonly Booking[] {
    const found = new Map<string, Booking>();
    const live = this.books.live().map(({ booking }) => booking.bookingId);
    for (let i = this.chance.between(1, most); i > 0; i--) {
      const from = live.length > 0 && this.chance.is(0.9) ? live : this.ids;
      const now = this.books.bookings.get(this.chance.of(from))!;
      const then = this.copies.length > 0 && this.chance.is(0.15) ? this.chance.of(this.copies) : now;
      found.set(then.bookingId, then);
    }
    this.copies.push(...found.values());
    this.copies.splice(0, this.copies.length - 30);
    return [...found.values()];
  }

  async commit(): Promise<void> {
    if (this.chance.is(0.03)) this.nowMs += 11 * 60_000;
    const isLate = this.chance.is(0.15);
    this.commitMs = isLate ? this.nowMs + 480 * HOUR : this.nowMs;
    const moves = this.known(5).map((booking) => this.#move(booking, this.commitMs));
    const results = await this.both('commit', (desk) => desk.commit(moves), this.chance.is(0.05));
    for (const { kind } of Array.isArray(results) ? (results as { kind: string }[]) : [{ kind: 'thrown' }])
      this.seen.set(kind, (this.seen.get(kind) ?? 0) + 1);
  }

  #move(booking: Booking, nowMs: number): Move {
    const { state } = booking;
    const { attempt } = state;
    const by = { booking, actor: 'merit/allocator', nowMs };
    if (this.chance.is(0.1)) return { ...by, event: this.#anyEvent(nowMs) };
    switch (state.state) {
      case 'waiting': {
        const placement = this.#placement(booking);
        const transfers = reserveTransfers(booking, attempt, placement, nowMs);
        const { pool, flavour, provider } = placement;
        const row = { kind: 'begin', pool, flavour, provider } as const;
        return { ...by, event: { type: 'reserve', placement, policy: POLICY }, transfers, attempt: row };
      }
      case 'reserved':
        return this.chance.is(0.8)
          ? { ...by, event: { type: 'hold_granted', holdId: `h-${booking.bookingId}` } }
          : this.#undo(by);
      case 'requesting': {
        const handle = { provider: 'sim', id: booking.bookingId };
        const started = { kind: 'started', handle } as const;
        return this.chance.is(0.8) ? { ...by, event: { type: 'accepted', handle }, attempt: started } : this.#undo(by);
      }
      case 'confirming': {
        const event = { type: 'apply', atMs: nowMs, leaseEndsAtMs: nowMs + HOUR, policy: POLICY } as const;
        const transfers = postTransfers(booking, attempt);
        return this.chance.is(0.8) ? { ...by, event, transfers, needsSealedTrail: true } : this.#undo(by);
      }
      case 'applied':
        if (this.chance.is(0.5)) return this.#undo(by);
        return { ...by, event: { type: 'drain', deadlineMs: nowMs + 30_000, outcome: 'retry', reason: REASON } };
      case 'releasing':
        return { ...by, ...this.#release(booking, state, nowMs) };
      default:
        return this.#undo(by);
    }
  }

  #undo(by: Pick<Move, 'booking' | 'actor' | 'nowMs'>): Move {
    const outcome = this.chance.of(['retry', 'retry', 'released', 'failed', 'cancelled'] as const);
    const reason = { ...REASON, code: this.chance.of(['preempted', 'job_failed']) };
    return { ...by, event: { type: 'release', outcome, reason, atMs: by.nowMs } };
  }

  #release(
    booking: Booking,
    state: Extract<BookingState, { state: 'releasing' }>,
    nowMs: number,
  ): Omit<Move, 'booking' | 'actor' | 'nowMs'> {
    const { attempt, placement, appliedAtMs, endedAtMs, outcome, reason } = state;
    const ended = { kind: 'ended', endedAtMs, outcome, code: reason.code, message: reason.text } as const;
    const event = { type: 'released', notBeforeMs: nowMs + 1_000 } as const;
    if (appliedAtMs === null) return { event, voids: pendingIds(booking, attempt), attempt: ended };
    const cost = costOf(placement, appliedAtMs, endedAtMs);
    return { event, transfers: returnTransfers(booking, attempt, placement, cost), attempt: ended };
  }

  #anyEvent(nowMs: number): BookingEvent {
    return this.chance.of<BookingEvent>([
      { type: 'cancel', reason: REASON },
      { type: 'reject', reason: REASON },
      { type: 'quorum_met' },
      { type: 'signatures_required', policy: POLICY },
      { type: 'release', outcome: 'failed', reason: REASON, atMs: nowMs },
    ]);
  }

  #placement({ spec }: Booking): Placement {
    const { pool, flavour } = AT;
    const gpuMilli = String(spec.gpuMilli);
    const holdCents = String(this.chance.between(0, 900));
    return {
      pool,
      flavour,
      provider: 'sim',
      gpuMilli,
      cpuMilli: '1000',
      holdCents,
      currency: 'USD',
      centsPerUnitHour: '300',
    };
  }

  async flag(): Promise<void> {
    const { chance, nowMs } = this;
    const id = chance.of(this.ids);
    const wanted = chance.of(['hold', 'let_go'] as const);
    if (chance.is(0.6)) {
      await database.db.asTenant(TENANT, (tx) => setHold(tx, id, wanted, 'ada', nowMs));
      this.books.hold(id, wanted, 'ada', nowMs);
    } else {
      await database.db.asTenant(TENANT, (tx) => cancelBooking(tx, id, 'ada', nowMs));
      this.books.cancel(id, 'ada', nowMs);
    }
  }

  async note(): Promise<void> {
    const [one] = this.known(1);
    const { nowMs } = this;
    await this.both('note', (desk) => desk.note(one!, one!.state, nowMs), this.chance.is(0.1));
    const many = this.known(4).flatMap((booking) => {
      const { state } = booking;
      return state.state === 'waiting' ? [{ booking, state: { ...state, reasons: [REASON] } }] : [];
    });
    if (many.length > 0) await this.both('noteReasons', (desk) => desk.noteReasons(many), this.chance.is(0.1));
  }

  async keep(): Promise<void> {
    const [booking] = this.known(1);
    const { bookingId, state } = booking!;
    const of = {
      tenant: TENANT,
      booking: bookingId,
      attempt: state.attempt,
      job: 'train',
      model: null,
      provider: 'sim',
    };
    const manifest = buildManifest(
      { ...of, outputsUri: 's3://sim/out', createdAt: new Date(BASE_MS).toISOString() },
      [],
    );
    const prefix = artifactsPrefix(TENANT, bookingId, state.attempt);
    const { nowMs } = this;
    await this.both(
      'recordManifest',
      (desk) => desk.recordManifest(booking!, prefix, manifest, nowMs),
      this.chance.is(0.1),
    );
    await this.both('manifest', async (desk) => (await desk.manifest(bookingId, state.attempt))?.sha256);
  }

  async read(): Promise<void> {
    const ids = this.known(4).map(({ bookingId }) => bookingId);
    const byId = async (desk: BookingDesk) => [...(await desk.byId(ids))].sort(byBooking);
    const stamps = async (desk: BookingDesk) =>
      [...(await desk.liveStamps())].map(([id, { version, updatedAtMs }]) => [id, version, updatedAtMs]);
    const keys = ids.flatMap((id) => [`m-${id}-1`, `m-${id}-2`]);
    const open = async (desk: BookingDesk) =>
      [...(await desk.openAttempts(AT, keys))].sort((a, b) => (a.key < b.key ? -1 : 1));
    await this.both('byId', byId);
    await this.both('live', (desk) => desk.live());
    await this.both('liveStamps', stamps);
    await this.both('openAttempts', open);
    for (const id of ids) await this.both('endedAttempts', (desk) => desk.endedAttempts(id));
  }

  async sweep(): Promise<void> {
    const { nowMs } = this;
    await this.both('expire', (desk) => desk.expire(nowMs), this.chance.is(0.1));
    const limit = BigInt(this.chance.between(2, 14)) * 1000n;
    const account = capacityAccount(AT.tenant, AT.pool, AT.flavour, AT.resource);
    await database.db.asEngine((tx) => setLimit(tx, account, limit));
    this.books.ledger.setLimit(account, limit);
  }

  /** What both hold in the end: every account, every transfer, every event. */
  async compareAll(): Promise<void> {
    const stored = await database.db.asEngine(async (tx) => ({
      accounts: await tx.query<{ id: string; all: string }>(
        `select account_id as id, concat_ws(' ', net_limit, drain_debt, debits_pending, debits_posted, credits_pending, credits_posted) as all
         from accounts where tenant = $1`,
        [TENANT],
      ),
      transfers: await tx.query<{ id: string; kind: string; amount: bigint }>(
        'select transfer_id as id, kind, amount from transfers',
      ),
      events: await tx.query<{ subject: string; types: string[] }>(
        'select subject, array_agg(type order by subject_seq) as types from audit_events group by subject',
      ),
    }));
    const { balances, transfers } = this.books.ledger;
    const accounts = [...balances.values()].map((b) => [
      b.id,
      [b.limit, b.drainDebt, b.debitsPending, b.debitsPosted, b.creditsPending, b.creditsPosted]
        .filter((part) => part !== undefined)
        .join(' '),
    ]);
    expect(new Map(accounts as [string, string][])).toEqual(new Map(stored.accounts.map(({ id, all }) => [id, all])));
    const rows = [...transfers.values()].map(({ id, kind, amount }) => `${id} ${kind} ${amount}`);
    expect(rows.sort()).toEqual(stored.transfers.map(({ id, kind, amount }) => `${id} ${kind} ${amount}`).sort());
    const events = new Map([...this.books.events].map(([id, types]) => [`booking/${id}`, types]));
    expect(events).toEqual(new Map(stored.events.map(({ subject, types }) => [subject, types])));
  }
}

const byBooking = (a: { booking: Booking }, b: { booking: Booking }) =>
  a.booking.bookingId < b.booking.bookingId ? -1 : 1;
const REASON = { code: 'test', text: 'because', mend: 'nothing' };
const POLICY = { decisionId: 'd1', policyVersion: 'v1', requestHash: 'hash', signatures: 0 };

describe('the memory desk', () => {
  test(`answers as Postgres does, through ${CALLS} random calls, and ends with the same ledger and events`, async () => {
    const twins = new Twins(Math.floor(Date.now() / 86_400_000));
    const { chance } = twins;
    await twins.create();
    for (let i = 0; i < CALLS; i++) {
      twins.nowMs += chance.between(0, 20_000);
      const lot = chance.draw();
      if (lot < 0.1) await twins.create();
      else if (lot < 0.7) await twins.commit();
      else if (lot < 0.77) await twins.flag();
      else if (lot < 0.84) await twins.note();
      else if (lot < 0.88) await twins.keep();
      else if (lot < 0.95) await twins.read();
      else await twins.sweep();
    }
    await twins.compareAll();
    const kinds = isWhole ? ['moved', 'stale', 'ledger_refused', 'trail_not_sealed', 'thrown'] : ['moved', 'stale'];
    expect([...twins.seen.keys()]).toEqual(expect.arrayContaining(kinds));
    expect(await ledgerLeaks(database.db)).toEqual([]);
  });
});
