import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { HeadObjectCommand, ListMultipartUploadsCommand, type S3Client } from '@aws-sdk/client-s3';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openS3ObjectStore } from '../../platform/object-store/s3.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { type CuttingProxy, cuttingProxy } from '../support/cutting-proxy.ts';
import {
  chunked,
  objectStoreConformance,
  readAll,
  SEVERAL_PARTS,
  sha256,
} from '../support/object-store-conformance.ts';
import { clientOf, newBucket, storeConfig, useCredentials } from '../support/versitygw-store.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { type VersitygwFacts, versitygw } from './versitygw.ts';

const missing = partMissing(versitygw);
const PART = 8 * 1024 ** 2;
const DAY_MS = 24 * 3_600_000;

describe.skipIf(missing !== undefined)(`S3 as the object store${missing === undefined ? '' : ` (${missing})`}`, () => {
  let facts: VersitygwFacts;
  let s3: S3Client;
  let bucket: string;
  let proxy: CuttingProxy;
  let store: ObjectStore;
  const seen = { partsResumed: 0, readsResumed: 0 };
  const watch = {
    partsResumed: (parts: number) => {
      seen.partsResumed += parts;
    },
    readResumed: () => {
      seen.readsResumed++;
    },
  };
  const open = (prefix?: string, nowMs = Date.now) =>
    openS3ObjectStore(storeConfig(proxy.url, bucket, prefix), { watch, nowMs });
  const uploads = async () => (await s3.send(new ListMultipartUploadsCommand({ Bucket: bucket }))).Uploads ?? [];

  beforeAll(async () => {
    facts = await sharedPart(versitygw);
    useCredentials(facts);
    s3 = clientOf(facts.url);
  });
  beforeEach(async () => {
    bucket = await newBucket(s3);
    proxy = await cuttingProxy(facts.url);
    store = await open();
    Object.assign(seen, { partsResumed: 0, readsResumed: 0 });
  });
  afterEach(() => proxy.close());

  objectStoreConformance(() => store);

  describe('its SHA-256', () => {
    test('S3 keeps that of every object, whole or of its parts, and has checked it', async () => {
      const bytes = randomBytes(SEVERAL_PARTS);
      await store.put('long', chunked(bytes));
      await store.put('short', bytes.subarray(0, 100));
      const sumOf = async (key: string) =>
        (await s3.send(new HeadObjectCommand({ Bucket: bucket, Key: `prod/${key}`, ChecksumMode: 'ENABLED' })))
          .ChecksumSHA256;
      expect(await sumOf('short')).toBe(Buffer.from(sha256(bytes.subarray(0, 100)), 'hex').toString('base64'));
      const parts = [0, 1, 2].map((i) => Buffer.from(sha256(bytes.subarray(i * PART, (i + 1) * PART)), 'hex'));
      expect(await sumOf('long')).toBe(`${Buffer.from(sha256(Buffer.concat(parts)), 'hex').toString('base64')}-3`);
    });

    test.each([100, SEVERAL_PARTS])(
      'a byte that changed where it lies is told of by the reading of all %i',
      async (length) => {
        const bytes = randomBytes(length);
        await store.put('a', chunked(bytes));
        const path = join(facts.dir, bucket, 'prod', 'a');
        const there = await readFile(path);
        there[length - 10] = (there[length - 10] ?? 0) ^ 1;
        await writeFile(path, there);
        await expect(readAll(store, 'a')).rejects.toMatchObject({ code: 'storage' });
      },
    );
  });

  describe('an upload', () => {
    test('whose connection is cut in the middle goes on', async () => {
      const bytes = randomBytes(SEVERAL_PARTS);
      proxy.cutAfter('up', 5 * 1024 ** 2, 2);
      expect((await store.put('a', chunked(bytes))).sha256).toBe(sha256(bytes));
      expect(proxy.cuts).toBe(2);
      expect(sha256((await readAll(store, 'a')) ?? Buffer.alloc(0))).toBe(sha256(bytes));
    });

    test('that was broken is taken up by the next run, which sends only what is not there', async () => {
      const bytes = randomBytes(SEVERAL_PARTS);
      async function* dying() {
        for (let at = 0; at < 2 * PART + 1000; at += 100_000) yield bytes.subarray(at, at + 100_000);
        // Not before the parts that are whole are there.
        while ((await partsThere()) < 2) await new Promise((resolve) => setTimeout(resolve, 20));
        throw new Error('the process died');
      }
      const partsThere = async () => {
        const [upload] = await uploads();
        if (upload?.UploadId === undefined) return 0;
        const { ListPartsCommand } = await import('@aws-sdk/client-s3');
        const asked = { Bucket: bucket, Key: 'prod/a', UploadId: upload.UploadId };
        return (await s3.send(new ListPartsCommand(asked))).Parts?.length ?? 0;
      };
      await expect(store.put('a', Readable.from(dying()))).rejects.toThrow('died');
      expect(await store.head('a')).toBeUndefined();
      const again = await open();
      const before = proxy.bytes.up;
      expect((await again.put('a', chunked(bytes))).sha256).toBe(sha256(bytes));
      expect(seen.partsResumed).toBe(2);
      expect(proxy.bytes.up - before).toBeLessThan(PART);
      expect(sha256((await readAll(again, 'a')) ?? Buffer.alloc(0))).toBe(sha256(bytes));
      expect(await uploads()).toEqual([]);
    });

    test('of other bytes than the broken one takes over only parts that are the same', async () => {
      const bytes = randomBytes(SEVERAL_PARTS);
      async function* dying() {
        yield bytes.subarray(0, 2 * PART + 1000);
        await new Promise((resolve) => setTimeout(resolve, 2_000));
        throw new Error('the process died');
      }
      await expect(store.put('a', Readable.from(dying()))).rejects.toThrow('died');
      const other = Buffer.from(bytes);
      other[PART + 5] = (other[PART + 5] ?? 0) ^ 1;
      expect((await store.put('a', chunked(other))).sha256).toBe(sha256(other));
      expect(seen.partsResumed).toBe(1);
      expect(sha256((await readAll(store, 'a')) ?? Buffer.alloc(0))).toBe(sha256(other));
    });

    test('that nobody has added to for a day is given up, a younger one is not', async () => {
      async function* dying() {
        yield randomBytes(PART + 1000);
        await new Promise((resolve) => setTimeout(resolve, 500));
        throw new Error('the process died');
      }
      await expect(store.put('a', Readable.from(dying()))).rejects.toThrow('died');
      expect(await uploads()).toHaveLength(1);
      expect(await store.sweepUnfinished()).toBe(0);
      expect(await (await open('other', () => Date.now() + 2 * DAY_MS)).sweepUnfinished()).toBe(0);
      expect(await (await open('prod', () => Date.now() + 2 * DAY_MS)).sweepUnfinished()).toBe(1);
      expect(await uploads()).toEqual([]);
    });
  });

  test('a reading whose connection is cut in the middle goes on where it was, with the same bytes', async () => {
    const bytes = randomBytes(SEVERAL_PARTS);
    await store.put('a', chunked(bytes));
    proxy.cutAfter('down', 3 * 1024 ** 2, 3);
    expect(sha256((await readAll(store, 'a')) ?? Buffer.alloc(0))).toBe(sha256(bytes));
    expect(seen.readsResumed).toBe(3);
    proxy.cutAfter('down', 1024 ** 2, 1);
    const part = (await readAll(store, 'a', { from: 1000, to: 5 * 1024 ** 2 })) ?? Buffer.alloc(0);
    expect(sha256(part)).toBe(sha256(bytes.subarray(1000, 5 * 1024 ** 2)));
    expect(seen.readsResumed).toBe(4);
  });

  test('two prefixes of one bucket are two stores', async () => {
    const other = await open('prod2');
    const all = await open('');
    await store.put('a', Buffer.from('one'));
    await other.put('a', Buffer.from('two'));
    expect(String(await readAll(store, 'a'))).toBe('one');
    expect(String(await readAll(all, 'prod2/a'))).toBe('two');
  });

  describe('what is wrong is told when it is opened, with what to do', () => {
    const opening = (over: object) =>
      openS3ObjectStore({ ...storeConfig(facts.url, bucket), ...over }).then(
        () => 'opened',
        (error: unknown) => error,
      );

    test('no such bucket', async () => {
      expect(await opening({ bucket: 'nobody-made-this' })).toMatchObject({
        code: 'not-found',
        mend: expect.stringMatching(/make the bucket/),
      });
    });

    test('a secret that is wrong', async () => {
      process.env.AWS_SECRET_ACCESS_KEY = 'wrong';
      const told = await opening({});
      useCredentials(facts);
      expect(told).toMatchObject({ code: 'auth', mend: expect.stringMatching(/access key/) });
      expect(String(told)).not.toContain(facts.accessKey);
    });

    test('another region', async () => {
      expect(await opening({ region: 'eu-west-1' })).toMatchObject({
        code: 'auth',
        mend: expect.stringMatching(/region/),
      });
    });

    test('nobody there', async () => {
      const { port } = new URL(proxy.url);
      await proxy.close();
      expect(await opening({ endpoint: `http://127.0.0.1:${port}` })).toMatchObject({ code: 'unreachable' });
    });
  });
});
