import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { withLock } from '../../../bin/lock.mjs';
import type { Say } from './part.ts';

/** A build folder of an interrupted run is removed once it is this old. */
const ABANDONED_MS = 60 * 60_000;

/** Where parts are kept between runs and clones: beside the venv of Ray. */
export function partsCache(): string {
  const base = process.env.XDG_CACHE_HOME ?? '';
  return join(base.startsWith('/') ? base : join(homedir(), '.cache'), 'merit', 'parts');
}

/** The part's folder in the cache: another one for each content of `recipe`, which holds all that decides what is built. */
export function cachedFolder(name: string, recipe: string): string {
  const hash = createHash('sha256').update(`${process.platform}-${process.arch}\n${recipe}`).digest('hex').slice(0, 12);
  return join(partsCache(), `${name}-${hash}`);
}

/**
 * Makes the folder by `build`, which fills another one that is renamed when it is complete: an interrupt leaves nothing that could be taken for it,
 * and of two at once the second waits and finds it there.
 */
export async function keepInCache(folder: string, say: Say, build: (place: string) => Promise<void>): Promise<void> {
  if (existsSync(folder)) return;
  mkdirSync(dirname(folder), { recursive: true });
  const wait = (pid: string) => say(`Waiting for process ${pid}, which gets ${basename(folder)} …`);
  await withLock(`${folder}.lock`, wait, async () => {
    if (existsSync(folder)) return;
    sweep(folder);
    const place = `${folder}.build-${randomBytes(4).toString('hex')}`;
    mkdirSync(place);
    try {
      await build(place);
      renameSync(place, folder);
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
  });
}

function sweep(folder: string): void {
  for (const name of readdirSync(dirname(folder))) {
    const path = join(dirname(folder), name);
    if (!name.startsWith(`${basename(folder)}.build-`)) continue;
    if (Date.now() - statSync(path).mtimeMs > ABANDONED_MS) rmSync(path, { recursive: true, force: true });
  }
}
