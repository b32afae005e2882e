import pg from 'pg';
import { OperatingError } from '../core/operating-error.ts';
import { type Refusal, refuse } from '../core/refusal.ts';
import { clientConfig } from './pg-client.ts';
import type { DatabaseUrl } from './pg-login.ts';

const MIN_SERVER_VERSION = 150_000;

interface Facts {
  readonly user: string;
  readonly superuser: boolean;
  readonly bypass: boolean;
  readonly owns: boolean;
  readonly app: boolean | null;
  readonly engine: boolean | null;
  readonly version: number;
  readonly sync: string;
  readonly fsync: string;
}

/** `owns` counts what the user owns itself and what a role it belongs to owns. */
const FACTS = `
  select current_user as user, rolsuper as superuser, rolbypassrls as bypass,
         exists (select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                 where n.nspname = 'public' and pg_has_role(current_user, c.relowner, 'MEMBER')) as owns,
         (select pg_has_role(current_user, oid, 'USAGE') from pg_roles where rolname = 'merit_app') as app,
         (select pg_has_role(current_user, oid, 'USAGE') from pg_roles where rolname = 'merit_engine') as engine,
         current_setting('server_version_num')::int as version,
         current_setting('synchronous_commit') as sync, current_setting('fsync') as fsync
  from pg_roles where rolname = current_user`;

export type LoginField = 'databaseUrl' | 'engineDatabaseUrl';

/**
 * Asks the database who the server's two users are. Whoever owns tables or passes row-level security by could read every
 * tenant, so the server does not start with such a user; nor on a database that acknowledges what it may lose. Returns all
 * that is wrong, [] where nothing is; throws OperatingError where the database cannot be asked.
 */
export async function probeRoles(options: {
  readonly appUrl: DatabaseUrl;
  readonly engineUrl: DatabaseUrl;
}): Promise<readonly Refusal[]> {
  const [app, engine] = await Promise.all([factsOf(options.appUrl), factsOf(options.engineUrl)]);
  return [
    ...strongRefusals('databaseUrl', app),
    ...strongRefusals('engineDatabaseUrl', engine),
    ...roleRefusals('databaseUrl', app),
    ...roleRefusals('engineDatabaseUrl', engine),
    ...durabilityRefusals(app),
  ];
}

/** As `probeRoles`, of the login that is to take the place of one of the two. */
export async function probeLogin(field: LoginField, url: string): Promise<readonly Refusal[]> {
  const facts = await factsOf(url);
  return [...strongRefusals(field, facts), ...roleRefusals(field, facts)];
}

function strongRefusals(field: LoginField, facts: Facts): readonly Refusal[] {
  const who = `the database user ${facts.user}`;
  const wrong: Refusal[] = [];
  if (facts.superuser)
    wrong.push(refuse('db_superuser', field, `${who} is a superuser`, 'use merit_app and merit_engine'));
  else if (facts.owns)
    wrong.push(refuse('db_owner', field, `${who} owns tables`, 'keep the owner for MIGRATE_DATABASE_URL only'));
  if (facts.bypass && !facts.superuser)
    wrong.push(
      refuse('db_bypassrls', field, `${who} may bypass row-level security`, `alter role ${facts.user} nobypassrls`),
    );
  return wrong;
}

function roleRefusals(field: LoginField, facts: Facts): readonly Refusal[] {
  const { user, app, engine, superuser } = facts;
  if (field === 'engineDatabaseUrl') {
    const mend = 'use merit_engine, or grant merit_engine to it';
    return engine === true ? [] : [refuse('db_role', field, `${user} is not merit_engine`, mend)];
  }
  const wrong: Refusal[] = [];
  if (!superuser && engine === true) {
    const problem = `${user} has the rights of merit_engine, which sees all tenants`;
    wrong.push(refuse('db_role', field, problem, 'use merit_app here'));
  }
  if (app !== true)
    wrong.push(refuse('db_role', field, `${user} is not merit_app`, 'use merit_app, or grant merit_app to it'));
  return wrong;
}

function durabilityRefusals(facts: Facts): readonly Refusal[] {
  const wrong: Refusal[] = [];
  if (facts.version < MIN_SERVER_VERSION)
    wrong.push(refuse('db_version', 'databaseUrl', 'Postgres is older than 15', 'upgrade it'));
  if (facts.sync === 'off' || facts.sync === 'local') {
    wrong.push(refuse('db_durability', 'databaseUrl', `synchronous_commit is ${facts.sync}`, 'set it to on'));
  }
  if (facts.fsync !== 'on') wrong.push(refuse('db_durability', 'databaseUrl', 'fsync is off', 'turn it on'));
  return wrong;
}

async function factsOf(url: DatabaseUrl): Promise<Facts> {
  const client = new pg.Client(clientConfig(url, 'merit probe'));
  client.on('error', () => {});
  try {
    await client.connect();
    const { rows } = await client.query<Facts>(FACTS);
    const facts = rows[0];
    if (facts === undefined) throw new Error('the user is in no role table');
    return facts;
  } catch (cause) {
    throw new OperatingError('unreachable', 'safe', 'asking Postgres about our users', {
      cause,
      mend: 'check the database URLs and that Postgres runs',
    });
  } finally {
    await client.end().catch(() => {});
  }
}
