import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { collect } from '../../artifacts/collect.ts';
import { objectKey } from '../../artifacts/paths.ts';
import { sha256Hex } from '../../core/canonical.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';

/**
 * A small simulator of two calls of S3 (ListObjectsV2, two keys a page; GetObject with If-Match), reached through the real SDK. That the
 * adapter works on a real S3 server is for the tests of the issue that brings one.
 */
const objects = new Map<string, string>([
  ['runs/m-1/weights.bin', 'weights'],
  ['runs/m-1/reports.ndjson', '{}\n'],
  ['runs/m-1/sub/model.json', '{"a":1}'],
  ['runs/m-1/', ''],
  ['runs/m-10/other.txt', 'not ours'],
]);
let s3: Server;
let root: string;
let onGet = (_key: string) => {};
const etag = (text: string) => `"${sha256Hex(text).slice(0, 32)}"`;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'merit-s3-'));
  s3 = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://s3');
    const [, bucket = '', ...rest] = decodeURIComponent(url.pathname).split('/');
    if (bucket !== 'models') return void response.writeHead(404).end('<Error><Code>NoSuchBucket</Code></Error>');
    if (url.searchParams.get('list-type') === '2') return void response.end(page(url.searchParams));
    const key = rest.join('/');
    onGet(key);
    const text = objects.get(key);
    if (text === undefined) return void response.writeHead(404).end('<Error><Code>NoSuchKey</Code></Error>');
    if (request.headers['if-match'] !== etag(text))
      return void response.writeHead(412).end('<Error><Code>PreconditionFailed</Code></Error>');
    response.writeHead(200, { etag: etag(text), 'content-length': Buffer.byteLength(text) }).end(text);
  });
  await new Promise<void>((resolve) => s3.listen(0, '127.0.0.1', resolve));
  process.env.AWS_ENDPOINT_URL_S3 = `http://127.0.0.1:${(s3.address() as AddressInfo).port}`;
  process.env.AWS_REGION = 'us-east-1';
  process.env.AWS_ACCESS_KEY_ID = 'test';
  process.env.AWS_SECRET_ACCESS_KEY = 'test';
});

afterAll(async () => {
  s3.closeAllConnections();
  await new Promise((resolve) => s3.close(resolve));
  rmSync(root, { recursive: true, force: true });
});

function page(query: URLSearchParams): string {
  const keys = [...objects.keys()].filter((key) => key.startsWith(query.get('prefix') ?? '')).sort();
  const from = Number(query.get('continuation-token') ?? '0');
  const shown = keys.slice(from, from + 2);
  const more = from + 2 < keys.length;
  const contents = shown.map((key) => {
    const text = objects.get(key) ?? '';
    return `<Contents><Key>${key}</Key><Size>${Buffer.byteLength(text)}</Size><ETag>${etag(text)}</ETag></Contents>`;
  });
  return `<ListBucketResult><IsTruncated>${more}</IsTruncated>${more ? `<NextContinuationToken>${from + 2}</NextContinuationToken>` : ''}${contents.join('')}</ListBucketResult>`;
}

const run = async (uri: string, keyPrefix: string) => {
  const store = await openFileObjectStore({ root: join(root, 'store') });
  const allowed = { allowedFolders: [], allowedS3: ['s3://models/runs'] };
  return { store, result: await collect({ uri, ...allowed, store, keyPrefix, signal: AbortSignal.timeout(20_000) }) };
};

test('every object under the prefix, over all pages, is stored with its SHA-256, and no neighbour’s', async () => {
  const { store, result } = await run('s3://models/runs/m-1', 'artifacts/t/one/1');
  expect(result).toEqual({
    kind: 'collected',
    totalBytes: 17,
    files: [
      { path: 'reports.ndjson', size: 3, sha256: sha256Hex('{}\n') },
      { path: 'sub/model.json', size: 7, sha256: sha256Hex('{"a":1}') },
      { path: 'weights.bin', size: 7, sha256: sha256Hex('weights') },
    ],
  });
  expect(await store.head(objectKey('artifacts/t/one/1', 'weights.bin'))).toEqual({ size: 7 });
});

test('an object that changes between listing and reading is a conflict, never a mixture', async () => {
  onGet = (key) => objects.set(key, 'changed');
  await expect(run('s3://models/runs/m-10', 'artifacts/t/two/1')).rejects.toMatchObject({ code: 'conflict' });
  onGet = () => {};
});

test('a prefix that no operator named is refused before S3 is asked, and a missing bucket says so', async () => {
  expect((await run('s3://payroll/runs', 'artifacts/t/three/1')).result).toMatchObject({
    kind: 'refused',
    refusals: [{ code: 'outputs_outside' }],
  });
  const store = await openFileObjectStore({ root: join(root, 'store') });
  const gone = {
    uri: 's3://gone/x',
    allowedFolders: [],
    allowedS3: ['s3://gone'],
    store,
    keyPrefix: 'artifacts/t/four/1',
    signal: AbortSignal.timeout(20_000),
  };
  await expect(collect(gone)).rejects.toMatchObject({ code: 'not-found' });
});
