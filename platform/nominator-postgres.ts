import pg from 'pg';
import type { Nomination, Nominator, Seat } from './nominator.ts';
import { LEASE_MS } from './nominator.ts';
import { clientConfig } from './pg-client.ts';
import type { DatabaseUrl } from './pg-login.ts';
import { isDatabaseAway } from './postgres.ts';

/** Any constants: the advisory lock that nominates the one process that leads. */
const LEADER_LOCKS: Readonly<Record<Seat, number>> = {
  audit: 0x6d65726975,
  engine: 0x6d65726974,
  reconciler: 0x6d65726977,
  archive: 0x6d65726978,
};
/** Of the connection that holds a lock; whoever is passed over is found by it. */
const APPLICATION = 'merit leader';
/**
 * A leader whose machine is gone without a word holds the lock until the server asks after it: here after 10 s + 3 × 5 s, not the two
 * hours that Linux takes by itself.
 */
const ASK_AFTER_PEER = 'set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3';

/** A frozen process keeps its connection, and with it the lock: it is cut off once it has not said anything on it for the lease. */
const CUT_OFF_SILENT = `
  select pg_terminate_backend(a.pid) from pg_locks l join pg_stat_activity a using (pid)
  where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and (l.classid::bigint << 32) | l.objid::bigint = $1
    and l.database = (select oid from pg_database where datname = current_database())
    and a.application_name = '${APPLICATION}' and a.state_change < clock_timestamp() - $2::bigint * interval '1 millisecond'`;

/** Nominates by a session advisory lock, on a connection of its own that says something three times within the lease. */
export function postgresNominator(engineUrl: DatabaseUrl, leaseMs = LEASE_MS): Nominator {
  let away: string | undefined;
  return {
    nominate: async (seat) => {
      // A server that does not answer loses the nomination within the lease, not when TCP gives up.
      const client = new pg.Client({
        ...clientConfig(engineUrl, APPLICATION),
        keepAlive: true,
        query_timeout: leaseMs / 3,
      });
      const lost = new AbortController();
      client.on('error', () => lost.abort());
      client.on('end', () => lost.abort());
      try {
        await client.connect();
        await client.query(ASK_AFTER_PEER);
        away = undefined;
        const lock = LEADER_LOCKS[seat];
        const { rows } = await client.query<{ ok: boolean }>('select pg_try_advisory_lock($1) as ok', [lock]);
        if (rows[0]?.ok === true) return nomination(client, lost, leaseMs);
        await client.query(CUT_OFF_SILENT, [lock, leaseMs]);
        await client.end();
      } catch (error) {
        await client.end().catch(() => {});
        if (!isDatabaseAway(error)) throw error;
        away = `Postgres does not answer: ${error instanceof Error ? error.message : String(error)}`;
      }
      return undefined;
    },
    away: () => away,
    close: async () => {},
  };
}

function nomination(client: pg.Client, lost: AbortController, leaseMs: number): Nomination {
  const beat = setInterval(() => {
    client.query('select 1').catch(() => lost.abort());
  }, leaseMs / 3);
  lost.signal.addEventListener('abort', () => clearInterval(beat), { once: true });
  return { lost: lost.signal, resign: () => client.end() };
}
