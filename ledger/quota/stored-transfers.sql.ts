import { int8Array, textArray, timestampArray } from '../../platform/pg-arrays.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { StoredTransfer, TransferKind } from './transfer.ts';

/** The rows of the transfers table: written once, never changed. */
export const TRANSFER_COLUMNS =
  'transfer_id, tenant, booking_id, attempt, kind, pending_id, debit_account, credit_account, amount, expires_at';

interface TransferRow {
  readonly transfer_id: string;
  readonly tenant: string;
  readonly booking_id: string | null;
  readonly attempt: number | null;
  readonly kind: TransferKind;
  readonly pending_id: string | null;
  readonly debit_account: string;
  readonly credit_account: string;
  readonly amount: bigint;
  readonly expires_at: Date | null;
}

export function transferOf(row: object): StoredTransfer {
  const r = row as TransferRow;
  return {
    id: r.transfer_id,
    tenant: r.tenant,
    bookingId: r.booking_id ?? undefined,
    attempt: r.attempt ?? undefined,
    kind: r.kind,
    pendingId: r.pending_id ?? undefined,
    debit: r.debit_account,
    credit: r.credit_account,
    amount: r.amount,
    expiresAtMs: r.expires_at?.getTime(),
  };
}

export async function readTransfers(tx: Tx, ids: readonly string[]): Promise<readonly StoredTransfer[]> {
  const rows = await tx.query(`select ${TRANSFER_COLUMNS} from transfers where transfer_id = any($1::text[])`, [
    textArray(ids),
  ]);
  return rows.map(transferOf);
}

/** All transfers that were asked for a booking, by id: without what they changed of lender debts, which is the quota tree's. */
export async function transfersOfBooking(tx: Tx, bookingId: string): Promise<readonly StoredTransfer[]> {
  const rows = await tx.query(
    `select ${TRANSFER_COLUMNS} from transfers where booking_id = $1 and kind not in ('borrow', 'repay') order by transfer_id`,
    [bookingId],
  );
  return rows.map(transferOf);
}

export async function insertTransfers(tx: Tx, rows: readonly StoredTransfer[]): Promise<void> {
  if (rows.length === 0) return;
  await tx.execute(
    `insert into transfers (${TRANSFER_COLUMNS})
     select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
                          $9::bigint[], $10::timestamptz[])`,
    [
      textArray(rows.map((t) => t.id)),
      textArray(rows.map((t) => t.tenant)),
      textArray(rows.map((t) => t.bookingId ?? null)),
      int8Array(rows.map((t) => t.attempt ?? null)),
      textArray(rows.map((t) => t.kind)),
      textArray(rows.map((t) => t.pendingId ?? null)),
      textArray(rows.map((t) => t.debit)),
      textArray(rows.map((t) => t.credit)),
      int8Array(rows.map((t) => t.amount)),
      timestampArray(rows.map((t) => t.expiresAtMs ?? null)),
    ],
  );
}
