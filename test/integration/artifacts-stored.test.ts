import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { collect, forgetProgress } from '../../artifacts/collect.ts';
import { buildManifest, type Manifest, manifestSha256 } from '../../artifacts/manifest.ts';
import { artifactsPrefix, manifestKey, objectKey } from '../../artifacts/paths.ts';
import { loadManifest, manifestOf, recordManifest, writeManifest } from '../../artifacts/store.ts';
import { verifyManifest } from '../../artifacts/verify.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';

const booking = '01jd0000000000000000000000';
const keyPrefix = artifactsPrefix('acme', booking, 1);

let database: TestDatabase;
let root: string;
let outputs: string;
let store: ObjectStore;

beforeAll(async () => {
  database = await testDatabase();
  await database.db.asEngine(async (tx) => {
    await tx.execute("insert into tenants (tenant) values ('acme'), ('other')");
  });
});
afterAll(() => database.close());

beforeEach(async () => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'merit-artifacts-')));
  outputs = join(root, 'out');
  mkdirSync(join(outputs, 'sub'), { recursive: true });
  store = await openFileObjectStore({ root: join(root, 'store') });
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const run = () =>
  collect({
    uri: pathToFileURL(outputs).href,
    allowedFolders: [root],
    allowedS3: [],
    store,
    keyPrefix,
    signal: new AbortController().signal,
  });

async function collected(change: Partial<Manifest> = {}): Promise<Manifest> {
  const result = await run();
  if (result.kind !== 'collected') throw new Error(JSON.stringify(result));
  return buildManifest(
    {
      tenant: 'acme',
      booking,
      attempt: 1,
      job: 'digits-retrain',
      model: 'digits',
      provider: 'ray',
      outputsUri: pathToFileURL(outputs).href,
      createdAt: '2026-11-23T10:00:00.000Z',
      ...change,
    },
    result.files,
  );
}

