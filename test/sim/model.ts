import type { BookingState, StateName } from '../../core/booking.ts';
import type { StoredTransfer } from '../../ledger/quota/transfer.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { entryRules } from './entry-rules.ts';
import { extensionRules, type Longer } from './extension-rules.ts';
import type { Changed, MemoryBooks, Witness } from './memory-books.ts';
import type { SimFinance, SimSentinel } from './sim-peers.ts';
import type { SimProvider } from './sim-provider.ts';
import type { Timeline } from './timeline.ts';

/** What the page of invariants says, and the world broke. */
export class Broken extends Error {
  override name = 'Broken';
}

export function must(holds: boolean, rule: string, of: string): asserts holds {
  if (!holds) throw new Broken(`${rule}: ${of}`);
}

/** What the model knows of a booking: only what it saw itself. */
export interface Known {
  readonly booking: Booking;
  readonly needs: readonly string[];
  readonly sinceMs: number;
  /** Of the attempt under way: what it took, from when it may be applied, how long it may. */
  readonly units: bigint;
  readonly held: bigint;
  readonly leaseMs: number;
  /** What paid for a longer lease, in the order in which it was granted. */
  readonly longer: readonly Longer[];
  readonly preempted: number;
  readonly failed: number;
  readonly spent: bigint;
}

/** What the model looks at beside what it is told: the world outside of the engine, as it really is. */
export interface Outside {
  readonly timeline: Timeline;
  readonly books: MemoryBooks;
  readonly finance: SimFinance;
  readonly sentinel: SimSentinel;
  readonly providers: ReadonlyMap<string, SimProvider>;
}

export const HOLDING: ReadonlySet<StateName> = new Set([
  'reserved',
  'requesting',
  'confirming',
  'applied',
  'draining',
  'releasing',
]);
const ENDED: readonly StateName[] = ['released', 'rejected', 'infeasible', 'failed', 'expired', 'cancelled', 'revoked'];

/** The transitions of core/booking.ts, written down a second time. */
const EDGES: Readonly<Record<string, readonly StateName[]>> = {
  waiting: ['awaiting_signatures', 'reserved', 'rejected', 'infeasible', 'expired', 'cancelled'],
  awaiting_signatures: ['waiting', 'rejected', 'expired', 'cancelled'],
  reserved: ['requesting', 'releasing'],
  requesting: ['confirming', 'releasing'],
  confirming: ['applied', 'releasing'],
  applied: ['draining', 'releasing'],
  draining: ['releasing'],
  releasing: ['released', 'rejected', 'failed', 'expired', 'cancelled', 'revoked', 'waiting'],
};

export type StateOf<S extends StateName> = Extract<BookingState, { state: S }>;

/**
 * The independent model: its own list of what was moved and its own sums over it, its own table of transitions, its own reckoning of
 * prices. It is told what was committed, and looks at Finance, SentinelNet and the providers as they really are.
 */
export class Model implements Witness {
  readonly known = new Map<string, Known>();
  readonly outside: Outside;
  /** Every row ever inserted, by id: none may change. */
  readonly #rows = new Map<string, StoredTransfer>();
  readonly #resolved = new Map<string, StoredTransfer>();
  /** Capacity and quota accounts → what they may hold now: a lowered limit takes what is free, and the rest as it is given back. */
  readonly #enforced = new Map<string, { limit: bigint; debt: bigint }>();
  readonly #broken: Broken[] = [];
  #epoch = 1n;

  constructor(outside: Outside) {
    this.outside = outside;
  }

  /** Another process leads from now on. */
  leads(epoch: bigint): void {
    this.#epoch = epoch;
  }

  limited(account: string, limit: bigint): void {
    const over = this.#use(account) - limit;
    this.#enforced.set(account, { limit, debt: over > 0n ? over : 0n });
  }

