import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, link, mkdir, open, opendir, readdir, rename, rm, stat, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { OperatingError } from '../../core/operating-error.ts';
import type { ListedObject, ObjectStore, StoredObject } from '../object-store.ts';
import { checkObjectKey, checkObjectPrefix, KEY_NAME } from './keys.ts';

/** Names with a leading dot cannot be keys: the folder of unfinished uploads stands beside them. */
const UNFINISHED = '.unfinished';
/** Folders remembered to be on the disk; past it they are synced once more. */
const MAX_DURABLE_FOLDERS = 10_000;
/** An unfinished upload this old belongs to a process that is gone. */
const UNFINISHED_AGE_MS = 24 * 3_600_000;

/**
 * The object store in a folder. What `put` acknowledged survives a power cut: the content is synced before it gets its
 * name, and the folder after. Unfinished uploads of processes that died are swept when it is opened.
 */
export async function openFileObjectStore(options: { readonly root: string }): Promise<ObjectStore> {
  const root = resolve(options.root);
  const unfinished = join(root, UNFINISHED);
  await guarded(`opening the object store ${root}`, async () => {
    await mkdir(unfinished, { recursive: true, mode: 0o700 });
    await sweep(unfinished);
  });
  const folders = new DurableFolders(root);
  const pathOf = (key: string): string => {
    checkObjectKey(key);
    return join(root, key);
  };
  return {
    put: async (key, body, putOptions = {}) => {
      const target = pathOf(key);
      return guarded(`storing ${key}`, async () => {
        if (putOptions.ifAbsent === true && (await fileSize(target)) !== undefined) {
          if (body instanceof Readable) body.destroy();
          // Whoever stored it may not have got as far as this.
          await folders.make(dirname(target));
          await syncFolder(dirname(target));
          return describe(key, target);
        }
        const temporary = join(unfinished, `${process.pid}-${randomBytes(8).toString('hex')}`);
        try {
          const stored = { key, ...(await writeSynced(temporary, body)) };
          await folders.make(dirname(target));
          const won = await name(temporary, target, putOptions.ifAbsent === true);
          await syncFolder(dirname(target));
          return won ? stored : await describe(key, target);
        } finally {
          await rm(temporary, { force: true });
        }
      });
    },
    get: async (key, range = {}) => {
      const path = pathOf(key);
      return guarded(`reading ${key}`, async () => {
        let handle: FileHandle;
        try {
          handle = await open(path, 'r');
        } catch (error) {
          if (isAbsent(error)) return undefined;
          throw error;
        }
        if (!(await handle.stat()).isFile()) {
          await handle.close();
          return undefined;
        }
        const { from = 0, to } = range;
        if (to !== undefined && to <= from) {
          await handle.close();
          return Readable.from([]);
        }
        // The stream closes the handle when it ends or is destroyed.
        return handle.createReadStream(to === undefined ? { start: from } : { start: from, end: to - 1 });
      });
    },
    head: async (key) => {
      const path = pathOf(key);
      return guarded(`looking at ${key}`, async () => {
        const size = await fileSize(path);
        return size === undefined ? undefined : { size };
      });
    },
    list: (prefix) => {
      checkObjectPrefix(prefix);
      return listKeys(root, prefix);
    },
    delete: async (key) => {
      const path = pathOf(key);
      await guarded(`deleting ${key}`, async () => {
        try {
          if ((await fileSize(path)) === undefined) return;
          await unlink(path);
          await syncFolder(dirname(path));
        } catch (error) {
          if (!isAbsent(error)) throw error;
        }
      });
    },
    sweepUnfinished: () => guarded('sweeping unfinished uploads', () => sweep(unfinished)),
  };
}

function isAbsent(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

async function guarded<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === undefined || cause instanceof OperatingError) throw cause;
    const full = code === 'ENOSPC' || code === 'EDQUOT';
    throw new OperatingError('storage', 'safe', doing, full ? { cause, mend: 'free disk space' } : { cause });
  }
}

