import { assert } from '../../core/assert.ts';

/** What a node of the quota tree has of one pool's flavour and resource, in milli-units. */
export interface NodeQuota {
  readonly pool: string;
  readonly flavour: string;
  readonly resource: string;
  readonly nominal: bigint;
  /** How much beyond its own it may use; null: unlimited. Means nothing for a node without a parent. */
  readonly borrow: bigint | null;
  /** How much of its own others may use; null: all of it. */
  readonly lend: bigint | null;
}

/** A node as an account of one flavour and resource. */
export interface AccountNode {
  readonly account: string;
  readonly parent: string | undefined;
  readonly nominal: bigint;
  readonly borrow: bigint | null;
  readonly lend: bigint | null;
}

export interface NodeLimits {
  readonly account: string;
  readonly parent: string | undefined;
  /** The most it may use: its subtree quota and what it may borrow. undefined: no limit of its own, only those above it. */
  readonly limit: bigint | undefined;
  /** undefined: it has no parent. */
  readonly local: bigint | undefined;
}

/** Children before parents, each with its limit and local part. Formulas: docs/scheduling.md, Quota tree. */
export function nodeLimits(nodes: readonly AccountNode[]): readonly NodeLimits[] {
  const subtree = new Map(nodes.map((node) => [node.account, node.nominal]));
  assert(subtree.size === nodes.length, 'each node is given once');
  return childrenFirst(nodes).map(({ account, parent, borrow, lend }) => {
    const quota = subtree.get(account) ?? 0n;
    if (parent === undefined) return { account, parent, limit: quota, local: undefined };
    const local = lend === null || lend > quota ? 0n : quota - lend;
    const above = subtree.get(parent);
    assert(above !== undefined, `the parent ${parent} of ${account} is a node too`);
    subtree.set(parent, above + quota - local);
    return { account, parent, limit: borrow === null ? undefined : quota + borrow, local };
  });
}

function childrenFirst(nodes: readonly AccountNode[]): readonly AccountNode[] {
  const waitsFor = new Map<string, number>();
  for (const { parent } of nodes) if (parent !== undefined) waitsFor.set(parent, (waitsFor.get(parent) ?? 0) + 1);
  const byAccount = new Map(nodes.map((node) => [node.account, node]));
  const order: AccountNode[] = nodes.filter((node) => !waitsFor.has(node.account));
  for (const { parent } of order) {
    if (parent === undefined) continue;
    const left = (waitsFor.get(parent) ?? 0) - 1;
    waitsFor.set(parent, left);
    const node = byAccount.get(parent);
    // Appended while it is walked: its turn comes when its last child has had its own.
    if (left === 0 && node !== undefined) order.push(node);
  }
  assert(order.length === nodes.length, 'no group is its own ancestor');
  return order;
}