  /** A rule of ours can be broken inside of the engine's call; it is kept until the step is over, so that the engine cannot swallow it. */
  #watch(look: () => void): void {
    try {
      look();
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      this.#broken.push(error);
    }
  }

  created(booking: Booking, needs: readonly string[]): void {
    const none = { units: 0n, held: 0n, leaseMs: 0, longer: [], preempted: 0, failed: 0, spent: 0n };
    this.known.set(booking.bookingId, { booking, needs, sinceMs: this.outside.timeline.now(), ...none });
  }

  noted(booking: Booking): void {
    this.#watch(() => {
      const known = this.known.get(booking.bookingId)!;
      const same = known.booking.version === booking.version && known.booking.state.state === booking.state.state;
      must(same, 'a flag is no transition', booking.bookingId);
      this.known.set(booking.bookingId, { ...known, booking });
    });
  }

  moved(epoch: bigint, changed: readonly Changed[]): void {
    this.#watch(() => {
      must(epoch === this.#epoch, 'a stale leader changes nothing', changed.map((one) => one.after.bookingId).join());
      for (const one of changed) this.#moved(one);
    });
  }

  expired(epoch: bigint, transfers: readonly StoredTransfer[]): void {
    this.#watch(() => {
      must(epoch === this.#epoch, 'a stale leader changes nothing', 'expiry');
      for (const row of transfers) {
        const pending = this.#rows.get(row.pendingId ?? '');
        must((pending?.expiresAtMs ?? Infinity) <= this.outside.timeline.now(), 'nothing expires early', row.id);
        this.#insert(row);
      }
    });
  }

  /** A release takes effect at a provider. */
  released(key: string): void {
    this.#watch(() => {
      const [, id = '', attempt] = /^m-(\w+)-(\d+)$/.exec(key) ?? [];
      const state = this.known.get(id)?.booking.state;
      const isCurrent = state !== undefined && state.attempt === Number(attempt);
      const isOver = !isCurrent || state.state === 'releasing' || ENDED.includes(state.state);
      must(isOver, 'nothing is released that a booking has a right to', `${key} in ${state?.state}`);
    });
  }

  #moved({ before, after, transfers, actor }: Changed): void {
    const id = after.bookingId;
    const known = this.known.get(id);
    must(known !== undefined, 'a booking is made before it moves', id);
    const from = known.booking.state;
    const to = after.state;
    this.outside.timeline.note(`model ${id} ${from.state} → ${to.state} (${'reason' in to ? to.reason.code : actor})`);
    must(before.version === known.booking.version, 'nobody changes a booking unseen', id);
    must(after.version === known.booking.version + 1n, 'each transition is one version', id);
    must(!ENDED.includes(from.state), 'ends are final', `${id} ${from.state} → ${to.state}`);
    const isExtension = from.state === 'applied' && to.state === 'applied';
    must(
      isExtension || EDGES[from.state]!.includes(to.state),
      'only listed transitions',
      `${id} ${from.state} → ${to.state}`,
    );
    const nextAttempt = from.state === 'releasing' && to.state === 'waiting' ? from.attempt + 1 : from.attempt;
    must(to.attempt === nextAttempt, 'an attempt is counted when it is over', id);
    const fresh = transfers.filter((row) => !this.#rows.has(row.id));
    for (const row of transfers) {
      must(row.bookingId === id && row.attempt === from.attempt, 'a booking moves its own money', row.id);
      const stored = this.#rows.get(row.id);
      must(stored === undefined || stored === row, 'transfers are immutable', row.id);
    }
    const next = isExtension
      ? { ...known, booking: after, ...extensionRules(this, known, after, fresh) }
      : entryRules(this, known, after, fresh);
    this.known.set(id, next);
    for (const row of fresh) this.#insert(row);
  }

  #insert(row: StoredTransfer): void {
    must(!this.#rows.has(row.id), 'a transfer is inserted once', row.id);
    if (row.pendingId !== undefined) {
      must(!this.#resolved.has(row.pendingId), 'a pending transfer is resolved once', row.pendingId);
      must(this.#rows.get(row.pendingId)?.kind === 'pending', 'what is resolved was pending', row.pendingId);
      this.#resolved.set(row.pendingId, row);
    }
    this.#rows.set(row.id, row);
    for (const account of [row.debit, row.credit]) {
      const enforced = this.#enforced.get(account);
      if (enforced === undefined) continue;
      const use = this.#use(account);
      const over = use - enforced.limit;
      const owed = over > 0n ? over : 0n;
      must(owed <= enforced.debt, 'no over-commit', `${account} holds ${use} of ${enforced.limit} + ${enforced.debt}`);
      enforced.debt = owed;
    }
  }

  /** What an account has out, added up from every row anew. */
  #use(account: string): bigint {
    let use = 0n;
    const gives = account.startsWith('capacity:') || account.startsWith('budget:');
    for (const row of this.#rows.values()) {
      const isOpen = row.kind === 'pending' && !this.#resolved.has(row.id);
      const isPosted = row.kind === 'direct' || row.kind === 'post';
      if (!isOpen && !isPosted) continue;
      const out = gives ? row.debit : row.credit;
      const back = gives ? row.credit : row.debit;
      if (out === account) use += row.amount;
      if (back === account && isPosted) use -= row.amount;
    }
    return use;
  }

  transfer(id: string): StoredTransfer | undefined {
    return this.#rows.get(id);
  }

  resolution(pendingId: string): StoredTransfer | undefined {
    return this.#resolved.get(pendingId);
  }

  /** After every step. */
  check(): void {
    const [first] = this.#broken;
    if (first !== undefined) throw first;
    const { books } = this.outside;
    let [pending, posted] = [0n, 0n];
    for (const balance of books.ledger.balances.values()) {
      pending += balance.debitsPending - balance.creditsPending;
      posted += balance.debitsPosted - balance.creditsPosted;
    }
    must(pending === 0n && posted === 0n, 'conservation', `${pending} pending, ${posted} posted too much`);
  }

  /** After every step that moved something: events and states are one to one. */
  checkBookings(): void {
    const { books } = this.outside;
    for (const { booking } of this.known.values()) {
      const events = books.events.get(booking.bookingId)!.filter((type) => TRANSITION_EVENTS.has(type));
      must(BigInt(events.length) === booking.version, 'a transition is an event', booking.bookingId);
      const stored = books.bookings.get(booking.bookingId)!;
      must(stored.state.state === booking.state.state, 'the stored state is the last event’s', booking.bookingId);
    }
  }

  /** Dearer: balances from rows, and who holds what; after every step that moved something. */
  checkLedger(): void {
    const { books } = this.outside;
    for (const balance of books.ledger.balances.values()) {
      const use = this.#use(balance.id);
      const stored =
        balance.kind === 'capacity' || balance.kind === 'budget'
          ? balance.debitsPending + balance.debitsPosted - balance.creditsPosted
          : balance.creditsPending + balance.creditsPosted - balance.debitsPosted;
      must(use === stored, 'balances follow from transfers', `${balance.id}: ${stored}, rows say ${use}`);
      must(use >= 0n, 'use is never negative', balance.id);
      if (balance.kind !== 'capacity') continue;
      // Whoever is under way holds what it took; but for those whose pending transfers expired before they came on.
      let [least, most] = [0n, 0n];
      for (const { booking, units } of this.known.values()) {
        const { state } = booking;
        if (!HOLDING.has(state.state) || !('placement' in state)) continue;
        const { pool, flavour } = state.placement;
        if (!balance.id.startsWith(`capacity:${booking.tenant}:${pool}:${flavour}:`)) continue;
        most += units;
        const quota = this.resolution(`${booking.bookingId}-${state.attempt}-quota`);
        if (quota?.kind !== 'expire') least += units;
      }
      must(use >= least && use <= most, 'the ledger holds what the bookings hold', `${balance.id}: ${use}`);
      must(use === least, 'what expired is given back', `${balance.id}: ${use}, bookings hold ${least}`);
    }
  }
}

const TRANSITION_EVENTS = new Set(
  [
    'created',
    'extension_asked',
    'extension_held',
    'extended',
    'extension_refused',
    ...Object.keys(EDGES),
    ...ENDED,
  ].map((name) => `booking.${name}`),
);
