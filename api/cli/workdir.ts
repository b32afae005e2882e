import { dirname, resolve } from 'node:path';
import type { Client } from './client.ts';
import { CliError, EXIT } from './exit.ts';
import type { Io } from './io.ts';

/** The local folder of a job's code: the flag from where we stand, the file's from where the file is. Code stored already stays as it is named. */
export function codePath(
  io: Io,
  options: Readonly<Record<string, unknown>>,
  file: Readonly<Record<string, unknown>>,
): string | undefined {
  const flag = options.workingDir ?? options.workdir;
  if (typeof flag === 'string') return resolve(io.cwd, flag);
  if (typeof file.workdir !== 'string' || file.workdir.startsWith('code:')) return file.workdir as string | undefined;
  const base =
    typeof options.file === 'string' && options.file !== '-' ? dirname(resolve(io.cwd, options.file)) : io.cwd;
  return resolve(base, file.workdir);
}

/** Weighs, packs and stores the folder; returns what the job names instead. Throws RefusedInput with the largest files named. */
export async function storeWorkdir(client: Client, io: Io, folder: string): Promise<string> {
  if (folder.startsWith('code:')) return folder;
  const { packCode, readCode } = await import('../../artifacts/code.ts');
  const files = await readCode(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === undefined) throw error;
    throw new CliError(
      EXIT.badValue,
      'workdir',
      `the folder ${JSON.stringify(folder)} cannot be read (${error.code})`,
      { mend: 'check the path' },
    );
  });
  const packed = packCode(files);
  io.progress(`storing ${files.length} files (${(packed.length / 1024).toFixed(0)} KiB) …`);
  const { code } = await client.json<{ code: string }>('PUT', '/v1/code', {
    raw: { type: 'application/zip', bytes: packed },
  });
  return code;
}
