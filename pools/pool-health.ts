import type { PoolFile } from './pool-file.ts';

/** What a provider has of a flavour, whoever uses it, and what of that is free. */
export interface ThereCapacity {
  readonly flavour: string;
  readonly totalGpuMilli: bigint;
  readonly freeGpuMilli: bigint;
  readonly totalCpuMilli: bigint;
  readonly freeCpuMilli: bigint;
}

/** What a pool's provider says now. */
export interface PoolHealth {
  /** Why nothing can be started there; undefined: it answers. */
  readonly away: string | undefined;
  /** By flavour; none of those it says nothing of. */
  readonly there: readonly ThereCapacity[];
}

/** Of a tenant's pool. Asked at each planning. */
export type AskHealth = (tenant: string, pool: string) => Promise<PoolHealth>;

/** In milli-units of the flavour's resource; undefined: the provider does not say. */
export function thereOf(
  { there }: PoolHealth,
  flavour: string,
  resource: 'gpu' | 'cpu',
): { readonly totalMilli: bigint; readonly freeMilli: bigint } | undefined {
  const told = there.find((one) => one.flavour === flavour);
  if (told === undefined) return undefined;
  return resource === 'gpu'
    ? { totalMilli: told.totalGpuMilli, freeMilli: told.freeGpuMilli }
    : { totalMilli: told.totalCpuMilli, freeMilli: told.freeCpuMilli };
}

/** What can be planned with: what is declared, and where the flavour follows its provider no more than is there. */
export function plannedMilli(
  declaredMilli: bigint,
  { name, resource, liveCapacity }: Pick<PoolFile['flavours'][number], 'name' | 'resource' | 'liveCapacity'>,
  health: PoolHealth,
): bigint {
  const there = liveCapacity === true ? thereOf(health, name, resource) : undefined;
  return there !== undefined && there.totalMilli < declaredMilli ? there.totalMilli : declaredMilli;
}
