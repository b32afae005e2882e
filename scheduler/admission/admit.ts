import type { Placement, Reason } from '../../core/booking.ts';
import { decimalText } from '../../core/decimal.ts';
import type { JobSpec } from '../../core/job.ts';
import { type Balance, costCents, type FlavourSnapshot, type Snapshot } from '../../pools/snapshot.ts';

/** A waiting booking as the planner sees it. */
export interface Waiting {
  readonly bookingId: string;
  readonly tenant: string;
  readonly spec: JobSpec;
  readonly createdAtMs: number;
  readonly notBeforeMs: number;
}

export type Decision =
  | { readonly kind: 'admit'; readonly bookingId: string; readonly placement: Placement }
  | { readonly kind: 'wait'; readonly bookingId: string; readonly reasons: readonly Reason[] }
  | { readonly kind: 'infeasible'; readonly bookingId: string; readonly reason: Reason };

/** What the cycle has already given away, by balance. */
class Charges {
  readonly #taken = new Map<string, bigint>();

  free(key: string, balance: Balance): bigint {
    return balance.free - (this.#taken.get(key) ?? 0n);
  }

  take(key: string, amount: bigint): void {
    this.#taken.set(key, (this.#taken.get(key) ?? 0n) + amount);
  }
}

/**
 * One admission cycle: first in, first out, by fit. Higher priority first, then the older booking; a booking that does not
 * fit waits with all its reasons and lets smaller ones by. Pure: equal arguments give equal decisions. The real planner
 * (fair shares, preemption, backfill) takes this function's place with the same signature.
 */
export function admit(snapshot: Snapshot, queue: readonly Waiting[], nowMs: number): readonly Decision[] {
  const charges = new Charges();
  const ordered = [...queue].sort(
    (a, b) =>
      b.spec.priority - a.spec.priority || a.createdAtMs - b.createdAtMs || (a.bookingId < b.bookingId ? -1 : 1),
  );
  return ordered.map((booking) => {
    if (booking.notBeforeMs > nowMs) {
      const text = `waits until ${new Date(booking.notBeforeMs).toISOString()} before its next attempt`;
      return {
        kind: 'wait',
        bookingId: booking.bookingId,
        reasons: [{ code: 'backing_off', text, mend: 'wait, or cancel it' }],
      };
    }
    return decide(snapshot, charges, booking);
  });
}

interface Option {
  readonly flavour: FlavourSnapshot;
  readonly ask: bigint;
  readonly holdCents: bigint;
}

type Verdict =
  | { readonly fits: true }
  | { readonly fits: false; readonly ever: boolean; readonly reasons: readonly Reason[] };

function decide(snapshot: Snapshot, charges: Charges, booking: Waiting): Decision {
  const { spec, tenant, bookingId } = booking;
  const reasons: Reason[] = [];
  let everPossible = false;
  for (const pool of spec.pools) {
    const flavours = snapshot.flavoursOf(tenant, pool);
    if (flavours === undefined) {
      reasons.push({
        code: 'unknown_pool',
        text: `pool ${pool} does not exist`,
        mend: 'name a pool from `merit pools ls`',
      });
      continue;
    }
    const usable = flavours.filter((flavour) => flavour.resource === (spec.gpuMilli > 0 ? 'gpu' : 'cpu'));
    if (usable.length === 0) {
      const what = spec.gpuMilli > 0 ? 'GPUs' : 'CPU-only flavours';
      reasons.push({ code: 'no_such_resource', text: `pool ${pool} has no ${what}`, mend: 'name another pool' });
    }
    for (const flavour of usable) {
      const ask = BigInt(spec.gpuMilli > 0 ? spec.gpuMilli : spec.cpuMilli);
      const option = { flavour, ask, holdCents: costCents(ask, BigInt(spec.leaseMs), flavour.centsPerUnitHour) };
      const verdict = weigh(snapshot, charges, booking, option);
      if (verdict.fits) {
        charge(charges, booking, option);
        return { kind: 'admit', bookingId, placement: placementOf(spec, option) };
      }
      everPossible ||= verdict.ever;
      reasons.push(...verdict.reasons);
    }
  }
  if (everPossible) return { kind: 'wait', bookingId, reasons };
  const first = reasons[0] ?? { code: 'no_option', text: 'no pool was named', mend: 'name a pool' };
  return {
    kind: 'infeasible',
    bookingId,
    reason: {
      code: first.code,
      text: `can never start: ${reasons.map((reason) => reason.text).join('; ')}`,
      mend: first.mend,
    },
  };
}

const capacityKey = (tenant: string, flavour: FlavourSnapshot) => `c ${tenant} ${flavour.pool} ${flavour.flavour}`;
const quotaKey = (tenant: string, division: string, flavour: FlavourSnapshot) =>
  `q ${tenant} ${division} ${flavour.pool} ${flavour.flavour}`;
const budgetKey = (tenant: string, division: string, currency: string) => `b ${tenant} ${division} ${currency}`;

/** All that stands between the booking and this flavour, not the first of it. */
function weigh(snapshot: Snapshot, charges: Charges, booking: Waiting, option: Option): Verdict {
  const { tenant, spec } = booking;
  const { flavour, ask, holdCents } = option;
  const where = `${flavour.pool}/${flavour.flavour}`;
  const reasons: Reason[] = [];
  let ever = true;
  const lacks = (
    code: string,
    what: string,
    balance: Balance | undefined,
    need: bigint,
    key: string,
    unit: (n: bigint) => string,
    mend: string,
  ) => {
    if (balance === undefined || balance.limit < need) {
      ever = false;
      const limit = balance === undefined ? 'none' : unit(balance.limit);
      const never = mend.replace(/^wait, /, '');
      reasons.push({ code, text: `${where}: needs ${unit(need)}, ${what} is ${limit} in all`, mend: never });
    } else if (charges.free(key, balance) < need) {
      const free = charges.free(key, balance);
      reasons.push({
        code,
        text: `${where}: needs ${unit(need)}, ${unit(free < 0n ? 0n : free)} of ${what} is free now (${unit(need - free)} short)`,
        mend,
      });
    }
  };
  const units = (milli: bigint) => `${decimalText(milli, 3)} ${flavour.resource}`;
  const money = (amount: bigint) => `${decimalText(amount, 2, 2)} ${flavour.currency}`;
  if (spec.maxCostCents !== null && holdCents > BigInt(spec.maxCostCents)) {
    ever = false;
    reasons.push({
      code: 'max_cost',
      text: `${where}: the whole lease costs ${money(holdCents)}, the job's max_cost is ${money(BigInt(spec.maxCostCents))}`,
      mend: 'shorten the lease or raise budget.max_cost',
    });
  }
  const capacity = { limit: flavour.capacityMilli, free: flavour.freeMilli };
  lacks(
    'capacity',
    'its capacity',
    capacity,
    ask,
    capacityKey(tenant, flavour),
    units,
    'wait, ask for less, or name another pool',
  );
  const quota = snapshot.quota(tenant, spec.division, flavour.pool, flavour.flavour);
  lacks(
    'quota',
    `the quota of division ${spec.division}`,
    quota,
    ask,
    quotaKey(tenant, spec.division, flavour),
    units,
    'wait, ask for less, or have the quota raised',
  );
  const budget = snapshot.budget(tenant, spec.division, flavour.currency);
  lacks(
    'budget',
    `the budget of division ${spec.division}`,
    budget,
    holdCents,
    budgetKey(tenant, spec.division, flavour.currency),
    money,
    'shorten the lease or have the budget raised',
  );
  if (flavour.away !== undefined) {
    reasons.push({
      code: 'provider_unreachable',
      text: `${where}: ${flavour.away}`,
      mend: 'start or mend the provider; the booking goes on by itself',
    });
  }
  return reasons.length === 0 ? { fits: true } : { fits: false, ever, reasons };
}

function charge(charges: Charges, booking: Waiting, option: Option): void {
  const { tenant, spec } = booking;
  charges.take(capacityKey(tenant, option.flavour), option.ask);
  charges.take(quotaKey(tenant, spec.division, option.flavour), option.ask);
  charges.take(budgetKey(tenant, spec.division, option.flavour.currency), option.holdCents);
}

function placementOf(spec: JobSpec, option: Option): Placement {
  return {
    pool: option.flavour.pool,
    flavour: option.flavour.flavour,
    provider: option.flavour.provider,
    gpuMilli: String(spec.gpuMilli),
    cpuMilli: String(spec.cpuMilli),
    holdCents: String(option.holdCents),
    currency: option.flavour.currency,
    centsPerUnitHour: String(option.flavour.centsPerUnitHour),
  };
}
