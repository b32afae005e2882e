import { monthNumber, numberedMonth } from '../../ledger/finops/billing-month.ts';
import { ledgerMonth } from '../../ledger/finops/month.sql.ts';
import { SpendSums } from '../../ledger/finops/report.ts';
import type { FinanceReports } from '../../peers/finance/reports.ts';
import { moneyOf } from '../../peers/money.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Metrics } from '../../platform/metrics.ts';
import { type Database, StaleLeader } from '../../platform/postgres.ts';
import type { Log } from '../../scheduler/apply/context.ts';
import { focusLines, SETTLE_LAG_MS, settlements } from '../http/rooms/finops.ts';
import type { LeaderLoop } from './engine.ts';

/** Between two looks at whether a month has ended; a report that was not taken is told again at the next. */
const LOOK_MS = 10 * 60_000;
const OUTCOMES = ['taken', 'refused', 'failed', 'unequal'] as const;

export interface ReportWatch {
  pushed(outcome: (typeof OUTCOMES)[number]): void;
}

export interface FinanceReportParts {
  readonly db: Database;
  readonly clock: Clock;
  readonly log: Log;
  readonly reports: FinanceReports;
  readonly watch: ReportWatch;
}

/** Tells Finance of each month of each tenant once it has ended, wherever this process leads. */
export function financeReportLoop(parts: FinanceReportParts): LeaderLoop {
  return {
    name: 'finance-report',
    run: async (epoch, signal) => {
      while (!signal.aborted) {
        await pushDueReports(parts, epoch, signal);
        await parts.clock.sleep(LOOK_MS, signal);
      }
    },
  };
}

/** One look. A tenant that was never seen begins with the month that runs; months that were missed are told in their order. Throws StaleLeader. */
export async function pushDueReports(parts: FinanceReportParts, epoch: bigint, signal: AbortSignal): Promise<void> {
  const running = monthNumber(parts.clock.now() - SETTLE_LAG_MS);
  await orAgain(parts, {}, async () => {
    // What keeps one tenant's month from Finance keeps no other's.
    for (const { tenant, next } of await placesOf(parts.db, epoch, running))
      await orAgain(parts, { tenant }, () => pushMonths(parts, epoch, { tenant, next, running }, signal));
  });
}

async function pushMonths(
  parts: FinanceReportParts,
  epoch: bigint,
  { tenant, next, running }: { readonly tenant: string; readonly next: number; readonly running: number },
  signal: AbortSignal,
): Promise<void> {
  for (let month = next; month < running && !signal.aborted; month++) {
    const outcome = await push(parts, tenant, month, signal);
    parts.watch.pushed(outcome);
    if (outcome !== 'taken') return;
    await parts.db.asLeader(epoch, (tx) =>
      tx.execute('update publications set next_seq = $2, moved_at = clock_timestamp() where name = $1', [
        placeName(tenant),
        BigInt(month + 1),
      ]),
    );
  }
}

/** Whatever it is, it must not end the loops that lead beside it. */
async function orAgain({ log, watch }: FinanceReportParts, of: object, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (error instanceof StaleLeader) throw error;
    watch.pushed('failed');
    log.warn({ ...of, error: String(error) }, 'Finance could not be told what a month cost; it is told again');
  }
}

const placeName = (tenant: string) => `finance-report/${tenant}`;

/** Of each tenant the first month that Finance was not told of. */
async function placesOf(
  db: Database,
  epoch: bigint,
  running: number,
): Promise<readonly { readonly tenant: string; readonly next: number }[]> {
  const rows = await db.asLeader(epoch, (tx) =>
    tx.query<{ tenant: string; next_seq: bigint }>(
      `with begun as (
         insert into publications (name, next_seq) select $2 || tenant, $1 from tenants on conflict (name) do nothing returning name, next_seq)
       select t.tenant, coalesce(p.next_seq, b.next_seq) as next_seq from tenants t
       left join publications p on p.name = $2 || t.tenant left join begun b on b.name = $2 || t.tenant order by t.tenant`,
      [BigInt(running), placeName('')],
    ),
  );
  return rows.map(({ tenant, next_seq }) => ({ tenant, next: Number(next_seq) }));
}

async function push(
  { db, log, reports }: FinanceReportParts,
  tenant: string,
  number: number,
  signal: AbortSignal,
): Promise<'taken' | 'refused' | 'unequal'> {
  const month = numberedMonth(number);
  const name = new Date(month.startMs).toISOString().slice(0, 7);
  const sums = new SpendSums();
  for await (const settlement of settlements(db, tenant, month)) sums.add(settlement);
  const ledger = await db.asTenant(tenant, (tx) => ledgerMonth(tx, tenant, month));
  const unequal = ledger.filter((of) => of.settledCents !== sums.get(of.division, of.currency).settledCents);
  if (unequal.length > 0) {
    log.error(
      { tenant, month: name, unequal: unequal.length },
      'the charges of a month are not the ledger’s: Finance is not told',
    );
    return 'unequal';
  }
  const totals = ledger.map((of) => ({ division: of.division, settled: moneyOf(of.settledCents, of.currency) }));
  const told = await reports.push(
    { tenant, month: name, totals },
    focusLines(settlements(db, tenant, month), month),
    signal,
  );
  if (told.kind === 'refused')
    log.error({ tenant, month: name, code: told.code, detail: told.detail }, 'Finance refuses what a month cost');
  return told.kind;
}

export function reportMetrics(metrics: Metrics): ReportWatch {
  const pushed = metrics.counter('merit_finance_reports_total', 'What came of telling Finance what a month cost', {
    outcome: OUTCOMES,
  });
  return { pushed: (outcome) => pushed({ outcome }) };
}
