import { createPublicKey, verify } from 'node:crypto';
import { ED25519_TORSION_SUBGROUP, ed25519 } from '@noble/curves/ed25519.js';
import { sha256Hex } from './canonical.ts';
import { keptKeys } from './kept-keys.ts';

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
  if (signature.length !== SIGNATURE_BYTES) return false;
  const key = soundKey(publicKey);
  if (key === undefined) return false;
  if (!isSoundR(signature.subarray(0, 32))) return false;
  if (littleEndian(signature.subarray(32)) >= ed25519.Point.Fn.ORDER) return false;
  return verify(null, message, key, signature);
}

const SMALL_ORDER: ReadonlySet<string> = new Set(ED25519_TORSION_SUBGROUP);

/**
 * R is canonical where its y is below p (x is 0 at points of small order only) and is no point of small order. That it is a point at all the equation
 * says: what it compares R with is one. Reading it as a point would cost as much as the rest.
 */
function isSoundR(r: Uint8Array): boolean {
  const y = Uint8Array.from(r);
  y[31] = y[31]! & 0x7f;
  return littleEndian(y) < ed25519.Point.Fp.ORDER && !isSmallOrder(r, y);
}

/** With either sign: of y = ±1 one of them is another spelling. */
function isSmallOrder(r: Uint8Array, y: Uint8Array): boolean {
  return SMALL_ORDER.has(Buffer.from(r).toString('hex')) || SMALL_ORDER.has(Buffer.from(y).toString('hex'));
}

/** Looking for torsion costs 20 times as much as the signature. */
const soundKey = keptKeys((publicKey) =>
  publicKeyFault(publicKey) === undefined
    ? createPublicKey({ key: Buffer.concat([SPKI_PREFIX, publicKey]), format: 'der', type: 'spki' })
    : undefined,
);

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
}

/** `ed25519:<first 16 hex of SHA-256 of the raw key>`: the name under which a key is pinned. */
export function ed25519KeyId(publicKey: Uint8Array): string {
  return `ed25519:${sha256Hex(publicKey).slice(0, 16)}`;
}
