import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import {
  type FileHandle,
  link,
  mkdir,
  open,
  readdir,
  readlink,
  realpath,
  rename,
  rmdir,
  stat,
  unlink,
} from 'node:fs/promises';
import { join } from 'node:path';
import { cleanMessage, ProviderError } from '../provider.ts';

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;
/** A folder below `work` that lies deeper is left where it is. */
const DEPTH_LIMIT = 64;
const STICKY = 0o1000;

/** Of a file in the shared folder. */
export interface Part {
  readonly bytes: Buffer;
  /** Of the whole file. */
  readonly size: number;
  /** Merit's own user wrote it. */
  readonly isOwn: boolean;
  /** By the file system's clock, which no job sets. */
  readonly changedAtMs: number;
}

/** What lies in a place of Merit's and is none of its files: a link, a pipe, a folder. */
export class OddFile extends ProviderError {
  constructor(path: string) {
    super('invalid', `${path} is a link, a pipe or a folder, and no file: a job put it there, and it is not read`);
  }
}

/** Whom a folder is written by: only Merit, or jobs too, which then remove and replace nothing of Merit's. */
export type Writers = 'merit' | 'jobs';

/**
 * A real folder of Merit's below the shared one, held open. Jobs write there too: a name in it is never followed, and never waited for. What is opened is
 * what was looked at, on Linux, whatever becomes of its path meanwhile.
 */
export class SharedFolder {
  readonly path: string;
  readonly #handle: FileHandle;

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  /** undefined: it is not there, or is no folder of Merit's own. */
  static async within<T>(
    shared: string,
    names: readonly string[],
    work: (folder: SharedFolder) => Promise<T>,
  ): Promise<T | undefined> {
    const path = join(shared, ...names);
    const handle = await openFolder(path);
    if (handle === undefined) return undefined;
    try {
      if (!(await isReal(handle, shared, names))) return undefined;
      return await work(new SharedFolder(path, handle));
    } catch (error) {
      throw storageError(error, path);
    } finally {
      await handle.close();
    }
  }

