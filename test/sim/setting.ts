import { budgetAccount, capacityAccount, quotaAccount } from '../../ledger/quota/account.ts';
import type { DivisionInput, PlannerConfig, PreemptionPolicy } from '../../pools/planner-input.ts';
import type { PoolFacts } from '../../pools/pool-facts.ts';
import { flavourId } from '../../pools/pool-facts.ts';
import type { MemoryBooks } from './memory-books.ts';
import type { Model } from './model.ts';
import type { Chance } from './timeline.ts';

export const TENANT = 'acme';
const FLAVOUR = 'h100';
const CURRENCY = 'USD';

interface PoolSetting {
  readonly name: string;
  gpus: number;
  readonly spot: boolean;
  readonly windowMs: number;
  readonly centsPerUnitHour: bigint;
  cordoned: boolean;
  draining: boolean;
}

interface DivisionSetting {
  readonly name: string;
  /** Of each pool. */
  nominal: number;
  readonly borrow: number | null;
  readonly policy: PreemptionPolicy;
  budgetCents: bigint;
}

/** The pools and divisions of one seed; some of it changes while it runs. */
export interface Setting {
  readonly pools: readonly PoolSetting[];
  readonly divisions: readonly DivisionSetting[];
  readonly fair: boolean;
  readonly grouped: boolean;
}

export function drawSetting(chance: Chance): Setting {
  const pools = Array.from({ length: chance.between(1, 2) }, (_, i) => ({
    name: `pool${i}`,
    gpus: chance.between(2, 8),
    spot: chance.is(0.4),
    windowMs: chance.is(0.5) ? 0 : chance.of([5_000, 20_000]),
    centsPerUnitHour: BigInt(chance.of([0, 1, 199, 360_000])),
    cordoned: false,
    draining: false,
  }));
  const divisions = Array.from({ length: chance.between(1, 3) }, (_, i) => ({
    name: `team${i}`,
    nominal: chance.between(1, 4),
    borrow: chance.is(0.5) ? null : chance.between(0, 4),
    policy: {
      own: chance.of(['never', 'lower', 'lower-or-newer'] as const),
      reclaim: chance.of(['never', 'lower', 'any'] as const),
      borrow: chance.is(0.3) ? { maxPriority: chance.of([null, 1]) } : null,
    },
    budgetCents: chance.is(0.2) ? 1_000n : 100_000_000n,
  }));
  return { pools, divisions, fair: chance.is(0.5), grouped: chance.is(0.7) };
}

/** Accounts and limits as an `apply` of the files would make them. */
export function openSetting({ pools, divisions, grouped }: Setting, books: MemoryBooks, model: Model): void {
  books.pools = pools.map(({ name }) => ({ tenant: TENANT, pool: name }));
  for (const pool of pools) {
    for (const division of divisions) {
      const capacityMilli = BigInt(pool.gpus) * 1000n;
      const quotaMilli = mostOf(division, pool.gpus, grouped);
      const at = { tenant: TENANT, division: division.name, pool: pool.name, flavour: FLAVOUR, resource: 'gpu' };
      books.ledger.open({ ...at, currency: CURRENCY, capacityMilli, quotaMilli, budgetCents: division.budgetCents });
      model.limited(quotaAccount(TENANT, division.name, pool.name, FLAVOUR, 'gpu'), quotaMilli);
      model.limited(budgetAccount(TENANT, division.name, CURRENCY), division.budgetCents);
    }
    model.limited(capacityAccount(TENANT, pool.name, FLAVOUR, 'gpu'), BigInt(pool.gpus) * 1000n);
  }
}

/** The most a division may hold of a pool, whoever lends it. */
function mostOf({ nominal, borrow }: DivisionSetting, gpus: number, grouped: boolean): bigint {
  const most = !grouped ? nominal : borrow === null ? Math.max(gpus, nominal) : nominal + borrow;
  return BigInt(most) * 1000n;
}

