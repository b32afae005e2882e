import { readRetryAfterMs } from '../../platform/retry-after.ts';
import { cleanMessage, ProviderError, type ProviderErrorCode } from '../provider.ts';

/** What the SDK throws, as far as it is looked at. */
interface Fault {
  readonly name?: string;
  readonly message?: string;
  /** Where the service writes it with a capital. */
  readonly Message?: string;
  readonly $fault?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $response?: { readonly headers?: Readonly<Record<string, string>> };
}

const AUTH = new Set([
  'AccessDenied',
  'AccessDeniedException',
  'CredentialsProviderError',
  'ExpiredToken',
  'ExpiredTokenException',
  'IncompleteSignature',
  'InvalidClientTokenId',
  'InvalidSignatureException',
  'MissingAuthenticationToken',
  'NotAuthorized',
  'OptInRequired',
  'SignatureDoesNotMatch',
  'TokenProviderError',
  'UnrecognizedClientException',
]);
const EXPIRED = new Set(['ExpiredToken', 'ExpiredTokenException']);
const THROTTLED = new Set([
  'LimitExceededException',
  'RequestLimitExceeded',
  'SlowDown',
  'Throttling',
  'ThrottlingException',
  'ThrottledException',
  'TooManyRequestsException',
]);
const NO_CAPACITY =
  /^(CapacityError|InsufficientCapacity\w*|InsufficientInstanceCapacity\w*|EC2InsufficientCapacityError)$/;
/** It has no error of its own for what is not there. */
const NOT_THERE = /^(requested resource not found|could not find (job to update|training job))/i;
const NOT_STOPPABLE = /rejected because the training job is in status/i;
const ROLE = /could not assume role|is not authorized to perform: iam:passrole/i;

export function faultName(error: unknown): string {
  return (error as Fault | undefined)?.name ?? '';
}

function textOf(error: unknown): string {
  const { message, Message } = (error ?? {}) as Fault;
  return (message || Message) ?? '';
}

/** The service knows nothing of this name: a ValidationException by its text, as it has answered since 2018. */
export function isNotThere(error: unknown): boolean {
  const name = faultName(error);
  return (
    name === 'ResourceNotFound' ||
    name === 'ResourceNotFoundException' ||
    (name === 'ValidationException' && NOT_THERE.test(textOf(error)))
  );
}

/** A stop that came after the end. */
export function isOver(error: unknown): boolean {
  return faultName(error) === 'ValidationException' && NOT_STOPPABLE.test(textOf(error));
}

/**
 * What a failed call means to Merit. Only an answer of the service with its own word is a refusal; whatever else comes of a call that changes
 * something (a cut connection, a time-out, a reply that is none, 5xx) has an unknown effect.
 */
export function providerErrorOf(error: unknown, doing: string, changes: boolean): ProviderError {
  if (error instanceof ProviderError) return error;
  const name = faultName(error);
  const status = (error as Fault).$metadata?.httpStatusCode;
  const code = codeOf(error, name, status);
  const mend = mendOf(code, name, textOf(error));
  const message = `${doing}: ${[name, textOf(error)].filter((text) => text !== '').join(': ')}`;
  // What to do stands first: of a long text the middle is cut.
  const told = cleanMessage(mend === undefined ? message : `${mend}. ${message}`);
  const retryAfterMs = readRetryAfterMs((error as Fault).$response?.headers?.['retry-after']);
  const unknown = changes && code === 'transient' && !isThrottled(name, status);
  return new ProviderError(code, told, {
    effect: unknown ? 'unknown' : 'none',
    cause: error,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

function codeOf(error: unknown, name: string, status: number | undefined): ProviderErrorCode {
  if (AUTH.has(name) || status === 401 || status === 403) return 'auth';
  if (isThrottled(name, status)) return 'transient';
  if (name === 'ResourceLimitExceeded') return 'quota_exceeded';
  if (NO_CAPACITY.test(name)) return 'no_capacity';
  if (isNotThere(error)) return 'not_found';
  if (ROLE.test(textOf(error))) return 'auth';
  return status !== undefined && status >= 400 && status < 500 && (error as Fault).$fault === 'client'
    ? 'invalid'
    : 'transient';
}

function isThrottled(name: string, status: number | undefined): boolean {
  return THROTTLED.has(name) || status === 429;
}

function mendOf(code: ProviderErrorCode, name: string, text: string): string | undefined {
  if (code === 'quota_exceeded')
    return 'ask for more of this instance type in Service Quotas, or lower the flavour’s instances';
  if (code === 'no_capacity') return 'AWS has no machine of this type now: name another flavour, or wait';
  if (code !== 'auth') return undefined;
  if (ROLE.test(text))
    return 'let sagemaker.amazonaws.com assume the role, and let Merit’s identity pass it (iam:PassRole)';
  if (EXPIRED.has(name)) return 'renew the credentials; they are read anew at each call';
  if (/^AccessDenied/.test(name))
    return 'give Merit’s identity the action named here; docs/sagemaker.md has the policy';
  return 'check the credentials that this pool uses';
}
