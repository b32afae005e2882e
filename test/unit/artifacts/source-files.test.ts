import { mkdir, mkdtemp, readdir, readlink, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openFileSource } from '../../../artifacts/source-files.ts';

let folder: string;
beforeAll(async () => {
  folder = join(await realpath(await mkdtemp(join(tmpdir(), 'merit-source-'))), 'out');
  await mkdir(folder);
  await writeFile(join(folder, 'model.bin'), 'weights');
});
afterAll(() => rm(join(folder, '..'), { recursive: true, force: true }));

/** Descriptors of this process that are files of the folder. */
async function openHere(): Promise<number> {
  const names = await readdir('/proc/self/fd');
  const targets = await Promise.all(names.map((name) => readlink(`/proc/self/fd/${name}`).catch(() => '')));
  return targets.filter((target) => target.startsWith(folder)).length;
}

test.runIf(process.platform === 'linux')(
  'a file is closed where its stream is destroyed before anything was read',
  async () => {
    const source = await openFileSource(pathToFileURL(folder), [folder]);
    if ('code' in source) throw new Error(source.problem);
    const { signal } = new AbortController();
    const listing = await source.list(signal);
    if (listing.kind !== 'listed') throw new Error(listing.kind);
    const stream = await source.open(listing.entries[0]!, signal);
    expect(await openHere()).toBe(1);
    stream.destroy();
    await expect.poll(openHere).toBe(0);
  },
);
