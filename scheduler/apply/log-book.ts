import { buffer } from 'node:stream/consumers';
import { sha256Hex } from '../../core/canonical.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import type { Booking } from './booking-store.ts';

/** How a kept log ended: all there was; it is longer than a log may be; its provider was gone before the rest was copied. */
export type LogEnd = 'complete' | 'truncated' | 'lost';

export interface LogOf {
  readonly tenant: string;
  readonly bookingId: string;
  readonly attempt: number;
}

export function attemptOf({ tenant, bookingId }: Booking, attempt: number): LogOf {
  return { tenant, bookingId, attempt };
}

export function keyOf({ bookingId, attempt }: LogOf): string {
  return `${bookingId}/${attempt}`;
}

/** A piece of a log in the object store. */
export interface LogChunk {
  readonly fromByte: number;
  readonly size: number;
  readonly sha256: string;
  readonly objectKey: string;
}

export interface KeptLog {
  /** From the first byte on, without a gap. */
  readonly bytes: number;
  readonly ended: LogEnd | undefined;
  readonly last: LogChunk | undefined;
}

export const NO_LOG: KeptLog = { bytes: 0, ended: undefined, last: undefined };

/**
 * What is kept of the logs of attempts. A writer says how far it thinks the log is kept: where another one was faster nothing changes and it is told
 * false, so that no byte is kept twice. What writes throws StaleLeader where another process leads.
 */
export interface LogBook {
  read(of: LogOf): Promise<KeptLog>;
  /** In order, from `fromByte` on, at most `limit`. */
  chunks(of: LogOf, fromByte: number, limit: number): Promise<readonly LogChunk[]>;
  /** Adds a chunk behind `before.bytes`, or in the place of `before.last`, which it then begins with. */
  append(of: LogOf, before: KeptLog, chunk: LogChunk): Promise<boolean>;
  /** Nothing comes after this. Told by an audit event of the booking, `sha256` of all that is kept with it; undefined: it cannot be read back. */
  end(of: LogOf, before: KeptLog, end: LogEnd, sha256: string | undefined, atMs: number): Promise<boolean>;
  /** Forgets what is kept from `fromByte` on, where that is the beginning of a chunk, so that it is copied again. */
  cut(of: LogOf, before: KeptLog, fromByte: number): Promise<boolean>;
}

/** Where a chunk lies. By its content too: a second copying of the same place, after a crash, never changes an object that a row names. */
export function chunkKey({ tenant, bookingId, attempt }: LogOf, fromByte: number, sha256: string): string {
  return `${logPrefix(tenant, bookingId, attempt)}${String(fromByte).padStart(12, '0')}-${sha256.slice(0, 16)}`;
}

/** What ends a log in the audit trail: `{attempt, ended, bytes, sha256}`, where `sha256` is that of all bytes, or null. */
export const LOG_ENDED = 'log.ended';

export function logPrefix(tenant: string, bookingId: string, attempt: number): string {
  return `logs/${tenant}/${bookingId}/${attempt}/`;
}

/** undefined: it is gone, or not what its row says. */
export async function readChunk(store: ObjectStore, chunk: LogChunk): Promise<Buffer | undefined> {
  const stream = await store.get(chunk.objectKey);
  if (stream === undefined) return undefined;
  const bytes = await buffer(stream);
  return bytes.length === chunk.size && sha256Hex(bytes) === chunk.sha256 ? bytes : undefined;
}
