import type { PlannerConfig } from './planner-input.ts';
import { QuotaTree } from './quota-tree.ts';

/** What a group or division has of one flavour and resource, and what becomes of it, in milli-units. */
export interface QuotaUse {
  readonly kind: 'group' | 'division';
  readonly name: string;
  readonly flavour: string;
  readonly resource: string;
  /** Its own, and what its children lend it. */
  readonly quotaMilli: number;
  /** Of a group: what its children use past what they keep for themselves. */
  readonly useMilli: number;
  /** Used beyond its quota. */
  readonly borrowedMilli: number;
  /** Of its quota, used by others. Who lends to whom is nobody's record: what a group's children lend is shared out by what they leave idle. */
  readonly lentMilli: number;
}

/** Of every node and cell; `useOf` says what a division uses. Formulas: docs/scheduling.md, Quota tree. */
export function quotaUse(
  config: PlannerConfig,
  useOf: (division: string, flavour: string, resource: string) => number,
): readonly QuotaUse[] {
  const tree = new QuotaTree(config);
  return tree.cells.flatMap((_cell, cell) => useOfCell(tree, cell, useOf));
}

function useOfCell(
  tree: QuotaTree,
  cell: number,
  useOf: (division: string, flavour: string, resource: string) => number,
): readonly QuotaUse[] {
  const { flavour, resource } = tree.cells[cell]!;
  const upwards = [...tree.nodes].sort((a, b) => b.depth - a.depth || a.index - b.index);
  const use = new Float64Array(tree.nodes.length);
  const lent = new Float64Array(tree.nodes.length);
  const quota = (node: number) => tree.subtree[tree.at(node, cell)] ?? 0;
  const local = (node: number) => tree.local[tree.at(node, cell)] ?? 0;
  const owed = (node: number) => Math.max(0, use[node]! - local(node));
  for (const { index, isDivision, name, parent } of upwards) {
    if (isDivision) use[index] = useOf(name, flavour, resource);
    if (parent >= 0) use[parent] = use[parent]! + owed(index);
  }
  for (const { index, children } of upwards.reverse()) {
    const contributed = children.map((child) => quota(child) - local(child));
    const idle = children.map((child, i) => Math.max(0, contributed[i]! - owed(child)));
    const excess = sum(children.map((child, i) => Math.max(0, owed(child) - contributed[i]!)));
    const own = quota(index) - sum(contributed);
    const borrowed = Math.max(0, use[index]! - quota(index));
    // First from what the group has itself and what it borrows, then from what its children leave idle.
    const needed = Math.max(0, excess + lent[index]! - borrowed - own);
    for (const [i, part] of sharedOut(needed, idle).entries()) lent[children[i]!] = part;
  }
  return tree.nodes.map(({ index, name, isDivision }) => ({
    kind: isDivision ? 'division' : 'group',
    name,
    flavour,
    resource,
    quotaMilli: quota(index),
    useMilli: use[index]!,
    borrowedMilli: Math.max(0, use[index]! - quota(index)),
    lentMilli: lent[index]!,
  }));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** An amount in whole parts, in proportion to what each can give and never more; what rounding leaves goes to the first that can. */
function sharedOut(amount: number, most: readonly number[]): readonly number[] {
  const total = sum(most);
  if (total === 0) return most.map(() => 0);
  const given = Math.min(amount, total);
  const parts = most.map((part) => Number((BigInt(given) * BigInt(part)) / BigInt(total)));
  let left = given - sum(parts);
  return parts.map((part, i) => {
    const more = Math.min(left, most[i]! - part);
    left -= more;
    return part + more;
  });
}
