import { assert } from '../../core/assert.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { isDatabaseAway, StaleLeader } from '../../platform/postgres.ts';
import type { BookingDesk } from './booking-desk.ts';
import { type Booking, StaleBooking } from './booking-store.ts';
import { LedgerRefusal } from './money.ts';
import { MAX_MOVES, type Move, type MoveResult, TrailAged } from './moves.ts';

interface Waiting {
  readonly move: Move;
  readonly resolve: (booking: Booking) => void;
  readonly reject: (error: unknown) => void;
}

/** The audit trail before this move is not under a signed checkpoint yet: it is tried again. */
export class TrailNotSealed extends Error {
  override name = 'TrailNotSealed';
}

/** The signatures that this apply rests on count no more: they are looked up again. */
export class QuorumLost extends Error {
  override name = 'QuorumLost';
}

/**
 * Group commit: moves that are asked for while a transaction is under way go together into the next one, at most MAX_MOVES. One
 * move alone waits for nobody. What it gains on a hot account: docs/benchmarks.md, `npm run bench:scheduler -- reservations`.
 */
export class GroupCommit {
  readonly #desk: Pick<BookingDesk, 'commit'>;
  #queue: Waiting[] = [];
  #running = false;

  constructor(desk: Pick<BookingDesk, 'commit'>) {
    this.#desk = desk;
  }

  /**
   * Resolves with the moved booking once it is durable. Throws StaleBooking, LedgerRefusal, TrailNotSealed or QuorumLost where this move was
   * refused, and StaleLeader or the database's fault where none of the transaction was taken.
   */
  commit(move: Move): Promise<Booking> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ move, resolve, reject });
      if (!this.#running) void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    this.#running = true;
    // What this turn of the event loop still asks for goes along.
    await Promise.resolve();
    while (this.#queue.length > 0) await this.#commitBatch(this.#take());
    this.#running = false;
  }

  async #commitBatch(batch: readonly Waiting[]): Promise<void> {
    const moves = batch.map(({ move }) => move);
    try {
      const results = await this.#desk.commit(moves);
      for (const [i, waiting] of batch.entries()) settle(waiting, results[i]);
    } catch (error) {
      if (error instanceof TrailAged) return this.#withoutSealed(batch);
      if (
        batch.length === 1 ||
        error instanceof StaleLeader ||
        error instanceof OperatingError ||
        isDatabaseAway(error)
      ) {
        for (const { reject } of batch) reject(error);
      } else {
        // One of them is at fault: alone it fails alone.
        for (const waiting of batch) await this.#commitBatch([waiting]);
      }
    }
  }

  /** The trail grew too old under them: those that rest on it are refused, the others go once more. */
  async #withoutSealed(batch: readonly Waiting[]): Promise<void> {
    const [sealed, others] = [true, false].map((needs) =>
      batch.filter(({ move }) => (move.needsSealedTrail === true) === needs),
    ) as [Waiting[], Waiting[]];
    for (const waiting of sealed) settle(waiting, { kind: 'trail_not_sealed' });
    if (others.length > 0) await this.#commitBatch(others);
  }

  /** The oldest moves of different bookings; a second move of one booking is for the next transaction. */
  #take(): readonly Waiting[] {
    const seen = new Set<string>();
    const batch: Waiting[] = [];
    const rest: Waiting[] = [];
    for (const waiting of this.#queue) {
      const id = waiting.move.booking.bookingId;
      if (batch.length < MAX_MOVES && !seen.has(id)) batch.push(waiting);
      else rest.push(waiting);
      seen.add(id);
    }
    this.#queue = rest;
    return batch;
  }
}

function settle({ move, resolve, reject }: Waiting, result: MoveResult | undefined): void {
  assert(result !== undefined, 'each move has a result');
  if (result.kind === 'moved') resolve(result.booking);
  else reject(refusalOf(move, result));
}

function refusalOf({ booking, event }: Move, result: Exclude<MoveResult, { kind: 'moved' }>): Error {
  const { bookingId, version, state } = booking;
  switch (result.kind) {
    case 'stale':
      return new StaleBooking(`${event.type} of booking ${bookingId} in ${state.state} at version ${version}`);
    case 'ledger_refused':
      return new LedgerRefusal(result.outcome);
    case 'trail_not_sealed':
      return new TrailNotSealed(`booking ${bookingId}`);
    case 'quorum_lost':
      return new QuorumLost(`booking ${bookingId}`);
  }
}
