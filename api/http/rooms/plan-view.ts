import type { JobSpec } from '../../../core/job.ts';
import { loadSnapshot } from '../../../pools/load-snapshot.ts';
import { costCents, type FlavourSnapshot, type Snapshot } from '../../../pools/snapshot.ts';
import { admit } from '../../../scheduler/admission/admit.ts';
import type { Caller, View } from '../services.ts';
import { moneyText, type RoomPorts, unitsText } from './base.ts';

/** Sorts after every booking there is. */
const LAST_ID = 'z'.repeat(26);

/** The server's own planner run on one booking that is not there: every offer, and what it would decide now. */
export async function planView(ports: RoomPorts, caller: Caller, spec: JobSpec): Promise<View> {
  const { tenant } = caller.identity;
  const snapshot = await loadSnapshot(ports.db, [{ tenant }], (of, pool) => ports.providers.away(of, pool));
  const waiting = { bookingId: LAST_ID, tenant, spec, createdAtMs: caller.nowMs, notBeforeMs: 0 };
  const [decision] = admit(snapshot, [waiting], caller.nowMs);
  const placement = decision?.kind === 'admit' ? decision.placement : undefined;
  const offers = spec.pools.flatMap((pool) =>
    (snapshot.flavoursOf(tenant, pool) ?? [])
      .filter((flavour) => flavour.resource === (spec.gpuMilli > 0 ? 'gpu' : 'cpu'))
      .map((flavour) => ({
        ...offerView(snapshot, tenant, spec, flavour),
        chosen: placement?.pool === pool && placement.flavour === flavour.flavour,
      })),
  );
  return {
    name: spec.name,
    division: spec.division,
    asks: spec.gpuMilli > 0 ? `${unitsText(BigInt(spec.gpuMilli))} GPU` : `${unitsText(BigInt(spec.cpuMilli))} CPU`,
    lease: durationText(spec.leaseMs),
    policy: 'asked once it is booked, before anything is taken',
    offers,
    verdict: decision?.kind ?? 'wait',
    reasons:
      decision?.kind === 'wait'
        ? decision.reasons.map((reason) => ({ ...reason }))
        : decision?.kind === 'infeasible'
          ? [{ ...decision.reason }]
          : [],
  };
}

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
] as const;

/** As job files write it: in the largest unit that holds it whole. */
function durationText(ms: number): string {
  const unit = UNITS.find(([, size]) => ms >= size && ms % size === 0);
  return unit === undefined ? `${ms}ms` : `${ms / unit[1]}${unit[0]}`;
}

function offerView(snapshot: Snapshot, tenant: string, spec: JobSpec, flavour: FlavourSnapshot): View {
  const units = BigInt(flavour.resource === 'gpu' ? spec.gpuMilli : spec.cpuMilli);
  const quota = snapshot.quota(tenant, spec.division, flavour.pool, flavour.flavour);
  const budget = snapshot.budget(tenant, spec.division, flavour.currency);
  return {
    pool: flavour.pool,
    flavour: flavour.flavour,
    provider: flavour.provider,
    resource: flavour.resource,
    price: moneyText(flavour.centsPerUnitHour),
    currency: flavour.currency,
    maxCost: moneyText(costCents(units, BigInt(spec.leaseMs), flavour.centsPerUnitHour)),
    free: unitsText(flavour.freeMilli),
    capacity: unitsText(flavour.capacityMilli),
    quotaLeft: quota === undefined ? null : unitsText(quota.free),
    budgetLeft: budget === undefined ? null : moneyText(budget.free),
    away: flavour.away ?? null,
  };
}
