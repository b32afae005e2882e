import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readFile, realpath, stat } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { OperatingError } from '../core/operating-error.ts';
import { replaceFileSync } from './processes.ts';

/** The operating system's user that a part runs as. */
export interface RunAs {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Where the state of one installation lies. */
export interface StateLayout {
  /** Secrets and records, 0700. */
  readonly stateDir: string;
  /** 32 hex characters, made at the first start and kept in `stateDir/instance-id`. */
  readonly instanceId: string;
  /** Postgres' data folder. */
  readonly dataDir: string;
  /** The folder that holds the copies of Postgres' programs, one a version. */
  readonly nativeRoot: string;
  /** Set where this process is root: Postgres refuses to run as root. */
  readonly postgresUser: RunAs | undefined;
}

const ROOT_BASE = '/var/lib/merit';

/**
 * Decides where things lie, and makes the folders. A user's Postgres lives in the state folder. Root's runs as `postgres`,
 * who must be able to reach it: below the state folder where every folder above lets others pass, else in
 * /var/lib/merit/<instance id>/pg, else (read-only system) in the system's temporary folder.
 */
export async function stateLayout(options: {
  readonly stateDir: string;
  /** A data folder that was chosen; the rest is decided as ever. */
  readonly dataDir?: string;
}): Promise<StateLayout> {
  await mkdir(options.stateDir, { recursive: true, mode: 0o700 });
  const stateDir = await realpath(options.stateDir);
  const instanceId = await ensureInstanceId(stateDir);
  if (process.getuid?.() !== 0) {
    const dataDir = options.dataDir ?? join(stateDir, 'pg');
    return { stateDir, instanceId, dataDir, nativeRoot: userCacheDir(), postgresUser: undefined };
  }
  const nativeRoot = await rootFolder(instanceId);
  const dataDir =
    options.dataDir ??
    join((await othersMayPass(stateDir)) ? stateDir : await instanceFolder(nativeRoot, instanceId), 'pg');
  // Data that exists keeps its owner, whatever users were added or removed since.
  const postgresUser = (await ownerOf(dataDir)) ?? findPostgresUser();
  return { stateDir, instanceId, dataDir, nativeRoot, postgresUser };
}

async function ensureInstanceId(stateDir: string): Promise<string> {
  const path = join(stateDir, 'instance-id');
  const kept = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw new OperatingError('storage', 'safe', `reading ${path}`, { cause: error });
  });
  if (/^[0-9a-f]{32}$/.test(kept.trim())) return kept.trim();
  const made = randomBytes(16).toString('hex');
  replaceFileSync(path, `${made}\n`);
  return made;
}

function userCacheDir(): string {
  const xdg = process.env.XDG_CACHE_HOME;
  if (xdg?.startsWith('/')) return join(xdg, 'merit');
  return process.platform === 'darwin'
    ? join(homedir(), 'Library', 'Caches', 'merit')
    : join(homedir(), '.cache', 'merit');
}

/** /var/lib/merit; where that cannot be made, a folder of this installation below the system's temporary one. */
async function rootFolder(instanceId: string): Promise<string> {
  try {
    await makePassable(ROOT_BASE);
    return ROOT_BASE;
  } catch {
    const folder = join(tmpdir(), `merit-${instanceId}`);
    await makePassable(folder);
    return folder;
  }
}

async function instanceFolder(root: string, instanceId: string): Promise<string> {
  if (root !== ROOT_BASE) return root;
  const folder = join(root, instanceId);
  await makePassable(folder);
  return folder;
}

/** A folder of root's that others may pass through but not write; anything else under that name is refused. */
async function makePassable(path: string): Promise<void> {
  await mkdir(path, { recursive: true });
  const facts = await lstat(path);
  if (!facts.isDirectory() || facts.uid !== 0) {
    throw new OperatingError('storage', 'never', `making ${path}`, {
      cause: 'it is not a folder of root',
      mend: 'remove it, or set DATABASE_URL to a Postgres of yours',
    });
  }
  await chmod(path, 0o755);
}

async function othersMayPass(path: string): Promise<boolean> {
  for (let at = path; ; at = dirname(at)) {
    if (((await stat(at)).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

async function ownerOf(path: string): Promise<RunAs | undefined> {
  const facts = await stat(path).catch(() => undefined);
  if (facts === undefined || facts.uid === 0) return undefined;
  return { name: `uid ${facts.uid}`, uid: facts.uid, gid: facts.gid };
}

function userNamed(name: string): RunAs | undefined {
  try {
    const ask = (flag: string) =>
      Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
    const [uid, gid] = [ask('-u'), ask('-g')];
    return Number.isSafeInteger(uid) && uid > 0 ? { name, uid, gid } : undefined;
  } catch {
    return undefined;
  }
}

/** `postgres`; made as a system user where it is missing and can be made; else `nobody`. */
function findPostgresUser(): RunAs {
  const known = userNamed('postgres');
  if (known !== undefined) return known;
  try {
    execFileSync(
      'useradd',
      ['--system', '--no-create-home', '--home-dir', '/nonexistent', '--shell', '/usr/sbin/nologin', 'postgres'],
      {
        stdio: 'ignore',
      },
    );
  } catch {
    // No useradd here, or the user files cannot be written: `nobody` does as well.
  }
  const user = userNamed('postgres') ?? userNamed('nobody');
  if (user !== undefined) return user;
  throw new OperatingError('part-missing', 'never', 'looking for a user to run Postgres as', {
    cause: 'there is neither `postgres` nor `nobody`',
    mend: 'add a user named postgres, or start as a user other than root, or set DATABASE_URL',
  });
}
