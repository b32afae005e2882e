import type { Tx } from '../../platform/postgres.ts';
import { DedupIndex, unpackBlock } from './dedup-index.ts';

/** Blocks fetched at once while the index is rebuilt. */
const BLOCKS_PER_QUERY = 5_000;

/** The index of every report that is remembered, from the packed blocks. */
export async function loadDedup(tx: Tx): Promise<DedupIndex> {
  const known = new DedupIndex();
  for (let after = 0n; ; ) {
    const rows = await tx.query<{ block_id: bigint; block: Buffer }>(
      'select block_id, block from dedup_blocks where block_id > $1 order by block_id limit $2',
      [after, BLOCKS_PER_QUERY],
    );
    for (const { block } of rows) for (const { key, digest } of unpackBlock(block)) known.add(key, digest);
    const last = rows.at(-1);
    if (last === undefined || rows.length < BLOCKS_PER_QUERY) return known;
    after = last.block_id;
  }
}
