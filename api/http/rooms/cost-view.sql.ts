import type { Tx } from '../../../platform/postgres.ts';
import type { View } from '../services.ts';
import { moneyText } from './base.ts';

interface CostRow {
  readonly currency: string;
  readonly held: string | null;
  readonly spent: string | null;
}

/** What a job holds and has spent, out of the ledger's own rows: equal to it to the cent. */
export async function costView(tx: Tx, tenant: string, jobId: string): Promise<View> {
  const rows = await tx.query<CostRow>(
    `select a.unit as currency,
       sum(t.amount) filter (where t.kind = 'pending' and t.debit_account = a.account_id
         and not exists (select 1 from transfers r where r.pending_id = t.transfer_id)) as held,
       sum(case when t.debit_account = a.account_id then t.amount else -t.amount end) filter (where t.kind in ('post', 'direct')) as spent
     from transfers t join accounts a on a.kind = 'budget' and a.account_id in (t.debit_account, t.credit_account)
     where t.tenant = $1 and t.booking_id = $2 group by a.unit order by a.unit`,
    [tenant, jobId],
  );
  const [first] = rows;
  return {
    id: jobId,
    currency: first?.currency ?? null,
    held: moneyText(BigInt(first?.held ?? 0)),
    spent: moneyText(BigInt(first?.spent ?? 0)),
  };
}