  /** Makes it where it is not there. Throws ProviderError `invalid` where something else is. */
  static async make(shared: string, names: readonly string[], writers: Writers): Promise<void> {
    const path = join(shared, ...names);
    try {
      await mkdir(path, { mode: 0o700 });
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw storageError(error, path);
    }
    const mode = await folderMode(shared);
    const wanted = writers === 'jobs' ? mode | STICKY : mode & ~0o022;
    const made = await SharedFolder.within(shared, names, (folder) => folder.#setMode(wanted));
    if (made !== undefined) return;
    const text = `${path} is no folder of Merit’s user: it is a link, or somebody else made it (or an NFS server makes root nobody): remove it, and look who may write there`;
    throw new ProviderError('invalid', text);
  }

  async #setMode(mode: number): Promise<true> {
    // What the umask took away, or another mode of the shared folder.
    if (((await this.#handle.stat()).mode & 0o7777) !== mode) await this.#handle.chmod(mode);
    return true;
  }

  /** undefined: there is none. Throws OddFile. */
  async read(name: string, fromByte: number, maxBytes: number): Promise<Part | undefined> {
    let file: FileHandle;
    try {
      file = await open(this.#at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw codeOf(error) === 'ELOOP' || codeOf(error) === 'ENXIO' ? new OddFile(join(this.path, name)) : error;
    }
    try {
      const facts = await file.stat();
      if (!facts.isFile()) throw new OddFile(join(this.path, name));
      const from = fromByte < 0 ? Math.max(0, facts.size + fromByte) : fromByte;
      const bytes = Buffer.alloc(Math.min(Math.max(0, facts.size - from), maxBytes));
      const { bytesRead } = await file.read(bytes, 0, bytes.length, from);
      const isOwn = isMerits(facts.uid);
      return { bytes: bytes.subarray(0, bytesRead), size: facts.size, isOwn, changedAtMs: facts.ctimeMs };
    } finally {
      await file.close();
    }
  }

  /** A link is made or not, on NFS too, and what it names is whole: no reader sees half a file, and of two writers one wins. */
  async writeOnce(name: string, bytes: Uint8Array, mode: number): Promise<boolean> {
    const temporary = temporaryOf(name);
    try {
      await this.#create(temporary, bytes, mode);
      await link(this.#at(temporary), this.#at(name));
      return true;
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false;
      throw error;
    } finally {
      await this.unlink(temporary);
    }
  }

  /** A file that is whole once it is there. */
  async writeWhole(name: string, bytes: Uint8Array, mode: number): Promise<void> {
    const temporary = temporaryOf(name);
    try {
      await this.#create(temporary, bytes, mode);
      await rename(this.#at(temporary), this.#at(name));
    } finally {
      await this.unlink(temporary);
    }
  }

  /** That it is used again. */
  async touch(name: string, atMs: number): Promise<void> {
    const file = await open(this.#at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    await file.utimes(atMs / 1000, atMs / 1000).finally(() => file.close());
  }

  names(): Promise<readonly string[]> {
    return readdir(this.#inside());
  }

  async unlink(name: string): Promise<void> {
    await unlink(this.#at(name)).catch(() => {});
  }

  /** It with all that is in it, as far as that goes until then; what a link names stays. */
  async removeTree(name: string, limit: AbortSignal, depth = 0): Promise<void> {
    const handle = await openFolder(this.#at(name));
    if (handle === undefined) return this.unlink(name);
    try {
      const inner = new SharedFolder(join(this.path, name), handle);
      if (depth < DEPTH_LIMIT)
        for (const one of await inner.names()) {
          if (limit.aborted) return;
          await inner.removeTree(one, limit, depth + 1);
        }
    } finally {
      await handle.close();
    }
    await rmdir(this.#at(name));
  }

  async #create(name: string, bytes: Uint8Array, mode: number): Promise<void> {
    const file = await open(this.#at(name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      await file.writeFile(bytes);
      await file.chmod(mode);
      await file.sync();
    } finally {
      await file.close();
    }
  }

  #at(name: string): string {
    return join(this.#inside(), name);
  }

  #inside(): string {
    return process.platform === 'linux' ? `/proc/self/fd/${this.#handle.fd}` : this.path;
  }
}

/** undefined: there is no folder of this name itself. */
async function openFolder(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(String(codeOf(error)))) return undefined;
    throw storageError(error, path);
  }
}

/** No part of its path below the shared folder is a link, and Merit made it. */
async function isReal(handle: FileHandle, shared: string, names: readonly string[]): Promise<boolean> {
  const path = join(await realpath(shared), ...names);
  const real = process.platform === 'linux' ? readlink(`/proc/self/fd/${handle.fd}`) : realpath(join(shared, ...names));
  return (await real) === path && isMerits((await handle.stat()).uid);
}

function isMerits(uid: number): boolean {
  return uid === (process.geteuid?.() ?? uid);
}

/** Of the shared folder, and so who may enter what is made below it. */
export async function folderMode(shared: string): Promise<number> {
  try {
    return (await stat(shared)).mode & 0o6777;
  } catch (error) {
    throw storageError(error, shared);
  }
}

/** Of Merit's files: jobs read them, and change none. */
export async function fileMode(shared: string): Promise<number> {
  return (await folderMode(shared)) & 0o644;
}

function temporaryOf(name: string): string {
  return `.${name}.${randomBytes(6).toString('hex')}`;
}

function codeOf(error: unknown): unknown {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

/** Nothing of Slurm's was asked: it has no effect there. */
function storageError(error: unknown, path: string): ProviderError {
  if (error instanceof ProviderError) return error;
  const text = error instanceof Error ? error.message : String(error);
  const isDenied = codeOf(error) === 'EACCES' || codeOf(error) === 'EPERM';
  const mend = isDenied ? 'let Merit and the pool’s user write there (a group of both, chmod 3770)' : undefined;
  return new ProviderError(
    isDenied ? 'auth' : 'transient',
    cleanMessage(`${mend === undefined ? '' : `${mend}. `}the shared folder, at ${path}: ${text}`),
    { cause: error },
  );
}
