import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { OperatingError } from '../core/operating-error.ts';
import { bootstrapSql, SERVER_ROLES } from './bootstrap.ts';
import { clientConfig } from './pg-client.ts';

/** Forward-only migrations of this folder: NNNN_verb_noun.sql, all pending ones in one transaction, run as the owner. */
export const MIGRATIONS_DIR = fileURLToPath(new URL('./migrations', import.meta.url));

const MIGRATION_NAME = /^(\d{4})_[a-z]+(_[a-z0-9]+)+\.sql$/;
const MIGRATIONS_TABLE = 'schema_migrations';
/** node-pg-migrate's own lock number, so that its command-line tool and Merit exclude each other. */
const LOCK_ID = '7241865325823964';

export interface MigrationState {
  /** `0001_create_core` */
  readonly name: string;
  /** undefined: still to be run. */
  readonly appliedAt: Date | undefined;
}

/** Another process migrates this database at this moment. The CLI ends with 5. */
export class MigrationBusy extends OperatingError {
  override name = 'MigrationBusy';

  constructor() {
    super('conflict', 'safe', 'migrating the database', {
      cause: 'another migration is running',
      mend: 'wait until it has ended, then look at `merit migrate status`',
    });
  }
}

/** Runs what is pending and names it. Throws MigrationBusy, or OperatingError `conflict` where the database's history is not this folder's. */
export async function migrate(options: {
  readonly ownerUrl: string;
  readonly dir?: string;
}): Promise<{ readonly applied: readonly string[] }> {
  const dir = options.dir ?? MIGRATIONS_DIR;
  const files = await migrationFiles(dir);
  return withOwner(options.ownerUrl, async (client) => {
    await requireRoles(client);
    const locked = await client.query<{ locked: boolean }>(`select pg_try_advisory_lock(${LOCK_ID}) as locked`);
    if (locked.rows[0]?.locked !== true) throw new MigrationBusy();
    checkHistory(files, await appliedMigrations(client));
    // Here and not above: it pulls in its command-line tool's parser, 0.1 s that a running server never needs.
    const { runner } = await import('node-pg-migrate');
    const silent = () => {};
    try {
      const ran = await runner({
        dbClient: client,
        dir,
        direction: 'up',
        migrationsTable: MIGRATIONS_TABLE,
        checkOrder: true,
        singleTransaction: true,
        noLock: true,
        logger: { info: silent, warn: silent, error: silent },
      });
      return { applied: ran.map((migration) => migration.name) };
    } catch (cause) {
      throw new OperatingError('database', 'never', 'migrating the database (nothing was changed)', {
        cause,
        mend: 'the database is as it was; report this with the message',
      });
    }
  });
}

/** What has run and what is pending, in order. Changes nothing; any role that may read the table may ask. */
export async function migrationStatus(options: {
  readonly url: string;
  readonly dir?: string;
}): Promise<readonly MigrationState[]> {
  const files = await migrationFiles(options.dir ?? MIGRATIONS_DIR);
  return withOwner(options.url, async (client) => {
    const applied = await appliedMigrations(client);
    checkHistory(files, applied);
    return files.map((name, i) => ({ name, appliedAt: applied[i]?.appliedAt }));
  });
}

async function migrationFiles(dir: string): Promise<readonly string[]> {
  const names = (await readdir(dir)).filter((name) => !name.startsWith('.')).toSorted();
  names.forEach((name, i) => {
    const number = MIGRATION_NAME.exec(name)?.[1];
    if (number === undefined || Number(number) !== i + 1) {
      throw new OperatingError('conflict', 'never', `reading the migrations of ${dir}`, {
        cause: `${name} should be ${String(i + 1).padStart(4, '0')}_verb_noun.sql`,
        mend: 'number the migrations 0001, 0002, … without gaps',
      });
    }
  });
  for (const name of names) await refuseDown(dir, name);
  return names.map((name) => name.slice(0, -'.sql'.length));
}

/** node-pg-migrate cuts a file at such a comment and would silently not run the rest. */
async function refuseDown(dir: string, name: string): Promise<void> {
  if (/^\s*--[\s-]*(up|down)\s+migration/im.test(await readFile(`${dir}/${name}`, 'utf8'))) {
    throw new OperatingError('conflict', 'never', `reading ${name}`, {
      cause: 'it has an "up migration" or "down migration" comment',
      mend: 'migrations go forward only: write what undoes it as the next one',
    });
  }
}

interface Applied {
  readonly name: string;
  readonly appliedAt: Date;
}

async function appliedMigrations(client: pg.Client): Promise<readonly Applied[]> {
  const table = await client.query<{ present: boolean }>('select to_regclass($1) is not null as present', [
    `public.${MIGRATIONS_TABLE}`,
  ]);
  if (table.rows[0]?.present !== true) return [];
  const { rows } = await client.query<{ name: string; run_on: Date }>(
    // node-pg-migrate writes now() into a timestamp without zone: read it back as of the session's zone.
    `select name, run_on at time zone current_setting('TimeZone') as run_on from ${MIGRATIONS_TABLE} order by id`,
  );
  return rows.map((row) => ({ name: row.name, appliedAt: row.run_on }));
}

/** The applied ones must be the first of the files, in their order. */
function checkHistory(files: readonly string[], applied: readonly Applied[]): void {
  const at = applied.findIndex((migration, i) => migration.name !== files[i]);
  if (at < 0) return;
  const here = files[at];
  throw new OperatingError('conflict', 'never', 'comparing the database with this Merit', {
    cause: `migration ${at + 1} of the database is ${applied[at]?.name}, here it is ${here ?? 'missing'}`,
    mend:
      here === undefined
        ? 'a newer Merit migrated it: run that one'
        : 'this database belongs to another Merit: check the URL',
  });
}

async function requireRoles(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ rolname: string }>('select rolname from pg_roles where rolname = any($1)', [
    SERVER_ROLES,
  ]);
  const missing = SERVER_ROLES.filter((role) => !rows.some((row) => row.rolname === role));
  if (missing.length === 0) return;
  throw new OperatingError('auth', 'never', 'migrating the database', {
    cause: `it has no role ${missing.join(', ')}`,
    mend: `let an administrator run:\n${bootstrapSql()}`,
  });
}

async function withOwner<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(clientConfig(url, 'merit migrate'));
  client.on('error', () => {});
  try {
    await client.connect();
  } catch (cause) {
    await client.end().catch(() => {});
    throw new OperatingError('unreachable', 'safe', 'connecting to Postgres to migrate it', {
      cause,
      mend: 'check MIGRATE_DATABASE_URL and that Postgres runs',
    });
  }
  try {
    return await work(client);
  } finally {
    // Ends the session, and with it the advisory lock.
    await client.end().catch(() => {});
  }
}
