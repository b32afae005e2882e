import { RayJobError } from 'ray-job-submission-client';
import { cleanMessage, ProviderError, type ProviderErrorCode } from '../provider.ts';

/**
 * What a failed call to Ray means to Merit. `ifCancelled` is the effect of a call that the caller broke off: unknown for one that
 * changes something.
 */
export function providerErrorOf(error: unknown, ifCancelled: 'none' | 'unknown'): ProviderError {
  if (error instanceof ProviderError) return error;
  if (!(error instanceof RayJobError)) {
    const problem = error instanceof Error ? error.message : String(error);
    return new ProviderError('transient', cleanMessage(`cancelled: ${problem}`), { effect: ifCancelled, cause: error });
  }
  return new ProviderError(codeOf(error), cleanMessage(error.message), {
    effect: error.outcomeUnknown ? 'unknown' : 'none',
    cause: error,
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
  });
}

function codeOf(error: RayJobError): ProviderErrorCode {
  switch (error.code) {
    case 'auth':
      return 'auth';
    case 'not_found':
      return 'not_found';
    case 'invalid':
    case 'too_large':
    case 'already_exists':
      return 'invalid';
    case 'unreachable':
    case 'timeout':
    case 'bad_reply':
    case 'server':
      return 'transient';
  }
}
