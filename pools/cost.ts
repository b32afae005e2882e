/**
 * Cents for `unitsMilli` of a flavour over `ms`, rounded up: what is held covers what can be used.
 * units/1000 × hours × cents per unit-hour, in integers.
 */
export function costCents(unitsMilli: bigint, ms: bigint, centsPerUnitHour: bigint): bigint {
  const scaled = unitsMilli * ms * centsPerUnitHour;
  const per = 1000n * 3_600_000n;
  return (scaled + per - 1n) / per;
}
