import { generateKeyPairSync } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ed25519KeyId, verifyEd25519 } from '../../../core/ed25519.ts';
import { RefusedInput } from '../../../core/refusal.ts';
import { openFileSigner } from '../../../platform/signer-file.ts';

let dir: string;
let path: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'merit-signer-'));
  path = join(dir, 'keys', 'signer.pem');
});
afterEach(() => rm(dir, { recursive: true }));

const place = async (text: string, mode = 0o600) => {
  path = join(dir, 'given.pem');
  await writeFile(path, text, { mode });
  await chmod(path, mode);
};
const problem = async () => {
  const error: unknown = await openFileSigner({ path, create: true }).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(RefusedInput);
  return (error as RefusedInput).message;
};

test('the first start makes a private key of its own, and later ones use it', async () => {
  const first = await openFileSigner({ path, create: true });
  const second = await openFileSigner({ path, create: false });
  expect(second.keyId).toBe(first.keyId);
  expect(first.keyId).toMatch(/^ed25519:[0-9a-f]{16}$/);
  expect(first.keyId).toBe(ed25519KeyId(first.publicKey));
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  const pem = await readFile(path, 'utf8');
  const others = await Promise.all([1, 2, 3].map(() => openFileSigner({ path, create: true })));
  expect(new Set(others.map((one) => one.keyId))).toEqual(new Set([first.keyId]));
  expect(await readFile(path, 'utf8')).toBe(pem);
});

test('of several first starts at once all use the same key', async () => {
  const signers = await Promise.all([1, 2, 3, 4].map(() => openFileSigner({ path, create: true })));
  expect(new Set(signers.map((one) => one.keyId)).size).toBe(1);
});

test('its signatures hold for strict verifiers', async () => {
  const signer = await openFileSigner({ path, create: true });
  const signature = await signer.sign(Buffer.from('checkpoint'));
  expect(verifyEd25519(signer.publicKey, Buffer.from('checkpoint'), signature)).toBe(true);
  expect(verifyEd25519(signer.publicKey, Buffer.from('checkpoint!'), signature)).toBe(false);
});

test('without create a missing key is told, and none is made', async () => {
  await expect(openFileSigner({ path, create: false })).rejects.toMatchObject({ code: 'part-missing' });
  await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
});

test('keys of other kinds, encrypted ones and other files are refused', async () => {
  const pem = (key: ReturnType<typeof generateKeyPairSync>['privateKey']) =>
    String(key.export({ type: 'pkcs8', format: 'pem' }));
  await place(pem(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey));
  expect(await problem()).toContain('type rsa, not Ed25519');
  await place(pem(generateKeyPairSync('x25519').privateKey));
  expect(await problem()).toContain('type x25519');
  const encrypted = generateKeyPairSync('ed25519').privateKey.export({
    type: 'pkcs8',
    format: 'pem',
    cipher: 'aes-256-cbc',
    passphrase: 'p',
  });
  await place(String(encrypted));
  expect(await problem()).toContain('is not a PKCS#8 private key');
  await place(String(generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' })));
  expect(await problem()).toContain('is not a PKCS#8 private key');
  await place('-----BEGIN PRIVATE KEY-----\nc3dvcmRmaXNo\n-----END PRIVATE KEY-----\n');
  expect(await problem()).not.toContain('c3dvcmRmaXNo');
});

test.each([0o644, 0o640, 0o604])('a key that others may read (%s) is refused', async (mode) => {
  const key = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' });
  await place(String(key), mode);
  expect(await problem()).toContain('chmod 600');
});
