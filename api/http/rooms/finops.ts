import { chargesOf, type Settlement } from '../../../ledger/finops/charges.ts';
import { type BillingMonth, FOCUS_HEADER, focusRow } from '../../../ledger/finops/focus.ts';
import { type LedgerMonth, ledgerMonth } from '../../../ledger/finops/month.sql.ts';
import { type Spend, SpendSums } from '../../../ledger/finops/report.ts';
import { type SettledCursor, settledIn } from '../../../ledger/finops/settled.sql.ts';
import type { Database } from '../../../platform/postgres.ts';
import type { FinopsService, View } from '../services.ts';
import { moneyText } from './base.ts';

/** Transactions in which something was settled have ended by then: what is older changes no more. */
export const SETTLE_LAG_MS = 60_000;

export function finopsOf(db: Pick<Database, 'asTenant'>): FinopsService {
  return {
    month: async (caller, name, month, signal) => {
      const tenant = caller.identity.tenant;
      const until = untilOf(month, caller.nowMs);
      const sums = new SpendSums();
      for await (const settlement of settlements(db, tenant, until)) {
        signal.throwIfAborted();
        sums.add(settlement);
      }
      const ledger = await db.asTenant(tenant, (tx) => ledgerMonth(tx, tenant, until));
      return {
        month: name,
        from: new Date(until.startMs).toISOString(),
        to: new Date(until.endMs).toISOString(),
        open: until.endMs < month.endMs,
        divisions: ledger.map((of) => divisionView(of, sums.get(of.division, of.currency))),
      };
    },
    focus: (caller, month, toMs) => {
      const until = untilOf({ ...month, endMs: Math.min(toMs ?? month.endMs, month.endMs) }, caller.nowMs);
      return focusLines(settlements(db, caller.identity.tenant, until), month);
    },
  };
}

/** The lines of a FOCUS file, header first. */
export async function* focusLines(of: AsyncIterable<Settlement>, month: BillingMonth): AsyncGenerator<string> {
  yield FOCUS_HEADER;
  for await (const settlement of of) {
    yield chargesOf(settlement)
      .map((charge) => focusRow(settlement, charge, month))
      .join('');
  }
}

function untilOf(month: BillingMonth, nowMs: number): BillingMonth {
  return { ...month, endMs: Math.max(month.startMs, Math.min(month.endMs, nowMs - SETTLE_LAG_MS)) };
}

/** A page a transaction, so that nothing is held while the reader is slow. */
export async function* settlements(
  db: Pick<Database, 'asTenant'>,
  tenant: string,
  month: BillingMonth,
): AsyncGenerator<Settlement> {
  let after: SettledCursor | undefined;
  do {
    const page = await db.asTenant(tenant, (tx) => settledIn(tx, tenant, month, after));
    yield* page.settlements;
    after = page.next;
  } while (after !== undefined);
}

function divisionView(ledger: LedgerMonth, { settlements: count, settledCents, byPurpose, spotCents }: Spend): View {
  return {
    division: ledger.division,
    currency: ledger.currency,
    settlements: count,
    settled: moneyText(settledCents),
    completed: moneyText(byPurpose.completed),
    preempted: moneyText(byPurpose.preempted),
    failed: moneyText(byPurpose.failed),
    stopped: moneyText(byPurpose.stopped),
    spot: moneyText(spotCents),
    ledger: {
      posted: moneyText(ledger.postedCents),
      refunded: moneyText(ledger.refundedCents),
      openBefore: moneyText(ledger.openBeforeCents),
      openAfter: moneyText(ledger.openAfterCents),
      settled: moneyText(ledger.settledCents),
      equal: ledger.settledCents === settledCents,
    },
  };
}
