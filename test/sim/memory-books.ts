import { type Manifest, manifestBytes, manifestSha256 } from '../../artifacts/manifest.ts';
import type { RecordedManifest } from '../../artifacts/store.ts';
import { advance, type BookingState, eventName, isEnded, newBooking, type StateName } from '../../core/booking.ts';
import { attemptKey, type BookingId } from '../../core/ids.ts';
import { type JobSpec, specHash } from '../../core/job.ts';
import { MAX_EXPIRE_LIMIT } from '../../ledger/quota/execute.sql.ts';
import type { StoredTransfer } from '../../ledger/quota/transfer.ts';
import { StaleLeader } from '../../platform/postgres.ts';
import type { EndedAttempts, PoolName } from '../../scheduler/apply/booking-desk.ts';
import { type Booking, StaleBooking, type Stamp } from '../../scheduler/apply/booking-store.ts';
import { cancelEvent } from '../../scheduler/apply/cancel.ts';
import { extensionMove } from '../../scheduler/apply/extend.ts';
import { MAX_UNSEALED_MS } from '../../scheduler/apply/limits.ts';
import type { Move, MoveResult } from '../../scheduler/apply/moves.ts';
import type { LiveBooking } from '../../scheduler/apply/tenant-plan.ts';
import type { OwnedAttempt } from '../../scheduler/reconcile/plan.ts';
import { type NewProposal, type ProposalState, proposalEnd } from '../../scheduler/signatures/proposal.ts';
import type { Quorum } from '../../scheduler/signatures/quorum.ts';
import { MemoryLedger } from './memory-ledger.ts';

/** The version of the simulation's signing policy, which never changes. */
const SIGNERS = 1n;

interface Attempt {
  readonly tenant: string;
  readonly pool: string;
  readonly bookingId: string;
  readonly key: string;
  startedAtMs?: number;
  endedAtMs?: number;
  outcome?: string;
  code?: string;
}

/** One committed transition, as a witness sees it. */
export interface Changed {
  readonly before: Booking;
  readonly after: Booking;
  readonly transfers: readonly StoredTransfer[];
  readonly actor: string;
}

/** Is told of everything as it is committed. */
export interface Witness {
  created(booking: Booking, needs: readonly string[]): void;
  moved(epoch: bigint, changed: readonly Changed[], nowMs: number): void;
  noted(booking: Booking): void;
  expired(epoch: bigint, transfers: readonly StoredTransfer[]): void;
}

/**
 * Bookings, attempts, ledger and audit events in memory, as Postgres keeps them: each method is one transaction, taken whole or not at all.
 * Written from the meaning of the SQL, not from its text; a conformance test holds it to Postgres.
 */
export class MemoryBooks {
  readonly ledger = new MemoryLedger();
  readonly bookings = new Map<string, Booking>();
  readonly attempts = new Map<string, Attempt>();
  readonly manifests = new Map<string, RecordedManifest>();
  /** Booking → the types of its audit events. */
  readonly events = new Map<string, string[]>();
  readonly #needs = new Map<string, readonly string[]>();
  readonly #witness: Witness | undefined;
  /** What people have to sign, by id. */
  readonly proposals = new Map<string, { readonly proposal: NewProposal; state: ProposalState; usedBy?: string }>();
  pools: readonly PoolName[] = [];
  epoch = 1n;
  /** How old the oldest event is that is not under a signed checkpoint. */
  trailAgeMs: (nowMs: number) => number = () => 0;

  constructor(witness?: Witness) {
    this.#witness = witness;
  }

  live(): readonly LiveBooking[] {
    return this.#alive().map((booking) => this.#withNeeds(booking));
  }

