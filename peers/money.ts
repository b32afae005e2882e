import { assert } from '../core/assert.ts';
import { currencyScale, minorUnits } from '../core/currency.ts';
import { type Refusal, refuse } from '../core/refusal.ts';
import { type Static, Type } from '../core/schema.ts';

/** Digits of an amount, the point not counted: it stays inside Postgres' bigint. */
const MAX_DIGITS = 18;

/** Money on the wire of a peer: a decimal with exactly the currency's scale. `12.50` EUR, `12` JPY; never a JSON number. */
export const Money = Type.Object(
  {
    amount: Type.String({ minLength: 1, maxLength: MAX_DIGITS + 1, pattern: '^(0|[1-9][0-9]*)(\\.[0-9]{1,4})?$' }),
    currency: Type.String({ minLength: 3, maxLength: 3, pattern: '^[A-Z]{3}$' }),
  },
  { additionalProperties: false },
);
export type Money = Readonly<Static<typeof Money>>;

/** `amountCents` counts the currency's minor units, ≥ 0. */
export function moneyOf(amountCents: bigint, currency: string): Money {
  assert(amountCents >= 0n, 'money on a wire is never negative');
  const scale = currencyScale(currency);
  const digits = amountCents.toString().padStart(scale + 1, '0');
  const amount = scale === 0 ? digits : `${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
  return { amount, currency };
}

/** The minor units of money that passed the schema; refused where the scale is not the currency's: nothing is rounded. */
export function centsOf(field: string, { amount, currency }: Money): bigint | Refusal {
  const minor = minorUnits(field, amount, currency);
  if (typeof minor === 'bigint' && amount.replace('.', '').length > MAX_DIGITS)
    return refuse('range', field, `has more than ${MAX_DIGITS} digits`, 'choose a smaller amount');
  return minor;
}
