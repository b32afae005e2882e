import type { BookingState, Placement } from '../../core/booking.ts';
import type { MoneyAsk } from '../../core/money-request.ts';
import type { Booking } from './booking-store.ts';
import type { Cost } from './money.ts';

/** As pools are named, so that rules of policy can name it. */
const POOL = 'money';
/** For whoever has money that is cancelled before anybody said what was spent. */
export const SAY_SPENT = 'say at once what was spent, or all of it counts as spent: merit allocations close';
/** In the provider's place. */
export const PROVIDER = 'finance';

/** Where money alone is: no pool, no machine, no price by the hour. */
export function moneyPlacement({ cents, currency }: MoneyAsk): Placement {
  return {
    pool: POOL,
    flavour: currency.toLowerCase(),
    provider: PROVIDER,
    gpuMilli: '0',
    cpuMilli: '0',
    holdCents: cents,
    currency,
    centsPerUnitHour: '0',
  };
}

export function isMoneyAlone({ spec }: Pick<Booking, 'spec'>): boolean {
  return spec.money !== undefined;
}

/** What was spent of money alone: all of it, where nobody said. */
export function moneyCost({
  placement,
  spentCents,
  appliedAtMs,
  endedAtMs,
}: Extract<BookingState, { state: 'releasing' }>): Cost {
  return {
    currency: placement.currency,
    cents: BigInt(spentCents ?? placement.holdCents),
    billedMs: BigInt(Math.max(0, endedAtMs - (appliedAtMs ?? endedAtMs))),
    centsPerUnitHour: 0n,
    unitsMilli: 0n,
  };
}
