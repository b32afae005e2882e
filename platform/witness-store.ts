/** What was written, by its name. */
export interface WitnessEntry {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * The witness port: a few small records that whoever runs Merit cannot take back. Adapters: an S3 bucket with object lock, and a folder (weaker: its
 * owner can). Names are `/`-separated names of [A-Za-z0-9._-]; a name's first content stays its content, whatever is written or deleted later.
 */
export interface WitnessStore {
  /** For people: `s3://bucket/prefix`, or a folder. */
  readonly place: string;
  /** Once it is acknowledged it is durable. A name that is there already keeps its content. */
  put(name: string, bytes: Uint8Array): Promise<void>;
  /** The content of a name; undefined: there is none. */
  read(name: string): Promise<Uint8Array | undefined>;
  /** All records in the order of their names; whoever reads on reads more of them. */
  entries(): AsyncIterable<WitnessEntry>;
}

/** A record is a note with a proof of a few hashes. */
export const MAX_WITNESS_BYTES = 64 * 1024;
