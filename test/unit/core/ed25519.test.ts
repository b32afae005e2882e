import { generateKeyPairSync, sign } from 'node:crypto';
import { ed25519 } from '@noble/curves/ed25519.js';
import { describe, expect, test } from 'vitest';
import { ed25519KeyId, publicKeyFault, verifyEd25519 } from '../../../core/ed25519.ts';

const bytes = (hex: string) => Buffer.from(hex, 'hex');

/** RFC 8032 section 7.1, tests 1 to 3. */
const VECTORS = [
  {
    key: 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    message: '',
    signature:
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  },
  {
    key: '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    message: '72',
    signature:
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  },
  {
    key: 'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    message: 'af82',
    signature:
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  },
];

/** The eight points of small order, canonical, and then the six that are other spellings of them. */
const SMALL_ORDER = [
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0000000000000000000000000000000000000000000000000000000000000080',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
];
const NOT_CANONICAL = [
  '0100000000000000000000000000000000000000000000000000000000000080',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
];

const GROUP_ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

function addOrder(scalar: Uint8Array): Buffer {
  let value = 0n;
  for (let i = 31; i >= 0; i--) value = (value << 8n) | BigInt(scalar[i]!);
  value += GROUP_ORDER;
  const out = Buffer.alloc(32);
  for (let i = 0; i < 32; i++) {
    out[i] = Number(value & 255n);
    value >>= 8n;
  }
  return out;
}

function rawKey(publicKey: ReturnType<typeof generateKeyPairSync>['publicKey']): Buffer {
  return publicKey.export({ format: 'der', type: 'spki' }).subarray(12);
}

describe('strict Ed25519', () => {
  test('the signatures of RFC 8032 hold, and fail on another message, key or signature', () => {
    for (const [i, vector] of VECTORS.entries()) {
      const key = bytes(vector.key);
      const signature = bytes(vector.signature);
      const message = bytes(vector.message);
      expect(verifyEd25519(key, message, signature)).toBe(true);
      expect(verifyEd25519(key, Buffer.concat([message, bytes('00')]), signature)).toBe(false);
      expect(verifyEd25519(bytes(VECTORS[(i + 1) % VECTORS.length]!.key), message, signature)).toBe(false);
      for (let at = 0; at < 64; at++) {
        expect(
          verifyEd25519(
            key,
            message,
            Uint8Array.from(signature, (byte, j) => (j === at ? byte ^ 1 : byte)),
          ),
        ).toBe(false);
      }
    }
  });

  test('a key of small order is refused, though the equation holds for a forgery under it', () => {
    for (const key of SMALL_ORDER) expect(publicKeyFault(bytes(key))).toBe('small_order');
    // A = the identity: R = B·S with S = 0 is the identity for every message. A lax verifier takes it.
    const identity = bytes(SMALL_ORDER[0]!);
    const forged = Buffer.concat([identity, Buffer.alloc(32)]);
    expect(ed25519.verify(forged, Buffer.from('anything'), identity, { zip215: true })).toBe(true);
    expect(verifyEd25519(identity, Buffer.from('anything'), forged)).toBe(false);
  });

  test('another spelling of a point is refused as a key and as R', () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const signature = sign(null, Buffer.from('m'), privateKey);
    for (const key of NOT_CANONICAL) {
      expect(publicKeyFault(bytes(key))).toBe('not_canonical');
      expect(
        verifyEd25519(rawKey(publicKey), Buffer.from('m'), Buffer.concat([bytes(key), signature.subarray(32)])),
      ).toBe(false);
    }
    for (const r of SMALL_ORDER) {
      expect(
        verifyEd25519(rawKey(publicKey), Buffer.from('m'), Buffer.concat([bytes(r), signature.subarray(32)])),
      ).toBe(false);
    }
  });

  test('a key with a torsion part is refused', () => {
    const torsion = ed25519.Point.fromBytes(bytes(SMALL_ORDER[4]!), false);
    expect(publicKeyFault(ed25519.Point.BASE.add(torsion).toBytes())).toBe('mixed_order');
  });

  test('S at or above the group order is refused', () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const message = Buffer.from('m');
    const signature = sign(null, message, privateKey);
    expect(verifyEd25519(rawKey(publicKey), message, signature)).toBe(true);
    const malleated = Buffer.concat([signature.subarray(0, 32), addOrder(signature.subarray(32))]);
    expect(verifyEd25519(rawKey(publicKey), message, malleated)).toBe(false);
  });

  test('wrong lengths and points off the curve are answers, not exceptions', () => {
    expect(publicKeyFault(new Uint8Array(31))).toBe('length');
    expect(publicKeyFault(bytes(`02${'00'.repeat(31)}`))).toBe('not_canonical');
    expect(verifyEd25519(new Uint8Array(0), new Uint8Array(0), new Uint8Array(0))).toBe(false);
    expect(verifyEd25519(bytes(VECTORS[0]!.key), new Uint8Array(0), new Uint8Array(63))).toBe(false);
  });

  test('a key id is the start of the hash of the raw key', () => {
    expect(ed25519KeyId(bytes(VECTORS[0]!.key))).toBe('ed25519:21fe31dfa154a261');
  });
});
