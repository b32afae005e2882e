export type RayJobErrorCode =
  | 'already_exists'
  | 'not_found'
  | 'invalid'
  | 'auth'
  | 'too_large'
  | 'unreachable'
  | 'timeout'
  | 'bad_reply'
  | 'server';

/** What a failed call says. `message` is one clean line; Ray's own text, cut, is in `detail`. The token is in neither. */
export class RayJobError extends Error {
  override name = 'RayJobError';
  readonly code: RayJobErrorCode;
  /** The HTTP status, where there was a reply. */
  readonly status: number | undefined;
  /** True when the call may have taken effect although it failed: look before you repeat it. Always false for reads. */
  readonly outcomeUnknown: boolean;
  /** What the server asked for, at most 60 s; undefined when it asked for nothing sensible. */
  readonly retryAfterMs: number | undefined;
  readonly detail: string;

  constructor(
    code: RayJobErrorCode,
    message: string,
    options: {
      readonly status?: number | undefined;
      readonly outcomeUnknown?: boolean;
      readonly retryAfterMs?: number | undefined;
      readonly detail?: string;
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.status = options.status;
    this.outcomeUnknown = options.outcomeUnknown ?? false;
    this.retryAfterMs = options.retryAfterMs;
    this.detail = options.detail ?? '';
  }
}
