import type { FlavourInput, QuotaInput } from '../../pools/planner-input.ts';
import { flavourId } from '../../pools/pool-facts.ts';
import { flavoursFor, resourceOf, unitsMilliOf } from './asks.ts';
import type { TenantPlan } from './tenant-plan.ts';

/** What a tenant's pools and divisions have, use and wait for, in milli-units. */
export interface QueueTop {
  readonly flavours: readonly FlavourTop[];
  readonly divisions: readonly DivisionTop[];
}

export interface FlavourTop {
  readonly pool: string;
  readonly flavour: string;
  readonly resource: string;
  readonly capacityMilli: number;
  readonly usedMilli: number;
  /** Of what is used: on its way out. */
  readonly leavingMilli: number;
  readonly running: number;
  /** Bookings that wait and could run there. */
  readonly waiting: number;
  readonly waitingMilli: number;
  readonly away: string | null;
  readonly cordoned: boolean;
}

export interface DivisionTop {
  readonly division: string;
  readonly group: string | null;
  readonly resource: string;
  readonly nominalMilli: number;
  readonly usedMilli: number;
  /** Above its own nominal, summed over flavours. */
  readonly borrowedMilli: number;
  readonly running: number;
  readonly waiting: number;
  readonly waitingMilli: number;
  readonly oldestWaitMs: number | null;
}

interface Tally {
  used: number;
  leaving: number;
  running: number;
  waiting: number;
  waitingMilli: number;
  oldest: number | null;
}

const none = (): Tally => ({ used: 0, leaving: 0, running: 0, waiting: 0, waitingMilli: 0, oldest: null });

export function topOf(plan: TenantPlan, nowMs: number): QueueTop {
  const cells = new Map<string, Tally>();
  const divisions = new Map<string, Tally>();
  const used = new Map<string, number>();
  for (const booking of plan.bookings()) {
    if (booking.spec.money !== undefined) continue;
    const division = tally(divisions, `${booking.division} ${resourceOf(booking.spec)}`);
    if ('placement' in booking.state) {
      const { pool, flavour, nodes = 1 } = booking.state.placement;
      const id = flavourId(pool, flavour);
      const milli = unitsMilliOf(booking.spec, nodes);
      for (const one of [tally(cells, id), division]) {
        one.used += milli;
        one.running++;
        if (booking.state.state === 'draining' || booking.state.state === 'releasing') one.leaving += milli;
      }
      const key = `${booking.division} ${id}`;
      used.set(key, (used.get(key) ?? 0) + milli);
    } else if (booking.state.state === 'waiting') {
      const milli = unitsMilliOf(booking.spec);
      const places = flavoursFor(booking.spec, plan.facts).map((flavour) => tally(cells, flavour.id));
      for (const one of [...places, division]) {
        one.waiting++;
        one.waitingMilli += milli;
        one.oldest = Math.min(one.oldest ?? booking.createdAtMs, booking.createdAtMs);
      }
    }
  }
  const { config } = plan.facts;
  return {
    flavours: config.flavours.flatMap((flavour) => flavourTops(flavour, cells.get(flavour.id) ?? none())),
    divisions: config.divisions.flatMap(({ name, group, quota }) =>
      ['gpu', 'cpu'].flatMap((resource) => {
        const one = divisions.get(`${name} ${resource}`) ?? none();
        const own = quota.filter((entry) => entry.resource === resource);
        const nominalMilli = own.reduce((sum, entry) => sum + entry.nominalMilli, 0);
        if (nominalMilli === 0 && one.running === 0 && one.waiting === 0) return [];
        return [
          {
            division: name,
            group,
            resource,
            nominalMilli,
            usedMilli: one.used,
            borrowedMilli: borrowed(own, (flavour) => used.get(`${name} ${flavour}`) ?? 0),
            running: one.running,
            waiting: one.waiting,
            waitingMilli: one.waitingMilli,
            oldestWaitMs: one.oldest === null ? null : nowMs - one.oldest,
          },
        ];
      }),
    ),
  };
}

function flavourTops(flavour: FlavourInput, one: Tally): readonly FlavourTop[] {
  return Object.entries(flavour.capacity).map(([resource, capacityMilli]) => ({
    pool: flavour.pool,
    flavour: flavour.id.slice(flavour.pool.length + 1),
    resource,
    capacityMilli,
    usedMilli: one.used,
    leavingMilli: one.leaving,
    running: one.running,
    waiting: one.waiting,
    waitingMilli: one.waitingMilli,
    away: flavour.away,
    cordoned: flavour.cordoned,
  }));
}

function borrowed(quota: readonly QuotaInput[], usedOf: (flavour: string) => number): number {
  return quota.reduce((sum, { flavour, nominalMilli }) => sum + Math.max(0, usedOf(flavour) - nominalMilli), 0);
}

function tally(all: Map<string, Tally>, key: string): Tally {
  let one = all.get(key);
  if (one === undefined) {
    one = none();
    all.set(key, one);
  }
  return one;
}
