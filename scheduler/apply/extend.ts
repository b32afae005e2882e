import { assert } from '../../core/assert.ts';
import { extendedMs, MAX_EXTENSIONS, openExtension } from '../../core/extension.ts';
import { MAX_LEASE_MS } from '../../core/job.ts';
import { moneyOf } from '../../peers/money.ts';
import type { Tx } from '../../platform/postgres.ts';
import { type Booking, loadBooking } from './booking-store.ts';
import { extensionCents } from './extension-money.ts';
import { commitMoves, type Move } from './moves.ts';
import { notifyBooking } from './wake.ts';

export interface ExtendRefusal {
  readonly kind: 'refused';
  readonly code: 'not_running' | 'extending' | 'too_many_extensions' | 'lease_too_long' | 'max_cost';
  readonly text: string;
}

/** `n`: its number among the attempt's extensions. */
export type ExtensionAsked = { readonly kind: 'asked'; readonly n: number } | ExtendRefusal;

/**
 * Asks for a longer lease of what runs, in the caller's transaction; the engine gets its answer from policy and Finance. undefined: this tenant has no
 * such booking.
 */
export async function askExtension(
  tx: Tx,
  bookingId: string,
  byMs: number,
  actor: string,
  nowMs: number,
): Promise<ExtensionAsked | undefined> {
  const booking = await loadBooking(tx, bookingId, 'lock');
  if (booking === undefined) return undefined;
  const move = extensionMove(booking, byMs, actor, nowMs);
  if ('kind' in move) return move;
  const [result] = await commitMoves(tx, [move]);
  assert(result?.kind === 'moved' && result.booking.state.state === 'applied', 'a locked booking takes a legal event');
  await notifyBooking(tx, bookingId);
  return { kind: 'asked', n: result.booking.state.extensions?.length ?? 0 };
}

/** What asking is of a booking as it stands. Pure. */
export function extensionMove(booking: Booking, byMs: number, actor: string, nowMs: number): Move | ExtendRefusal {
  const { state, spec } = booking;
  if (state.state !== 'applied')
    return refused('not_running', `the job is ${state.state}: only one that runs can be given more time`);
  if (spec.money !== undefined)
    return refused(
      'not_running',
      'it is money alone, which has no lease to extend: ask for more as an allocation of its own',
    );
  if (openExtension(state) !== undefined)
    return refused('extending', 'an extension of it is on its way: wait for its answer');
  if ((state.extensions?.length ?? 0) >= MAX_EXTENSIONS)
    return refused(
      'too_many_extensions',
      `${MAX_EXTENSIONS} extensions of this attempt were asked for, as many as may be: book the rest as a job of its own`,
    );
  const leaseMs = spec.leaseMs + extendedMs(state) + byMs;
  if (leaseMs > MAX_LEASE_MS)
    return refused(
      'lease_too_long',
      `the lease would be ${hours(leaseMs)}, and is ${hours(MAX_LEASE_MS)} at most: ask for less`,
    );
  const amount = (of: bigint) => moneyOf(of, state.placement.currency).amount;
  const cents = BigInt(state.placement.holdCents) + extensionCents(spec, state.placement, state, byMs);
  if (spec.maxCostCents !== null && cents > BigInt(spec.maxCostCents))
    return refused(
      'max_cost',
      `it could cost ${amount(cents)}, and its budget.max_cost is ${amount(BigInt(spec.maxCostCents))}: ask for less`,
    );
  return {
    booking,
    event: { type: 'ask_extension', ask: { byMs, actor, askedAtMs: nowMs } },
    actor,
    nowMs,
    data: { extension: (state.extensions?.length ?? 0) + 1, byMs },
  };
}

function hours(ms: number): string {
  return `${Math.round((ms / 3_600_000) * 100) / 100} h`;
}

function refused(code: ExtendRefusal['code'], text: string): ExtendRefusal {
  return { kind: 'refused', code, text };
}
