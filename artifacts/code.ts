import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { contentHash, sha256Hex } from '../core/canonical.ts';
import { OperatingError } from '../core/operating-error.ts';
import { type Refusal, RefusedInput, refuse } from '../core/refusal.ts';
import type { ObjectStore } from '../platform/object-store.ts';
import { unzip, zip } from '../platform/zip.ts';
import { pathRefusal } from './paths.ts';

/** A job's working directory as content: what `code:<sha256>` in a job names. Ray takes packages of at most 100 MiB. */
export const MAX_CODE_BYTES = 100 * 1024 * 1024;
const MAX_CODE_FILES = 10_000;
/** Never part of a job's code. */
const IGNORED = new Set(['.git', 'node_modules', '__pycache__', '.venv', '.merit', '.DS_Store']);

export interface CodeFile {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly executable: boolean;
}

/**
 * SHA-256 of the RFC 8785 list of [path, size, sha256, executable], sorted by path: anyone with the same files gets it, whatever
 * packed them.
 */
function codeHashOf(files: readonly CodeFile[]): string {
  const rows = [...files]
    .sort((a, b) => (a.path < b.path ? -1 : 1))
    .map((file) => [file.path, file.bytes.length, sha256Hex(file.bytes), file.executable]);
  return contentHash(rows);
}

/** The files of a folder, without what is ignored. Throws RefusedInput where they are too many, too large or badly named. */
export async function readCode(folder: string): Promise<readonly CodeFile[]> {
  const files: CodeFile[] = [];
  const sizes: { readonly path: string; readonly size: number }[] = [];
  const refusals: Refusal[] = [];
  let total = 0;
  const walk = async (dir: string): Promise<void> => {
    for (const entry of await readdir(dir, { withFileTypes: true })) {
      if (IGNORED.has(entry.name)) continue;
      const full = join(dir, entry.name);
      const path = relative(folder, full).split(sep).join('/');
      if (entry.isDirectory()) await walk(full);
      else if (entry.isFile()) {
        const { size, mode } = await stat(full);
        total += size;
        sizes.push({ path, size });
        const bad = pathRefusal(`workdir/${path}`, path);
        if (bad !== undefined) refusals.push(bad);
        if (total <= MAX_CODE_BYTES && files.length < MAX_CODE_FILES)
          files.push({ path, bytes: await readFile(full), executable: (mode & 0o100) !== 0 });
      } else
        refusals.push(
          refuse('link', `workdir/${path}`, 'is a link or a special file', 'replace it by a file, or leave it out'),
        );
    }
  };
  await walk(folder);
  if (total > MAX_CODE_BYTES || sizes.length > MAX_CODE_FILES) {
    const largest = sizes
      .sort((a, b) => b.size - a.size)
      .slice(0, 3)
      .map((file) => `${file.path} (${(file.size / 1_048_576).toFixed(1)} MiB)`);
    refusals.push(
      refuse(
        'too_large',
        'workdir',
        `has ${sizes.length} files, ${(total / 1_048_576).toFixed(1)} MiB; largest: ${largest.join(', ')}`,
        'move data out of it: 100 MiB and 10,000 files at most',
      ),
    );
  }
  if (refusals.length > 0) throw new RefusedInput(refusals.slice(0, 50));
  return files;
}

export function packCode(files: readonly CodeFile[]): Uint8Array {
  return zip(files.map((file) => ({ path: file.path, bytes: file.bytes, executable: file.executable })));
}

/** Opens a packed working directory, held to the same limits. Throws RefusedInput. */
function unpackCode(packed: Uint8Array): readonly CodeFile[] {
  const files = unzip(packed, { maxBytes: MAX_CODE_BYTES, maxFiles: MAX_CODE_FILES });
  const refusals = files
    .map((file) => pathRefusal(`workdir/${file.path}`, file.path))
    .filter((bad) => bad !== undefined);
  if (refusals.length > 0) throw new RefusedInput(refusals.slice(0, 50));
  return files;
}

const objectKeyOf = (hash: string) => `code/${hash}.zip`;

/** Stores a working directory by content; returns its hash. */
export async function storeCode(store: ObjectStore, packed: Uint8Array): Promise<string> {
  const hash = codeHashOf(unpackCode(packed));
  await store.put(objectKeyOf(hash), packed, { ifAbsent: true });
  return hash;
}

export async function hasCode(store: ObjectStore, hash: string): Promise<boolean> {
  return (await store.head(objectKeyOf(hash))) !== undefined;
}

/** The working directory as a folder under `cacheDir`, checked against its hash when it is unpacked. Two at once end with one. */
export async function materialiseCode(store: ObjectStore, hash: string, cacheDir: string): Promise<string> {
  const target = join(cacheDir, hash);
  if (await isFolder(target)) return target;
  const stream = await store.get(objectKeyOf(hash));
  if (stream === undefined)
    throw new OperatingError('not-found', 'never', `unpacking code ${hash}`, { mend: 'upload it again' });
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  const files = unpackCode(Buffer.concat(chunks));
  if (codeHashOf(files) !== hash)
    throw new OperatingError('storage', 'never', `unpacking code ${hash}`, {
      cause: 'its content has another hash',
      mend: 'upload it again',
    });
  const temporary = `${target}.${randomBytes(6).toString('hex')}`;
  for (const file of files) {
    const path = join(temporary, file.path);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, file.bytes);
    if (file.executable) await chmod(path, 0o755);
  }
  await mkdir(temporary, { recursive: true });
  await rename(temporary, target).catch(async (error: unknown) => {
    await rm(temporary, { recursive: true, force: true });
    if (!(await isFolder(target))) throw error;
  });
  return target;
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
