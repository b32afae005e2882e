import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { auditEventId } from '../../ledger/audit/append.ts';
import { clientConfig } from '../../platform/pg-client.ts';
import { TENANT } from './crash-world.ts';

const POLL_MS = 20;
const REACH_LIMIT_MS = 30_000;

/** A lock that a test holds in Postgres from now on, so that a transaction of the server stands in the middle. */
export interface PostgresStand {
  /** Resolves when a transaction has come to stand at it. */
  reached(): Promise<void>;
  /** Gives the lock back; what stands goes on. May be called again. */
  open(): Promise<void>;
}

/**
 * The transaction that writes event number `n` of the booking stands at its last statement, with everything else of it done: the
 * same event is there already, in a transaction that never commits, and the unique key makes the second writer wait.
 */
export function standAtEvent(adminUrl: string, bookingId: string, n: number): Promise<PostgresStand> {
  const subject = `booking/${bookingId}`;
  return stand(
    adminUrl,
    `insert into audit_events (event_id, tenant, subject, subject_seq, type, bytes) values ($1, $2, $3, $4, 'test', '\\x00')`,
    [auditEventId(TENANT, subject, n), TENANT, subject, n],
  );
}

/** The next transaction that moves the booking stands at its first statement. */
export function standAtRow(adminUrl: string, bookingId: string): Promise<PostgresStand> {
  return stand(adminUrl, 'select 1 from bookings where booking_id = $1 for update', [bookingId]);
}

/** What ends a retrain's booking, when the booking and its event are written: the version's link to it. */
export function standAtVersion(adminUrl: string, version: string): Promise<PostgresStand> {
  return stand(adminUrl, 'select 1 from model_versions where version = $1 for update', [version]);
}

/** Every statement that writes to the table (`share`), or uses it at all (`access exclusive`), stands. */
export function standAtTable(
  adminUrl: string,
  table: 'log_messages' | 'manifests' | 'bookings',
  mode: 'share' | 'access exclusive',
): Promise<PostgresStand> {
  return stand(adminUrl, `lock table ${table} in ${mode} mode`, []);
}

async function stand(adminUrl: string, sql: string, values: readonly unknown[]): Promise<PostgresStand> {
  const holder = new pg.Client(clientConfig(adminUrl, 'merit test: holds'));
  await holder.connect();
  await holder.query('begin');
  await holder.query(sql, values as unknown[]);
  const own = await holder.query<{ pid: number }>('select pg_backend_pid() as pid');
  const pid = own.rows[0]?.pid;
  let opened: Promise<void> | undefined;
  return {
    reached: async () => {
      const deadline = performance.now() + REACH_LIMIT_MS;
      for (;;) {
        // The holder looks itself: what waits for it is seen from any session.
        const waiting = await holder.query('select 1 from pg_stat_activity where $1 = any(pg_blocking_pids(pid))', [
          pid,
        ]);
        if (waiting.rows.length > 0) return;
        if (performance.now() > deadline) throw new Error(`no transaction came to stand at: ${sql}`);
        await sleep(POLL_MS);
      }
    },
    open: () => {
      opened ??= holder.end();
      return opened;
    },
  };
}
