import type { Tx } from '../../platform/postgres.ts';

/** Blocks fetched at once while the index is rebuilt. */
const BLOCKS_PER_QUERY = 5_000;

/** Every packed block of the shards' reports that are remembered, some at a time. */
export async function loadDedup(
  tx: Tx,
  shards: readonly number[],
  take: (blocks: readonly Uint8Array[]) => Promise<void>,
): Promise<void> {
  for (let after: readonly [number, bigint] = [-1, 0n]; ; ) {
    const rows = await tx.query<{ shard: number; block_id: bigint; block: Buffer }>(
      `select shard, block_id, block from dedup_blocks where shard = any($1::smallint[]) and (shard, block_id) > ($2, $3)
       order by shard, block_id limit $4`,
      [shards, ...after, BLOCKS_PER_QUERY],
    );
    if (rows.length > 0) await take(rows.map((row) => row.block));
    const last = rows.at(-1);
    if (last === undefined || rows.length < BLOCKS_PER_QUERY) return;
    after = [last.shard, last.block_id];
  }
}

/** How many reports of the shards are remembered. */
export async function countDedup(tx: Tx, shards: readonly number[]): Promise<number> {
  const rows = await tx.query<{ entries: bigint | null }>(
    'select sum(entries)::bigint as entries from dedup_blocks where shard = any($1::smallint[])',
    [shards],
  );
  return Number(rows[0]?.entries ?? 0n);
}
