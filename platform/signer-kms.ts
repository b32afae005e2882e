import { createHash } from 'node:crypto';
import { OperatingError } from '../core/operating-error.ts';
import { p256KeyId, p256Point, verifyP256 } from '../core/p256.ts';
import { kmsError } from './kms-errors.ts';
import type { Signer } from './signer.ts';

export interface KmsSignerConfig {
  /** Id, ARN, `alias/name` or ARN of an alias. */
  readonly key: string;
  /** undefined: as AWS_REGION or the profile says. */
  readonly region: string | undefined;
  /** undefined: AWS, or as AWS_ENDPOINT_URL_KMS says. */
  readonly endpoint: string | undefined;
  /** Of the shared credentials file; undefined: what the SDK's chain finds. */
  readonly profile: string | undefined;
}

const CONNECT_TIMEOUT_MS = 2_000;
/** One call with all its tries: well under the 5 s that the trail may be old for an apply. */
const KMS_CALL_TIMEOUT_MS = 4_000;
const MAX_ATTEMPTS = 3;
/** Of a message that KMS takes whole. */
const MAX_RAW_BYTES = 4_096;
const SPEC = 'ECC_NIST_P256';
const ALGORITHM = 'ECDSA_SHA_256';

/**
 * A key of AWS KMS, ECDSA on P-256. The public key is asked for once, and an alias is followed once: to another key one rotates. Each signature is checked
 * here before it is handed on. Throws OperatingError with what to do.
 */
export async function openKmsSigner(
  config: KmsSignerConfig,
  { timeoutMs = KMS_CALL_TIMEOUT_MS }: { readonly timeoutMs?: number } = {},
): Promise<Signer> {
  // Imported here: who signs with a file does not load the SDK.
  const sdk = await import('@aws-sdk/client-kms');
  const kms = new sdk.KMSClient({
    maxAttempts: MAX_ATTEMPTS,
    requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS },
    ...(config.region === undefined ? {} : { region: config.region }),
    ...(config.endpoint === undefined ? {} : { endpoint: config.endpoint }),
    ...(config.profile === undefined ? {} : { profile: config.profile }),
  });
  const limit = () => ({ abortSignal: AbortSignal.timeout(timeoutMs) });
  const doing = `asking KMS for the public key of ${config.key}`;
  const told = await kms.send(new sdk.GetPublicKeyCommand({ KeyId: config.key }), limit()).catch((cause: unknown) => {
    throw kmsError(doing, cause);
  });
  const point = p256Point(told.PublicKey ?? new Uint8Array());
  // That it is of P-256 its bytes say.
  if (point === undefined || told.KeyUsage !== 'SIGN_VERIFY') {
    throw new OperatingError('part-missing', 'never', doing, {
      cause: `it is a key of ${told.KeySpec ?? 'another kind'} for ${told.KeyUsage ?? 'no known use'}`,
      mend: `name a key of ${SPEC} for SIGN_VERIFY in signer.kms.key`,
    });
  }
  const keyArn = told.KeyId ?? config.key;
  const keyId = p256KeyId(point);
  return {
    keyId,
    algorithm: 'ecdsa-p256-sha256',
    publicKey: point,
    sign: async (bytes) => {
      // Of what is longer KMS takes the SHA-256 instead, and the signature is the same.
      const whole = bytes.length <= MAX_RAW_BYTES;
      const message = whole ? bytes : createHash('sha256').update(bytes).digest();
      const asked = new sdk.SignCommand({
        KeyId: keyArn,
        Message: message,
        MessageType: whole ? 'RAW' : 'DIGEST',
        SigningAlgorithm: ALGORITHM,
      });
      const signing = `signing with ${keyId} in KMS`;
      const signed = await kms.send(asked, limit()).catch((cause: unknown) => {
        throw kmsError(signing, cause);
      });
      const signature = signed.Signature ?? new Uint8Array();
      if (!verifyP256(point, bytes, signature)) {
        throw new OperatingError('bad-reply', 'safe', signing, { cause: 'the signature is not of this key' });
      }
      return signature;
    },
  };
}
