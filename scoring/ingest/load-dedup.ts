import type { Tx } from '../../platform/postgres.ts';

/** Blocks fetched at once while the index is rebuilt. */
const BLOCKS_PER_QUERY = 5_000;

/** Every packed block of reports that are remembered, some at a time; how many reports they are. */
export async function loadDedup(tx: Tx, take: (blocks: readonly Uint8Array[]) => Promise<void>): Promise<number> {
  let reports = 0;
  for (let after = 0n; ; ) {
    const rows = await tx.query<{ block_id: bigint; entries: number; block: Buffer }>(
      'select block_id, entries, block from dedup_blocks where block_id > $1 order by block_id limit $2',
      [after, BLOCKS_PER_QUERY],
    );
    await take(rows.map((row) => row.block));
    reports += rows.reduce((total, row) => total + row.entries, 0);
    const last = rows.at(-1);
    if (last === undefined || rows.length < BLOCKS_PER_QUERY) return reports;
    after = last.block_id;
  }
}
