import { createHash, createPublicKey, verify } from 'node:crypto';
import { ed25519 } from '@noble/curves/ed25519.js';

/**
 * Strict Ed25519: what `crypto.verify` leaves to the OpenSSL it was built with is refused first. Keys and the signature's R must be canonical points
 * outside the small subgroup, a key must have no torsion part at all, and S must be below the group order. Then the
 * equation is checked without cofactor (RFC 8032 5.1.7), so that one key, message and signature has one answer everywhere.
 */

export type KeyFault = 'length' | 'not_canonical' | 'small_order' | 'mixed_order';

const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
/** SubjectPublicKeyInfo of an Ed25519 key up to its 32 raw bytes (RFC 8410). */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

type Point = ReturnType<typeof ed25519.Point.fromBytes>;

function canonicalPoint(bytes: Uint8Array): Point | undefined {
  try {
    return ed25519.Point.fromBytes(bytes, false);
  } catch {
    return undefined;
  }
}

/** Why a raw public key must not be trusted, or undefined where it is sound. */
export function publicKeyFault(publicKey: Uint8Array): KeyFault | undefined {
  if (publicKey.length !== KEY_BYTES) return 'length';
  const point = canonicalPoint(publicKey);
  if (point === undefined) return 'not_canonical';
  if (point.isSmallOrder()) return 'small_order';
  if (!point.isTorsionFree()) return 'mixed_order';
  return undefined;
}

/** True only for a strict signature of `message` by `publicKey` (32 raw bytes). Never throws on bad bytes. */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== SIGNATURE_BYTES || publicKeyFault(publicKey) !== undefined) return false;
  const r = canonicalPoint(signature.subarray(0, 32));
  if (r === undefined || r.isSmallOrder()) return false;
  if (littleEndian(signature.subarray(32)) >= ed25519.Point.Fn.ORDER) return false;
  const key = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, publicKey]), format: 'der', type: 'spki' });
  return verify(null, message, key, signature);
}

function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
  return value;
}

/** `ed25519:<first 16 hex of SHA-256 of the raw key>`: the name under which a key is pinned. */
export function ed25519KeyId(publicKey: Uint8Array): string {
  return `ed25519:${createHash('sha256').update(publicKey).digest('hex').slice(0, 16)}`;
}
