/**
 * The quota tree's meaning for the model: nothing is kept but what was configured, and all that a node uses, owes and may have is worked out from
 * the leaves by the definitions in docs/scheduling.md, each time anew.
 */
export interface ModelNode {
  readonly account: string;
  readonly parent: string | undefined;
  readonly nominal: bigint;
  /** null: unlimited. */
  readonly borrow: bigint | null;
  readonly lend: bigint | null;
}

export type ModelTree = ReadonlyMap<string, ModelNode>;

/** What a child passed up to its parent, or took back where it is negative. */
export interface ModelDebt {
  readonly child: string;
  readonly parent: string;
  readonly amount: bigint;
}

function childrenOf(tree: ModelTree, account: string): readonly ModelNode[] {
  return [...tree.values()].filter((node) => node.parent === account);
}

function subtreeQuota(tree: ModelTree, node: ModelNode): bigint {
  return childrenOf(tree, node.account).reduce(
    (sum, child) => sum + subtreeQuota(tree, child) - localOf(tree, child),
    node.nominal,
  );
}

function localOf(tree: ModelTree, node: ModelNode): bigint {
  const kept = subtreeQuota(tree, node) - (node.lend ?? subtreeQuota(tree, node));
  return kept < 0n ? 0n : kept;
}

/** undefined: unlimited, or not in the tree. */
export function treeLimit(tree: ModelTree, account: string): bigint | undefined {
  const node = tree.get(account);
  if (node === undefined) return undefined;
  if (node.parent === undefined) return subtreeQuota(tree, node);
  return node.borrow === null ? undefined : subtreeQuota(tree, node) + node.borrow;
}

/** `leafUse`: what was taken on an account itself. */
export function treeUse(tree: ModelTree, account: string, leafUse: (account: string) => bigint): bigint {
  return childrenOf(tree, account).reduce((sum, child) => sum + owedBy(tree, child, leafUse), leafUse(account));
}

function owedBy(tree: ModelTree, node: ModelNode, leafUse: (account: string) => bigint): bigint {
  if (node.parent === undefined) return 0n;
  const past = treeUse(tree, node.account, leafUse) - localOf(tree, node);
  return past < 0n ? 0n : past;
}

export function treeOwed(tree: ModelTree, account: string, leafUse: (account: string) => bigint): bigint {
  const node = tree.get(account);
  return node === undefined ? 0n : owedBy(tree, node, leafUse);
}

/** The accounts above one, from below. */
export function ancestorsIn(tree: ModelTree, account: string): readonly string[] {
  const parent = tree.get(account)?.parent;
  return parent === undefined ? [] : [parent, ...ancestorsIn(tree, parent)];
}

/** What is passed up and taken back when the leaves use `after` instead of `before`, and the tree is `next` instead of `tree`. */
export function debtsBetween(
  [tree, before]: readonly [ModelTree, (account: string) => bigint],
  [next, after]: readonly [ModelTree, (account: string) => bigint],
): readonly ModelDebt[] {
  return [...new Set([...tree.keys(), ...next.keys()])].flatMap((child) => {
    const [was, is] = [tree.get(child)?.parent, next.get(child)?.parent];
    const [owed, owes] = [treeOwed(tree, child, before), treeOwed(next, child, after)];
    if (was === is) return is === undefined ? [] : [{ child, parent: is, amount: owes - owed }];
    return [
      ...(was === undefined ? [] : [{ child, parent: was, amount: -owed }]),
      ...(is === undefined ? [] : [{ child, parent: is, amount: owes }]),
    ];
  });
}
