import type pg from 'pg';
import { type DatabaseUrl, urlNow } from './pg-login.ts';

const CONNECT_TIMEOUT_MS = 10_000;

/**
 * How to connect to a database URL, the same for every connection of ours. What the URL does not say is said here, since pg
 * would take it from PGOPTIONS, PGSSLMODE and PGAPPNAME of the environment; the search path is pinned, so that a schema
 * named like a user changes nothing.
 */
export function clientConfig(url: DatabaseUrl, applicationName: string): pg.ClientConfig {
  const text = urlNow(url);
  const base = {
    connectionString: text,
    application_name: applicationName,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    options: '-c search_path=public -c timezone=UTC',
  };
  return new URL(text).searchParams.has('sslmode') ? base : { ...base, ssl: false };
}
