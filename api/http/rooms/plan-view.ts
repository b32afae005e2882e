import { newBooking } from '../../../core/booking.ts';
import { durationText } from '../../../core/duration.ts';
import type { BookingId } from '../../../core/ids.ts';
import { type JobSpec, specHash } from '../../../core/job.ts';
import { costCents } from '../../../pools/cost.ts';
import type { FlavourInput } from '../../../pools/planner-input.ts';
import { flavourId } from '../../../pools/pool-facts.ts';
import { withPriority } from '../../../pools/priority-classes.ts';
import { flavoursFor, resourceOf, unitsMilliOf } from '../../../scheduler/apply/asks.ts';
import type { Booking } from '../../../scheduler/apply/booking-store.ts';
import { type Room, roomsOf } from '../../../scheduler/apply/room.ts';
import type { TenantDecisions, TenantPlan } from '../../../scheduler/apply/tenant-plan.ts';
import type { Caller, View } from '../services.ts';
import { moneyText, type RoomPorts, unitsText } from './base.ts';
import { queueExplanation } from './queue-explanation.ts';

/** Sorts after every booking there is. */
const LAST_ID = 'z'.repeat(26) as BookingId;

/** The engine's own planner, asked about one booking that is not there: every offer, what it would decide, when it would start and what stands against it. */
export async function planView(ports: RoomPorts, caller: Caller, asked: JobSpec): Promise<View> {
  const { tenant } = caller.identity;
  const spec = await ports.db.asTenant(tenant, (tx) => withPriority(tx, tenant, asked));
  const plan = await ports.queues.fresh(tenant);
  const flavours = flavoursFor(spec, plan.facts);
  const roomOf = roomsOf(plan, spec.division);
  const starts = startsOf(plan, unbooked(caller, spec), flavours, caller.nowMs);
  const quotes = await quotesOf(ports, tenant, spec.pools);
  plan.put({ booking: unbooked(caller, spec), needs: new Map() });
  const { gates, planned } = plan.explain(LAST_ID, caller.nowMs);
  const outcome = outcomeOf(plan.decide(caller.nowMs));
  const { nodes = 1 } = spec;
  const isGpu = resourceOf(spec) === 'gpu';
  const ask = BigInt(unitsMilliOf(spec));
  return {
    name: spec.name,
    division: spec.division,
    asks: `${unitsText(ask)} ${isGpu ? 'GPU' : 'CPU'}${nodes === 1 ? '' : ` on ${nodes} nodes`}`,
    lease: durationText(spec.leaseMs),
    policy: 'asked once it is booked, before anything is taken',
    offers: flavours.map((flavour) => ({
      ...offerView(spec, flavour, ask, roomOf(flavour, resourceOf(spec))),
      quote: quotes.get(flavour.id) ?? null,
      ...(starts.get(flavour.id) ?? { starts: null, wait: null }),
      chosen: flavour.id === outcome.flavour,
    })),
    verdict: outcome.verdict,
    preempts: outcome.preempts,
    ...queueExplanation(gates, planned),
  };
}

/** The last moment that a date can be. */
const NEVER_MS = 8_640_000_000_000_000;

/** Offers whose start is reckoned, the first ones. */
const MAX_STARTS = 8;

/** When it would start, were it to run at this one place: every other is passed over. */
function startsOf(
  plan: TenantPlan,
  booking: Booking,
  flavours: readonly FlavourInput[],
  nowMs: number,
): ReadonlyMap<string, { readonly starts: string | null; readonly wait: string | null }> {
  return new Map(
    flavours.slice(0, MAX_STARTS).map(({ id }) => {
      const passedOver = flavours
        .filter((other) => other.id !== id)
        .map((other) => ({ place: other.id, untilMs: NEVER_MS, code: 'asked_elsewhere', times: 1 }));
      plan.put({ booking: { ...booking, state: { ...newBooking(), passedOver } }, needs: new Map() });
      const { planned } = plan.explain(booking.bookingId, nowMs);
      // Once the others are no longer passed over it is not this place that it would start at.
      const etaMs = planned?.etaMs == null || planned.etaMs >= NEVER_MS ? null : planned.etaMs;
      const wait = planned?.reasons[0]?.code ?? null;
      return [id, { starts: etaMs === null ? null : new Date(etaMs).toISOString(), wait }];
    }),
  );
}

/** Flavour id → what its provider asks for a unit and hour now. */
async function quotesOf(
  ports: RoomPorts,
  tenant: string,
  pools: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const quoted = await Promise.all(
    [...new Set(pools)].map(async (pool) =>
      (await ports.providers.offers(tenant, pool)).map(
        ({ flavour, currency, centsPerUnitHour }) =>
          [flavourId(pool, flavour), `${moneyText(centsPerUnitHour)} ${currency}`] as const,
      ),
    ),
  );
  return new Map(quoted.flat());
}

interface Outcome {
  readonly verdict: 'admit' | 'preempt' | 'wait' | 'infeasible';
  readonly flavour: string | null;
  /** Ids of what would have to make room. */
  readonly preempts: readonly string[];
}

function outcomeOf({ admitted, preempted, refused }: TenantDecisions): Outcome {
  const taken = admitted.find(({ booking }) => booking.bookingId === LAST_ID)?.placement;
  if (taken !== undefined) return { verdict: 'admit', flavour: flavourId(taken.pool, taken.flavour), preempts: [] };
  const victims = preempted.filter(({ decision }) => decision.for === LAST_ID).map(({ decision }) => decision.id);
  if (victims.length > 0) return { verdict: 'preempt', flavour: null, preempts: victims };
  const never = refused.some(({ booking }) => booking.bookingId === LAST_ID);
  return { verdict: never ? 'infeasible' : 'wait', flavour: null, preempts: [] };
}

function unbooked(caller: Caller, spec: JobSpec): Booking {
  const { tenant, principal } = caller.identity;
  return {
    bookingId: LAST_ID,
    tenant,
    division: spec.division,
    jobName: spec.name,
    requester: principal,
    traceId: caller.traceId,
    spec,
    specHash: specHash(spec),
    state: newBooking(),
    version: 0n,
    createdAtMs: caller.nowMs,
    updatedAtMs: caller.nowMs,
  };
}

function offerView(spec: JobSpec, flavour: FlavourInput, ask: bigint, room: Room): View {
  const resource = resourceOf(spec);
  const price = flavour.price?.minorPerUnitHour[resource] ?? 0n;
  const units = (milli: number | undefined | null) => (milli == null ? null : unitsText(BigInt(milli)));
  return {
    pool: flavour.pool,
    flavour: flavour.id.slice(flavour.pool.length + 1),
    provider: flavour.provider,
    resource,
    spot: flavour.spot,
    price: moneyText(price),
    currency: flavour.price?.currency ?? null,
    maxCost: moneyText(costCents(ask, BigInt(spec.leaseMs), price)),
    free: units(room.freeMilli),
    capacity: units(flavour.capacity[resource]),
    // With all that it may borrow now, however far up.
    quotaLeft: units(room.quotaMilli),
    budgetLeft: room.budgetMinor === null ? null : moneyText(room.budgetMinor),
    away: flavour.away,
  };
}
