import type { Readable } from 'node:stream';

export interface StoredObject {
  readonly key: string;
  readonly size: number;
  /** Lower-case hex, computed while the bytes streamed in. */
  readonly sha256: string;
}

/** The object store port: keys are `/`-separated names of [A-Za-z0-9._-]; adapters: files (default), S3 later. */
export interface ObjectStore {
  /** Streams to a temporary name, fsyncs, then renames: a reader sees all of it or nothing. `ifAbsent`: keeps what is there already. */
  put(key: string, body: Readable | Uint8Array, options?: { readonly ifAbsent?: boolean }): Promise<StoredObject>;
  get(key: string): Promise<Readable | undefined>;
  head(key: string): Promise<{ readonly size: number } | undefined>;
  list(prefix: string): AsyncIterable<{ readonly key: string; readonly size: number }>;
  delete(key: string): Promise<void>;
}
