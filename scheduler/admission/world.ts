import type { PodSet, RunningInput } from '../../pools/planner-input.ts';
import type { QuotaTree } from '../../pools/quota-tree.ts';
import { type Demand, TreeUsage } from '../../pools/tree-usage.ts';
import type { Machines, Placement, Waste } from './machines.ts';
import type { TypicalAsk } from './typical-asks.ts';

/** Where an ask would go: a flavour for each of its pod sets. */
export interface Option {
  readonly flavours: readonly string[];
  readonly podSets: readonly PodSet[];
  readonly demand: Demand;
}

/** Work that holds capacity. */
export interface Work {
  readonly input: RunningInput;
  readonly division: number;
  /** Of all of it. */
  readonly demand: Demand;
  readonly replicas: number;
  /** Fewest replicas it goes on with; `replicas` where it cannot shrink. */
  readonly minReplicas: number;
  /** By pod set, where its flavour has machines. */
  readonly placement: Placement;
}

/** The demand of pod sets on flavours; undefined: a flavour does not have one of the resources. */
export function demandOf(tree: QuotaTree, podSets: readonly PodSet[], flavours: readonly string[]): Demand | undefined {
  const cells: number[] = [];
  const amounts: number[] = [];
  for (const [i, { count, resources }] of podSets.entries()) {
    for (const resource in resources) {
      const amount = resources[resource]! * count;
      if (amount === 0) continue;
      const cell = tree.cellOf(flavours[i]!, resource);
      if (cell < 0) return undefined;
      const known = cells.indexOf(cell);
      if (known < 0) {
        cells.push(cell);
        amounts.push(amount);
      } else amounts[known] = amounts[known]! + amount;
    }
  }
  return { cells, amounts };
}

/** A demand for `part` of its `whole` replicas; exact, as every amount is a multiple of its replicas. */
export function partOf({ cells, amounts }: Demand, part: number, whole: number): Demand {
  return part === whole ? { cells, amounts } : { cells, amounts: amounts.map((amount) => (amount / whole) * part) };
}

/** Who uses what: the quota tree's usage, and the machines'. Two of them are compared in a cycle: as it is, and as it will be. */
export class World {
  readonly tree: QuotaTree;
  readonly usage: TreeUsage;
  /** null: no flavour has any. */
  readonly machines: Machines | null;

  constructor(tree: QuotaTree, machines: Machines | null) {
    this.tree = tree;
    this.usage = new TreeUsage(tree);
    this.machines = machines;
  }

  copyFrom(other: World): void {
    this.usage.copyFrom(other.usage);
    if (this.machines !== null && other.machines !== null) this.machines.copyFrom(other.machines);
  }

  /** Takes away all but `kept` of the `from` replicas a work has here. */
  remove(work: Work, from: number, kept: number): void {
    this.usage.release(work.division, partOf(work.demand, from - kept, work.replicas));
    this.machines?.release(slice(work, kept, from));
  }

  /** Undoes `remove`. */
  restore(work: Work, from: number, kept: number): void {
    this.usage.charge(work.division, partOf(work.demand, from - kept, work.replicas));
    this.machines?.restore(slice(work, kept, from));
  }

  charge(division: number, option: Option, typical: readonly TypicalAsk[]): Placement {
    this.usage.charge(division, option.demand);
    return this.#place(option, typical) ?? [];
  }

  release(division: number, option: Option, placement: Placement): void {
    this.usage.release(division, option.demand);
    this.machines?.release(placement);
  }

  fits(division: number, option: Option): boolean {
    return this.usage.fits(division, option.demand) && this.hasRoom(option);
  }

  /** Is there a machine for each replica, on flavours that have machines? */
  hasRoom(option: Option): boolean {
    const { machines } = this;
    if (machines === null) return true;
    const { flavours, podSets } = option;
    const placed = podSets.flatMap((podSet, i) =>
      machines.has(flavours[i]!) ? [{ podSet, flavour: flavours[i]! }] : [],
    );
    if (placed.length === 0) return true;
    const [{ podSet, flavour } = placed[0]!] = placed;
    if (placed.length === 1) return machines.room(flavour, podSet.resources, podSet.count) >= podSet.count;
    const placement = this.#place(option, []);
    if (placement !== undefined) machines.release(placement);
    return placement !== undefined;
  }

  /** What placing the last of its pod sets would waste; undefined: its flavour has no machines, or no room for it. */
  waste({ flavours, podSets }: Option, typical: readonly TypicalAsk[]): Waste | undefined {
    const { resources, count } = podSets.at(-1)!;
    const flavour = flavours[podSets.length - 1]!;
    return this.machines?.has(flavour) === true ? this.machines.waste(flavour, resources, count, typical) : undefined;
  }

  #place({ flavours, podSets }: Option, typical: readonly TypicalAsk[]): Placement | undefined {
    const { machines } = this;
    if (machines === null) return [];
    const placed: Placement[] = [];
    for (const [i, { resources, count }] of podSets.entries()) {
      if (!machines.has(flavours[i]!)) continue;
      const placement = machines.place(flavours[i]!, resources, count, typical);
      if (placement === undefined) {
        for (const one of placed) machines.release(one);
        return undefined;
      }
      placed.push(placement);
    }
    return placed.flat();
  }
}

/** The replicas beyond the first `kept` have to go. */
function slice(work: Work, kept: number, from: number): Placement {
  return work.placement.slice(kept, from);
}

export function usesAny({ cells }: Demand, wanted: readonly number[]): boolean {
  for (const cell of cells) if (wanted.includes(cell)) return true;
  return false;
}
