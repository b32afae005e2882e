import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { OperatingError } from '../core/operating-error.ts';
import { openFileObjectStore } from './object-store/files.ts';
import type { WitnessStore } from './witness-store.ts';

/** A witness in a folder to which this adapter only adds. Whoever may write there may also take away: keep it on another machine's disk. */
export async function openFileWitness(options: { readonly dir: string }): Promise<WitnessStore> {
  const root = resolve(options.dir);
  const store = await openFileObjectStore({ root });
  return {
    place: root,
    put: async (name, bytes) => {
      await store.put(name, bytes, { ifAbsent: true });
    },
    read: (name) =>
      readFile(join(root, name)).catch((cause: NodeJS.ErrnoException) => {
        if (cause.code === 'ENOENT') return undefined;
        throw new OperatingError('storage', 'safe', `reading the witness ${join(root, name)}`, { cause });
      }),
    entries: async function* () {
      for await (const { key } of store.list('')) {
        const bytes = await readFile(join(root, key)).catch((cause: unknown) => {
          throw new OperatingError('storage', 'safe', `reading the witness ${join(root, key)}`, { cause });
        });
        yield { name: key, bytes };
      }
    },
  };
}
