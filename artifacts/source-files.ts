import { constants, type Dirent, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, readdir, readlink, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { OperatingError } from '../core/operating-error.ts';
import { type Refusal, refuse } from '../core/refusal.ts';
import { isInside } from '../platform/inside.ts';
import { MAX_FILES, MAX_TOLD_REFUSALS } from './manifest.ts';
import { MAX_PATH_DEPTH } from './paths.ts';
import type { OutputsEntry, OutputsListing, OutputsSource } from './source.ts';

/** Folders walked for one listing; a tree of empty folders must end too. */
const MAX_FOLDERS = 20_000;
const READ_CHUNK_BYTES = 256 * 1024;

/** A folder of this machine, inside one of `allowedFolders` after every link is resolved. */
export async function openFileSource(url: URL, allowedFolders: readonly string[]): Promise<OutputsSource | Refusal> {
  if (url.search !== '' || url.hash !== '')
    return refuse('uri', 'outputs', 'has a query or a fragment', 'write file:///absolute/folder');
  let folder: string;
  try {
    folder = fileURLToPath(url);
  } catch {
    return refuse('uri', 'outputs', 'is not a local absolute path', 'write file:///absolute/folder');
  }
  const root = await realpath(folder).catch((cause) => {
    throw new OperatingError('not-found', 'safe', 'opening the outputs folder', {
      cause: codeOf(cause),
      mend: 'the job must write to the outputs it named',
    });
  });
  const allowed = await Promise.all(allowedFolders.map((path) => realpath(path).catch(() => undefined)));
  if (!allowed.some((path) => path !== undefined && isInside(path, root))) {
    return refuse(
      'outputs_outside',
      'outputs',
      'is outside the folders that jobs may write to',
      'leave outputs out, or add its folder to the allowed ones',
    );
  }
  if (!(await stat(root)).isDirectory()) return refuse('outputs', 'outputs', 'is not a folder', 'name a folder');
  return { list: (signal) => new Walk(root, signal).run(), open: (entry, signal) => openEntry(root, entry, signal) };
}

function versionOf(stats: Stats): string {
  return `${stats.dev}-${stats.ino}-${stats.size}-${stats.mtimeMs}-${stats.ctimeMs}`;
}

function codeOf(cause: unknown): unknown {
  return (cause as { code?: unknown }).code ?? cause;
}

/** One listing: breadth is bounded by MAX_FILES and MAX_FOLDERS, depth by MAX_PATH_DEPTH. */
class Walk {
  readonly #root: string;
  readonly #signal: AbortSignal;
  readonly #entries: OutputsEntry[] = [];
  readonly #refusals: Refusal[] = [];
  #folders = 0;

  constructor(root: string, signal: AbortSignal) {
    this.#root = root;
    this.#signal = signal;
  }

  async run(): Promise<OutputsListing> {
    const pending: string[][] = [[]];
    for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
      if (this.#signal.aborted) throw new OperatingError('aborted', 'safe', 'listing the outputs');
      pending.push(...(await this.#folder(folder)));
      if (this.#full()) break;
    }
    return this.#refusals.length > 0
      ? { kind: 'refused', refusals: this.#refusals }
      : { kind: 'listed', entries: this.#entries };
  }

  #full(): boolean {
    if (this.#entries.length > MAX_FILES || this.#folders > MAX_FOLDERS) {
      const what = this.#folders > MAX_FOLDERS ? `more than ${MAX_FOLDERS} folders` : `more than ${MAX_FILES} files`;
      this.#refusals.push(
        refuse('length', 'files', `the outputs hold ${what}`, 'pack them into an archive at the end of the job'),
      );
    }
    return (
      this.#refusals.length >= MAX_TOLD_REFUSALS || this.#entries.length > MAX_FILES || this.#folders > MAX_FOLDERS
    );
  }

  /** Reads one folder; returns the folders in it. */
  async #folder(parts: readonly string[]): Promise<string[][]> {
    this.#folders++;
    const below: string[][] = [];
    // As bytes: a name that is not UTF-8 would come back as another name.
    const names = await readdir(join(this.#root, ...parts), { withFileTypes: true, encoding: 'buffer' });
    for (const dirent of names) {
      const name = decodeName(dirent.name);
      if (name === undefined) {
        this.#refuse(parts, '?', 'encoding', 'has a name that is not UTF-8', 'rename the file in the job');
        continue;
      }
      if (dirent.isDirectory()) {
        if (parts.length + 1 >= MAX_PATH_DEPTH)
          this.#refuse(parts, name, 'depth', `is more than ${MAX_PATH_DEPTH} folders deep`, 'flatten the outputs');
        else below.push([...parts, name]);
      } else await this.#entry(parts, name, dirent);
      if (this.#full()) return [];
    }
    return below;
  }

  async #entry(parts: readonly string[], name: string, dirent: Dirent<Buffer>): Promise<void> {
    const path = join(this.#root, ...parts, name);
    if (dirent.isFile()) return this.#add(parts, name, await lstat(path));
    if (!dirent.isSymbolicLink())
      return this.#refuse(parts, name, 'file_type', 'is a device, a pipe or a socket', 'leave only files');
    const target = await realpath(path).catch(() => undefined);
    if (target === undefined || !isInside(this.#root, target)) {
      return this.#refuse(
        parts,
        name,
        'link_outside',
        'is a link that leads out of the outputs, or nowhere',
        'copy the file instead',
      );
    }
    const stats = await lstat(target);
    if (!stats.isFile())
      return this.#refuse(parts, name, 'link_folder', 'is a link to something other than a file', 'remove the link');
    this.#add(parts, name, stats);
  }

  #add(parts: readonly string[], name: string, stats: Stats): void {
    this.#entries.push({ path: [...parts, name].join('/'), size: stats.size, version: versionOf(stats) });
  }

  #refuse(parts: readonly string[], name: string, code: string, problem: string, mend: string): void {
    if (this.#refusals.length < MAX_TOLD_REFUSALS)
      this.#refusals.push(refuse(code, [...parts, name].join('/'), problem, mend));
  }
}

function decodeName(name: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(name);
  } catch {
    return undefined;
  }
}

async function openEntry(root: string, entry: OutputsEntry, signal: AbortSignal): Promise<Readable> {
  const changed = () =>
    new OperatingError('conflict', 'safe', 'reading the outputs: a file changed after it was listed', {
      mend: 'the job, or something it started, still writes; collect again once it has ended',
    });
  const target = await realpath(join(root, ...entry.path.split('/'))).catch(() => {
    throw changed();
  });
  if (!isInside(root, target)) throw changed();
  // Non-blocking, so that a pipe put in the file's place cannot hold the open; no link in the last part.
  const handle = await open(target, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(() => {
    throw changed();
  });
  try {
    const stats = await handle.stat();
    if (!stats.isFile() || versionOf(stats) !== entry.version || !(await isStillInside(root, handle))) throw changed();
  } catch (error) {
    await handle.close();
    throw error;
  }
  const options = { objectMode: false, highWaterMark: READ_CHUNK_BYTES };
  const stream = Readable.from(chunks(handle, entry, signal, changed), options);
  // Where it is destroyed before it was read the generator never began, and closes nothing.
  stream.once('close', () => void handle.close().catch(() => {}));
  return stream;
}

/** Linux only: what the descriptor really is, in case a folder on the way was swapped for a link after `realpath`. */
async function isStillInside(root: string, handle: FileHandle): Promise<boolean> {
  if (process.platform !== 'linux') return true;
  const target = await readlink(`/proc/self/fd/${handle.fd}`).catch(() => undefined);
  return target === undefined || isInside(root, target);
}

async function* chunks(
  handle: FileHandle,
  entry: OutputsEntry,
  signal: AbortSignal,
  changed: () => Error,
): AsyncGenerator<Buffer> {
  try {
    let read = 0;
    for (;;) {
      if (signal.aborted) throw new OperatingError('aborted', 'safe', 'reading the outputs');
      // A fresh buffer each time: the consumer may still hold the last one.
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(READ_CHUNK_BYTES), 0, READ_CHUNK_BYTES, null);
      if (bytesRead === 0) break;
      read += bytesRead;
      if (read > entry.size) throw changed();
      yield buffer.subarray(0, bytesRead);
    }
    if (read !== entry.size || versionOf(await handle.stat()) !== entry.version) throw changed();
  } finally {
    await handle.close();
  }
}
