import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { clientConfig } from '../../platform/pg-client.ts';
import { type Database, openDatabase } from '../../platform/postgres.ts';
import { onDatabase, TEMPLATE_DATABASE } from './postgres.ts';

export interface TestDatabase {
  readonly urls: { readonly admin: string; readonly owner: string; readonly app: string; readonly engine: string };
  readonly db: Database;
  /** Closes the pools and drops the database, whoever is still connected. */
  close(): Promise<void>;
}

const TEST_MAX_CONNECTIONS = 8;

/** A migrated, empty database of the caller's own: one a test file, made in `beforeAll` and closed in `afterAll`. The roles are shared. */
export async function testDatabase(): Promise<TestDatabase> {
  const shared = inject('postgresUrls');
  if (shared === undefined)
    throw new Error('tests that use a database live in test/integration, conformance, sim or chaos');
  const name = `t_${randomBytes(6).toString('hex')}`;
  await asAdmin(shared.admin, `create database ${name} template ${TEMPLATE_DATABASE} owner merit_owner`);
  const urls = {
    admin: onDatabase(shared.admin, name),
    owner: onDatabase(shared.owner, name),
    app: onDatabase(shared.app, name),
    engine: onDatabase(shared.engine, name),
  };
  const db = openDatabase({ appUrl: urls.app, engineUrl: urls.engine, maxConnections: TEST_MAX_CONNECTIONS });
  return {
    urls,
    db,
    close: async () => {
      await db.close();
      await asAdmin(shared.admin, `drop database ${name} with (force)`);
    },
  };
}

/** Runs one statement as the superuser. */
export async function asAdmin(adminUrl: string, sql: string): Promise<readonly Record<string, unknown>[]> {
  const client = new pg.Client(clientConfig(adminUrl, 'merit test'));
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}
