import { readdir, readFile, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { ProviderError } from './errors.ts';

const MIB = 1024 * 1024;
const FILES_LIMIT = 10_000;
const BYTES_LIMIT = 512 * MIB;

export interface WorkdirFile {
  /** Relative, with forward slashes. */
  readonly path: string;
  readonly executable: boolean;
  readonly bytes: Buffer;
}

/** Every file below an attempt's `workdir`, sorted by path. Throws ProviderError `invalid` where there is none or it is too large. */
export async function readWorkdir(
  workdir: string,
  signal: AbortSignal,
  limitBytes = BYTES_LIMIT,
): Promise<readonly WorkdirFile[]> {
  const entries = await readdir(workdir, { recursive: true, withFileTypes: true }).catch((cause: unknown) => {
    throw new ProviderError('invalid', 'there is no work folder to send', { cause });
  });
  const files: WorkdirFile[] = [];
  let left = limitBytes;
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    if (signal.aborted) throw new ProviderError('transient', 'stopped while the work folder was read');
    const full = join(entry.parentPath, entry.name);
    const { mode, size } = await stat(full);
    left -= size;
    if (left < 0 || files.length >= FILES_LIMIT)
      throw new ProviderError('invalid', `the work folder is larger than ${limitBytes} bytes or ${FILES_LIMIT} files`);
    const path = relative(workdir, full).split(sep).join('/');
    files.push({ path, executable: (mode & 0o111) !== 0, bytes: await readFile(full) });
  }
  // Not the locale's order: it has to be the same on every machine.
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}
