import { OperatingError } from '../../core/operating-error.ts';
import type { Clock } from '../../platform/clock.ts';
import { type Database, isDatabaseAway, type Tx } from '../../platform/postgres.ts';
import type { Log } from './context.ts';
import type { EtaSample } from './eta-record.ts';

/** The newest that are kept. */
export const MAX_ETA_RECORDS = 20_000;

/** A start time held if the job started within a minute of it, or within this part of the wait that was told. */
export const ETA_TOLERANCE_SECONDS = 60;
export const ETA_TOLERANCE_SHARE = 0.1;

/** How well the start times of a pool held; times in seconds. A booking counts for the pool in which it first started. */
export interface EtaRecord {
  readonly pool: string;
  /** Bookings that were told a start time and have started. */
  readonly told: number;
  /** Those that started though no time could be told. */
  readonly untold: number;
  readonly held: number;
  /** Started in time or before it: leases that end early make room early. */
  readonly notLater: number;
  readonly medianErrorSeconds: number | null;
  readonly sinceMs: number;
}

export async function noteEtas(tx: Tx, samples: readonly EtaSample[]): Promise<void> {
  await tx.execute(
    `insert into eta_records (booking_id, tenant, told_at, eta_at)
     select * from unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[]) on conflict (booking_id) do nothing`,
    [
      samples.map(({ bookingId }) => bookingId),
      samples.map(({ tenant }) => tenant),
      samples.map(({ toldAtMs }) => new Date(toldAtMs)),
      samples.map(({ etaMs }) => (etaMs === null ? null : new Date(etaMs))),
    ],
  );
  await tx.execute('delete from eta_records where record_no <= (select max(record_no) from eta_records) - $1', [
    MAX_ETA_RECORDS,
  ]);
}

interface RecordRow {
  readonly pool: string;
  readonly told: bigint;
  readonly untold: bigint;
  readonly held: bigint;
  readonly not_later: bigint;
  readonly median_error: number | null;
  readonly since: Date;
}

/** By pool, of one where it is named; a pool without a start that was told has none. */
export async function etaRecords(tx: Tx, tenant: string, pool: string | null = null): Promise<readonly EtaRecord[]> {
  const rows = await tx.query<RecordRow>(
    `with starts as (
       select distinct on (r.booking_id) a.pool, r.told_at, r.eta_at, extract(epoch from a.started_at - r.eta_at)::float8 as late,
              greatest($3::float8, $4::float8 * extract(epoch from r.eta_at - r.told_at)::float8) as tolerance
       from eta_records r join attempts a using (booking_id)
       where r.tenant = $1 and a.started_at is not null order by r.booking_id, a.attempt
     )
     select pool, count(eta_at) as told, count(*) - count(eta_at) as untold, count(*) filter (where abs(late) <= tolerance) as held,
            count(*) filter (where late <= tolerance) as not_later, min(told_at) as since,
            percentile_cont(0.5) within group (order by abs(late)) as median_error
     from starts where $2::text is null or pool = $2 group by pool order by pool collate "C"`,
    [tenant, pool, ETA_TOLERANCE_SECONDS, ETA_TOLERANCE_SHARE],
  );
  return rows.map((row) => ({
    pool: row.pool,
    told: Number(row.told),
    untold: Number(row.untold),
    held: Number(row.held),
    notLater: Number(row.not_later),
    medianErrorSeconds: row.median_error,
    sinceMs: row.since.getTime(),
  }));
}

export interface EtaMetrics {
  etaRecord(tenant: string, record: EtaRecord): void;
}

/** Between two looks at how start times held. */
const WATCH_MS = 30_000;
const MAX_TENANTS = 50;

/** Run by the engine's leader: tells the record of each pool as metrics. */
export async function watchEtas(
  watch: { readonly db: Database; readonly clock: Clock; readonly log: Log; readonly metrics: EtaMetrics },
  signal: AbortSignal,
): Promise<void> {
  const { db, clock, log, metrics } = watch;
  while (!signal.aborted) {
    try {
      await db.asEngine(async (tx) => {
        const tenants = await tx.query<{ tenant: string }>('select tenant from tenants order by tenant limit $1', [
          MAX_TENANTS,
        ]);
        for (const { tenant } of tenants)
          for (const record of await etaRecords(tx, tenant)) metrics.etaRecord(tenant, record);
      });
    } catch (error) {
      if (!isDatabaseAway(error) && !(error instanceof OperatingError)) throw error;
      log.warn({ error: String(error) }, 'how start times held could not be looked at; it is tried again');
    }
    await clock.sleep(WATCH_MS, signal);
  }
}
