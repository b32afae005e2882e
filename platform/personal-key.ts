import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { open } from 'node:fs/promises';
import { ed25519KeyId, publicKeyFault } from '../core/ed25519.ts';
import { OperatingError } from '../core/operating-error.ts';
import { RefusedInput, refuse } from '../core/refusal.ts';
import type { Secret } from './secret.ts';
import { readPrivateFile } from './secret-file.ts';

/** The key of a person: Ed25519 in PKCS#8 PEM, mode 0600, encrypted where its owner wants. It signs where it lies, and goes nowhere. */
export interface PersonalKey {
  readonly keyId: string;
  /** 32 raw bytes. */
  readonly publicKey: Uint8Array;
  sign(bytes: Uint8Array): Uint8Array;
}

const ENCRYPTED = '-----BEGIN ENCRYPTED PRIVATE KEY-----';
const PLAIN = '-----BEGIN PRIVATE KEY-----';

/** A new key in a file that was not there; one that is there stays as it is, and is refused. */
export async function makePersonalKey(path: string, passphrase: Secret | undefined): Promise<PersonalKey> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const plain = { type: 'pkcs8', format: 'pem' } as const;
  const pem = privateKey.export(
    passphrase === undefined ? plain : { ...plain, cipher: 'aes-256-cbc', passphrase: passphrase.reveal() },
  );
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      await file.writeFile(pem);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw refused(path, 'is there already: a key is never replaced', 'name another file');
    throw new OperatingError('storage', 'safe', `writing the key ${path}`, { cause });
  }
  return keyOf(privateKey);
}

/**
 * Throws RefusedInput where the file is no Ed25519 key or others may read it; OperatingError `auth` where it is encrypted and no passphrase, or a wrong
 * one, is given, `part-missing` where it is absent. No content is ever told.
 */
export async function openPersonalKey(path: string, passphrase: Secret | undefined): Promise<PersonalKey> {
  const pem = await readPrivateFile(path, 'key');
  const isEncrypted = pem.includes(ENCRYPTED);
  if (!isEncrypted && !pem.includes(PLAIN)) throw refused(path, 'is not a PKCS#8 private key in PEM', ED25519_MEND);
  if (isEncrypted && passphrase === undefined)
    throw new OperatingError('auth', 'never', `opening the key ${path}, which is encrypted`, {
      mend: 'give its passphrase in a file: --passphrase-file FILE',
    });
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: pem, format: 'pem', ...(isEncrypted ? { passphrase: passphrase?.reveal() } : {}) });
  } catch {
    // OpenSSL's reason is left out: it may quote the file.
    if (!isEncrypted) throw refused(path, 'cannot be read as a key', ED25519_MEND);
    throw new OperatingError('auth', 'never', `opening the key ${path}`, { mend: 'give the right passphrase' });
  }
  if (key.asymmetricKeyType !== 'ed25519')
    throw refused(path, `holds a key of type ${key.asymmetricKeyType}, not Ed25519`, ED25519_MEND);
  return keyOf(key);
}

const ED25519_MEND = 'use a key that `merit signer new` made';

function keyOf(key: KeyObject): PersonalKey {
  const publicKey = new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }).subarray(-32));
  const fault = publicKeyFault(publicKey);
  if (fault !== undefined)
    throw new RefusedInput([refuse('weak_key', 'key', `proves nothing (${fault})`, ED25519_MEND)]);
  return { keyId: ed25519KeyId(publicKey), publicKey, sign: (bytes) => sign(null, bytes, key) };
}

function refused(path: string, problem: string, mend: string): RefusedInput {
  return new RefusedInput([refuse('signer_key', 'key', `${path} ${problem}`, mend)]);
}