  liveStamps(): ReadonlyMap<string, Stamp> {
    return new Map(this.#alive().map((booking) => [booking.bookingId, booking]));
  }

  byId(ids: readonly string[]): readonly LiveBooking[] {
    return ids.flatMap((id) => this.bookings.get(id) ?? []).map((booking) => this.#withNeeds(booking));
  }

  endedAttempts(bookingId: string): EndedAttempts {
    const again = [...this.attempts.values()].filter(
      (one) => one.bookingId === bookingId && one.startedAtMs !== undefined && one.outcome === 'retry',
    );
    const preempted = again.filter((one) => one.code === 'preempted').length;
    return { failed: again.length - preempted, preempted };
  }

  /** Whoever signs counts, in the simulation. */
  quorum(proposalId: string, nowMs: number): Quorum | undefined {
    const found = this.proposals.get(proposalId);
    if (found?.state !== 'met' || found.proposal.expiresAtMs <= nowMs) return undefined;
    return {
      signers: SIGNERS,
      people: ['ann', 'ben'],
      signedAtMs: found.proposal.createdAtMs,
      evidence: { proposal: proposalId },
      causes: [],
    };
  }

  openAttempts(at: PoolName, keys: readonly string[]): readonly OwnedAttempt[] {
    const open = [...this.attempts.values()].filter((one) => one.endedAtMs === undefined);
    const asked = new Set(keys);
    const stateOf = (one: Attempt) => this.bookings.get(one.bookingId)!.state.state;
    const runs = (one: Attempt) => stateOf(one) === 'applied' || stateOf(one) === 'draining';
    return open
      .filter((one) => asked.has(one.key) || (one.tenant === at.tenant && one.pool === at.pool && runs(one)))
      .map((one) => ({ key: one.key, state: stateOf(one) }));
  }

  commit(epoch: bigint, moves: readonly Move[]): readonly MoveResult[] {
    this.#fence(epoch);
    return this.#commit(epoch, moves);
  }

  note(epoch: bigint, booking: Booking, state: BookingState, nowMs: number): Booking {
    this.#fence(epoch);
    if (this.bookings.get(booking.bookingId)?.version !== booking.version)
      throw new StaleBooking(`booking ${booking.bookingId} moved on`);
    return this.#put({ ...booking, state, updatedAtMs: nowMs });
  }

  noteReasons(
    epoch: bigint,
    changed: readonly { readonly booking: Booking; readonly state: BookingState }[],
  ): readonly Booking[] {
    this.#fence(epoch);
    return changed.flatMap(({ booking, state }) => {
      const stored = this.bookings.get(booking.bookingId);
      if (stored?.version !== booking.version || stored.state.state !== 'waiting' || !('reasons' in state)) return [];
      this.#put({ ...stored, state: { ...stored.state, reasons: state.reasons } });
      return [{ ...booking, state }];
    });
  }

  recordManifest(epoch: bigint, booking: Booking, manifest: Manifest): void {
    this.#fence(epoch);
    if (this.bookings.get(booking.bookingId)?.version !== booking.version)
      throw new StaleBooking(`booking ${booking.bookingId} moved while its artifacts were kept`);
    const key = attemptKey(booking.bookingId, manifest.attempt);
    const sha256 = manifestSha256(manifest);
    const known = this.manifests.get(key);
    if (known !== undefined) {
      if (known.sha256 !== sha256) throw new Error(`an attempt of ${booking.bookingId} has one manifest`);
      return;
    }
    this.manifests.set(key, { manifestId: key, sha256, bytes: manifestBytes(manifest) });
    this.#tell(booking.bookingId, 'artifact.manifest');
  }

  expire(epoch: bigint, nowMs: number): void {
    this.#fence(epoch);
    const expired = this.ledger.expire(nowMs, MAX_EXPIRE_LIMIT);
    const told = new Set(expired.flatMap(({ bookingId }) => bookingId ?? []));
    for (const id of told) this.#tell(id, 'ledger.expired');
    if (expired.length > 0) this.#witness?.expired(epoch, expired);
  }

  // What people do, through the API.

  create(
    inputs: readonly { readonly bookingId: BookingId; readonly spec: JobSpec }[],
    by: Pick<Booking, 'tenant' | 'requester' | 'traceId'>,
    nowMs: number,
  ): void {
    for (const { bookingId, spec } of inputs) {
      const booking: Booking = {
        ...by,
        bookingId,
        division: spec.division,
        jobName: spec.name,
        spec,
        specHash: specHash(spec),
        state: newBooking(),
        version: 1n,
        createdAtMs: nowMs,
        updatedAtMs: nowMs,
      };
      this.bookings.set(bookingId, booking);
      this.#needs.set(bookingId, spec.dependsOn ?? []);
      this.#tell(bookingId, 'booking.created');
      this.#witness?.created(booking, spec.dependsOn ?? []);
    }
  }

  cancel(bookingId: string, actor: string, nowMs: number): void {
    const booking = this.bookings.get(bookingId);
    const event = booking === undefined ? undefined : cancelEvent(booking, actor, nowMs);
    if (booking !== undefined && event !== undefined) this.#commit(this.epoch, [{ booking, event, actor, nowMs }]);
  }

  extend(bookingId: string, byMs: number, actor: string, nowMs: number): void {
    const booking = this.bookings.get(bookingId);
    const move = booking === undefined ? undefined : extensionMove(booking, byMs, actor, nowMs);
    if (move !== undefined && 'event' in move) this.#commit(this.epoch, [move]);
  }

  /** Enough people sign what a booking waits for. */
  sign(bookingId: string, actor: string, nowMs: number): void {
    const booking = this.bookings.get(bookingId);
    if (booking?.state.state !== 'awaiting_signatures') return;
    const found = this.proposals.get(booking.state.policy.proposal?.id ?? '');
    if (found?.state !== 'open' || found.proposal.expiresAtMs <= nowMs) return;
    this.#commit(this.epoch, [{ booking, event: { type: 'quorum_met' }, actor, nowMs }]);
  }

  hold(bookingId: string, wanted: 'hold' | 'let_go', actor: string, nowMs: number): void {
    const booking = this.bookings.get(bookingId);
    if (booking?.state.state !== 'waiting') return;
    if ((booking.state.held !== undefined) === (wanted === 'hold')) return;
    const event = wanted === 'hold' ? ({ type: 'hold', hold: { by: actor, atMs: nowMs } } as const) : { type: wanted };
    const state = advance(booking.state, event);
    if (state === undefined) return;
    this.#put({ ...booking, state, updatedAtMs: nowMs });
    this.#tell(bookingId, wanted === 'hold' ? 'booking.held' : 'booking.let_go');
  }

  #fence(epoch: bigint): void {
    if (epoch !== this.epoch) throw new StaleLeader(`epoch ${epoch} is not the current one`);
  }

  #alive(): readonly Booking[] {
    return [...this.bookings.values()]
      .filter(({ state }) => !isEnded(state.state))
      .sort((a, b) => a.createdAtMs - b.createdAtMs || (a.bookingId < b.bookingId ? -1 : 1));
  }

