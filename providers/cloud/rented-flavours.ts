import { slugRefusal } from '../../core/ids.ts';
import { type Refusal, refuse } from '../../core/refusal.ts';
import { type AttemptSpec, type FlavourCapacity, type Offer, type PoolFlavour, ProviderError } from '../provider.ts';

/** A flavour of a service that tells no prices. */
export interface PricedFlavour {
  readonly name: string;
  /** It may be taken back; absent: as the pool's flavour says. */
  readonly spot?: boolean;
  /** Cents per GPU-hour, or CPU-hour where it has no GPU; absent: the pool's price. */
  readonly centsPerUnitHour?: number;
  readonly currency?: string;
}

/** A machine type of a cloud, of which each node of a job has one whole. */
export interface RentedFlavour extends PricedFlavour {
  /** What one machine has, as the cloud lists it. */
  readonly gpus: number;
  readonly cpus: number;
  /** Absent: a job's memory is not held against it. */
  readonly memoryGib?: number;
}

const UNITS_LIMIT = 1_024;
const MEMORY_LIMIT_GIB = 65_536;
const GIB = 1024n ** 3n;
export const FLAVOURS_LIMIT = 64;
export const MACHINES_LIMIT = 10_000;

export const rentedFlavourProperties = {
  name: { type: 'string' },
  gpus: { type: 'integer', minimum: 0, maximum: UNITS_LIMIT },
  cpus: { type: 'integer', minimum: 1, maximum: UNITS_LIMIT },
  memoryGib: { type: 'integer', minimum: 1, maximum: MEMORY_LIMIT_GIB },
  spot: { type: 'boolean' },
  centsPerUnitHour: { type: 'integer', minimum: 0 },
  currency: { type: 'string', pattern: '^[A-Z]{3}$' },
} as const;

/** What a schema cannot say of a config's flavours. */
export function flavourRefusals(
  flavours: readonly PricedFlavour[],
  pool: readonly PoolFlavour[] | undefined,
  typeField: string,
): readonly Refusal[] {
  const names = flavours.map(({ name }) => name);
  const missing = (pool ?? []).filter(({ flavour }) => !names.includes(flavour));
  return [
    ...flavours.flatMap(({ name }, i) => slugRefusal(`flavours/${i}/name`, name) ?? []),
    ...(new Set(names).size < names.length
      ? [refuse('duplicate', 'flavours', 'two have the same name', 'give each its own name')]
      : []),
    ...missing.map(({ flavour }) =>
      refuse(
        'required',
        'flavours',
        `say nothing of ${flavour}`,
        `name its ${typeField} here, or remove it from the pool`,
      ),
    ),
  ];
}

/** Each with what the pool's file says of it. */
export function flavoursOf<F extends PricedFlavour>(
  flavours: readonly F[],
  pool: readonly PoolFlavour[] = [],
): readonly (F & { readonly spot: boolean })[] {
  return flavours.map((own) => {
    const pooled = pool.find(({ flavour }) => flavour === own.name);
    const price =
      pooled === undefined ? {} : { centsPerUnitHour: Number(pooled.centsPerUnitHour), currency: pooled.currency };
    return { ...price, ...own, spot: own.spot ?? pooled?.spot ?? false };
  });
}

/** Throws ProviderError `invalid` for what machines of this flavour cannot run, whatever is free. */
export function checkFits(
  { resources, nodes = 1 }: AttemptSpec,
  flavour: RentedFlavour,
  type: string,
  machines: number,
): void {
  const { gpuMilli, cpuMilli, memoryBytes } = resources;
  const { name, gpus, cpus, memoryGib } = flavour;
  const refused = (text: string) => new ProviderError('invalid', `flavour ${name} is ${type}: ${text}`);
  // Clouds bill whole machines: what is booked is what is billed, or the ledger would tell another price than the bill.
  const [asked, has, unit] = gpus > 0 ? [gpuMilli, gpus, 'GPUs'] : [cpuMilli, cpus, 'CPUs'];
  if (asked !== BigInt(has) * 1000n)
    throw refused(
      `an instance is rented whole, so ask for its ${has} ${unit} on each node, or name a flavour of another size`,
    );
  if (gpus === 0 && gpuMilli > 0n) throw refused('it has no GPU: name another flavour');
  if (cpuMilli > BigInt(cpus) * 1000n) throw refused(`it has ${cpus} CPUs: ask for at most that on each node`);
  if (memoryGib !== undefined && memoryBytes > BigInt(memoryGib) * GIB)
    throw refused(`it has ${memoryGib} GiB: ask for at most that on each node`);
  if (nodes > machines) throw refused(`the pool has ${machines} of it: ask for at most so many nodes`);
}

/** What the quota that the config declares leaves of a flavour, where so many of its machines are in use. */
export function capacityOf({ name, gpus, cpus }: RentedFlavour, machines: number, used: number): FlavourCapacity {
  const free = Math.max(0, machines - used);
  return {
    flavour: name,
    totalGpuMilli: milli(machines * gpus),
    freeGpuMilli: milli(free * gpus),
    totalCpuMilli: milli(machines * cpus),
    freeCpuMilli: milli(free * cpus),
  };
}

/** These services tell no prices: they are the pool's and its config's. */
export function offersOf(flavours: readonly (PricedFlavour & { readonly spot: boolean })[]): readonly Offer[] {
  return flavours.flatMap(({ name, spot, centsPerUnitHour, currency = 'USD' }) =>
    centsPerUnitHour === undefined
      ? []
      : [{ flavour: name, spot, currency, centsPerUnitHour: BigInt(centsPerUnitHour) }],
  );
}

function milli(units: number): bigint {
  return BigInt(units) * 1000n;
}
