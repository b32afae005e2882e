import { mkdir, mkdtemp, readdir, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { objectStoreConformance } from '../support/object-store-conformance.ts';

let root: string;
let store: ObjectStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'merit-objects-'));
  store = await openFileObjectStore({ root });
});
afterEach(() => rm(root, { recursive: true }));

const unfinished = () => readdir(join(root, '.unfinished'));

objectStoreConformance(() => store);

describe('in files', () => {
  test('an upload leaves nothing behind, whether it ends or breaks', async () => {
    await store.put('a', Readable.from([Buffer.from('whole')]));
    async function* broken() {
      yield Buffer.from('half');
      throw new Error('the sender hung up');
    }
    await expect(store.put('a', Readable.from(broken()))).rejects.toThrow('hung up');
    expect(await unfinished()).toEqual([]);
  });

  test('nobody else on the machine can read it', async () => {
    const before = process.umask(0);
    await store.put('runs/secret', Buffer.from('x'));
    process.umask(before);
    expect((await stat(join(root, 'runs/secret'))).mode & 0o077).toBe(0);
    expect((await stat(join(root, 'runs'))).mode & 0o077).toBe(0);
  });

  test('unfinished uploads, links and strange files are no objects', async () => {
    await writeFile(join(root, '.unfinished', '1-a'), 'x');
    await writeFile(join(root, 'with space'), 'x');
    await symlink('/etc/passwd', join(root, 'link'));
    for await (const { key } of store.list('')) throw new Error(key);
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
