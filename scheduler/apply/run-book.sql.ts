import type { Database, Tx } from '../../platform/postgres.ts';
import type { RunBook, RunOf, RunRecord } from './run-book.ts';
import type { UsageSeries } from './usage-series.ts';

/** The run book of the process that leads by `epoch`. */
export function postgresRunBook(db: Database, epoch: bigint): RunBook {
  return {
    read: (of) => db.asEngine((tx) => readRun(tx, of)),
    save: (of, record) => db.asLeader(epoch, (tx) => saveRun(tx, of, record)),
  };
}

interface RunRow {
  readonly began_at: Date;
  readonly ended_at: Date | null;
  readonly exit_code: number | null;
  readonly usage: UsageSeries;
}

async function readRun(tx: Tx, { bookingId, attempt }: RunOf): Promise<RunRecord | undefined> {
  const [row] = await tx.query<RunRow>(
    'select began_at, ended_at, exit_code, usage from attempt_runs where booking_id = $1 and attempt = $2',
    [bookingId, attempt],
  );
  if (row === undefined) return undefined;
  return {
    beganAtMs: row.began_at.getTime(),
    endedAtMs: row.ended_at?.getTime(),
    exitCode: row.exit_code ?? undefined,
    usage: row.usage,
  };
}

async function saveRun(tx: Tx, { tenant, bookingId, attempt }: RunOf, record: RunRecord): Promise<void> {
  const { beganAtMs, endedAtMs, exitCode, usage } = record;
  await tx.execute(
    `insert into attempt_runs (booking_id, attempt, tenant, began_at, ended_at, exit_code, usage) values ($1, $2, $3, $4, $5, $6, $7)
     on conflict (booking_id, attempt) do update set began_at = excluded.began_at, ended_at = excluded.ended_at,
       exit_code = excluded.exit_code, usage = excluded.usage`,
    [
      bookingId,
      attempt,
      tenant,
      new Date(beganAtMs),
      endedAtMs === undefined ? null : new Date(endedAtMs),
      exitCode ?? null,
      JSON.stringify(usage),
    ],
  );
}
