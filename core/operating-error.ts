/**
 * A fault of the world, not of the code: a peer away, a disk full, a reply cut short.
 * `retry` says what a caller may do: `safe` (repeat as is), `look-first` (the effect may have happened; look before
 * repeating with the same key), `never`.
 */
export type RetryAdvice = 'safe' | 'look-first' | 'never';

/** `witness`: the audit trail is not what an independent copy of its checkpoints says. */
export const OPERATING_CODES = [
  'unreachable',
  'timeout',
  'bad-reply',
  'auth',
  'conflict',
  'not-found',
  'capacity',
  'storage',
  'database',
  'part-missing',
  'aborted',
  'witness',
] as const;
export type OperatingCode = (typeof OPERATING_CODES)[number];

export class OperatingError extends Error {
  override name = 'OperatingError';
  readonly code: OperatingCode;
  readonly retry: RetryAdvice;
  /** What the person who reads it can do about it, if anything. */
  readonly mend: string | undefined;

  /** `doing` completes the sentence "while …": `OperatingError('timeout', 'look-first', 'asking Finance for a hold')`. */
  constructor(
    code: OperatingCode,
    retry: RetryAdvice,
    doing: string,
    options: { readonly cause?: unknown; readonly mend?: string } = {},
  ) {
    const cause = options.cause;
    const why = cause instanceof Error ? `: ${cause.message}` : cause === undefined ? '' : `: ${String(cause)}`;
    super(`${code} while ${doing}${why}`, { cause });
    this.code = code;
    this.retry = retry;
    this.mend = options.mend;
  }
}
