import { canonicalText } from '../../core/canonical.ts';
import { ed25519KeyId, publicKeyFault, verifyEd25519 } from '../../core/ed25519.ts';
import { p256Key, p256KeyId, verifyP256 } from '../../core/p256.ts';
import { type Refusal, refuse } from '../../core/refusal.ts';
import { formatRfc3339, parseRfc3339 } from '../../core/rfc3339.ts';
import type { Signer } from '../../platform/signer.ts';

/**
 * Pinned keys: what a verifier trusts, brought from outside and never learned from the file under test. Each key is pinned
 * with its algorithm and the time in which what it signs counts.
 *
 *   {"format":"merit-roots/1","keys":[{"keyId":"ed25519:…","algorithm":"ed25519","publicKey":"<base64 of the raw key>",
 *     "validFrom":"2026-11-23T00:00:00.000Z","validTo":null}]}
 */
export interface RootKey {
  readonly keyId: string;
  readonly algorithm: Signer['algorithm'];
  /** Ed25519: 32 bytes. ECDSA P-256: the uncompressed point, 65 bytes. */
  readonly publicKey: Uint8Array;
  readonly validFromMs: number;
  /** Not included; undefined: no end. */
  readonly validToMs: number | undefined;
}

export interface Roots {
  readonly keys: ReadonlyMap<string, RootKey>;
}

export type RootsReading =
  | { readonly ok: true; readonly roots: Roots }
  | { readonly ok: false; readonly refusal: Refusal };

const MAX_ROOTS_BYTES = 1024 * 1024;
const FIELDS = 'algorithm,keyId,publicKey,validFrom,validTo';

function no(field: string, problem: string): RootsReading {
  return {
    ok: false,
    refusal: refuse('roots', field, problem, 'use the roots file that `merit audit export --roots` wrote'),
  };
}

/** Reads a roots file. Weak keys, unknown algorithms and empty lists are refused: there is no trust on first use. */
export function parseRoots(bytes: Uint8Array): RootsReading {
  if (bytes.length > MAX_ROOTS_BYTES) return no('', 'is too long for a roots file');
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return no('', 'is not JSON');
  }
  const file = value as { readonly format?: unknown; readonly keys?: unknown } | null;
  if (typeof file !== 'object' || file === null || file.format !== 'merit-roots/1') {
    return no('format', 'is not merit-roots/1');
  }
  if (!Array.isArray(file.keys) || file.keys.length === 0) return no('keys', 'pins no key');
  const keys = new Map<string, RootKey>();
  for (const [i, entry] of (file.keys as unknown[]).entries()) {
    const key = parseKey(entry);
    if (typeof key === 'string') return no(`keys.${i}`, key);
    if (keys.has(key.keyId)) return no(`keys.${i}.keyId`, 'is pinned twice');
    keys.set(key.keyId, key);
  }
  return { ok: true, roots: { keys } };
}

function parseKey(value: unknown): RootKey | string {
  if (typeof value !== 'object' || value === null) return 'is not an object';
  if (Object.keys(value).sort().join() !== FIELDS) return `must have the members ${FIELDS}`;
  const entry = value as Readonly<Record<string, unknown>>;
  const { keyId, algorithm, publicKey, validFrom, validTo } = entry;
  if (typeof keyId !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(keyId)) return 'has no usable keyId';
  if (typeof publicKey !== 'string') return 'has no publicKey';
  const raw = Buffer.from(publicKey, 'base64');
  if (raw.toString('base64') !== publicKey) return 'has a publicKey that is not base64';
  const validFromMs = typeof validFrom === 'string' ? parseRfc3339(validFrom) : undefined;
  const validToMs = typeof validTo === 'string' ? parseRfc3339(validTo) : undefined;
  if (validFromMs === undefined || (validTo !== null && validToMs === undefined))
    return 'has no usable validity window';
  if (validToMs !== undefined && validToMs <= validFromMs) return 'is never valid';
  if (algorithm !== 'ed25519' && algorithm !== 'ecdsa-p256-sha256') return 'has an algorithm that is not supported';
  const fault = keyFault(algorithm, raw);
  if (fault !== undefined) return `has a key that must not be trusted (${fault})`;
  if (keyIdOf(algorithm, raw) !== keyId) return 'has a keyId that is not its key’s';
  return { keyId, algorithm, publicKey: raw, validFromMs, validToMs };
}

function keyFault(algorithm: Signer['algorithm'], publicKey: Uint8Array): string | undefined {
  if (algorithm === 'ed25519') return publicKeyFault(publicKey);
  try {
    p256Key(publicKey);
    return undefined;
  } catch {
    return 'not_canonical';
  }
}

/** The text of a roots file. */
export function rootsText(keys: readonly RootKey[]): string {
  return `${canonicalText({
    format: 'merit-roots/1',
    keys: keys.map((key) => ({
      keyId: key.keyId,
      algorithm: key.algorithm,
      publicKey: Buffer.from(key.publicKey).toString('base64'),
      validFrom: formatRfc3339(key.validFromMs),
      validTo: key.validToMs === undefined ? null : formatRfc3339(key.validToMs),
    })),
  })}\n`;
}

export type SignatureCheck = 'ok' | 'unknown_key' | 'outside_window' | 'bad_signature';

/** Whether a pinned key that counts at `atMs` signed the message. */
export function checkSignature(
  roots: Roots,
  keyId: string,
  atMs: number,
  message: Uint8Array,
  signature: Uint8Array,
): SignatureCheck {
  const key = roots.keys.get(keyId);
  if (key === undefined) return 'unknown_key';
  if (atMs < key.validFromMs || (key.validToMs !== undefined && atMs >= key.validToMs)) return 'outside_window';
  return verifyWithKey(key.algorithm, key.publicKey, message, signature) ? 'ok' : 'bad_signature';
}

/** True where `signature` (Ed25519: 64 bytes; ECDSA: DER) is the key's over `message`. */
export function verifyWithKey(
  algorithm: Signer['algorithm'],
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  return algorithm === 'ed25519'
    ? verifyEd25519(publicKey, message, signature)
    : verifyP256(publicKey, message, signature);
}

/** The name that the key has by its content. */
function keyIdOf(algorithm: Signer['algorithm'], publicKey: Uint8Array): string {
  return algorithm === 'ed25519' ? ed25519KeyId(publicKey) : p256KeyId(publicKey);
}
