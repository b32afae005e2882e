import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RefusedInput } from '../../core/refusal.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { openFileObjectStore } from '../../platform/object-store-files.ts';

let root: string;
let store: ObjectStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'merit-objects-'));
  store = await openFileObjectStore({ root });
});
afterEach(() => rm(root, { recursive: true }));

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const read = async (key: string) => {
  const stream = await store.get(key);
  return stream === undefined ? undefined : buffer(stream);
};
const list = async (prefix: string) => {
  const keys: string[] = [];
  for await (const one of store.list(prefix)) keys.push(one.key);
  return keys;
};
const unfinished = () => readdir(join(root, '.unfinished'));

describe('storing', () => {
  test('what is put is got, with its size and hash', async () => {
    const bytes = Buffer.from('weights'.repeat(100_000));
    const stored = { key: 'runs/b1/model.bin', size: bytes.length, sha256: sha256(bytes) };
    expect(await store.put('runs/b1/model.bin', bytes)).toEqual(stored);
    const chunks = [bytes.subarray(0, 10), bytes.subarray(10, 300_000), bytes.subarray(300_000)];
    expect(await store.put('runs/b1/model.bin', Readable.from(chunks))).toEqual(stored);
    expect(await read('runs/b1/model.bin')).toEqual(bytes);
    expect(await store.head('runs/b1/model.bin')).toEqual({ size: bytes.length });
    expect(await store.put('empty', new Uint8Array(0))).toEqual({
      key: 'empty',
      size: 0,
      sha256: sha256(Buffer.alloc(0)),
    });
    expect(await unfinished()).toEqual([]);
  });

  test('a second put replaces; with ifAbsent the first one stays, and is described', async () => {
    await store.put('a', Buffer.from('one'));
    await store.put('a', Buffer.from('two'));
    expect(await store.put('a', Buffer.from('three'), { ifAbsent: true })).toEqual({
      key: 'a',
      size: 3,
      sha256: sha256(Buffer.from('two')),
    });
    expect(String(await read('a'))).toBe('two');
  });

  test('of many at once with ifAbsent all tell of the same one', async () => {
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        store.put('same', Readable.from([Buffer.from(`content ${i}`)]), { ifAbsent: true }),
      ),
    );
    const kept = await read('same');
    expect(new Set(results.map((one) => one.sha256))).toEqual(new Set([sha256(kept ?? Buffer.alloc(0))]));
    expect(await unfinished()).toEqual([]);
  });

  test('an upload whose source breaks leaves nothing, and what was there stays', async () => {
    await store.put('a', Buffer.from('old'));
    async function* broken() {
      yield Buffer.from('new, half of ');
      throw new Error('the sender hung up');
    }
    await expect(store.put('a', Readable.from(broken()))).rejects.toThrow('hung up');
    expect(String(await read('a'))).toBe('old');
    expect(await unfinished()).toEqual([]);
  });

  test('a reader that has begun reads the old content to its end while it is replaced', async () => {
    await store.put('a', Buffer.alloc(1_000_000, 'x'));
    const stream = await store.get('a');
    await store.put('a', Buffer.from('new'));
    expect((await buffer(stream ?? Readable.from([]))).equals(Buffer.alloc(1_000_000, 'x'))).toBe(true);
  });

  test('absent things are absent, and deleting twice is fine', async () => {
    await store.put('dir/a', Buffer.from('x'));
    for (const key of ['nothing', 'dir', 'dir/a/below', 'no/such/thing']) {
      expect(await store.get(key), key).toBeUndefined();
      expect(await store.head(key), key).toBeUndefined();
      await store.delete(key);
    }
    await store.delete('dir/a');
    await store.delete('dir/a');
    expect(await store.head('dir/a')).toBeUndefined();
  });

  test('nobody else on the machine can read it', async () => {
    const before = process.umask(0);
    await store.put('runs/secret', Buffer.from('x'));
    process.umask(before);
    expect((await stat(join(root, 'runs/secret'))).mode & 0o077).toBe(0);
    expect((await stat(join(root, 'runs'))).mode & 0o077).toBe(0);
  });
});

describe('keys', () => {
  test.each([
    '',
    '/etc/passwd',
    '../x',
    'a/../../x',
    'a//b',
    'a/',
    './a',
    'a/.',
    '.unfinished/x',
    'a b',
    'a\\b',
    'a\0b',
    'ü',
    'a\nb',
    'x'.repeat(600),
    `${'y'.repeat(250)}/a`,
  ])('%j is refused', async (key) => {
    for (const use of [store.put(key, Buffer.from('x')), store.get(key), store.head(key), store.delete(key)]) {
      await expect(use).rejects.toThrow(RefusedInput);
    }
    expect(await readdir(root)).toEqual(['.unfinished']);
  });
});

describe('listing', () => {
  test('a prefix may end anywhere, and names come sorted', async () => {
    for (const key of ['runs/b2/x', 'runs/b1/y', 'runs/b10/z', 'runs/b1/x', 'other', 'runs2/x'])
      await store.put(key, Buffer.from('x'));
    expect(await list('')).toEqual(['other', 'runs/b1/x', 'runs/b1/y', 'runs/b10/z', 'runs/b2/x', 'runs2/x']);
    expect(await list('runs/')).toEqual(['runs/b1/x', 'runs/b1/y', 'runs/b10/z', 'runs/b2/x']);
    expect(await list('runs/b1')).toEqual(['runs/b1/x', 'runs/b1/y', 'runs/b10/z']);
    expect(await list('runs/b1/')).toEqual(['runs/b1/x', 'runs/b1/y']);
    expect(await list('nothing/')).toEqual([]);
    await expect(list('../')).rejects.toThrow(RefusedInput);
  });

  test('unfinished uploads, links and strange files are no objects', async () => {
    await writeFile(join(root, '.unfinished', '1-a'), 'x');
    await writeFile(join(root, 'with space'), 'x');
    await symlink('/etc/passwd', join(root, 'link'));
    expect(await list('')).toEqual([]);
  });
});

describe('after a crash', () => {
  test('unfinished uploads of dead processes and old ones are swept, those of a live one stay', async () => {
    const place = (name: string) => join(root, '.unfinished', name);
    await writeFile(place('999999999-dead'), 'x');
    await writeFile(place(`${process.ppid}-live`), 'x');
    await writeFile(place(`${process.ppid}-old`), 'x');
    await utimes(place(`${process.ppid}-old`), 0, 0);
    await openFileObjectStore({ root });
    expect(await unfinished()).toEqual([`${process.ppid}-live`]);
  });

  test('a folder that cannot be made is told', async () => {
    await writeFile(join(root, 'file'), 'x');
    await expect(openFileObjectStore({ root: join(root, 'file') })).rejects.toMatchObject({ code: 'storage' });
    await mkdir(join(root, 'taken'));
    await expect(store.put('taken', Buffer.from('x'))).rejects.toMatchObject({ code: 'storage' });
    expect(await unfinished()).toEqual([]);
  });
});
