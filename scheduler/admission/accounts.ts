import type { BudgetInput, DivisionInput, FlavourInput, Interval } from '../../pools/planner-input.ts';
import type { QuotaTree } from '../../pools/quota-tree.ts';
import type { Demand } from '../../pools/tree-usage.ts';
import type { Option } from './world.ts';

/** Milli-units × milliseconds in one unit-hour. */
const UNIT_HOUR = 1000n * 3_600_000n;

export interface Money {
  readonly currency: string;
  readonly minor: bigint;
}

/** What the lease of an option costs, rounded up: what is held covers what can be used. null: it is free, or has no end. */
export function costOf(
  option: Option,
  leaseMs: number | null,
  flavours: ReadonlyMap<string, FlavourInput>,
): Money | null {
  if (leaseMs === null) return null;
  let scaled = 0n;
  let currency: string | null = null;
  for (const [i, { count, resources }] of option.podSets.entries()) {
    const price = flavours.get(option.flavours[i]!)?.price;
    if (price == null) continue;
    currency = price.currency;
    for (const [resource, minorPerUnitHour] of Object.entries(price.minorPerUnitHour))
      scaled += BigInt((resources[resource] ?? 0) * count) * minorPerUnitHour;
  }
  if (currency === null) return null;
  return { currency, minor: (scaled * BigInt(leaseMs) + UNIT_HOUR - 1n) / UNIT_HOUR };
}

/** The interval that `atMs` lies in, or the next one; undefined: there is none any more. */
export function intervalAt(intervals: readonly Interval[], atMs: number): Interval | undefined {
  return intervals.find(({ untilMs }) => atMs < untilMs);
}

/** What users use and budgets hold: limits beside the quota tree. */
export class Accounts {
  readonly #tree: QuotaTree;
  readonly #divisions: ReadonlyMap<number, DivisionInput>;
  /** division, user, limit → milli-units. */
  readonly #used = new Map<string, number>();
  readonly #held = new Map<string, bigint>();
  readonly #budgets = new Map<string, BudgetInput>();

  constructor(tree: QuotaTree, divisions: readonly DivisionInput[]) {
    this.#tree = tree;
    this.#divisions = new Map(divisions.map((division) => [tree.division(division.name)!, division]));
    for (const { name, budgets } of divisions) for (const budget of budgets) this.setBudget(name, budget);
  }

  setBudget(division: string, budget: BudgetInput): void {
    const node = this.#tree.division(division);
    if (node !== undefined) this.#budgets.set(`${node} ${budget.currency}`, budget);
  }

  charge(division: number, user: string | null, demand: Demand, held: Money | null, sign: 1 | -1): void {
    if (user !== null) {
      for (const [index, limit] of this.#limits(division).entries()) {
        const amount = this.#under(limit, demand);
        if (amount === 0) continue;
        const key = `${division} ${index} ${user}`;
        const used = (this.#used.get(key) ?? 0) + sign * amount;
        if (used === 0) this.#used.delete(key);
        else this.#used.set(key, used);
      }
    }
    if (held === null) return;
    const key = `${division} ${held.currency}`;
    this.#held.set(key, (this.#held.get(key) ?? 0n) + BigInt(sign) * held.minor);
  }

  /** What is missing for the ask under each limit of the user's that it would pass. */
  userShort(division: number, user: string | null, demand: Demand) {
    if (user === null) return [];
    return this.#limits(division).flatMap((limit, index) => {
      const amount = this.#under(limit, demand);
      const used = this.#used.get(`${division} ${index} ${user}`) ?? 0;
      const shortfall = used + amount - limit.limitMilli;
      return amount === 0 || shortfall <= 0 ? [] : [{ limit, shortfall, ever: amount <= limit.limitMilli }];
    });
  }

  /** Minor units that are missing in the budget; undefined: none are, or there is no budget. */
  budgetShort(
    division: number,
    cost: Money | null,
  ): { readonly shortfall: bigint; readonly ever: boolean } | undefined {
    if (cost === null) return undefined;
    const key = `${division} ${cost.currency}`;
    const budget = this.#budgets.get(key);
    if (budget === undefined) return undefined;
    const shortfall = budget.spentMinor + (this.#held.get(key) ?? 0n) + cost.minor - budget.limitMinor;
    return shortfall <= 0n ? undefined : { shortfall, ever: cost.minor <= budget.limitMinor };
  }

  #limits(division: number) {
    return this.#divisions.get(division)?.userLimits ?? [];
  }

  #under(
    { flavour, resource }: { readonly flavour: string | null; readonly resource: string },
    demand: Demand,
  ): number {
    let sum = 0;
    for (const [i, cell] of demand.cells.entries()) {
      const at = this.#tree.cells[cell]!;
      if (at.resource === resource && (flavour === null || at.flavour === flavour)) sum += demand.amounts[i]!;
    }
    return sum;
  }
}
