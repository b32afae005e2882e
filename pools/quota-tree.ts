import { assert } from '../core/assert.ts';
import type { PlannerConfig, QuotaInput } from './planner-input.ts';

/** A (flavour, resource) pair. */
export interface Cell {
  readonly flavour: string;
  readonly resource: string;
}

export interface TreeNode {
  readonly index: number;
  readonly name: string;
  readonly isDivision: boolean;
  /** −1: a root. */
  readonly parent: number;
  readonly root: number;
  /** To the furthest leaf: a division has 0. */
  readonly height: number;
  readonly depth: number;
  readonly weightMilli: number;
  readonly children: readonly number[];
}

/**
 * The quota tree org → group → division without its usage: what each node has, keeps for itself, lends and may borrow, per cell.
 * All of it follows from the configuration, so that one copy serves every snapshot. Formulas: docs/scheduling.md, Quota tree.
 */
export class QuotaTree {
  readonly cells: readonly Cell[];
  readonly nodes: readonly TreeNode[];
  /** Cells by resource, in the order of `resources`. */
  readonly cellsOfResource: readonly (readonly number[])[];
  readonly resources: readonly string[];
  readonly capacity: Float64Array;
  // node × cells + cell
  readonly subtree: Float64Array;
  readonly local: Float64Array;
  readonly borrow: Float64Array;
  readonly potential: Float64Array;
  /** node × resources + resource: what a node could ever have of it, over all flavours. */
  readonly lendable: Float64Array;
  readonly #cellIndex = new Map<string, Map<string, number>>();
  readonly #divisionIndex = new Map<string, number>();

  constructor(config: PlannerConfig) {
    this.cells = cellsOf(config);
    for (const [index, { flavour, resource }] of this.cells.entries()) {
      const byResource = this.#cellIndex.get(flavour) ?? new Map<string, number>();
      this.#cellIndex.set(flavour, byResource.set(resource, index));
    }
    this.resources = [...new Set(this.cells.map((cell) => cell.resource))].sort();
    this.cellsOfResource = this.resources.map((resource) =>
      this.cells.flatMap((cell, index) => (cell.resource === resource ? [index] : [])),
    );
    this.nodes = nodesOf(config);
    for (const node of this.nodes) if (node.isDivision) this.#divisionIndex.set(node.name, node.index);
    const size = this.nodes.length * this.cells.length;
    this.subtree = new Float64Array(size);
    this.local = new Float64Array(size);
    this.borrow = new Float64Array(size).fill(Number.POSITIVE_INFINITY);
    this.potential = new Float64Array(size);
    this.capacity = new Float64Array(this.cells.length);
    this.lendable = new Float64Array(this.nodes.length * this.resources.length);
    this.#fill(config);
  }

  /** −1: nobody has ever heard of it. */
  cellOf(flavour: string, resource: string): number {
    return this.#cellIndex.get(flavour)?.get(resource) ?? -1;
  }

  division(name: string): number | undefined {
    return this.#divisionIndex.get(name);
  }

  at(node: number, cell: number): number {
    return node * this.cells.length + cell;
  }

  /** The lowest node that has both below it; undefined: they are in different roots. */
  commonAncestor(a: number, b: number): number | undefined {
    let x = this.nodes[a]!;
    let y = this.nodes[b]!;
    while (x.index !== y.index) {
      const deeper = x.depth >= y.depth ? x : y;
      if (deeper.parent < 0) return undefined;
      if (deeper === x) x = this.nodes[x.parent]!;
      else y = this.nodes[y.parent]!;
    }
    return x.index;
  }

