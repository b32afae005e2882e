import { createHash } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { buildManifest, type Manifest, manifestBytes, manifestSha256 } from '../../../artifacts/manifest.ts';
import { artifactsPrefix, filesPrefix, manifestKey, objectKey } from '../../../artifacts/paths.ts';
import { writeManifest } from '../../../artifacts/store.ts';
import { verifyManifest } from '../../../artifacts/verify.ts';
import { MemoryStore } from './memory-store.ts';

const booking = '01jd0000000000000000000000';
const keyPrefix = artifactsPrefix('acme', booking, 1);
const contents: Readonly<Record<string, string>> = {
  'model.bin': 'weights 0123456789',
  'sub/log_1.txt': 'epoch 1\n',
  empty: '',
};

let store: MemoryStore;
let manifest: Manifest;
let record: { bytes: Buffer; sha256: string };

beforeEach(async () => {
  store = new MemoryStore();
  const files = [];
  for (const [path, text] of Object.entries(contents)) {
    const { size, sha256 } = await store.put(objectKey(keyPrefix, path), Buffer.from(text));
    files.push({ path, size, sha256 });
  }
  manifest = buildManifest(
    {
      tenant: 'acme',
      booking,
      attempt: 1,
      job: 'j',
      model: 'm',
      provider: 'ray',
      outputsUri: 'file:///x',
      createdAt: '2026-11-23T10:00:00.000Z',
    },
    files,
  );
  await writeManifest(store, keyPrefix, manifest);
  record = { bytes: manifestBytes(manifest), sha256: manifestSha256(manifest) };
});

const verify = () => verifyManifest(store, keyPrefix, record);

describe('verifying a manifest', () => {
  it('finds nothing in what was stored', async () => {
    expect(await verify()).toEqual({ ok: true, findings: [], findingsTotal: 0, filesRead: 3, bytesRead: 26 });
  });

  it('finds every single flipped bit of every object, and names it', async () => {
    for (const [path, text] of Object.entries(contents)) {
      const key = objectKey(keyPrefix, path);
      for (let bit = 0; bit < text.length * 8; bit++) {
        const bytes = Buffer.from(text);
        bytes[bit >> 3]! ^= 1 << (bit & 7);
        store.objects.set(key, bytes);
        const { ok, findings } = await verify();
        expect(ok).toBe(false);
        expect(findings).toMatchObject([
          { kind: 'changed_object', path, actual: { sha256: createHash('sha256').update(bytes).digest('hex') } },
        ]);
      }
      store.objects.set(key, Buffer.from(text));
    }
    expect((await verify()).ok).toBe(true);
  });

  it('finds an object cut short, grown, missing, or that should not be there', async () => {
    const key = objectKey(keyPrefix, 'model.bin');
    store.objects.set(key, Buffer.from('weights'));
    expect((await verify()).findings).toMatchObject([{ kind: 'changed_object', actual: { size: 7 } }]);
    store.objects.set(key, Buffer.from(`${contents['model.bin']}!`));
    expect((await verify()).findings).toMatchObject([{ kind: 'changed_object', actual: { size: 19 } }]);
    store.objects.delete(key);
    store.objects.set(`${filesPrefix(keyPrefix)}stranger`, Buffer.from('x'));
    expect((await verify()).findings).toEqual([
      { kind: 'missing_object', path: 'model.bin', key },
      { kind: 'extra_object', key: `${filesPrefix(keyPrefix)}stranger`, size: 1 },
    ]);
  });

  it('finds every flipped byte of manifest.json, and its absence', async () => {
    for (let i = 0; i < record.bytes.length; i++) {
      const bytes = Buffer.from(record.bytes);
      bytes[i]! ^= 1;
      store.objects.set(manifestKey(keyPrefix), bytes);
      expect((await verify()).findings).toEqual([{ kind: 'changed_manifest', where: 'beside' }]);
    }
    store.objects.delete(manifestKey(keyPrefix));
    expect((await verify()).findings).toEqual([{ kind: 'missing_manifest', key: manifestKey(keyPrefix) }]);
  });

  it('finds every flipped byte of the record', async () => {
    const good = record.bytes;
    for (let i = 0; i < good.length; i++) {
      record = { ...record, bytes: Buffer.from(good) };
      record.bytes[i]! ^= 1;
      expect((await verify()).findings).toContainEqual({ kind: 'changed_manifest', where: 'record' });
    }
    record = { bytes: good, sha256: 'b'.repeat(64) };
    expect((await verify()).findings).toEqual([{ kind: 'changed_manifest', where: 'record' }]);
  });

  it('finds one file exchanged for another with both hashes right elsewhere', async () => {
    const [a, b] = [objectKey(keyPrefix, 'model.bin'), objectKey(keyPrefix, 'sub/log_1.txt')];
    const [bytesA, bytesB] = [store.objects.get(a)!, store.objects.get(b)!];
    store.objects.set(a, bytesB);
    store.objects.set(b, bytesA);
    expect((await verify()).findings.map((finding) => finding.kind)).toEqual(['changed_object', 'changed_object']);
  });

  it('throws, and does not call it clean, when the store cannot be read', async () => {
    store.before = (step) => {
      if (step === `get ${objectKey(keyPrefix, 'model.bin')}`) throw new Error('EIO');
    };
    await expect(verify()).rejects.toThrow('EIO');
  });
});
