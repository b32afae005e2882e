import pg from 'pg';
import type { Clock } from './clock.ts';

/** Any constant: the advisory lock that nominates the one process that leads. */
const LEADER_LOCK = 0x6d65726974;
const RETRY_MS = 500;

export interface Leadership {
  /** What `Database.asLeader` is given. */
  readonly epoch: bigint;
  /** Aborts when the nomination is lost; writes by this epoch go on to be refused once another leader minted a newer one. */
  readonly lost: AbortSignal;
  resign(): Promise<void>;
}

/**
 * Waits until this process is nominated (a session advisory lock on its own connection), then mints the next epoch in a bounded
 * transaction. The lock only nominates; the epoch row decides, so a frozen leader that wakes up changes nothing.
 * undefined: `signal` came first.
 */
export async function lead(
  engineUrl: string,
  holder: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<Leadership | undefined> {
  while (!signal.aborted) {
    const client = new pg.Client({
      connectionString: engineUrl,
      application_name: 'merit-leader',
      keepAlive: true,
      lock_timeout: 5_000,
      idle_in_transaction_session_timeout: 5_000,
    });
    const lost = new AbortController();
    client.on('error', () => lost.abort());
    client.on('end', () => lost.abort());
    try {
      await client.connect();
      const locked =
        (await client.query<{ ok: boolean }>('select pg_try_advisory_lock($1) as ok', [LEADER_LOCK])).rows[0]?.ok ===
        true;
      if (locked) {
        const minted = await client.query<{ epoch: bigint }>(
          "update leader_epochs set epoch = epoch + 1, holder = $1 where name = 'engine' returning epoch",
          [holder],
        );
        const epoch = minted.rows[0]?.epoch;
        if (epoch === undefined) throw new Error('the table leader_epochs has no row named engine: run the migrations');
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

/** Postgres away, starting, or a lock held by a leader in mid-commit: tried again. */
function isPassing(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  if (typeof code !== 'string') return error instanceof Error && /terminated|timeout/i.test(error.message);
  return (
    code.startsWith('ECONN') ||
    code.startsWith('57P') ||
    code.startsWith('08') ||
    code === '55P03' ||
    code === 'EPIPE' ||
    code === '53300'
  );
}
