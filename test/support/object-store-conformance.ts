import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { RefusedInput } from '../../core/refusal.ts';
import type { ObjectStore } from '../../platform/object-store.ts';

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Longer than a part of S3, and not a whole number of parts. */
export const SEVERAL_PARTS = 20 * 1024 ** 2 + 12_345;

export async function readAll(store: ObjectStore, key: string, range?: { from?: number; to?: number }) {
  const stream = await store.get(key, range);
  return stream === undefined ? undefined : buffer(stream);
}

async function listed(store: ObjectStore, prefix: string) {
  const keys: string[] = [];
  for await (const one of store.list(prefix)) keys.push(one.key);
  return keys.sort();
}

/** What every adapter of the object store port keeps, on an empty store a test. */
export function objectStoreConformance(opened: () => ObjectStore): void {
  describe('storing', () => {
    test('what is put is got, with its size and hash, however it is cut into chunks', async () => {
      const store = opened();
      const bytes = Buffer.from('weights'.repeat(100_000));
      const stored = { key: 'runs/b1/model.bin', size: bytes.length, sha256: sha256(bytes) };
      expect(await store.put('runs/b1/model.bin', bytes)).toEqual(stored);
      const chunks = [bytes.subarray(0, 10), bytes.subarray(10, 300_000), bytes.subarray(300_000)];
      expect(await store.put('runs/b1/model.bin', Readable.from(chunks))).toEqual(stored);
      expect(await readAll(store, 'runs/b1/model.bin')).toEqual(bytes);
      expect(await store.head('runs/b1/model.bin')).toEqual({ size: bytes.length });
    });

    test('nothing at all can be stored too, as bytes and as a stream', async () => {
      const store = opened();
      const empty = { size: 0, sha256: sha256(Buffer.alloc(0)) };
      expect(await store.put('empty', new Uint8Array(0))).toEqual({ key: 'empty', ...empty });
      expect(await store.put('flat', Readable.from([]))).toEqual({ key: 'flat', ...empty });
      expect(await readAll(store, 'flat')).toHaveLength(0);
      expect(await store.head('empty')).toEqual({ size: 0 });
    });

    test('what is longer than a part is the same bytes, whether its length is told or not', async () => {
      const store = opened();
      const bytes = randomBytes(SEVERAL_PARTS);
      const told = { size: bytes.length, sha256: sha256(bytes) };
      expect(await store.put('told', chunked(bytes), { size: bytes.length })).toEqual({ key: 'told', ...told });
      expect(await store.put('untold', chunked(bytes))).toEqual({ key: 'untold', ...told });
      expect(await store.put('bytes', bytes)).toEqual({ key: 'bytes', ...told });
      for (const key of ['told', 'untold', 'bytes'])
        expect(sha256((await readAll(store, key)) ?? Buffer.alloc(0))).toBe(told.sha256);
    });

    test('a second put replaces; with ifAbsent the first one stays, and is described', async () => {
      const store = opened();
      await store.put('a', Buffer.from('one'));
      await store.put('a', Buffer.from('two'));
      const stored = { key: 'a', size: 3, sha256: sha256(Buffer.from('two')) };
      expect(await store.put('a', Buffer.from('three'), { ifAbsent: true })).toEqual(stored);
      expect(await store.put('a', Readable.from([Buffer.from('four')]), { ifAbsent: true })).toEqual(stored);
      expect(String(await readAll(store, 'a'))).toBe('two');
    });

    test('of many at once with ifAbsent one wins, and all tell of its bytes', async () => {
      const store = opened();
      const results = await Promise.all(
        Array.from({ length: 20 }, (_, i) => {
          const bytes = Buffer.from(`content ${i}`);
          return store.put('same', i % 2 === 0 ? bytes : Readable.from([bytes]), { ifAbsent: true });
        }),
      );
      const kept = await readAll(store, 'same');
      expect(new Set(results.map((one) => one.sha256))).toEqual(new Set([sha256(kept ?? Buffer.alloc(0))]));
    });

    test('of two long ones at once with ifAbsent one wins, and both tell of its bytes', async () => {
      const store = opened();
      const contents = [randomBytes(SEVERAL_PARTS), randomBytes(SEVERAL_PARTS)];
      const results = await Promise.allSettled(
        contents.map((bytes) => store.put('long', chunked(bytes), { ifAbsent: true })),
      );
      const kept = await readAll(store, 'long');
      expect(contents.map(sha256)).toContain(sha256(kept ?? Buffer.alloc(0)));
      for (const result of results) {
        // Two that meet in one upload may also both be told so, and one repeats: nobody is told of bytes that are not there.
        if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'conflict', retry: 'safe' });
        else expect(result.value.sha256).toBe(sha256(kept ?? Buffer.alloc(0)));
      }
      expect(results.some((result) => result.status === 'fulfilled')).toBe(true);
    });

    test('an upload whose source breaks is not there, and what was there stays', async () => {
      const store = opened();
      await store.put('a', Buffer.from('old'));
      async function* broken(length: number) {
        for (let sent = 0; sent < length; sent += 65_536) yield Buffer.alloc(65_536, 'n');
        throw new Error('the sender hung up');
      }
      await expect(store.put('a', Readable.from(broken(10)))).rejects.toThrow('hung up');
      await expect(store.put('a', Readable.from(broken(SEVERAL_PARTS)))).rejects.toThrow('hung up');
      await expect(store.put('b', Readable.from(broken(SEVERAL_PARTS)))).rejects.toThrow('hung up');
      expect(String(await readAll(store, 'a'))).toBe('old');
      expect(await store.head('b')).toBeUndefined();
      expect(await listed(store, '')).toEqual(['a']);
    });

    test('a reader that has begun reads one version to its end, or is told, while it is replaced', async () => {
      const store = opened();
      await store.put('a', Buffer.alloc(1_000_000, 'x'));
      const stream = await store.get('a');
      await store.put('a', Buffer.from('new'));
      const read = await buffer(stream ?? Readable.from([])).catch((error: unknown) => error);
      if (Buffer.isBuffer(read)) expect(read.equals(Buffer.alloc(1_000_000, 'x'))).toBe(true);
      else expect(read).toMatchObject({ code: 'conflict' });
    });

    test('absent things are absent, and deleting twice is fine', async () => {
      const store = opened();
      await store.put('dir/a', Buffer.from('x'));
      for (const key of ['nothing', 'dir', 'dir/a/below', 'no/such/thing']) {
        expect(await store.get(key), key).toBeUndefined();
        expect(await store.head(key), key).toBeUndefined();
        await store.delete(key);
      }
      await store.delete('dir/a');
      await store.delete('dir/a');
      expect(await store.head('dir/a')).toBeUndefined();
      expect(await store.get('dir/a')).toBeUndefined();
    });
  });

  describe('reading a part', () => {
    test('is the bytes from the first offset up to the second, cut at its end', async () => {
      const store = opened();
      await store.put('a', Buffer.from('0123456789'));
      const cases: readonly (readonly [{ from?: number; to?: number }, string])[] = [
        [{}, '0123456789'],
        [{ from: 3 }, '3456789'],
        [{ to: 4 }, '0123'],
        [{ from: 3, to: 5 }, '34'],
        [{ from: 8, to: 100 }, '89'],
        [{ from: 10 }, ''],
        [{ from: 99 }, ''],
        [{ from: 5, to: 5 }, ''],
      ];
      for (const [range, text] of cases)
        expect(String(await readAll(store, 'a', range)), JSON.stringify(range)).toBe(text);
      expect(await store.get('b', { from: 3 })).toBeUndefined();
    });

    test('of what was stored in parts, it may lie across them', async () => {
      const store = opened();
      const bytes = randomBytes(SEVERAL_PARTS);
      await store.put('a', chunked(bytes));
      const range = { from: 8 * 1024 ** 2 - 5, to: 16 * 1024 ** 2 + 5 };
      expect(sha256((await readAll(store, 'a', range)) ?? Buffer.alloc(0))).toBe(
        sha256(bytes.subarray(range.from, range.to)),
      );
    });
  });

  describe('keys', () => {
    test.each(BAD_KEYS)('%j is refused', async (key) => {
      const store = opened();
      for (const use of [store.put(key, Buffer.from('x')), store.get(key), store.head(key), store.delete(key)]) {
        await expect(use).rejects.toThrow(RefusedInput);
      }
      expect(await listed(store, '')).toEqual([]);
    });
  });

  describe('listing', () => {
    test('a prefix may end anywhere; every key comes once, with its size and time', async () => {
      const store = opened();
      const before = Date.now();
      for (const key of ['runs/b2/x', 'runs/b1/y', 'runs/b10/z', 'runs/b1/x', 'other', 'runs2/x'])
        await store.put(key, Buffer.from(key));
      expect(await listed(store, '')).toEqual([
        'other',
        'runs/b1/x',
        'runs/b1/y',
        'runs/b10/z',
        'runs/b2/x',
        'runs2/x',
      ]);
      expect(await listed(store, 'runs/')).toEqual(['runs/b1/x', 'runs/b1/y', 'runs/b10/z', 'runs/b2/x']);
      expect(await listed(store, 'runs/b1')).toEqual(['runs/b1/x', 'runs/b1/y', 'runs/b10/z']);
      expect(await listed(store, 'runs/b1/')).toEqual(['runs/b1/x', 'runs/b1/y']);
      expect(await listed(store, 'nothing/')).toEqual([]);
      for await (const { key, size, modifiedAtMs } of store.list('')) {
        expect(size).toBe(key.length);
        expect(Math.abs(modifiedAtMs - before)).toBeLessThan(60_000);
      }
      expect(() => store.list('../')).toThrow(RefusedInput);
    });
  });
}

export function chunked(bytes: Buffer, chunk = 100_000): Readable {
  return Readable.from(
    (function* () {
      for (let at = 0; at < bytes.length; at += chunk) yield bytes.subarray(at, at + chunk);
    })(),
  );
}

const BAD_KEYS = [
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
];
