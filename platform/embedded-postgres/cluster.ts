import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chown, mkdir, readdir, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { OperatingError } from '../../core/operating-error.ts';
import type { RunAs } from '../state-layout.ts';
import { explainFailure } from './failure.ts';
import type { NativePostgres } from './native.ts';

/** A new cluster takes 40 MB; below this a first start fails half-way. */
const MIN_FREE_BYTES = 200 * 1024 * 1024;

export interface ClusterPlace {
  readonly dataDir: string;
  readonly postgresUser: RunAs | undefined;
}

/** Whether the folder holds a database of this version; throws where it holds one of another. */
export async function holdsCluster(dataDir: string, majorVersion: string): Promise<boolean> {
  const version = await readFile(join(dataDir, 'PG_VERSION'), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new OperatingError('storage', 'safe', `reading ${dataDir}`, { cause: error });
  });
  if (version === undefined) return false;
  if (version.trim() === majorVersion) return true;
  throw new OperatingError('conflict', 'never', `opening the data folder ${dataDir}`, {
    cause: `it was made by Postgres ${version.trim()}, and this is Postgres ${majorVersion}`,
    mend: `dump it with the Merit that made it and load it here, or move the folder away to begin anew`,
  });
}

/** Makes a new database there, with `merit_admin` as its one superuser. */
export async function makeCluster(options: ClusterPlace, native: NativePostgres, password: string): Promise<void> {
  const parent = dirname(options.dataDir);
  await mkdir(parent, { recursive: true });
  await removeUnfinished(options.dataDir);
  const left = await readdir(options.dataDir).catch(() => []);
  if (left.length > 0) {
    throw new OperatingError('conflict', 'never', `making a database in ${options.dataDir}`, {
      cause: 'the folder holds files that are not a Postgres database',
      mend: 'move the folder away',
    });
  }
  await checkFreeSpace(parent);
  // Made under another name and renamed when whole: a start that is killed here leaves nothing that looks like a database.
  const unfinished = `${options.dataDir}.new-${randomBytes(4).toString('hex')}`;
  const passwordFile = `${unfinished}.pw`;
  try {
    await mkdir(unfinished, { mode: 0o700 });
    await writeFile(passwordFile, `${password}\n`, { mode: 0o600, flag: 'wx' });
    if (options.postgresUser !== undefined) {
      await chown(unfinished, options.postgresUser.uid, options.postgresUser.gid);
      await chown(passwordFile, options.postgresUser.uid, options.postgresUser.gid);
    }
    await runInitdb(options, native, unfinished, passwordFile);
    await rm(options.dataDir, { recursive: true, force: true });
    await rename(unfinished, options.dataDir);
  } catch (cause) {
    await rm(unfinished, { recursive: true, force: true });
    throw cause instanceof OperatingError ? cause : explainFailure(String(cause), options.dataDir, cause);
  } finally {
    await rm(passwordFile, { force: true });
  }
}

async function removeUnfinished(dataDir: string): Promise<void> {
  for (const name of await readdir(dirname(dataDir))) {
    if (name.startsWith(`${basename(dataDir)}.new-`))
      await rm(join(dirname(dataDir), name), { recursive: true, force: true });
  }
}

async function checkFreeSpace(folder: string): Promise<void> {
  const facts = await statfs(folder);
  const freeBytes = facts.bavail * facts.bsize;
  if (freeBytes >= MIN_FREE_BYTES) return;
  throw new OperatingError('storage', 'safe', `making a database below ${folder}`, {
    cause: `only ${Math.floor(freeBytes / 1024 / 1024)} MB of disk space are free`,
    mend: `free at least ${MIN_FREE_BYTES / 1024 / 1024} MB, then start again`,
  });
}

/** Nothing of our environment reaches Postgres: PGDATA, PGPORT and the like would change what it does. */
export function childOptions(native: NativePostgres, user: RunAs | undefined) {
  const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC', LD_LIBRARY_PATH: native.libDir };
  return { cwd: '/', env, ...(user === undefined ? {} : { uid: user.uid, gid: user.gid }) };
}

export const MAX_OUTPUT_CHARS = 16_384;

async function runInitdb(
  options: ClusterPlace,
  native: NativePostgres,
  folder: string,
  passwordFile: string,
): Promise<void> {
  const args = [
    '-D',
    folder,
    '-U',
    'merit_admin',
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
    '--wal-segsize=4',
    '--no-instructions',
  ];
  const child = spawn(native.initdb, args, {
    ...childOptions(native, options.postgresUser),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString('utf8')).slice(-MAX_OUTPUT_CHARS);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) throw explainFailure(output, options.dataDir);
}
