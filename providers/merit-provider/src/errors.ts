/** All that can go wrong with a call, by what Merit does about it; the list is closed. */
export const PROVIDER_ERROR_CODES = [
  'no_capacity',
  'quota_exceeded',
  'auth',
  'invalid',
  'transient',
  'preempted',
  'not_found',
] as const;
export type ProviderErrorCode = (typeof PROVIDER_ERROR_CODES)[number];

/** none: certainly nothing happened; unknown: it may have; done: it did. */
export const EFFECTS = ['none', 'unknown', 'done'] as const;
export type Effect = (typeof EFFECTS)[number];

/** The one error that a verb throws. Its message is shown to people: bounded and without control characters (`cleanMessage`). */
export class ProviderError extends Error {
  override name = 'ProviderError';
  readonly code: ProviderErrorCode;
  readonly effect: Effect;
  /** The backend asked to be left alone for so long. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: ProviderErrorCode,
    message: string,
    options: { readonly effect?: Effect; readonly retryAfterMs?: number; readonly cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.effect = options.effect ?? 'none';
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** By its form, not by its class: a package that carries a copy of this one throws that copy's class. */
export function isProviderError(error: unknown): error is ProviderError {
  if (!(error instanceof Error) || error.name !== 'ProviderError') return false;
  const { code, effect } = error as Partial<ProviderError>;
  return PROVIDER_ERROR_CODES.some((known) => known === code) && EFFECTS.some((known) => known === effect);
}
