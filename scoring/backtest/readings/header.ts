export const READINGS_FORMAT = 'merit-readings/1';

/** The first line of a file of readings, in its RFC 8785 form. Frames follow: u8 kind, u32 length, payload; little endian. */
export interface Header {
  readonly format: typeof READINGS_FORMAT;
  readonly of: number;
  /** What each reader checks reports by. */
  readonly readers: readonly string[];
  readonly shard: number;
  /** The files of the archive, in order. */
  readonly sources: readonly { readonly name: string; readonly bytes: number }[];
}

export const FRAME = {
  /** Whole records. */
  records: 1,
  /** u32 index of the file, f64 lines of the part, blank ones too. */
  partEnd: 2,
  /** SHA-256 of all before it. */
  end: 3,
} as const;

/** A frame is at most so long: a block, and a record of the longest line's readings beyond it. */
export const MAX_FRAME_BYTES = 64 * 1024 * 1024;
export const MAX_HEADER_BYTES = 1024 * 1024;
export const MAX_SHARDS = 1000;