  #withNeeds(booking: Booking): LiveBooking {
    const needs = new Map<string, StateName>();
    for (const id of this.#needs.get(booking.bookingId) ?? []) needs.set(id, this.bookings.get(id)!.state.state);
    return { booking, needs };
  }

  #commit(epoch: bigint, moves: readonly Move[]): readonly MoveResult[] {
    const results: MoveResult[] = moves.map(() => ({ kind: 'stale' }));
    const newest = Math.max(...moves.map((move) => move.nowMs));
    const unsealed = moves.some((move) => move.needsSealedTrail) && this.trailAgeMs(newest) >= MAX_UNSEALED_MS;
    const going = moves.flatMap((move, index) => {
      const stored = this.bookings.get(move.booking.bookingId);
      if (stored?.version !== move.booking.version) return [];
      const known = move.booking.state;
      const held = stored.state.state === 'waiting' ? stored.state.held : undefined;
      const next = advance(known.state === 'waiting' && held !== undefined ? { ...known, held } : known, move.event);
      if (next === undefined) return [];
      if (unsealed && move.needsSealedTrail === true) {
        results[index] = { kind: 'trail_not_sealed' };
        return [];
      }
      if (move.quorum !== undefined && this.quorum(move.quorum.proposal, move.nowMs)?.signers !== move.quorum.signers) {
        results[index] = { kind: 'quorum_lost' };
        return [];
      }
      const voids = (move.voids ?? []).filter((id) => !this.ledger.resolutions.has(id));
      const transfers = [
        ...(move.transfers ?? []),
        ...voids.map((pendingId) => ({ id: `${pendingId}-void`, kind: 'void', pendingId }) as const),
      ];
      return [{ index, move, next, transfers }];
    });
    const answers = this.ledger.execute(
      going.map(({ move, transfers }) => ({
        context: {
          tenant: move.booking.tenant,
          bookingId: move.booking.bookingId,
          attempt: move.booking.state.attempt,
          nowMs: move.nowMs,
        },
        transfers,
      })),
    );
    const changed = going.flatMap(({ index, move, next }, i): Changed[] => {
      const answer = answers[i]!;
      if (!answer.ok) {
        results[index] = { kind: 'ledger_refused', outcome: answer.outcome };
        return [];
      }
      const { booking, nowMs } = move;
      const after = { ...booking, state: next, version: booking.version + 1n, updatedAtMs: nowMs };
      const before = this.bookings.get(booking.bookingId)!;
      this.bookings.set(booking.bookingId, after);
      this.#attempted(move);
      this.#proposed(move, next);
      this.#tell(booking.bookingId, eventName(move.event, next));
      results[index] = { kind: 'moved', booking: after };
      const transfers = answer.records.map(({ id }) => this.ledger.transfers.get(id)!);
      return [{ before, after, transfers, actor: move.actor }];
    });
    if (changed.length > 0) this.#witness?.moved(epoch, changed, newest);
    return results;
  }

  #proposed({ booking, event, proposes }: Move, next: BookingState): void {
    const end = proposalEnd(booking.state, event, next);
    const ended = end === undefined ? undefined : this.proposals.get(end.id);
    const isTaken = ended?.state === 'open' || (ended?.state === 'met' && end?.state !== 'met');
    if (end !== undefined && ended !== undefined && isTaken) ended.state = end.state;
    if (proposes !== undefined) this.proposals.set(proposes.id, { proposal: proposes, state: 'open' });
  }

  #attempted({ booking, attempt, nowMs }: Move): void {
    if (attempt === undefined) return;
    const { bookingId, tenant, state } = booking;
    const key = attemptKey(bookingId, state.attempt);
    const row = this.attempts.get(key);
    if (attempt.kind === 'begin') {
      if (row !== undefined) throw new Error(`attempt ${key} begins twice`);
      this.attempts.set(key, { tenant, bookingId, key, pool: attempt.pool });
    } else if (row !== undefined && attempt.kind === 'started') row.startedAtMs = nowMs;
    else if (row !== undefined && attempt.kind === 'ended') {
      row.endedAtMs = attempt.endedAtMs;
      row.outcome = attempt.outcome;
      row.code = attempt.code;
    }
  }

  #put(booking: Booking): Booking {
    this.bookings.set(booking.bookingId, booking);
    this.#witness?.noted(booking);
    return booking;
  }

  #tell(bookingId: string, type: string): void {
    const told = this.events.get(bookingId);
    if (told === undefined) this.events.set(bookingId, [type]);
    else told.push(type);
  }
}
