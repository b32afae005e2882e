import { assert } from '../../core/assert.ts';
import {
  consistencyRanges,
  foldNodes,
  type Hash,
  inclusionRanges,
  type NodeAddress,
  nodesOfRange,
} from '../../core/merkle.ts';
import type { Tx } from '../../platform/postgres.ts';

/** Reads stored tree nodes in one statement; the returned function gives each. Any transaction. */
export async function readNodes(tx: Tx, addresses: readonly NodeAddress[]): Promise<(address: NodeAddress) => Hash> {
  const wanted = new Map(addresses.map((address) => [keyOf(address), address]));
  const rows = await tx.query<{ level: number; position: bigint; hash: Buffer }>(
    `select n.level, n.position, n.hash from unnest($1::smallint[], $2::bigint[]) as w (level, position)
     join audit_nodes n using (level, position)`,
    [[...wanted.values()].map((a) => a.level), [...wanted.values()].map((a) => a.index)],
  );
  const found = new Map(rows.map((row) => [keyOf({ level: row.level, index: Number(row.position) }), row.hash]));
  return (address) => {
    const hash = found.get(keyOf(address));
    assert(hash !== undefined, `tree node ${keyOf(address)} is stored`);
    return hash;
  };
}

function keyOf(address: NodeAddress): string {
  return `${address.level}/${address.index}`;
}

/** Inclusion proofs of leaves in the tree of `treeSize`, by seq: O(log n) stored nodes each, one statement. */
export async function readProofs(
  tx: Tx,
  seqs: readonly number[],
  treeSize: number,
): Promise<ReadonlyMap<number, readonly Hash[]>> {
  const paths = seqs.map((seq) => ({ seq, ranges: inclusionRanges(seq, treeSize).map(nodesOfRange) }));
  const node = await readNodes(
    tx,
    paths.flatMap((path) => path.ranges.flat()),
  );
  return new Map(paths.map(({ seq, ranges }) => [seq, ranges.map((nodes) => foldNodes(nodes.map(node)))]));
}

/** How many leaves the tree has. Any transaction. */
export async function treeSizeOf(tx: Tx): Promise<number> {
  const rows = await tx.query<{ size: bigint }>(
    'select position + 1 as size from audit_nodes where level = 0 order by position desc limit 1',
  );
  return Number(rows[0]?.size ?? 0n);
}

/** The root that the tree had at that size, which is not 0. */
export async function rootAt(tx: Tx, size: number): Promise<Hash> {
  const nodes = nodesOfRange({ begin: 0, end: size });
  return foldNodes(nodes.map(await readNodes(tx, nodes)));
}

/** That the tree of `size` extends the one of `oldSize`: O(log n) stored nodes, one statement. */
export async function readConsistency(tx: Tx, oldSize: number, size: number): Promise<readonly Hash[]> {
  if (oldSize === 0 || oldSize === size) return [];
  const ranges = consistencyRanges(oldSize, size).map(nodesOfRange);
  const node = await readNodes(tx, ranges.flat());
  return ranges.map((nodes) => foldNodes(nodes.map(node)));
}