async function fileSize(path: string): Promise<number | undefined> {
  try {
    const facts = await stat(path);
    return facts.isFile() ? facts.size : undefined;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

async function writeSynced(
  path: string,
  body: Readable | Uint8Array,
): Promise<{ readonly size: number; readonly sha256: string }> {
  const hash = createHash('sha256');
  let size = 0;
  const handle = await open(path, 'wx', 0o600);
  try {
    const chunks: AsyncIterable<Uint8Array | string> | Iterable<Uint8Array> =
      body instanceof Uint8Array ? [body] : body;
    for await (const chunk of chunks) {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
      hash.update(bytes);
      size += bytes.byteLength;
      await writeAll(handle, bytes);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  return { size, sha256: hash.digest('hex') };
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.byteLength; ) at += (await handle.write(bytes, at)).bytesWritten;
}

/** Gives the upload its name; false where `ifAbsent` and another one has it already. A link never replaces, a rename does. */
async function name(temporary: string, target: string, ifAbsent: boolean): Promise<boolean> {
  if (!ifAbsent) {
    await rename(temporary, target);
    return true;
  }
  try {
    await link(temporary, target);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Makes folders, each synced into its parent: a file is not durable in a folder that is not. One that is found there is synced too, once
 * a process, for whoever made it may have died, or be still on the way, before that.
 */
class DurableFolders {
  readonly #root: string;
  readonly #durable = new Set<string>();

  constructor(root: string) {
    this.#root = root;
  }

  async make(folder: string): Promise<void> {
    const first = await mkdir(folder, { recursive: true, mode: 0o700 });
    if (first !== undefined) for (let at = folder; at !== dirname(first); at = dirname(at)) this.#durable.delete(at);
    const unsure: string[] = [];
    for (let at = folder; at !== this.#root && !this.#durable.has(at); at = dirname(at)) unsure.push(at);
    for (const at of unsure) await syncFolder(dirname(at));
    if (this.#durable.size + unsure.length > MAX_DURABLE_FOLDERS) this.#durable.clear();
    for (const at of unsure) this.#durable.add(at);
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function describe(key: string, path: string): Promise<StoredObject> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of createReadStream(path)) {
    hash.update(chunk as Buffer);
    size += (chunk as Buffer).byteLength;
  }
  return { key, size, sha256: hash.digest('hex') };
}

/** Keys that begin with `prefix`, in the order of their names within each folder. The prefix may end inside a name. */
async function* listKeys(root: string, prefix: string): AsyncGenerator<ListedObject> {
  const folderKey = prefix.includes('/') ? prefix.slice(0, prefix.lastIndexOf('/')) : '';
  yield* walk(root, folderKey, prefix);
}

async function* walk(root: string, folderKey: string, prefix: string): AsyncGenerator<ListedObject> {
  const entries = await readdir(join(root, folderKey), { withFileTypes: true }).catch((error: unknown) => {
    if (isAbsent(error)) return [];
    throw new OperatingError('storage', 'safe', `listing ${folderKey}`, { cause: error });
  });
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    if (!KEY_NAME.test(entry.name)) continue;
    const key = folderKey === '' ? entry.name : `${folderKey}/${entry.name}`;
    if (entry.isDirectory()) {
      if (`${key}/`.startsWith(prefix) || prefix.startsWith(`${key}/`)) yield* walk(root, key, prefix);
    } else if (entry.isFile() && key.startsWith(prefix)) {
      const facts = await stat(join(root, key)).catch(() => undefined);
      if (facts?.isFile() === true) yield { key, size: facts.size, modifiedAtMs: facts.mtimeMs };
    }
  }
}

async function sweep(folder: string): Promise<number> {
  let swept = 0;
  for await (const entry of await opendir(folder)) {
    const path = join(folder, entry.name);
    const facts = await stat(path).catch(() => undefined);
    if (facts === undefined) continue;
    const owner = Number(entry.name.split('-')[0]);
    const old = Date.now() - facts.mtimeMs > UNFINISHED_AGE_MS;
    if (!old && (await processExists(owner))) continue;
    await rm(path, { force: true });
    swept++;
  }
  return swept;
}

async function processExists(pid: number): Promise<boolean> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
