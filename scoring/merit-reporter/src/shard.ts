import { createHash } from 'node:crypto';

/** Merit keeps what it knows of reports in so many parts; a partition of its log serves whole ones. */
export const SHARDS = 32;
const KEY_BYTES = 16;

/** What a report is known by: the first 16 bytes of the SHA-256 over tenant, producer and reportId. */
export function reportKey(tenant: string, producer: string, reportId: string): Buffer {
  return createHash('sha256').update(`${tenant}\n${producer}\n${reportId}`).digest().subarray(0, KEY_BYTES);
}

export function shardOf(key: Uint8Array): number {
  return (key[0] ?? 0) % SHARDS;
}
