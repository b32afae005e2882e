import { costOf } from './accounts.ts';
import type { SmallestChange } from './decision.ts';
import { gatesOf } from './gates.ts';
import type { Verdict } from './nominate.ts';
import type { Scene } from './scene.ts';
import type { Shape } from './shape.ts';
import { amountText, moneyText } from './texts.ts';
import { demandOf, type Option } from './world.ts';

interface Candidate {
  readonly change: SmallestChange;
  /** Part of the ask that is missing: what changes are compared by. */
  readonly part: number;
}

/** The least that would let the shape start: of the options with one thing missing the one that misses least. null: several would have to change. */
export function smallestChange(scene: Scene, shape: Shape, tried: readonly Verdict[]): SmallestChange | null {
  const candidates: Candidate[] = [];
  for (const verdict of tried) {
    if (verdict.option.podSets.length !== shape.sample.podSets.length) continue;
    const candidate = changeFor(scene, shape, verdict);
    if (candidate !== undefined) candidates.push(candidate);
  }
  const fewer = fewerReplicas(scene, shape, tried);
  // Of equal ones first what its owner can do alone.
  if (fewer !== undefined) candidates.unshift(fewer);
  return candidates.sort((a, b) => a.part - b.part)[0]?.change ?? null;
}

function changeFor(scene: Scene, shape: Shape, { option, block }: Verdict): Candidate | undefined {
  if (block === null) return undefined;
  const [flavour = null] = option.flavours;
  if (block.gates.length > 0)
    return block.gates.length === 1 ? gateChange(scene, shape, option, block.gates[0]!) : undefined;
  if (block.pin !== null) {
    const text = `wait for the slot of ${block.pin.id}, or ask for a lease that ends before it`;
    return { part: 0.5, change: { kind: 'wait', flavour, resource: null, amount: null, node: null, text } };
  }
  if (block.never || block.noRoom || block.short.length !== 1) return undefined;
  const { tree, coming } = scene;
  const cell = block.short[0]!;
  const { resource } = tree.cells[cell]!;
  const ask = option.demand.amounts[option.demand.cells.indexOf(cell)]!;
  const { kind, node, available } = coming.usage.bound(shape.division, cell);
  const amount = ask - available;
  const { name } = tree.nodes[node]!;
  const shared = { flavour, resource, amount, node: name };
  const text = amountText(amount, resource);
  return {
    part: amount / ask,
    change:
      kind === 'borrow_limit'
        ? { ...shared, kind: 'raise_borrow', text: `let ${name} borrow ${text} more of ${flavour}` }
        : { ...shared, kind: 'free', text: `free ${text} of ${flavour} in ${name}, or add as much` },
  };
}

function gateChange(
  { flavours, tree }: Scene,
  shape: Shape,
  option: Option,
  gate: ReturnType<typeof gatesOf>[number],
): Candidate | undefined {
  const { code, flavour, resource, shortfall } = gate;
  const division = tree.nodes[shape.division]!.name;
  if (code === 'budget') {
    const cost = costOf(option, shape.sample.leaseMs, flavours)!;
    const text = `raise the budget of ${division} by ${moneyText(shortfall as bigint, cost.currency)}`;
    const change = { kind: 'raise_budget', flavour, resource, amount: shortfall, node: division, text } as const;
    return { part: Number(shortfall) / Number(cost.minor), change };
  }
  if (code === 'user_limit') {
    const text = `raise the user's limit by ${amountText(shortfall as number, resource!)}`;
    const change = { kind: 'raise_user_limit', flavour, resource, amount: shortfall, node: division, text } as const;
    const cell = option.demand.cells.findIndex((one) => tree.cells[one]!.resource === resource);
    return { part: (shortfall as number) / (option.demand.amounts[cell] ?? 1), change };
  }
  if (gate.opensAtMs === null) return undefined;
  const text = `wait until ${new Date(gate.opensAtMs).toISOString()}`;
  return { part: 0.5, change: { kind: 'wait', flavour, resource: null, amount: null, node: null, text } };
}

/** The largest count below what it insists on that would fit as it is. */
function fewerReplicas(scene: Scene, shape: Shape, tried: readonly Verdict[]): Candidate | undefined {
  if (shape.sample.podSets.length !== 1) return undefined;
  let best = 0;
  let on: string | null = null;
  for (const { option } of tried) {
    let low = best + 1;
    let high = shape.minReplicas - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (fits(scene, shape, option, middle)) {
        best = middle;
        on = option.flavours[0]!;
        low = middle + 1;
      } else high = middle - 1;
    }
  }
  if (best === 0) return undefined;
  const text = `ask for ${best} ${best === 1 ? 'replica' : 'replicas'} on ${on}`;
  const change = { kind: 'fewer_replicas', flavour: on, resource: null, amount: best, node: null, text } as const;
  return { part: (shape.replicas - best) / shape.replicas, change };
}

function fits(scene: Scene, shape: Shape, { flavours }: Option, replicas: number): boolean {
  const podSets = shape.podSetsFor(replicas);
  const demand = demandOf(scene.tree, podSets, flavours)!;
  const option = { flavours, podSets, demand };
  return scene.coming.fits(shape.division, option) && gatesOf(scene, shape, option, scene.nowMs).length === 0;
}
