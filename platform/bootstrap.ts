import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import pg from 'pg';
import { OperatingError } from '../core/operating-error.ts';
import { clientConfig } from './pg-client.ts';

/** The roles that the migrations grant to. `merit_owner` owns the tables; no role may pass row-level security by. */
export const SERVER_ROLES = ['merit_owner', 'merit_app', 'merit_engine'] as const;
export type ServerRole = (typeof SERVER_ROLES)[number];

const SCRAM_ITERATIONS = 4096;
/** "merit" in ASCII. */
const BOOTSTRAP_LOCK_ID = 0x6d65726974;

/**
 * The SCRAM-SHA-256 verifier of a password, as Postgres stores it (RFC 5802 and 7677): the password itself never reaches the
 * server, its logs or pg_stat_activity. Only for passwords of printable ASCII, where SASLprep changes nothing.
 */
export function scramVerifier(password: string, salt: Uint8Array = randomBytes(16)): string {
  const salted = pbkdf2Sync(password, salt, SCRAM_ITERATIONS, 32, 'sha256');
  const hmac = (text: string) => createHmac('sha256', salted).update(text).digest();
  const storedKey = createHash('sha256').update(hmac('Client Key')).digest('base64');
  return `SCRAM-SHA-256$${SCRAM_ITERATIONS}:${Buffer.from(salt).toString('base64')}$${storedKey}:${hmac('Server Key').toString('base64')}`;
}

/** The statements a database administrator runs where the server is given no administrator's URL. */
export function bootstrapSql(database = 'merit'): string {
  return [
    ...SERVER_ROLES.map((role) => `create role ${role} login password '<choose one>';`),
    `create database ${quoteIdent(database)} owner merit_owner encoding 'UTF8' template template0;`,
    `revoke all on database ${quoteIdent(database)} from public;`,
    `grant connect on database ${quoteIdent(database)} to merit_app, merit_engine;`,
  ].join('\n');
}

function quoteIdent(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function quoteLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

export interface BootstrapOptions {
  /** An administrator's URL: a superuser's, or one with CREATEROLE and CREATEDB. */
  readonly adminUrl: string;
  readonly passwords: Readonly<Record<ServerRole, string>>;
  readonly database: string;
}

/**
 * Makes the three roles and the database, or brings them up to date; may run again and again. Throws OperatingError `auth`
 * where a role of that name is a superuser or may bypass row-level security.
 */
export async function bootstrapDatabase(options: BootstrapOptions): Promise<void> {
  const client = new pg.Client(clientConfig(options.adminUrl, 'merit bootstrap'));
  client.on('error', () => {});
  try {
    await client.connect();
    // Two at once would trip over each other's rows of the role table.
    await client.query(`select pg_advisory_lock(${BOOTSTRAP_LOCK_ID})`);
    await ensureRoles(client, options.passwords);
    await ensureDatabase(client, options.database);
  } catch (cause) {
    if (cause instanceof OperatingError) throw cause;
    throw new OperatingError('database', 'safe', 'making the database roles', {
      cause,
      mend: `let an administrator run:\n${bootstrapSql(options.database)}`,
    });
  } finally {
    await client.end().catch(() => {});
  }
}

async function ensureRoles(client: pg.Client, passwords: BootstrapOptions['passwords']): Promise<void> {
  const known = await client.query<{ rolname: string; rolsuper: boolean; rolbypassrls: boolean }>(
    'select rolname, rolsuper, rolbypassrls from pg_roles where rolname = any($1)',
    [SERVER_ROLES],
  );
  for (const role of SERVER_ROLES) {
    const facts = known.rows.find((row) => row.rolname === role);
    if (facts?.rolsuper === true || facts?.rolbypassrls === true) {
      throw new OperatingError('auth', 'never', `checking the database role ${role}`, {
        cause: 'it is a superuser or may bypass row-level security',
        mend: `alter role ${role} nosuperuser nobypassrls;`,
      });
    }
    const verb = facts === undefined ? 'create' : 'alter';
    await client.query(`${verb} role ${role} login password ${quoteLiteral(scramVerifier(passwords[role]))}`);
  }
  // An administrator who is no superuser must be a member of the owner to give it a database.
  const { rows } = await client.query<{ super: boolean }>(
    'select rolsuper as super from pg_roles where rolname = current_user',
  );
  if (rows[0]?.super !== true) await client.query('grant merit_owner to current_user');
}

async function ensureDatabase(client: pg.Client, database: string): Promise<void> {
  const name = quoteIdent(database);
  const known = await client.query('select 1 from pg_database where datname = $1', [database]);
  if (known.rows.length === 0)
    await client.query(`create database ${name} owner merit_owner encoding 'UTF8' template template0`);
  await client.query(`revoke all on database ${name} from public`);
  await client.query(`grant connect on database ${name} to merit_app, merit_engine`);
}
