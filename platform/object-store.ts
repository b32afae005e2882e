import type { Readable } from 'node:stream';

export interface StoredObject {
  readonly key: string;
  readonly size: number;
  /** Lower-case hex, computed while the bytes streamed in. */
  readonly sha256: string;
}

export interface ListedObject {
  readonly key: string;
  readonly size: number;
  readonly modifiedAtMs: number;
}

export interface PutOptions {
  /** Keeps what is there already, and tells of it: of many writers at once one wins, and all are told of its bytes. */
  readonly ifAbsent?: boolean;
  /** How many bytes are to come, where that is known: a very large object needs larger parts. */
  readonly size?: number;
}

/** Bytes from `from` up to, not including, `to`. */
export interface ByteRange {
  readonly from?: number;
  readonly to?: number;
}

/**
 * The object store port: keys are `/`-separated names of [A-Za-z0-9._-]; adapters: files (default) and S3. One conformance suite holds
 * both (test/support/object-store-conformance.ts).
 */
export interface ObjectStore {
  /**
   * A reader sees all of it or nothing, and what was acknowledged is durable. The stream is taken once; where it breaks, S3 keeps the parts
   * that are there, and the same key put again with the same bytes sends only the others.
   */
  put(key: string, body: Readable | Uint8Array, options?: PutOptions): Promise<StoredObject>;
  /** undefined: there is none. The bytes of one version of it, to the end: a stream that S3 cuts is taken up where it broke. */
  get(key: string, range?: ByteRange): Promise<Readable | undefined>;
  head(key: string): Promise<{ readonly size: number } | undefined>;
  /** In no promised order. */
  list(prefix: string): AsyncIterable<ListedObject>;
  delete(key: string): Promise<void>;
  /** Gives up uploads that nobody has added to for a day; how many. */
  sweepUnfinished(): Promise<number>;
}
