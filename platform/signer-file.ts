import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { linkSync, rmSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ed25519KeyId } from '../core/ed25519.ts';
import { OperatingError } from '../core/operating-error.ts';
import { RefusedInput, refuse } from '../core/refusal.ts';
import { replaceFileSync } from './processes.ts';
import { readPrivateFile } from './secret-file.ts';
import type { Signer } from './signer.ts';

/**
 * The Ed25519 key in a PKCS#8 PEM file of mode 0600, made where there is none and `create` says so. Throws RefusedInput where the key
 * is of another kind, encrypted or can be read by others.
 */
export async function openFileSigner(options: { readonly path: string; readonly create: boolean }): Promise<Signer> {
  const { path } = options;
  if (options.create && (await stat(path).catch(() => undefined)) === undefined) await makeKey(path);
  const key = parseKey(await readPrivateFile(path, 'signer.keyFile'), path);
  const publicKey = rawPublicKey(key);
  return {
    keyId: ed25519KeyId(publicKey),
    algorithm: 'ed25519',
    publicKey,
    sign: async (bytes) => sign(null, bytes, key),
  };
}

async function makeKey(path: string): Promise<void> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const whole = `${path}.new-${process.pid}`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    replaceFileSync(whole, privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
    // A link never replaces: of two first starts at once the first one's key stays.
    linkSync(whole, path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return;
    throw new OperatingError('storage', 'safe', `writing the signing key ${path}`, { cause });
  } finally {
    rmSync(whole, { force: true });
  }
}

function parseKey(pem: Buffer, path: string): KeyObject {
  const refused = (problem: string) =>
    new RefusedInput([
      refuse('signer_key', 'signer.keyFile', `${path} ${problem}`, 'use an unencrypted Ed25519 key in PKCS#8 PEM'),
    ]);
  if (!pem.includes('-----BEGIN PRIVATE KEY-----')) throw refused('is not a PKCS#8 private key in PEM');
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: pem, format: 'pem', type: 'pkcs8' });
  } catch {
    // OpenSSL's reason is left out: it may quote the file.
    throw refused('cannot be read as a key');
  }
  if (key.asymmetricKeyType !== 'ed25519') throw refused(`holds a key of type ${key.asymmetricKeyType}, not Ed25519`);
  return key;
}

/** The last 32 bytes of the SubjectPublicKeyInfo (RFC 8410). */
function rawPublicKey(key: KeyObject): Uint8Array {
  return new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }).subarray(-32));
}
