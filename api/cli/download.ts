import { createHash, type Hash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathRefusal } from '../../artifacts/paths.ts';
import type { Client } from './client.ts';
import { CliError, EXIT } from './exit.ts';
import type { Io } from './io.ts';

export interface RemoteFile {
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
}

const COME_AGAIN_MS = 1_000;
/** Cuts in a row, without a byte in between, after which a download is given up; what came is kept for the next one. */
const MAX_FRUITLESS_CUTS = 5;

/** Where a file of a job goes below `folder`; throws CliError where its path would lead out of it, also by a link on the way. */
async function placeOf(folder: string, path: string): Promise<string> {
  const bad = pathRefusal('path', path);
  if (bad !== undefined)
    throw new CliError(EXIT.tampered, 'path', `the server names ${JSON.stringify(path)}, which ${bad.problem}`);
  const names = path.split('/');
  for (let depth = 1; depth <= names.length; depth++) {
    const at = join(folder, ...names.slice(0, depth));
    const there = await lstat(at).catch(() => undefined);
    if (there?.isSymbolicLink() === true)
      throw new CliError(
        EXIT.badValue,
        'link',
        `${JSON.stringify(at)} is a link: what is written there would lie elsewhere`,
        {
          mend: 'remove it, or name another folder with --out',
        },
      );
  }
  return join(folder, ...names);
}

/**
 * Downloads a file of a job and holds it to its SHA-256; it gets its name only then. A download that broke goes on at the byte that it has, also in
 * another process: it lies beside, under its SHA-256. False: the file was there already, as it is.
 */
export async function download(
  client: Client,
  io: Io,
  jobPath: string,
  file: RemoteFile,
  folder: string,
  signal: AbortSignal,
): Promise<boolean> {
  const target = await placeOf(folder, file.path);
  if ((await sha256Of(target))?.digest('hex') === file.sha256) return false;
  await mkdir(dirname(target), { recursive: true });
  const part = join(dirname(target), `.${file.sha256.slice(0, 32)}.part`);
  // A link in its place would be followed by nothing here.
  const handle = await open(part, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  try {
    const sha256 = await fetchInto(client, io, jobPath, file, part, handle, signal);
    if (sha256 !== file.sha256) {
      await rm(part, { force: true });
      throw new CliError(EXIT.tampered, 'sha256', `${file.path} came with other bytes than its manifest names`, {
        mend: 'get it again; "merit jobs verify" tells whether it is stored well',
      });
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(part, target);
  return true;
}

async function sha256Of(path: string): Promise<Hash | undefined> {
  const facts = await lstat(path).catch(() => undefined);
  if (facts?.isFile() !== true) return undefined;
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash;
}

async function fetchInto(
  client: Client,
  io: Io,
  jobPath: string,
  file: RemoteFile,
  part: string,
  handle: FileHandle,
  signal: AbortSignal,
): Promise<string> {
  let hash = (await sha256Of(part)) ?? createHash('sha256');
  let at = (await handle.stat()).size;
  if (at > file.size) {
    await handle.truncate(0);
    hash = createHash('sha256');
    at = 0;
  }
  const url = `${jobPath}/artifacts/${file.path.split('/').map(encodeURIComponent).join('/')}`;
  for (let cuts = 0; at < file.size; cuts++) {
    try {
      const headers = { accept: '*/*', 'if-match': `"${file.sha256}"`, ...(at === 0 ? {} : { range: `bytes=${at}-` }) };
      for await (const chunk of await client.stream(url, headers)) {
        await handle.write(chunk, 0, chunk.length, at);
        hash.update(chunk);
        at += chunk.length;
        cuts = 0;
      }
      if (at < file.size)
        throw new CliError(EXIT.unreachable, 'cut', `${file.path} ended at byte ${at} of ${file.size}`, {
          mend: 'get it again: it goes on where it is',
        });
    } catch (error) {
      if (!(error instanceof CliError) || error.exitCode !== EXIT.unreachable || cuts >= MAX_FRUITLESS_CUTS)
        throw error;
      io.progress(`the connection broke; going on at byte ${at} of ${file.path} …`);
      await sleep(COME_AGAIN_MS, undefined, { signal });
    }
  }
  return hash.digest('hex');
}