export function resize(pool: PoolSetting, gpus: number, books: MemoryBooks, model: Model): void {
  pool.gpus = gpus;
  const account = capacityAccount(TENANT, pool.name, FLAVOUR, 'gpu');
  books.ledger.setLimit(account, BigInt(gpus) * 1000n);
  model.limited(account, BigInt(gpus) * 1000n);
}

export function requota(
  setting: Setting,
  at: DivisionSetting,
  nominal: number,
  books: MemoryBooks,
  model: Model,
): void {
  at.nominal = nominal;
  for (const pool of setting.pools) {
    const account = quotaAccount(TENANT, at.name, pool.name, FLAVOUR, 'gpu');
    const most = mostOf(at, pool.gpus, setting.grouped);
    books.ledger.setLimit(account, most);
    model.limited(account, most);
  }
}

/** Room and money for everything that was asked for. */
export function enlarge(setting: Setting, books: MemoryBooks, model: Model): void {
  for (const pool of setting.pools) resize(pool, ROOMY, books, model);
  for (const division of setting.divisions) {
    requota(setting, division, ROOMY, books, model);
    division.budgetCents = RICH;
    const account = budgetAccount(TENANT, division.name, CURRENCY);
    books.ledger.setLimit(account, RICH);
    model.limited(account, RICH);
  }
}

const ROOMY = 12;
const RICH = 10n ** 12n;

/** What the engine's planner is given of it. */
export function factsOf(
  { pools, divisions, fair, grouped }: Setting,
  books: MemoryBooks,
  away: ReadonlyMap<string, string>,
): PoolFacts {
  const config: PlannerConfig = {
    fairSharing: { enabled: fair, strategies: ['final', 'initial'] },
    flavours: pools.map((pool) => ({
      id: flavourId(pool.name, FLAVOUR),
      pool: pool.name,
      provider: 'sim',
      spot: pool.spot,
      price: { currency: CURRENCY, minorPerUnitHour: { gpu: pool.centsPerUnitHour } },
      capacity: { gpu: pool.gpus * 1000 },
      away: away.get(pool.name) ?? null,
      cordoned: pool.cordoned || pool.draining,
      open: null,
    })),
    nodes: [],
    groups: grouped ? [{ name: 'all', parent: null, weightMilli: 1000, quota: [] }] : [],
    divisions: divisions.map(
      (division): DivisionInput => ({
        name: division.name,
        group: grouped ? 'all' : null,
        weightMilli: 1000,
        quota: pools.map((pool) => ({
          flavour: flavourId(pool.name, FLAVOUR),
          resource: 'gpu',
          nominalMilli: division.nominal * 1000,
          borrowMilli: division.borrow === null ? null : division.borrow * 1000,
          lendMilli: null,
        })),
        flavours: pools.map((pool) => flavourId(pool.name, FLAVOUR)),
        preemption: division.policy,
        fallback: { whenFull: 'next', prefer: 'borrow' },
        queueing: 'best-effort',
        userLimits: [],
        budgets: [{ currency: CURRENCY, limitMinor: division.budgetCents, spentMinor: spentOf(division.name, books) }],
      }),
    ),
    guards: [],
    reservations: [],
  };
  return {
    config,
    gpuTypes: new Map(),
    offPeak: new Map(),
    draining: new Set(pools.filter((pool) => pool.draining).map(({ name }) => name)),
    drainingMachines: new Set(),
  };
}

/** Posted, but for what those that run hold. */
function spentOf(division: string, books: MemoryBooks): bigint {
  const { debitsPosted, creditsPosted } = books.ledger.balances.get(budgetAccount(TENANT, division, CURRENCY))!;
  let held = 0n;
  for (const booking of books.bookings.values()) {
    const { state } = booking;
    if (booking.division === division && 'appliedAtMs' in state && state.appliedAtMs !== null)
      held += BigInt(state.placement.holdCents);
  }
  return debitsPosted - creditsPosted - held;
}
