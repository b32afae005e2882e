import { createHash } from 'node:crypto';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { RayJobError } from './errors.ts';
import { IGNORE_FILES, type IgnoreTest, ignoreTest } from './ignore-rules.ts';
import { FOLDER_LIMIT_BYTES, FOLDER_LIMIT_FILES, PACKAGE_LIMIT_BYTES } from './limits.ts';
import { ZipWriter } from './zip.ts';

export interface ZippedFolder {
  readonly bytes: Buffer;
  /** Of the zip's bytes, lower-case hex. The same files give the same hash, whatever their times or owners. */
  readonly sha256: string;
  readonly files: number;
}

/** A file of a folder that travels with a job. */
export interface FolderFile {
  /** Relative, with forward slashes. */
  readonly path: string;
  readonly size: number;
  readonly executable: boolean;
}

const NAMED_WHEN_TOO_LARGE = 5;

/**
 * A folder as a package for Ray, files at the archive's root. Leaves out .git, node_modules, __pycache__, .venv and what .gitignore and
 * .rayignore at its root name. Throws RayJobError: `too_large` (above 100 MiB packed or 512 MiB unpacked; it names the largest files)
 * or `invalid` (no folder, a link that leaves it, a file that is neither file nor folder).
 */
export async function zipFolder(folder: string, signal?: AbortSignal): Promise<ZippedFolder> {
  const files = await folderFiles(folder, signal);
  const zip = new ZipWriter();
  for (const file of files) {
    signal?.throwIfAborted();
    await zip.add({ path: file.path, executable: file.executable, bytes: await readFile(join(folder, file.path)) });
    if (zip.size > PACKAGE_LIMIT_BYTES) throw tooLarge(folder, files, 'packs to more', PACKAGE_LIMIT_BYTES);
  }
  const bytes = zip.finish();
  if (bytes.length > PACKAGE_LIMIT_BYTES) throw tooLarge(folder, files, 'packs to more', PACKAGE_LIMIT_BYTES);
  return { bytes, sha256: createHash('sha256').update(bytes).digest('hex'), files: files.length };
}

/**
 * The files of a folder that travel with a job, in code-unit order: all but .git, node_modules, __pycache__, .venv and what .gitignore and
 * .rayignore at its root name. Throws as `zipFolder` does.
 */
export async function folderFiles(folder: string, signal?: AbortSignal): Promise<readonly FolderFile[]> {
  const root = await realpath(folder).catch((cause) => {
    throw new RayJobError('invalid', `there is no folder ${folder} to pack`, { cause });
  });
  const texts = await Promise.all(IGNORE_FILES.map((name) => readFile(join(root, name), 'utf8').catch(() => '')));
  const found: FolderFile[] = [];
  await walk(root, '', ignoreTest(texts), found, signal);
  const total = found.reduce((sum, file) => sum + file.size, 0);
  if (total > FOLDER_LIMIT_BYTES) throw tooLarge(folder, found, `holds ${mebibytes(total)}`, FOLDER_LIMIT_BYTES);
  // Not the locale's order: it has to be the same on every machine.
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function walk(
  root: string,
  under: string,
  ignored: IgnoreTest,
  found: FolderFile[],
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted();
  for (const entry of await readdir(join(root, under), { withFileTypes: true })) {
    const path = under === '' ? entry.name : `${under}/${entry.name}`;
    if (ignored(path, entry.isDirectory())) continue;
    if (entry.isDirectory()) {
      await walk(root, path, ignored, found, signal);
      continue;
    }
    if (entry.isSymbolicLink()) await checkLink(root, path);
    const facts = await stat(join(root, path));
    if (!facts.isFile())
      throw new RayJobError('invalid', `${path} is not a plain file; remove it or name it in .rayignore`);
    if (found.length >= FOLDER_LIMIT_FILES) {
      throw new RayJobError(
        'too_large',
        `the folder holds more than ${FOLDER_LIMIT_FILES} files; name some in .rayignore`,
      );
    }
    found.push({ path, size: facts.size, executable: (facts.mode & 0o111) !== 0 });
  }
}

/** A link to a file inside travels as that file; any other could carry what the user did not mean to send, or loop. */
async function checkLink(root: string, path: string): Promise<void> {
  const target = await realpath(join(root, path)).catch(() => undefined);
  if (target?.startsWith(root + sep) === true && (await stat(target)).isFile()) return;
  throw new RayJobError(
    'invalid',
    `the link ${path} does not lead to a file inside the folder; remove it or name it in .rayignore`,
  );
}

function tooLarge(folder: string, files: readonly FolderFile[], problem: string, limit: number): RayJobError {
  const largest = files.toSorted((a, b) => b.size - a.size).slice(0, NAMED_WHEN_TOO_LARGE);
  const names = largest.map((file) => `${file.path} (${mebibytes(file.size)})`).join(', ');
  const text = `the folder ${folder} ${problem}, the limit is ${mebibytes(limit)}; the largest files are ${names}: name some in .rayignore`;
  return new RayJobError('too_large', text);
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}
