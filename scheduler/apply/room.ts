import type { FlavourInput } from '../../pools/planner-input.ts';
import { QuotaTree } from '../../pools/quota-tree.ts';
import { TreeUsage } from '../../pools/tree-usage.ts';
import { runningOf } from './asks.ts';
import type { TenantPlan } from './tenant-plan.ts';

/** What a division could take of a flavour now, without anybody making room; in milli-units, and minor units of money. */
export interface Room {
  /** Of the flavour's capacity; null: it has none of the resource. */
  readonly freeMilli: number | null;
  /** By the quota tree, what it may borrow counted; null: the division has no part in it. */
  readonly quotaMilli: number | null;
  /** null: the flavour has no price, or the division no budget in its currency. */
  readonly budgetMinor: bigint | null;
}

/** Reckoned from the bookings that the planner goes by, so that it is of one moment with what the planner says. */
export function roomsOf(plan: TenantPlan, division: string): (flavour: FlavourInput, resource: string) => Room {
  const { config } = plan.facts;
  const tree = new QuotaTree(config);
  const usage = new TreeUsage(tree);
  const held = new Map<string, bigint>();
  for (const booking of plan.bookings()) {
    const running = runningOf(booking);
    if (running === undefined) continue;
    const node = tree.division(running.division);
    for (const { flavour, count, resources } of running.podSets) {
      for (const [resource, amount] of Object.entries(resources)) {
        const cell = tree.cellOf(flavour, resource);
        if (node !== undefined && cell >= 0) usage.charge(node, { cells: [cell], amounts: [count * amount] });
      }
    }
    if (running.division !== division || running.held === null) continue;
    const { currency, minor } = running.held;
    held.set(currency, (held.get(currency) ?? 0n) + minor);
  }
  const own = tree.division(division);
  const budgets = config.divisions.find(({ name }) => name === division)?.budgets ?? [];
  return (flavour, resource) => {
    const cell = tree.cellOf(flavour.id, resource);
    const currency = flavour.price?.currency;
    const budget = budgets.find((one) => one.currency === currency);
    const left =
      budget === undefined ? null : budget.limitMinor - budget.spentMinor - (held.get(budget.currency) ?? 0n);
    return {
      freeMilli: cell < 0 ? null : Math.max(0, tree.capacity[cell]! - usage.used(cell)),
      quotaMilli: cell < 0 || own === undefined ? null : Math.max(0, usage.available(own, cell)),
      budgetMinor: left === null || left > 0n ? left : 0n,
    };
  };
}
