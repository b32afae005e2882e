import { OperatingError } from '../core/operating-error.ts';
import { ownOf } from '../core/own.ts';
import { Secret } from './secret.ts';

export interface AwsSecretPlace {
  /** ARN, or name. */
  readonly id: string;
  /** undefined: as AWS_REGION or the profile says. */
  readonly region: string | undefined;
  /** undefined: AWS, or as AWS_ENDPOINT_URL_SECRETS_MANAGER says. */
  readonly endpoint: string | undefined;
  /** Of the shared credentials file; undefined: what the SDK's chain finds. */
  readonly profile: string | undefined;
}

const CONNECT_TIMEOUT_MS = 2_000;
/** One reading with all its tries. */
const CALL_TIMEOUT_MS = 5_000;
const MAX_ATTEMPTS = 3;

/** What may be told of each fault of the service; its own message may hold what was asked. */
const MENDS: Readonly<Record<string, string>> = {
  ResourceNotFoundException: 'name a secret that is there, in this region',
  AccessDeniedException: 'let this identity call secretsmanager:GetSecretValue on it, and kms:Decrypt on its key',
  DecryptionFailure: 'let this identity call kms:Decrypt on the secret’s key',
  InvalidRequestException: 'look whether the secret is marked for deletion',
  InvalidParameterException: 'write the ARN or the name of a secret',
  CredentialsProviderError: 'give this process an AWS identity',
  UnrecognizedClientException: 'give this process an AWS identity that is known',
};

/** The current version of a secret. Throws OperatingError with what to do; no content is ever told. */
export async function readAwsSecret(place: AwsSecretPlace): Promise<Secret> {
  const doing = `reading the secret ${place.id} from AWS Secrets Manager`;
  // Imported here: who has no secret there does not load the SDK.
  const sdk = await import('@aws-sdk/client-secrets-manager');
  const client = new sdk.SecretsManagerClient({
    maxAttempts: MAX_ATTEMPTS,
    requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS },
    ...(place.region === undefined ? {} : { region: place.region }),
    ...(place.endpoint === undefined ? {} : { endpoint: place.endpoint }),
    ...(place.profile === undefined ? {} : { profile: place.profile }),
  });
  const limit = AbortSignal.timeout(CALL_TIMEOUT_MS);
  try {
    const told = await client.send(new sdk.GetSecretValueCommand({ SecretId: place.id }), { abortSignal: limit });
    const text = told.SecretString ?? '';
    if (text !== '') return new Secret(text);
  } catch (cause) {
    const { name } = cause as Error;
    const mend = ownOf(MENDS, name);
    if (limit.aborted)
      throw new OperatingError('timeout', 'safe', doing, { cause: `no answer in ${CALL_TIMEOUT_MS} ms` });
    throw new OperatingError(mend === undefined ? 'unreachable' : 'auth', 'safe', doing, {
      cause: name,
      mend: mend ?? 'look whether the service can be reached from here',
    });
  } finally {
    client.destroy();
  }
  throw new OperatingError('bad-reply', 'never', doing, { cause: 'it holds no text', mend: 'store it as a text' });
}
