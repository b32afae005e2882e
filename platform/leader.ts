import pg from 'pg';
import type { Clock } from './clock.ts';
import type { Nomination, Nominator, Seat } from './nominator.ts';
import { clientConfig } from './pg-client.ts';
import type { DatabaseUrl } from './pg-login.ts';
import { isDatabaseAway } from './postgres.ts';

const RETRY_MS = 500;
const LOCK_TIMEOUT_MS = 5_000;
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 5_000;

export interface Leadership {
  /** What `Database.asLeader` is given. */
  readonly epoch: bigint;
  /** Aborts when the nomination is lost; writes by this epoch go on to be refused once another leader minted a newer one. */
  readonly lost: AbortSignal;
  resign(): Promise<void>;
}

export interface LeadOptions {
  readonly engineUrl: DatabaseUrl;
  readonly nominator: Nominator;
  /** Names this process in the epoch's row. */
  readonly holder: string;
  readonly clock: Clock;
}

/**
 * Waits until this process is nominated for the seat, then mints the next epoch in a bounded transaction. The nomination only says whose
 * turn it is; the epoch row decides, so a frozen leader that wakes up changes nothing.
 * undefined: `signal` came first. Throws what waiting does not mend (a refused password, a table that is not there).
 */
export async function lead(options: LeadOptions, seat: Seat, signal: AbortSignal): Promise<Leadership | undefined> {
  const { engineUrl, nominator, holder, clock } = options;
  while (!signal.aborted) {
    const nomination = await nominator.nominate(seat, holder);
    if (nomination !== undefined) {
      const epoch = await mintFor(nomination, engineUrl, seat, holder);
      if (epoch !== undefined) return { epoch, lost: nomination.lost, resign: () => nomination.resign() };
    }
    await clock.sleep(RETRY_MS, signal);
  }
  return undefined;
}

async function mintFor(
  nomination: Nomination,
  engineUrl: DatabaseUrl,
  seat: Seat,
  holder: string,
): Promise<bigint | undefined> {
  try {
    return await mintEpoch(engineUrl, seat, holder);
  } catch (error) {
    await nomination.resign().catch(() => {});
    if (!isPassing(error)) throw error;
    return undefined;
  }
}

async function mintEpoch(engineUrl: DatabaseUrl, seat: Seat, holder: string): Promise<bigint> {
  const client = new pg.Client({
    ...clientConfig(engineUrl, 'merit epoch'),
    lock_timeout: LOCK_TIMEOUT_MS,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
  });
  client.on('error', () => {});
  try {
    await client.connect();
    const minted = await client.query<{ epoch: bigint }>(
      "update leader_epochs set epoch = nextval('leader_epoch_numbers'), holder = $1 where name = $2 returning epoch",
      [holder, seat],
    );
    const epoch = minted.rows[0]?.epoch;
    if (epoch === undefined) throw new Error('the table leader_epochs has no row of this seat: run the migrations');
    return epoch;
  } finally {
    await client.end().catch(() => {});
  }
}

/** Postgres away, starting, or (55P03) a lock held by a leader in mid-commit: tried again. */
function isPassing(error: unknown): boolean {
  return isDatabaseAway(error) || (error as { code?: unknown }).code === '55P03';
}
