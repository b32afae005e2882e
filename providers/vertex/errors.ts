import { OperatingError } from '../../core/operating-error.ts';
import { readRetryAfterMs } from '../../platform/retry-after.ts';
import { cleanMessage, ProviderError, type ProviderErrorCode } from '../provider.ts';
import type { WireTime } from './wire.ts';

/** The codes of google.rpc.Code that are told apart. */
export const RPC = {
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

/** What the SDK throws, as far as it is looked at. */
interface Fault {
  readonly code?: number | string;
  readonly message?: string;
  /** The service's own words: `message` has the code's name before them. */
  readonly details?: string;
  readonly reason?: string;
  /** google.rpc.BadRequest, RetryInfo and others, without their types. */
  readonly statusDetails?: readonly StatusDetail[];
}

interface StatusDetail {
  readonly fieldViolations?: readonly { readonly field?: string; readonly description?: string }[];
  readonly retryDelay?: WireTime;
}

const RATE = /\bper (minute|second|day)\b|rate limit/i;
export const STOCKOUT = /\b(resources are insufficient|insufficient resources|stockout|not enough resources)\b/i;
const ACT_AS = /iam\.serviceaccounts\.actas|act as service account|does not have permission.*service account/i;

export function rpcCode(error: unknown): number | undefined {
  const { code } = (error ?? {}) as Fault;
  return typeof code === 'number' ? code : undefined;
}

export function isNotThere(error: unknown): boolean {
  return rpcCode(error) === RPC.notFound;
}

/** A cancel that came after the end. */
export function isOver(error: unknown): boolean {
  return rpcCode(error) === RPC.failedPrecondition;
}

/**
 * What a failed call means to Merit. Only an answer of the service that refuses it has no effect; whatever else comes of a call that changes something (a
 * cut connection, a deadline, a reply that is none) has an unknown one.
 */
export function providerErrorOf(error: unknown, doing: string, changes: boolean): ProviderError {
  if (error instanceof ProviderError) return error;
  const { details, message, reason, statusDetails = [] } = (error ?? {}) as Fault;
  const told = details || message || String(error);
  const code = codeOf(rpcCode(error), told, reason, changes);
  const fields = statusDetails.flatMap(({ fieldViolations = [] }) =>
    fieldViolations.map(({ field, description }) => `${field ?? ''}: ${description ?? ''}`),
  );
  const mend = mendOf(code, told, reason);
  const text = [`${doing}: ${told}`, ...fields].join('; ');
  const retryAfterMs = statusDetails.map(({ retryDelay }) => delayMs(retryDelay)).find((ms) => ms !== undefined);
  const isUnknown = changes && code === 'transient' && rpcCode(error) !== RPC.resourceExhausted;
  return new ProviderError(code, cleanMessage(mend === undefined ? text : `${mend}. ${text}`), {
    effect: isUnknown ? 'unknown' : 'none',
    cause: error,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

function codeOf(
  code: number | undefined,
  text: string,
  reason: string | undefined,
  changes: boolean,
): ProviderErrorCode {
  switch (code) {
    case RPC.permissionDenied:
    case RPC.unauthenticated:
      return 'auth';
    case RPC.resourceExhausted:
      if (RATE.test(text) || reason === 'RATE_LIMIT_EXCEEDED') return 'transient';
      return STOCKOUT.test(text) ? 'no_capacity' : 'quota_exceeded';
    case RPC.notFound:
      // What a new job names, as a network: it is not the job that is not there.
      return changes ? 'invalid' : 'not_found';
    case RPC.invalidArgument:
      return ACT_AS.test(text) ? 'auth' : 'invalid';
    case RPC.failedPrecondition:
    case RPC.outOfRange:
    case RPC.unimplemented:
    case RPC.alreadyExists:
      return 'invalid';
    default:
      return 'transient';
  }
}

function mendOf(code: ProviderErrorCode, text: string, reason: string | undefined): string | undefined {
  if (code === 'quota_exceeded')
    return 'ask for more of what is named here under IAM, Quotas, or lower the flavour’s machines';
  if (code === 'no_capacity')
    return 'Google has no machine of this type in the region now: name another flavour, or wait';
  if (code !== 'auth') return undefined;
  if (reason === 'SERVICE_DISABLED') return 'enable aiplatform.googleapis.com in the project';
  if (ACT_AS.test(text)) return 'give Merit’s identity roles/iam.serviceAccountUser on the service account of the job';
  return 'check the credentials that this pool uses, and their roles; docs/vertex.md lists them';
}

function delayMs(delay: WireTime | undefined): number | undefined {
  if (delay === undefined) return undefined;
  return Number(delay.seconds ?? 0) * 1000 + Math.ceil((delay.nanos ?? 0) / 1e6);
}

/** What a reply of Storage or Logging that is no success means; none of them changes what runs. */
export function httpErrorOf(status: number, body: Uint8Array, doing: string, retryAfter?: string): ProviderError {
  const text = cleanMessage(`${doing}: ${status} ${messageIn(body)}`);
  const retryAfterMs = readRetryAfterMs(retryAfter);
  if (status === 401 || status === 403) return new ProviderError('auth', `${mendOf('auth', text, undefined)}. ${text}`);
  if (status === 429 || status === 408 || status >= 500)
    return new ProviderError('transient', text, retryAfterMs === undefined ? {} : { retryAfterMs });
  return new ProviderError('invalid', text);
}

/** Google's JSON has `error.message`; other texts are told as they are. */
function messageIn(body: Uint8Array): string {
  const text = Buffer.from(body).toString('utf8');
  try {
    return String((JSON.parse(text) as { error?: { message?: unknown } }).error?.message ?? text);
  } catch {
    return text;
  }
}

/** Of a call over plain HTTP that had no reply. */
export function unansweredError(error: unknown, doing: string): ProviderError {
  if (error instanceof ProviderError) return error;
  const text = cleanMessage(`${doing}: ${error instanceof Error ? error.message : String(error)}`);
  const code = error instanceof OperatingError && error.code === 'auth' ? 'auth' : 'transient';
  return new ProviderError(code, text, { cause: error });
}
