import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectRetentionCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutObjectCommand,
  PutObjectRetentionCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { checkTrail, newestWitness, pushWitness } from '../../ledger/audit/witness.ts';
import { openS3Witness } from '../../platform/witness-s3.ts';
import type { WitnessStore } from '../../platform/witness-store.ts';
import { newTrail } from '../support/trail.ts';
import { clientOf, newBucket, storeConfig, useCredentials } from '../support/versitygw-store.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { type VersitygwFacts, versitygw } from './versitygw.ts';

const missing = partMissing(versitygw);
const RETENTION_MS = 24 * 3_600_000;

describe.skipIf(missing !== undefined)(
  `an object-locked bucket as the witness${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    let facts: VersitygwFacts;
    let s3: S3Client;
    let bucket: string;
    let store: WitnessStore;
    let buckets = 0;
    const open = (named: string) => openS3Witness({ ...storeConfig(facts.url, named), retentionMs: RETENTION_MS });
    const names = async () => {
      const all: string[] = [];
      for await (const { name } of store.entries()) all.push(name);
      return all;
    };
    const textOf = async (wanted: string) => {
      for await (const { name, bytes } of store.entries()) if (name === wanted) return Buffer.from(bytes).toString();
      return undefined;
    };

    beforeAll(async () => {
      facts = await sharedPart(versitygw);
      useCredentials(facts);
      s3 = clientOf(facts.url);
    });
    beforeEach(async () => {
      bucket = `witness-${process.pid}-${++buckets}`;
      await s3.send(new CreateBucketCommand({ Bucket: bucket, ObjectLockEnabledForBucket: true }));
      store = await open(bucket);
    });

    test('locks each record, in compliance mode, for as long as it is told', async () => {
      await store.put('g1/a.json', Buffer.from('one'));
      const { Retention } = await s3.send(new GetObjectRetentionCommand({ Bucket: bucket, Key: 'prod/g1/a.json' }));
      expect(Retention?.Mode).toBe('COMPLIANCE');
      const inMs = (Retention?.RetainUntilDate?.getTime() ?? 0) - Date.now();
      expect(Math.abs(inMs - RETENTION_MS)).toBeLessThan(120_000);
      const { Versions } = await s3.send(new ListObjectVersionsCommand({ Bucket: bucket }));
      const VersionId = Versions?.[0]?.VersionId ?? '';
      const asked = { Bucket: bucket, Key: 'prod/g1/a.json', VersionId };
      await expect(s3.send(new DeleteObjectCommand(asked))).rejects.toThrow();
      await expect(s3.send(new DeleteObjectCommand({ ...asked, BypassGovernanceRetention: true }))).rejects.toThrow();
      const sooner = { Mode: 'COMPLIANCE', RetainUntilDate: new Date(Date.now() + 60_000) } as const;
      await expect(s3.send(new PutObjectRetentionCommand({ ...asked, Retention: sooner }))).rejects.toThrow();
      expect(await textOf('g1/a.json')).toBe('one');
    });

    test('keeps a name’s first content: a second writing changes nothing, an overwriting and a deletion hide nothing', async () => {
      await store.put('g1/a.json', Buffer.from('one'));
      await store.put('g1/a.json', Buffer.from('two'));
      expect(await textOf('g1/a.json')).toBe('one');
      await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'prod/g1/a.json', Body: 'three' }));
      expect(await textOf('g1/a.json')).toBe('one');
      await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'prod/g1/a.json' }));
      expect((await s3.send(new ListObjectsV2Command({ Bucket: bucket }))).KeyCount ?? 0).toBe(0);
      expect(await textOf('g1/a.json')).toBe('one');
    });

    test('tells its records in the order of their names, and those of its prefix only', async () => {
      const wanted = Array.from({ length: 12 }, (_, i) => `g1/${String(i).padStart(4, '0')}.json`);
      for (const name of wanted.toReversed()) await store.put(name, Buffer.from(name));
      await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'another/thing', Body: 'x' }));
      expect(await names()).toEqual(wanted);
    });

    test('without object lock is refused, and so is one that is not there', async () => {
      const plain = await newBucket(s3);
      await expect(open(plain)).rejects.toMatchObject({
        code: 'part-missing',
        mend: expect.stringContaining('object lock'),
      });
      await expect(open('nobody-made-this')).rejects.toMatchObject({ code: 'not-found' });
    });

    test('sees a trail, and tells a shorter one though its newest record was deleted', async () => {
      const [full, short] = [await newTrail(), await newTrail()];
      try {
        for (let i = 0; i < 3; i++) {
          await full.seal();
          await pushWitness(full.db, store);
        }
        await short.seal(6);
        const [newest = ''] = await names();
        await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: `prod/${newest}` }));
        expect(await newestWitness(store)).toMatchObject({ checkpoint: { treeSize: 9 } });
        expect(await checkTrail(full.db, store)).toMatchObject({ kind: 'holds' });
        expect(await checkTrail(short.db, store)).toMatchObject({ kind: 'shorter', witnessed: 9, size: 6 });
      } finally {
        await full.own.close();
        await short.own.close();
      }
    });
  },
);