describe('artifacts in the object store and in Postgres', () => {
  it('are recorded once an attempt, verified, and one flipped byte on disk is found', async () => {
    writeFileSync(join(outputs, 'model.joblib'), randomBytes(300_000));
    writeFileSync(join(outputs, 'sub', 'train_log.txt'), 'epoch 1\n');
    writeFileSync(join(outputs, '.naïve (1)'), '');
    const manifest = await collected();
    await writeManifest(store, keyPrefix, manifest);
    const { db } = database;
    expect(await db.asEngine((tx) => recordManifest(tx, keyPrefix, manifest))).toMatchObject({
      kind: 'recorded',
      sha256: manifestSha256(manifest),
    });
    await forgetProgress(store, keyPrefix);
    expect(await db.asEngine((tx) => recordManifest(tx, keyPrefix, manifest))).toMatchObject({ kind: 'exists' });
    const other = { ...manifest, job: 'another' };
    expect(await db.asEngine((tx) => recordManifest(tx, keyPrefix, other))).toMatchObject({
      kind: 'conflict',
      recordedSha256: manifestSha256(manifest),
    });

    const record = (await db.asTenant('acme', (tx) => loadManifest(tx, booking, 1)))!;
    expect(manifestOf(record)).toEqual(manifest);
    expect(await db.asTenant('other', (tx) => loadManifest(tx, booking, 1))).toBeUndefined();
    const rows = await db.asTenant('acme', (tx) =>
      tx.query('select path, size, sha256, object_key from manifest_files where manifest_id = $1', [record.manifestId]),
    );
    expect(rows.toSorted((a, b) => String(a.path).localeCompare(String(b.path)))).toEqual(
      manifest.files
        .map((file) => ({
          path: file.path,
          size: BigInt(file.size),
          sha256: file.sha256,
          object_key: objectKey(keyPrefix, file.path),
        }))
        .toSorted((a, b) => a.path.localeCompare(b.path)),
    );

    expect(await verifyManifest(store, keyPrefix, record)).toMatchObject({
      ok: true,
      filesRead: 3,
      bytesRead: 300_008,
    });
    const onDisk = join(root, 'store', objectKey(keyPrefix, 'model.joblib'));
    const bytes = readFileSync(onDisk);
    bytes[123_456]! ^= 1;
    writeFileSync(onDisk, bytes);
    expect(await verifyManifest(store, keyPrefix, record)).toMatchObject({
      ok: false,
      findings: [{ kind: 'changed_object', path: 'model.joblib' }],
    });
    bytes[123_456]! ^= 1;
    writeFileSync(onDisk, bytes);
    writeFileSync(join(root, 'store', keyPrefix, 'files', 'extra'), 'x');
    expect(await verifyManifest(store, keyPrefix, record)).toMatchObject({
      ok: false,
      findings: [{ kind: 'extra_object' }],
    });
    rmSync(join(root, 'store', keyPrefix, 'files', 'extra'));
    rmSync(join(root, 'store', manifestKey(keyPrefix)));
    expect(await verifyManifest(store, keyPrefix, record)).toMatchObject({
      ok: false,
      findings: [{ kind: 'missing_manifest' }],
    });
  });

  it('of more files than a statement inserts are recorded whole', async () => {
    const attempt = 2;
    const files = Array.from({ length: 2500 }, (_, i) => ({
      path: `f${i}`,
      size: i,
      sha256: createHash('sha256').update(String(i)).digest('hex'),
    }));
    const manifest = buildManifest(
      {
        tenant: 'acme',
        booking,
        attempt,
        job: 'j',
        model: null,
        provider: 'local',
        outputsUri: 'file:///x',
        createdAt: '2026-11-23T10:00:00.000Z',
      },
      files,
    );
    const prefix = artifactsPrefix('acme', booking, attempt);
    const outcome = await database.db.asEngine((tx) => recordManifest(tx, prefix, manifest));
    const [row] = await database.db.asEngine((tx) =>
      tx.query<{ n: bigint; bytes: string }>(
        'select count(*) as n, sum(size) as bytes from manifest_files where manifest_id = $1',
        [outcome.manifestId],
      ),
    );
    expect([row?.n, Number(row?.bytes)]).toEqual([2500n, manifest.totalBytes]);
  });

  it('of a transaction that fails leave no row', async () => {
    const manifest = { ...(await collected()), attempt: 3 };
    const failing = database.db.asEngine(async (tx) => {
      await recordManifest(tx, keyPrefix, manifest);
      throw new Error('the audit event could not be written');
    });
    await expect(failing).rejects.toThrow('audit event');
    expect(await database.db.asEngine((tx) => loadManifest(tx, booking, 3))).toBeUndefined();
  });

  it('recorded by two at once are recorded once', async () => {
    const manifest = { ...(await collected()), attempt: 4 };
    const outcomes = await Promise.all(
      [1, 2, 3, 4].map(() => database.db.asEngine((tx) => recordManifest(tx, keyPrefix, manifest))),
    );
    expect(outcomes.map((outcome) => outcome.kind).sort()).toEqual(['exists', 'exists', 'exists', 'recorded']);
  });

  it('of many MiB stream through bounded memory, four at a time, and not again once noted', async () => {
    const fileBytes = 64 * 1024 ** 2;
    const count = 8;
    for (let i = 0; i < count; i++) {
      const path = join(outputs, `shard-${i}`);
      writeFileSync(path, '');
      truncateSync(path, fileBytes);
      const file = openSync(path, 'r+');
      writeSync(file, Buffer.from([i + 1]), 0, 1, i * 1_000_003);
      closeSync(file);
    }
    const before = process.memoryUsage().rss;
    let peak = before;
    const sampling = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss);
    }, 2);
    let manifest: Manifest;
    try {
      manifest = await collected();
    } finally {
      clearInterval(sampling);
    }
    expect(manifest.totalBytes).toBe(count * fileBytes);
    expect(new Set(manifest.files.map((file) => file.sha256)).size).toBe(count);
    // Half a GiB went through; holding even two of the files at a time would show.
    expect(peak - before).toBeLessThan(2 * fileBytes);
    const stored = () =>
      manifest.files.map((file) => statSync(join(root, 'store', objectKey(keyPrefix, file.path))).ino);
    const inodes = stored();
    expect(await run()).toMatchObject({ kind: 'collected', files: manifest.files });
    expect(stored()).toEqual(inodes);
  });
});
