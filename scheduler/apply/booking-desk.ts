import type { Manifest } from '../../artifacts/manifest.ts';
import type { RecordedManifest } from '../../artifacts/store.ts';
import type { BookingState } from '../../core/booking.ts';
import type { PoolFacts } from '../../pools/pool-facts.ts';
import type { AskHealth } from '../../pools/pool-health.ts';
import type { OwnedAttempt } from '../reconcile/plan.ts';
import type { NewProposal } from '../signatures/proposal.ts';
import type { Quorum } from '../signatures/quorum.ts';
import type { Unreachable } from '../signatures/reachable.ts';
import type { Booking, Stamp } from './booking-store.ts';
import type { EtaSample } from './eta-record.ts';
import type { LogBook } from './log-book.ts';
import type { Move, MoveResult } from './moves.ts';
import type { RunBook } from './run-book.ts';
import type { LiveBooking } from './tenant-plan.ts';

export interface PoolName {
  readonly tenant: string;
  readonly pool: string;
}

/** How earlier attempts of a booking that had started ended: preempted, or otherwise with another attempt. */
export interface EndedAttempts {
  readonly failed: number;
  readonly preempted: number;
}

/**
 * All that the engine reads and writes of bookings, each call one transaction: Postgres on a server (booking-desk.sql.ts), a map in the
 * simulation. Both give the same answers, which a conformance test holds them to.
 */
export interface BookingDesk {
  /** What is kept of the attempts' logs. */
  readonly logs: LogBook;
  /** What was seen of the attempts' runs. */
  readonly runs: RunBook;
  /** All that live, oldest first. */
  live(): Promise<readonly LiveBooking[]>;
  /** Of all that live: what a reader that followed changes compares itself with. */
  liveStamps(): Promise<ReadonlyMap<string, Stamp>>;
  byId(ids: readonly string[]): Promise<readonly LiveBooking[]>;
  /** The tenant's pools as they are now. `health` is asked once a pool. */
  facts(tenant: string, nowMs: number, health: AskHealth): Promise<PoolFacts>;
  endedAttempts(bookingId: string): Promise<EndedAttempts>;
  manifest(bookingId: string, attempt: number): Promise<RecordedManifest | undefined>;
  /** The signatures under a proposal, where they are enough by the signing policy as it stands. */
  quorum(proposalId: string, nowMs: number): Promise<Quorum | undefined>;
  /** Whose signatures under an open proposal are enough by the signing policy as it stands; undefined: they are not. */
  enoughSigned(proposalId: string): Promise<readonly string[] | undefined>;
  /** Why too few people could ever sign it, by the signing policy as it stands; undefined: enough could. */
  unreachable(proposal: NewProposal, nowMs: number): Promise<Unreachable | undefined>;
  pools(): Promise<readonly PoolName[]>;
  /** Attempts that did not end: those among `keys`, and those that are thought to run in the pool. */
  openAttempts(at: PoolName, keys: readonly string[]): Promise<readonly OwnedAttempt[]>;

  // What follows is fenced: it throws StaleLeader, having changed nothing, where another process leads.

  /** Each move is taken or refused by itself. */
  commit(moves: readonly Move[]): Promise<readonly MoveResult[]>;
  /** Notes a flag; throws StaleBooking where the booking moved on. */
  note(booking: Booking, state: BookingState, nowMs: number): Promise<Booking>;
  /** Notes what many bookings wait for; those that it was noted of. */
  noteReasons(
    changed: readonly { readonly booking: Booking; readonly state: BookingState }[],
  ): Promise<readonly Booking[]>;
  /** Records what bookings were told of their start, each once; the oldest beyond a limit are forgotten. */
  noteEtas(samples: readonly EtaSample[]): Promise<void>;
  /** Records the manifest of the booking's attempt with its audit event; once. Throws StaleBooking where the booking moved on. */
  recordManifest(booking: Booking, keyPrefix: string, manifest: Manifest, nowMs: number): Promise<void>;
  /** Gives back pending transfers whose time ran out, and ends what nobody signed in time. */
  expire(nowMs: number): Promise<void>;
  /** Forgets the replies to requests older than this. */
  forgetReplies(beforeMs: number): Promise<void>;
}
