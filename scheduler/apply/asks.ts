import type { Placement } from '../../core/booking.ts';
import { type Extended, openExtension } from '../../core/extension.ts';
import type { JobSpec } from '../../core/job.ts';
import type {
  Amounts,
  FlavourInput,
  Interval,
  NodeShare,
  PendingInput,
  PlannerConfig,
  RunningInput,
} from '../../pools/planner-input.ts';
import { flavourId, type PoolFacts } from '../../pools/pool-facts.ts';
import { type Booking, leaseMsOf } from './booking-store.ts';

/** What a flavour counts of a job: GPUs where it asks for any, else CPUs; of one node. */
export function resourceOf(spec: Pick<JobSpec, 'gpuMilli'>): 'gpu' | 'cpu' {
  return spec.gpuMilli > 0 ? 'gpu' : 'cpu';
}

/** The same of all its nodes together, in milli-units. */
export function unitsMilliOf(spec: JobSpec, nodes = spec.nodes ?? 1): number {
  return nodes * (spec.gpuMilli > 0 ? spec.gpuMilli : spec.cpuMilli);
}

function amountsOf(spec: Pick<JobSpec, 'gpuMilli' | 'cpuMilli'>): Amounts {
  return spec.gpuMilli > 0 ? { gpu: spec.gpuMilli } : { cpu: spec.cpuMilli };
}

/** The flavours that a job may run on, in the order of its pools, and in each pool of its division's. */
export function flavoursFor(spec: JobSpec, { config, gpuTypes }: PoolFacts): readonly FlavourInput[] {
  const resource = resourceOf(spec);
  const fits = (flavour: FlavourInput) =>
    flavour.capacity[resource] !== undefined &&
    (spec.gpuType === undefined ||
      sameType(spec.gpuType, gpuTypes.get(flavour.id) ?? flavour.id.split('/')[1] ?? '')) &&
    (spec.useSpot === undefined || flavour.spot === spec.useSpot);
  const order = orderOf(config, spec.division);
  const place = (flavour: FlavourInput) => order.get(flavour.id) ?? order.size;
  const own = spec.pools.flatMap((pool) =>
    config.flavours.filter((flavour) => flavour.pool === pool && fits(flavour)).sort((a, b) => place(a) - place(b)),
  );
  return spec.prefersSpot === true ? [...own].sort((a, b) => Number(b.spot) - Number(a.spot)) : own;
}

const orders = new WeakMap<PlannerConfig, Map<string, ReadonlyMap<string, number>>>();

/** Flavour id → its place in the order in which the division tries them; asked once a booking, so it is kept with the configuration. */
function orderOf(config: PlannerConfig, division: string): ReadonlyMap<string, number> {
  let byDivision = orders.get(config);
  if (byDivision === undefined) {
    byDivision = new Map(
      config.divisions.map(({ name, flavours }) => [name, new Map(flavours.map((id, at) => [id, at]))]),
    );
    orders.set(config, byDivision);
  }
  return byDivision.get(division) ?? new Map();
}

function sameType(asked: string, has: string): boolean {
  return asked.toLowerCase() === has.toLowerCase();
}

/** A waiting booking as the planner is given it. */
export function pendingOf(booking: Booking, facts: PoolFacts, notBeforeMs: number): PendingInput {
  const { spec } = booking;
  return {
    id: booking.bookingId,
    division: booking.division,
    user: userOf(booking),
    podSets: [{ count: spec.nodes ?? 1, resources: amountsOf(spec) }],
    minReplicas: spec.minNodes ?? null,
    flavours: flavoursFor(spec, facts).map((flavour) => flavour.id),
    priority: spec.priority,
    createdAtMs: booking.createdAtMs,
    notBeforeMs,
    leaseMs: leaseMsOf(booking),
    maxCostMinor: spec.maxCostCents === null ? null : BigInt(spec.maxCostCents),
    preferPrice: false,
    startWithin: spec.offPeak === true ? windowsOf(spec, facts) : null,
    ...leftForOf(booking),
  };
}

/** The off-peak windows of its pools; where none of them has any, no time is a peak. */
function windowsOf(spec: JobSpec, { offPeak }: PoolFacts): readonly Interval[] | null {
  const windows = spec.pools.flatMap((pool) => offPeak.get(pool) ?? []);
  return windows.length === 0 ? null : windows.sort((a, b) => a.fromMs - b.fromMs);
}

export function userOf(booking: Pick<Booking, 'spec' | 'requester'>): string {
  return booking.spec.user ?? booking.requester;
}

/** A booking that holds capacity as the planner is given it; undefined: it holds none. */
export function runningOf(booking: Booking): RunningInput | undefined {
  const { state, spec } = booking;
  if (!('placement' in state) || spec.money !== undefined) return undefined;
  const { placement } = state;
  const appliedAtMs = 'appliedAtMs' in state ? state.appliedAtMs : null;
  const startedAtMs = appliedAtMs ?? booking.updatedAtMs;
  const lease: Extended = 'extensions' in state ? state : {};
  return {
    id: booking.bookingId,
    division: booking.division,
    user: userOf(booking),
    podSets: [
      {
        flavour: flavourId(placement.pool, placement.flavour),
        count: placement.nodes ?? 1,
        resources: amountsOf(spec),
        nodes: placement.machines ?? null,
      },
    ],
    // No provider can take nodes away from a job that runs.
    minReplicas: null,
    priority: spec.priority,
    createdAtMs: booking.createdAtMs,
    startedAtMs,
    leaseEndsAtMs: state.state === 'applied' ? state.leaseEndsAtMs : startedAtMs + leaseMsOf(booking),
    checkpointedAtMs: null,
    draining: drainingOf(booking),
    ...leftForOf(booking),
    held: { currency: placement.currency, minor: BigInt(placement.holdCents) + pendingCents(lease) },
  };
}

/** Of an extension that is on its way: what the ledger holds for it beside the lease. */
function pendingCents(lease: Extended): bigint {
  const open = openExtension(lease);
  return open?.state === 'holding' ? BigInt(open.holdCents) : 0n;
}

function leftForOf({ state }: Booking): { readonly leftFor?: readonly string[] } {
  return 'leftFor' in state && state.leftFor !== undefined ? { leftFor: state.leftFor } : {};
}

function drainingOf({ state }: Booking): RunningInput['draining'] {
  if (state.state === 'draining') return { for: state.reason.for ?? null, untilMs: state.deadlineMs };
  if (state.state === 'releasing') return { for: state.reason.for ?? null, untilMs: null };
  return null;
}

/** Where an admitted booking goes, with the price of its whole lease. */
export function placementOf(
  booking: Booking,
  flavour: FlavourInput,
  nodes: number,
  held: { readonly currency: string; readonly minor: bigint },
  machines: readonly NodeShare[] | null,
): Placement {
  const { spec } = booking;
  return {
    pool: flavour.pool,
    flavour: flavour.id.slice(flavour.pool.length + 1),
    provider: flavour.provider,
    gpuMilli: String(spec.gpuMilli * nodes),
    cpuMilli: String(spec.cpuMilli * nodes),
    ...(nodes === 1 ? {} : { nodes }),
    ...(machines === null || machines.length === 0 ? {} : { machines }),
    holdCents: String(held.minor),
    currency: held.currency,
    centsPerUnitHour: String(flavour.price?.minorPerUnitHour[resourceOf(spec)] ?? 0n),
  };
}
