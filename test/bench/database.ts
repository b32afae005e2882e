import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import pg from 'pg';
import { assert } from '../../core/assert.ts';
import { createTopic } from '../../platform/event-log-postgres.ts';
import { clientConfig } from '../../platform/pg-client.ts';
import { type Database, openDatabase } from '../../platform/postgres.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { parseModel } from '../../scoring/registry/model-document.ts';
import { addVersion, registerModel } from '../../scoring/registry/models.ts';
import { applySuite } from '../../scoring/registry/suites.ts';
import { onDatabase, startTestPostgres, TEMPLATE_DATABASE } from '../support/postgres.ts';
import { corpusSuite, MODEL_NAMES } from './corpus.ts';

export const TENANT = 'bench';
const MAX_CONNECTIONS = 8;
/** Of the unit in which Linux counts CPU time in /proc. */
const TICK_SECONDS = 0.01;

/** The Postgres of a benchmark: the same build and settings that `merit start` runs. */
export interface BenchPostgres {
  /** A migrated database of its own, with the corpus' suite and models, and what `more` makes by an administrator's hand. */
  database(options?: { readonly more?: (database: string) => readonly string[] }): Promise<BenchDatabase>;
  /** CPU seconds of every process of the server so far. */
  cpuSeconds(): number;
  stop(): Promise<void>;
}

export interface BenchDatabase {
  readonly db: Database;
  readonly urls: { readonly admin: string; readonly engine: string; readonly app: string };
  readonly epoch: bigint;
  /** Empties the tables that a run fills. */
  clear(tables: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

export async function startBenchPostgres(): Promise<BenchPostgres> {
  const { postgres, stop } = await startTestPostgres();
  const folder = await oneValue(postgres.urls.admin, 'show data_directory', 'data_directory');
  const postmaster = Number(readFileSync(`${folder}/postmaster.pid`, 'utf8').split('\n')[0]);
  return {
    database: ({ more = () => [] } = {}) => makeDatabase(postgres.urls, more),
    cpuSeconds: () => cpuSecondsBelow(postmaster),
    stop,
  };
}

async function makeDatabase(
  shared: { readonly admin: string; readonly engine: string; readonly app: string },
  more: (database: string) => readonly string[],
): Promise<BenchDatabase> {
  const name = `b_${randomBytes(6).toString('hex')}`;
  await asAdmin(shared.admin, [
    `create database ${name} template ${TEMPLATE_DATABASE} owner merit_owner`,
    // As bootstrap.ts leaves a real one.
    `revoke all on database ${name} from public`,
    `grant connect on database ${name} to merit_app, merit_engine`,
  ]);
  const urls = {
    admin: onDatabase(shared.admin, name),
    engine: onDatabase(shared.engine, name),
    app: onDatabase(shared.app, name),
  };
  await asAdmin(urls.admin, [
    `insert into tenants (tenant) values ('${TENANT}')`,
    `insert into divisions (tenant, division) values ('${TENANT}', 'lab')`,
    ...more(name),
  ]);
  const db = openDatabase({ appUrl: urls.app, engineUrl: urls.engine, maxConnections: MAX_CONNECTIONS });
  await register(db);
  const rows = await db.asEngine((tx) =>
    tx.query<{ epoch: bigint }>("select epoch from leader_epochs where name = 'engine'"),
  );
  return {
    db,
    urls,
    epoch: rows[0]!.epoch,
    clear: (tables) => asAdmin(urls.admin, [`truncate ${tables.join(', ')}`]),
    close: async () => {
      await db.close();
      await asAdmin(shared.admin, [`drop database ${name} with (force)`]);
    },
  };
}

async function register(db: Database): Promise<void> {
  const by = { tenant: TENANT, actor: 'bench', traceId: '0'.repeat(31).concat('1'), nowMs: Date.now() };
  await db.asEngine((tx) => createTopic(tx, REPORTS_TOPIC, 1));
  await db.asTenant(TENANT, async (tx) => {
    await applySuite(tx, by, corpusSuite());
    const model = { apiVersion: 'merit/v1', kind: 'Model', name: 'ranker', division: 'lab', suite: 'bench' };
    await registerModel(tx, by, parseModel(model));
    for (const version of MODEL_NAMES) await addVersion(tx, by, { model: 'ranker', version });
  });
}

async function asAdmin(url: string, statements: readonly string[]): Promise<void> {
  const client = new pg.Client(clientConfig(url, 'merit bench'));
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

async function oneValue(url: string, sql: string, column: string): Promise<string> {
  const client = new pg.Client(clientConfig(url, 'merit bench'));
  await client.connect();
  try {
    return String((await client.query<Record<string, unknown>>(sql)).rows[0]?.[column]);
  } finally {
    await client.end();
  }
}

/** Of a process, its living children, and those that it has reaped. */
function cpuSecondsBelow(pid: number): number {
  let ticks = 0;
  for (const name of readdirSync('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const fields = statOf(name);
    if (fields === undefined) continue;
    const [parent, user, system, reapedUser, reapedSystem] = [1, 11, 12, 13, 14].map((at) => Number(fields[at]));
    if (Number(name) === pid) ticks += user! + system! + reapedUser! + reapedSystem!;
    else if (parent === pid) ticks += user! + system!;
  }
  assert(ticks > 0, 'the server of the benchmark runs');
  return ticks * TICK_SECONDS;
}

/** The fields of /proc/<pid>/stat behind the command's name, which may hold anything. */
function statOf(name: string): readonly string[] | undefined {
  try {
    const text = readFileSync(`/proc/${name}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}
