import type { StoredTransfer } from '../../ledger/quota/transfer.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { type Known, type Model, must, type StateOf } from './model.ts';

/** A lease that was asked to be longer, as the model reckons it: what it adds, and which hold of Finance pays for it. */
export interface Longer {
  readonly holdId: string;
  readonly cents: bigint;
}

/** What must be so in the world at the moment in which a step of an extension is committed. */
export function extensionRules(
  model: Model,
  known: Known,
  after: Booking,
  fresh: readonly StoredTransfer[],
): Partial<Known> {
  const before = known.booking.state as StateOf<'applied'>;
  const state = after.state as StateOf<'applied'>;
  const { finance, sentinel, books } = model.outside;
  const { bookingId } = after;
  const list = state.extensions ?? [];
  const last = list.at(-1);
  must(last !== undefined, 'a step is of an extension', bookingId);
  const had = last.state === 'asked' ? list.length - 1 : list.length;
  must((before.extensions ?? []).length === had, 'extensions are asked for one by one', bookingId);
  const id = `${bookingId}-${state.attempt}`;
  const holdId = `h-${id}-x${list.length}`;
  const rows = fresh.map(({ kind, amount }) => `${kind} ${amount}`).join();
  const gained = state.leaseEndsAtMs - before.leaseEndsAtMs;
  must(gained === (last.state === 'granted' ? last.byMs : 0), 'time is gained by a grant alone', `${id}: ${gained}`);
  switch (last.state) {
    case 'asked':
      must(rows === '', 'asking moves nothing', id);
      return {};
    case 'holding': {
      const leaseMs = BigInt(known.leaseMs + last.byMs);
      const cents = price(known.units, leaseMs, BigInt(state.placement.centsPerUnitHour)) - known.held;
      must(BigInt(last.holdCents) === cents, 'a longer lease costs what the whole of it costs more', id);
      must(rows === `pending ${cents}`, 'its money is pending before Finance is asked', `${id}: ${rows}`);
      must(finance.book.get(holdId) === undefined, 'Finance is asked after', holdId);
      const { requestHash } = last.policy;
      const allowed = sentinel.allowed.some(
        (one) => one.requestId === `m-${id}-x${list.length}` && one.requestHash === requestHash,
      );
      must(allowed, 'no lease is longer that no policy allowed', id);
      return {};
    }
    case 'granted': {
      const hold = finance.book.get(holdId);
      must(hold?.status === 'confirmed', 'granted: Finance has confirmed', holdId);
      const cents = BigInt((hold.request?.amount.amount ?? '-1').replace('.', ''));
      must(rows === `post ${cents}`, 'granted: what is posted is what Finance holds', `${id}: ${rows}`);
      must(books.trailAgeMs(model.outside.timeline.now()) < LATE_MS, 'granted: the trail is sealed', id);
      const held = known.held + cents;
      must(BigInt(state.placement.holdCents) === held, 'granted: the price is the whole one', id);
      return { held, leaseMs: known.leaseMs + last.byMs, longer: [...known.longer, { holdId, cents }] };
    }
    case 'refused':
      must(isGivenBack(model, id, list.length, fresh), 'refused: nothing of it is held', holdId);
      return {};
  }
}

/** The trail was sealed when the time was taken, before a commit that may be lost once. */
const LATE_MS = 5_000 + 12_000;

/** An extension that was not granted has left nothing, neither at Finance nor in the ledger. */
export function isGivenBack(model: Model, id: string, n: number, fresh: readonly StoredTransfer[]): boolean {
  const hold = model.outside.finance.book.get(`h-${id}-x${n}`);
  const pendingId = `${id}-money-x${n}`;
  const isOpen =
    model.transfer(pendingId) !== undefined &&
    model.resolution(pendingId) === undefined &&
    !fresh.some((row) => row.pendingId === pendingId);
  return !isOpen && (hold === undefined || hold.status === 'reversed' || hold.status === 'refused');
}

/** Cents, rounded up to the next whole one. */
export function price(units: bigint, ms: bigint, centsPerUnitHour: bigint): bigint {
  const scale = 3_600_000_000n;
  const exact = units * ms * centsPerUnitHour;
  return exact / scale + (exact % scale === 0n ? 0n : 1n);
}
