import { generateKeyPairSync, sign } from 'node:crypto';
import { type Statement, statementBytes } from '../../core/approval.ts';
import { ed25519KeyId } from '../../core/ed25519.ts';
import type { SigningPolicy } from '../../core/signing-policy.ts';

/** A key of somebody who may sign. */
export interface TestKey {
  readonly keyId: string;
  /** Base64 of the raw key. */
  readonly publicKey: string;
  readonly pem: string;
  sign(statement: Statement): Uint8Array;
}

export function testKey(): TestKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32);
  return {
    keyId: ed25519KeyId(raw),
    publicKey: Buffer.from(raw).toString('base64'),
    pem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    sign: (statement) => sign(null, statementBytes(statement), privateKey),
  };
}

/** People with a key each, who may all sign; two of them for whatever is large or changes who they are, one for a revoke. */
export function signingPolicy(
  people: Readonly<Record<string, TestKey>>,
  over: Partial<SigningPolicy> = {},
): SigningPolicy {
  return {
    apiVersion: 'merit/v1',
    kind: 'SigningPolicy',
    people: Object.entries(people).map(([name, { publicKey }]) => ({ name, keys: [{ publicKey }] })),
    changes: { signatures: 2 },
    revoke: { signatures: 1 },
    ...over,
  };
}
