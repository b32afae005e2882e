import { CreateAliasCommand, CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { beforeAll, describe, expect, test } from 'vitest';
import { signCheckpoint, verifyNote } from '../../ledger/audit/checkpoint.ts';
import { openKmsSigner } from '../../platform/signer-kms.ts';
import { rootsOf } from '../support/audit-story.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { moto } from './moto.ts';

const missing = partMissing(moto);
const CHECKPOINT = {
  origin: 'merit/audit',
  treeSize: 7,
  rootHash: Buffer.alloc(32, 7),
  atMs: Date.UTC(2026, 10, 23, 10),
};

describe.skipIf(missing !== undefined)(`KMS as the signer${missing === undefined ? '' : ` (${missing})`}`, () => {
  let url: string;
  let kms: KMSClient;
  const open = (key: string) => openKmsSigner({ key, region: 'us-east-1', endpoint: url, profile: undefined });
  const newKey = async (KeySpec: 'ECC_NIST_P256' | 'ECC_NIST_P384' | 'RSA_2048') => {
    const { KeyMetadata } = await kms.send(new CreateKeyCommand({ KeySpec, KeyUsage: 'SIGN_VERIFY' }));
    return { id: KeyMetadata?.KeyId ?? '', arn: KeyMetadata?.Arn ?? '' };
  };

  beforeAll(async () => {
    process.env.AWS_ACCESS_KEY_ID = 'test';
    process.env.AWS_SECRET_ACCESS_KEY = 'test';
    ({ url } = await sharedPart(moto));
    kms = new KMSClient({ endpoint: url, region: 'us-east-1' });
  });

  test('a checkpoint that it signs holds by roots that pin its key, and no other', async () => {
    const { id } = await newKey('ECC_NIST_P256');
    const [signer, other] = [await open(id), await open((await newKey('ECC_NIST_P256')).id)];
    const note = await signCheckpoint(signer, CHECKPOINT);
    expect(verifyNote(note, rootsOf(signer))).toEqual({ ok: true, checkpoint: { ...CHECKPOINT, keyId: signer.keyId } });
    expect(verifyNote(note, rootsOf(other)).ok).toBe(false);
    expect(verifyNote(note.replace('\n7\n', '\n8\n'), rootsOf(signer)).ok).toBe(false);
  });

  test('it is named by id, ARN or alias, and is the same key', async () => {
    const { id, arn } = await newKey('ECC_NIST_P256');
    await kms.send(new CreateAliasCommand({ AliasName: `alias/merit-${id}`, TargetKeyId: id }));
    const signers = await Promise.all([id, arn, `alias/merit-${id}`].map(open));
    expect(new Set(signers.map(({ keyId }) => keyId)).size).toBe(1);
  });

  test.each(['ECC_NIST_P384', 'RSA_2048'] as const)('a key of %s is refused', async (spec) => {
    await expect(open((await newKey(spec)).id)).rejects.toMatchObject({ code: 'part-missing' });
  });

  test('one that is not there is told', async () => {
    await expect(open('5f1c2b7e-0000-4000-8000-000000000000')).rejects.toMatchObject({
      code: 'not-found',
      mend: expect.stringContaining('signer.kms.key'),
    });
  });
});
