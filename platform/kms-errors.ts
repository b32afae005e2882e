import { type OperatingCode, OperatingError } from '../core/operating-error.ts';

interface KmsFault {
  readonly name?: string;
  readonly message?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
}

type Told = readonly [code: OperatingCode, mend: string];

const CREDENTIALS: Told = ['auth', 'check the access key that this process uses, its secret, and the region'];
const DENIED: Told = ['auth', 'let this identity kms:Sign and kms:GetPublicKey with the key, in its policy too'];
const WRONG_KEY: Told = ['part-missing', 'name a key of ECC_NIST_P256 for SIGN_VERIFY in signer.kms.key'];
const TOO_MANY: Told = ['capacity', 'KMS asks for fewer requests; it is tried again. Raise the quota where it lasts'];
const SLOW: Told = ['timeout', 'check the network to KMS; it is tried again'];

/** What KMS and the SDK call their errors: https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html and CommonErrors. */
const TOLD: ReadonlyMap<string, Told> = new Map(
  Object.entries({
    AccessDeniedException: DENIED,
    DisabledException: ['auth', 'enable the key in KMS, or rotate to another one'],
    KMSInvalidStateException: [
      'auth',
      'the key is to be deleted or waits for its import: cancel that, or rotate to another one',
    ],
    NotFoundException: ['not-found', 'check signer.kms.key and signer.kms.region'],
    InvalidArnException: ['not-found', 'write the id, ARN or alias of a key in signer.kms.key'],
    InvalidKeyUsageException: WRONG_KEY,
    UnsupportedOperationException: WRONG_KEY,
    ThrottlingException: TOO_MANY,
    LimitExceededException: TOO_MANY,
    KeyUnavailableException: ['unreachable', 'KMS cannot reach the key now; it is tried again'],
    DependencyTimeoutException: ['timeout', 'KMS waits for a part of its own; it is tried again'],
    KMSInternalException: ['unreachable', 'KMS has a fault of its own; it is tried again'],
    UnrecognizedClientException: CREDENTIALS,
    InvalidSignatureException: CREDENTIALS,
    IncompleteSignatureException: CREDENTIALS,
    InvalidClientTokenId: CREDENTIALS,
    ExpiredTokenException: ['auth', 'the credentials of this process have run out: renew them'],
    CredentialsProviderError: [
      'auth',
      'give this process credentials: AWS_* variables, a shared credentials file, or a role',
    ],
    AbortError: SLOW,
    TimeoutError: SLOW,
  } satisfies Record<string, Told>),
);

/** Of an error whose name says nothing. */
function toldBy(status: number | undefined): Told {
  if (status === undefined) return ['unreachable', 'check signer.kms.region, the endpoint and the network'];
  if (status === 401 || status === 403) return DENIED;
  if (status === 429) return TOO_MANY;
  return ['bad-reply', 'check that signer.kms.endpoint is one of KMS'];
}

/** A failure of KMS with what can be done about it. Signing changes nothing, so all of it may be repeated. */
export function kmsError(doing: string, cause: unknown): OperatingError {
  if (cause instanceof OperatingError) return cause;
  const { name = '', message, $metadata } = cause as KmsFault;
  // Of the SDK's error only name and message are told: the rest holds signed headers.
  const why = [name, message].filter((text) => text !== undefined && text !== '').join(': ');
  const [code, mend] = TOLD.get(name) ?? toldBy($metadata?.httpStatusCode);
  return new OperatingError(code, 'safe', doing, { cause: why, mend });
}
