import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openFileObjectStore } from '../../../platform/object-store/files.ts';
import type { ObjectStore } from '../../../platform/object-store.ts';

/** What was synced to the disk, in order: a power cut itself cannot be had here. */
const synced: string[] = [];

vi.mock('node:fs/promises', async (importOriginal) => {
  const real = await importOriginal<typeof import('node:fs/promises')>();
  return {
    ...real,
    open: async (path: string, ...rest: readonly []) => {
      const handle = await real.open(path, ...rest);
      const sync = handle.sync.bind(handle);
      handle.sync = async () => {
        await sync();
        synced.push(path);
      };
      return handle;
    },
  };
});

let root: string;
let store: ObjectStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'merit-durable-'));
  store = await openFileObjectStore({ root });
  synced.length = 0;
});
afterEach(() => rm(root, { recursive: true }));

/** Of the folders that were synced, the names within the store; '' is the store itself. */
const foldersSynced = () =>
  new Set(synced.map((path) => relative(root, path)).filter((path) => !path.startsWith('.unfinished')));

test('a stored object, and each folder above it, is synced into its folder', async () => {
  await store.put('runs/b1/model', Buffer.from('x'));
  expect(foldersSynced()).toEqual(new Set(['', 'runs', 'runs/b1']));
});

test('folders that are there, but that a crash may have come before the sync of, are synced before anything in them is told as stored', async () => {
  await mkdir(join(root, 'runs', 'b1'), { recursive: true });
  await store.put('runs/b1/model', Buffer.from('x'));
  expect(foldersSynced()).toEqual(new Set(['', 'runs', 'runs/b1']));
});

test('an object that was there already is told as stored only when its name is on the disk', async () => {
  await store.put('runs/b1/model', Buffer.from('x'));
  const again = await openFileObjectStore({ root });
  synced.length = 0;
  await again.put('runs/b1/model', Buffer.from('x'), { ifAbsent: true });
  expect(foldersSynced()).toEqual(new Set(['', 'runs', 'runs/b1']));
});

test('folders known to be on the disk are not synced again, until they are made anew', async () => {
  await store.put('runs/b1/model', Buffer.from('x'));
  synced.length = 0;
  await store.put('runs/b1/other', Buffer.from('x'));
  expect(foldersSynced()).toEqual(new Set(['runs/b1']));
  await rm(join(root, 'runs'), { recursive: true });
  synced.length = 0;
  await store.put('runs/b1/model', Buffer.from('x'));
  expect(foldersSynced()).toEqual(new Set(['', 'runs', 'runs/b1']));
});

test('a root may be relative and end in a slash', async () => {
  const other = await openFileObjectStore({ root: `${relative(process.cwd(), root)}/` });
  await other.put('runs/b1/model', Buffer.from('x'));
  expect(await store.head('runs/b1/model')).toEqual({ size: 1 });
});
