import { OperatingError } from '../core/operating-error.ts';

interface S3Fault {
  readonly name?: string;
  readonly message?: string;
  readonly code?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $response?: { readonly headers?: Readonly<Record<string, string>> };
  readonly Region?: string;
}

export function s3Status(cause: unknown): number | undefined {
  return (cause as S3Fault).$metadata?.httpStatusCode;
}

export function s3ErrorName(cause: unknown): string {
  return cause instanceof Error ? cause.name : '';
}

/** The object, not the bucket, is absent. */
export function isNoSuchKey(cause: unknown): boolean {
  const name = s3ErrorName(cause);
  return name === 'NoSuchKey' || name === 'NotFound' || (s3Status(cause) === 404 && name !== 'NoSuchBucket');
}

const SKEWED = new Set(['RequestTimeTooSkewed', 'RequestExpired']);
const WRONG_REGION = new Set([
  'PermanentRedirect',
  'AuthorizationHeaderMalformed',
  'IllegalLocationConstraintException',
]);
const WRONG_KEY = new Set(['InvalidAccessKeyId', 'SignatureDoesNotMatch', 'ExpiredToken', 'InvalidToken']);
const DAMAGED = new Set(['BadDigest', 'InvalidDigest', 'XAmzContentSHA256Mismatch', 'InvalidPart']);

/** A failure of S3 with what can be done about it. Of the SDK's error only name and message are told: the rest holds signed headers. */
export function s3Error(doing: string, cause: unknown, signal?: AbortSignal): OperatingError {
  if (cause instanceof OperatingError) return cause;
  if (signal?.aborted === true) return new OperatingError('aborted', 'safe', doing);
  const fault = cause as S3Fault;
  const name = s3ErrorName(cause);
  const status = s3Status(cause);
  const why = [name, fault.message].filter((text) => text !== undefined && text !== '').join(': ');
  const told = (code: OperatingError['code'], mend?: string) =>
    new OperatingError(code, 'safe', doing, { cause: why, ...(mend === undefined ? {} : { mend }) });
  if (name === 'NoSuchBucket') return told('not-found', 'make the bucket, or mend its name in the configuration');
  if (SKEWED.has(name))
    return told('auth', 'set the clock of this machine: S3 takes requests within 15 minutes of its own');
  if (WRONG_REGION.has(name) || status === 301) {
    const region = fault.$response?.headers?.['x-amz-bucket-region'] ?? fault.Region;
    return told('auth', `the bucket is in another region: name ${region ?? 'its region'} in the configuration`);
  }
  if (WRONG_KEY.has(name)) return told('auth', 'check the access key that this process uses, and its secret');
  if (name === 'CredentialsProviderError')
    return told('auth', 'give this process credentials: AWS_* variables, a shared credentials file, or a role');
  if (status === 401 || status === 403)
    return told(
      'auth',
      'let this identity list, read, write and delete objects under the prefix, and list multipart uploads',
    );
  if (status === 412 || status === 409) return told('conflict');
  if (status === 404) return told('not-found', 'check the names of bucket and prefix');
  // The second: the SDK's own check of what it reads.
  if (DAMAGED.has(name) || /checksum mismatch/i.test(fault.message ?? ''))
    return told('storage', 'bytes changed on their way; it is tried again');
  if (status === 503 || status === 429 || name === 'SlowDown')
    return told('capacity', 'S3 asks for fewer requests; it is tried again');
  if (name === 'TimeoutError') return told('timeout');
  return told(
    status === undefined ? 'unreachable' : 'storage',
    status === undefined ? 'check the endpoint and the network' : undefined,
  );
}
