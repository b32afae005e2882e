import pg from 'pg';
import type { Clock } from './clock.ts';
import { clientConfig } from './pg-client.ts';
import { isDatabaseAway } from './postgres.ts';

/**
 * What is led: the sequencer of the audit trail, the report consumer, the engine of bookings (planner, saga, retrains), and the sweeps. One
 * process may hold all seats, or several of different roles one each.
 */
export type Seat = 'audit' | 'ingest' | 'engine' | 'reconciler';

/** Any constants: the advisory lock that nominates the one process that leads. */
const LEADER_LOCKS: Readonly<Record<Seat, number>> = {
  audit: 0x6d65726975,
  ingest: 0x6d65726976,
  engine: 0x6d65726974,
  reconciler: 0x6d65726977,
};
const RETRY_MS = 500;
const LOCK_TIMEOUT_MS = 5_000;
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 5_000;
/**
 * A leader whose machine is gone without a word holds the lock until the server asks after it: here after 10 s + 3 × 5 s, not the two
 * hours that Linux takes by itself.
 */
const ASK_AFTER_PEER = 'set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3';

export interface Leadership {
  /** What `Database.asLeader` is given. */
  readonly epoch: bigint;
  /** Aborts when the nomination is lost; writes by this epoch go on to be refused once another leader minted a newer one. */
  readonly lost: AbortSignal;
  resign(): Promise<void>;
}

/**
 * Waits until this process is nominated for the seat (a session advisory lock on its own connection), then mints the next epoch in a bounded
 * transaction. The lock only nominates; the epoch row decides, so a frozen leader that wakes up changes nothing.
 * undefined: `signal` came first. Throws what waiting does not mend (a refused password, a table that is not there).
 */
export async function lead(
  engineUrl: string,
  seat: Seat,
  holder: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<Leadership | undefined> {
  while (!signal.aborted) {
    const client = new pg.Client({
      ...clientConfig(engineUrl, 'merit leader'),
      keepAlive: true,
      lock_timeout: LOCK_TIMEOUT_MS,
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
    });
    const lost = new AbortController();
    client.on('error', () => lost.abort());
    client.on('end', () => lost.abort());
    try {
      await client.connect();
      await client.query(ASK_AFTER_PEER);
      const locked =
        (await client.query<{ ok: boolean }>('select pg_try_advisory_lock($1) as ok', [LEADER_LOCKS[seat]])).rows[0]
          ?.ok === true;
      if (locked) {
        const minted = await client.query<{ epoch: bigint }>(
          "update leader_epochs set epoch = nextval('leader_epoch_numbers'), holder = $1 where name = $2 returning epoch",
          [holder, seat],
        );
        const epoch = minted.rows[0]?.epoch;
        if (epoch === undefined) throw new Error('the table leader_epochs has no row of this seat: run the migrations');
        return { epoch, lost: lost.signal, resign: () => client.end() };
      }
      await client.end();
    } catch (error) {
      await client.end().catch(() => {});
      if (!isPassing(error)) throw error;
    }
    await clock.sleep(RETRY_MS, signal);
  }
  return undefined;
}

/** Postgres away, starting, or (55P03) a lock held by a leader in mid-commit: tried again. */
function isPassing(error: unknown): boolean {
  return isDatabaseAway(error) || (error as { code?: unknown }).code === '55P03';
}
