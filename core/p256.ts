import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { sha256Hex } from './canonical.ts';
import { keptKeys } from './kept-keys.ts';

/** ECDSA on P-256 with SHA-256, as AWS KMS and HSMs sign: keys are uncompressed points (65 bytes), signatures DER (SEC 1, C.5). */

const POINT_BYTES = 65;
const COORDINATE_BYTES = 32;

/** A key from its point; throws where it is no point of the curve. */
export function p256Key(point: Uint8Array): KeyObject {
  if (point.length !== POINT_BYTES || point[0] !== 4) throw new Error('not an uncompressed point');
  const coordinate = (from: number) => Buffer.from(point.subarray(from, from + COORDINATE_BYTES)).toString('base64url');
  const jwk = { kty: 'EC', crv: 'P-256', x: coordinate(1), y: coordinate(1 + COORDINATE_BYTES) };
  return createPublicKey({ key: jwk, format: 'jwk' });
}

/** The point of a SubjectPublicKeyInfo (DER); undefined where it is none of P-256. */
export function p256Point(spki: Uint8Array): Uint8Array | undefined {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    const { crv, x = '', y = '' } = key.export({ format: 'jwk' });
    if (crv !== 'P-256') return undefined;
    return Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
  } catch {
    return undefined;
  }
}

const keyOf = keptKeys(p256Key);

/** True only for a signature of `message` by the key; OpenSSL takes DER in its one form only. Never throws on bad bytes. */
export function verifyP256(point: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verify('sha256', message, { key: keyOf(point), dsaEncoding: 'der' }, signature);
  } catch {
    return false;
  }
}

/** `ecdsa-p256:<first 16 hex of SHA-256 of the point>`: the name under which a key is pinned. */
export function p256KeyId(point: Uint8Array): string {
  return `ecdsa-p256:${sha256Hex(point).slice(0, 16)}`;
}
