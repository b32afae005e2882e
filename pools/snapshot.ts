/** What the planner knows at one instant. Capacity in milli-units, money in cents. Values only: nothing here does I/O. */
export interface FlavourSnapshot {
  readonly pool: string;
  readonly flavour: string;
  readonly provider: string;
  readonly resource: 'gpu' | 'cpu';
  readonly position: number;
  readonly capacityMilli: bigint;
  readonly freeMilli: bigint;
  readonly currency: string;
  readonly centsPerUnitHour: bigint;
  /** Why nothing can be started there now (the provider does not answer); undefined: it can. */
  readonly away: string | undefined;
}

export interface Balance {
  readonly limit: bigint;
  readonly free: bigint;
}

export interface Snapshot {
  /** By tenant and pool, in the pool's own flavour order. */
  flavoursOf(tenant: string, pool: string): readonly FlavourSnapshot[] | undefined;
  quota(tenant: string, division: string, pool: string, flavour: string): Balance | undefined;
  budget(tenant: string, division: string, currency: string): Balance | undefined;
}

/**
 * Cents for `unitsMilli` of a flavour over `ms`, rounded up: what is held covers what can be used.
 * units/1000 × hours × cents per unit-hour, in integers.
 */
export function costCents(unitsMilli: bigint, ms: bigint, centsPerUnitHour: bigint): bigint {
  const scaled = unitsMilli * ms * centsPerUnitHour;
  const per = 1000n * 3_600_000n;
  return (scaled + per - 1n) / per;
}
