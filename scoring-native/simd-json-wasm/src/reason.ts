/** Why a line is refused. The place in this list is the number in `refused.reasons` (assembly/fault.ts). */
export const REASONS = [
  'none',
  'json_syntax',
  'duplicate_key',
  'forbidden_key',
  'depth',
  'encoding',
  'number',
  'memory',
  'ids',
  'too_large',
  'not_an_object',
  'missing',
  'type',
  'range',
  'integer',
  'length',
  'characters',
  'time_format',
  'entries',
] as const;

export type Reason = (typeof REASONS)[number];

/** One refused line as an object, for a message; the columns of `refused` say the same without it. */
export interface Refusal {
  /** 1-based, blank lines counted. */
  readonly line: number;
  /** Byte offset in the line. */
  readonly offset: number;
  readonly reason: Reason;
  /** The name of the column whose value does not fit; undefined where the line itself is at fault. */
  readonly column: string | undefined;
}
