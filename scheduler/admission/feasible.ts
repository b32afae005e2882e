import type { FlavourInput } from '../../pools/planner-input.ts';
import type { QuotaTree } from '../../pools/quota-tree.ts';
import { type Accounts, costOf } from './accounts.ts';
import type { WaitReason } from './decision.ts';
import type { Machines } from './machines.ts';
import type { Shape } from './shape.ts';
import { amountText, moneyText } from './texts.ts';
import { demandOf, type Option } from './world.ts';

/** Assignments of flavours to pod sets that are looked at. Beyond, pod sets are judged one by one. */
const MAX_COMBINATIONS = 4096;

interface Limits {
  readonly tree: QuotaTree;
  readonly flavours: ReadonlyMap<string, FlavourInput>;
  readonly accounts: Accounts;
}

/**
 * Why a shape could never start, were the whole tree empty and no user or budget charged; null: some assignment of flavours could. What
 * opens and shuts (windows, providers, cordons) is no reason here.
 */
export function neverReasons(limits: Limits, empty: Machines | null, shape: Shape): readonly WaitReason[] | null {
  if (shape.division < 0) return [never(null, null, null, `the division ${shape.sample.division} has no quota`)];
  const podSets = shape.podSetsFor(shape.minReplicas);
  if (shape.flavours.length === 0)
    return [never(null, null, null, 'its division has none of the flavours it may run on')];
  const combinations = shape.flavours.length ** podSets.length;
  const choices =
    combinations <= MAX_COMBINATIONS
      ? podSets.map(() => shape.flavours)
      : podSets.map(() => shape.flavours.slice(0, 1));
  const reasons: WaitReason[] = [];
  for (const flavours of products(choices)) {
    const found = reasonsOf(
      limits,
      empty,
      shape,
      flavours.map(({ id }) => id),
    );
    if (found.length === 0) return null;
    reasons.push(...found);
  }
  return combinations <= MAX_COMBINATIONS ? unique(reasons) : null;
}

function reasonsOf(
  limits: Limits,
  empty: Machines | null,
  shape: Shape,
  flavours: readonly string[],
): readonly WaitReason[] {
  const { tree } = limits;
  const podSets = shape.podSetsFor(shape.minReplicas);
  const demand = demandOf(tree, podSets, flavours);
  if (demand === undefined)
    return [never(flavours[0]!, null, null, `${flavours.join(' and ')} have not all the resources it asks for`)];
  const reasons: WaitReason[] = [];
  for (const [i, cell] of demand.cells.entries()) {
    const most = Math.min(tree.potential[tree.at(shape.division, cell)]!, tree.capacity[cell]!);
    const { flavour, resource } = tree.cells[cell]!;
    const ask = demand.amounts[i]!;
    if (ask <= most) continue;
    const text = `${flavour}: asks for ${amountText(ask, resource)}, can have ${amountText(most, resource)} at most`;
    reasons.push(never(flavour, resource, ask - most, text));
  }
  const option: Option = { flavours, podSets, demand };
  reasons.push(...moneyReasons(limits, shape, option));
  for (const { limit, shortfall, ever } of limits.accounts.userShort(shape.division, shape.sample.user, demand)) {
    if (!ever) reasons.push(never(limit.flavour, limit.resource, shortfall, 'asks for more than one user may use'));
  }
  for (const [i, { resources, count }] of podSets.entries()) {
    const flavour = flavours[i]!;
    if (empty === null || !empty.has(flavour) || empty.room(flavour, resources, count) >= count) continue;
    reasons.push(never(flavour, null, null, `${flavour}: its nodes have no room for it even when they are empty`));
  }
  return reasons;
}

function moneyReasons(
  { flavours, accounts }: Limits,
  { sample, division }: Shape,
  option: Option,
): readonly WaitReason[] {
  const cost = costOf(option, sample.leaseMs, flavours);
  if (cost === null) return [];
  const flavour = option.flavours[0]!;
  const reasons: WaitReason[] = [];
  if (sample.maxCostMinor !== null && cost.minor > sample.maxCostMinor) {
    const text = `${flavour}: the whole lease costs ${moneyText(cost.minor, cost.currency)}, more than its max_cost`;
    reasons.push(never(flavour, cost.currency, cost.minor - sample.maxCostMinor, text));
  }
  const short = accounts.budgetShort(division, cost);
  if (short !== undefined && !short.ever) {
    const text = `${flavour}: the whole lease costs ${moneyText(cost.minor, cost.currency)}, more than the whole budget`;
    reasons.push(never(flavour, cost.currency, short.shortfall, text));
  }
  return reasons;
}

function never(
  flavour: string | null,
  resource: string | null,
  shortfall: number | bigint | null,
  text: string,
): WaitReason {
  return { code: 'infeasible', flavour, resource, shortfall, holders: [], text };
}

function unique(reasons: readonly WaitReason[]): readonly WaitReason[] {
  const seen = new Map(reasons.map((reason) => [reason.text, reason]));
  return [...seen.values()];
}

function* products<T>(choices: readonly (readonly T[])[]): Generator<readonly T[]> {
  const [first, ...rest] = choices;
  if (first === undefined) yield [];
  else for (const head of first) for (const tail of products(rest)) yield [head, ...tail];
}
