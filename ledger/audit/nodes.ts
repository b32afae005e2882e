import { assert } from '../../core/assert.ts';
import { foldNodes, type Hash, inclusionRanges, type NodeAddress, nodesOfRange } from '../../core/merkle.ts';
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
