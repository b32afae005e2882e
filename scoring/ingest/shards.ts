import { DEDUP_SHARDS } from './dedup-index.ts';

/** Which partition knows a report: a partition serves whole shards, so that whether a report is known is asked in one place. */
export function partitionOfShard(shard: number, partitions: number): number {
  return shard % partitions;
}

export function shardsOf(partition: number, partitions: number): readonly number[] {
  return ALL_SHARDS.filter((shard) => partitionOfShard(shard, partitions) === partition);
}

const ALL_SHARDS: readonly number[] = Array.from({ length: DEDUP_SHARDS }, (_, shard) => shard);

/** Partition by the first byte of a report's key; undefined: there is one for all. */
export type Routes = Uint16Array | undefined;

const BYTE_VALUES = 256;

export function routesOf(partitions: number): Routes {
  if (partitions === 1) return undefined;
  return Uint16Array.from({ length: BYTE_VALUES }, (_, byte) => partitionOfShard(byte % DEDUP_SHARDS, partitions));
}