  #fill(config: PlannerConfig): void {
    const lend = new Float64Array(this.subtree.length).fill(Number.POSITIVE_INFINITY);
    const granted = new Float64Array(this.cells.length);
    const quotas = [...config.groups, ...config.divisions].map((owner) => owner.quota);
    for (const node of this.nodes) {
      for (const quota of quotas[node.index]!) this.#set(node.index, quota, lend, granted);
    }
    for (const [cell, { flavour, resource }] of this.cells.entries()) {
      const declared = config.flavours.find((one) => one.id === flavour)?.capacity[resource];
      this.capacity[cell] = declared ?? granted[cell]!;
    }
    // What nobody has as nominal is the root's, and so everybody's to borrow. With several roots it cannot be told whose.
    const roots = this.nodes.filter((node) => node.parent < 0 && !node.isDivision);
    if (roots.length === 1) {
      for (let cell = 0; cell < this.cells.length; cell++) {
        const rest = Math.max(0, this.capacity[cell]! - granted[cell]!);
        const at = this.at(roots[0]!.index, cell);
        this.subtree[at] = this.subtree[at]! + rest;
      }
    }
    const upwards = [...this.nodes].sort((a, b) => b.depth - a.depth || a.index - b.index);
    for (const node of upwards) this.#lend(node, lend);
    for (const node of upwards.reverse()) this.#reach(node);
  }

  #set(node: number, quota: QuotaInput, lend: Float64Array, granted: Float64Array): void {
    const cell = this.cellOf(quota.flavour, quota.resource);
    const at = this.at(node, cell);
    this.subtree[at] = quota.nominalMilli;
    granted[cell] = granted[cell]! + quota.nominalMilli;
    if (quota.borrowMilli !== null) this.borrow[at] = quota.borrowMilli;
    if (quota.lendMilli !== null) lend[at] = quota.lendMilli;
  }

  /** Children were done before: `subtree` holds the own nominal and what they lend. */
  #lend(node: TreeNode, lend: Float64Array): void {
    for (let cell = 0; cell < this.cells.length; cell++) {
      const at = this.at(node.index, cell);
      this.local[at] = Math.max(0, this.subtree[at]! - lend[at]!);
      if (node.parent < 0) continue;
      const above = this.at(node.parent, cell);
      this.subtree[above] = this.subtree[above]! + this.subtree[at]! - this.local[at]!;
    }
  }

  /** What the node could have if the whole tree were empty. */
  #reach(node: TreeNode): void {
    for (let cell = 0; cell < this.cells.length; cell++) {
      const at = this.at(node.index, cell);
      this.potential[at] =
        node.parent < 0
          ? this.subtree[at]!
          : Math.min(
              this.local[at]! + this.potential[this.at(node.parent, cell)]!,
              this.subtree[at]! + this.borrow[at]!,
            );
      const resource = this.resources.indexOf(this.cells[cell]!.resource);
      const sum = node.index * this.resources.length + resource;
      this.lendable[sum] = this.lendable[sum]! + this.potential[at]!;
    }
  }
}

/** Flavours in the order of the configuration, the resources of each by name. */
function cellsOf(config: PlannerConfig): readonly Cell[] {
  const byFlavour = new Map<string, Set<string>>();
  for (const flavour of config.flavours) byFlavour.set(flavour.id, new Set(Object.keys(flavour.capacity)));
  for (const { quota } of [...config.groups, ...config.divisions]) {
    for (const { flavour, resource } of quota) {
      const resources = byFlavour.get(flavour);
      assert(resources !== undefined, `a quota names the flavour ${flavour}, which is not configured`);
      resources.add(resource);
    }
  }
  return [...byFlavour].flatMap(([flavour, resources]) =>
    [...resources].sort().map((resource) => ({ flavour, resource })),
  );
}

/** Groups first, then divisions, each in the order of the configuration. */
function nodesOf(config: PlannerConfig): readonly TreeNode[] {
  const groupIndex = new Map(config.groups.map((group, index) => [group.name, index]));
  const parentOf = (name: string | null): number => {
    if (name === null) return -1;
    const index = groupIndex.get(name);
    assert(index !== undefined, `the group ${name} is not configured`);
    return index;
  };
  const plain = [
    ...config.groups.map(({ name, parent, weightMilli }) => ({ name, parent: parentOf(parent), weightMilli })),
    ...config.divisions.map(({ name, group, weightMilli }) => ({ name, parent: parentOf(group), weightMilli })),
  ];
  const children = plain.map((): number[] => []);
  for (const [index, { parent }] of plain.entries()) if (parent >= 0) children[parent]!.push(index);
  const heights = new Array<number>(plain.length).fill(0);
  const path = (index: number): readonly number[] => {
    const steps = [index];
    for (let at = plain[index]!.parent; at >= 0; at = plain[at]!.parent) {
      assert(steps.length <= plain.length, `the group ${plain[at]!.name} is its own ancestor`);
      steps.push(at);
    }
    return steps;
  };
  const paths = plain.map((_node, index) => path(index));
  for (const steps of paths) for (const [height, at] of steps.entries()) heights[at] = Math.max(heights[at]!, height);
  return plain.map((node, index) => ({
    ...node,
    index,
    isDivision: index >= config.groups.length,
    root: paths[index]!.at(-1)!,
    depth: paths[index]!.length - 1,
    height: heights[index]!,
    children: children[index]!,
  }));
}
