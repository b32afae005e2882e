import { assert } from '../../core/assert.ts';

/** What an attempt that was applied and has ended cost: its own rows of the ledger, and what the trail says of them. */
export interface Settlement {
  readonly bookingId: string;
  readonly attempt: number;
  readonly tenant: string;
  readonly division: string;
  readonly jobName: string;
  readonly requester: string;
  readonly traceId: string;
  readonly provider: string;
  readonly pool: string;
  readonly flavour: string;
  readonly resource: string;
  readonly spot: boolean;
  /** How the attempt ended, and why: `preempted`, `provider_failed`, … */
  readonly outcome: string;
  readonly reason: string;
  readonly currency: string;
  /** Minor units of the currency: what was posted less what was given back. */
  readonly cents: bigint;
  readonly unitsMilli: bigint;
  readonly billedMs: bigint;
  readonly centsPerUnitHour: bigint;
  /** The end of what is billed. */
  readonly endedAtMs: number;
  /** The event of the audit trail that tells this cost. */
  readonly auditEventId: string;
}

/** The part of a settlement that falls on one UTC day. */
export interface Charge {
  readonly fromMs: number;
  readonly toMs: number;
  readonly cents: bigint;
  /** What rounding left over, on the largest charge of a settlement; its cents hold it already. */
  readonly residueCents: bigint;
}

const DAY_MS = 86_400_000;

/** A settlement by UTC days; the cents of all are the settlement's. Of one that lasted no time, one charge of a millisecond. */
export function chargesOf({
  endedAtMs,
  billedMs,
  cents,
}: Pick<Settlement, 'endedAtMs' | 'billedMs' | 'cents'>): readonly Charge[] {
  const fromMs = endedAtMs - Math.max(1, Number(billedMs));
  const days: { readonly fromMs: number; readonly toMs: number }[] = [];
  for (let at = fromMs; at < endedAtMs; ) {
    const toMs = Math.min(endedAtMs, (Math.floor(at / DAY_MS) + 1) * DAY_MS);
    days.push({ fromMs: at, toMs });
    at = toMs;
  }
  const shares = spread(
    cents,
    days.map((day) => BigInt(day.toMs - day.fromMs)),
  );
  return days.map((day, i) => ({ ...day, ...shares[i]! }));
}

/**
 * An amount in proportion to weights, each share rounded half to even (IEEE 754's default, and bankers'), what that leaves over on the largest, the
 * first of equal ones. `weights` are not negative, and one at least is not 0.
 */
export function spread(
  amount: bigint,
  weights: readonly bigint[],
): readonly { readonly cents: bigint; readonly residueCents: bigint }[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0n);
  assert(total > 0n, 'spread: there is nothing to spread over');
  const rounded = weights.map((weight) => halfEven(amount * weight, total));
  const residue = amount - rounded.reduce((sum, share) => sum + share, 0n);
  const largest = weights.reduce((best, weight, i) => (weight > weights[best]! ? i : best), 0);
  return rounded.map((share, i) =>
    i === largest ? { cents: share + residue, residueCents: residue } : { cents: share, residueCents: 0n },
  );
}

/** n / d to the nearest integer, ties to the even one; d > 0. */
export function halfEven(n: bigint, d: bigint): bigint {
  const floor = n >= 0n ? n / d : -((-n + d - 1n) / d);
  const twice = 2n * (n - floor * d);
  if (twice !== d) return twice > d ? floor + 1n : floor;
  return floor % 2n === 0n ? floor : floor + 1n;
}
