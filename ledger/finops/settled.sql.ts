import { assert } from '../../core/assert.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { Settlement } from './charges.ts';
import type { BillingMonth } from './focus.ts';

/** Where a page of settlements ended. */
export interface SettledCursor {
  readonly recordedAt: string;
  readonly transferId: string;
}

/** Movements looked at in one transaction: an attempt that ends has two, its quota and its money. */
export const MOVEMENTS_A_PAGE = 1_000;

interface Row {
  readonly booking_id: string;
  readonly attempt: number;
  readonly division: string;
  readonly job_name: string;
  readonly requester: string;
  readonly trace_id: string;
  readonly provider: string;
  readonly pool: string;
  readonly flavour: string;
  readonly resource: string;
  readonly spot: boolean;
  readonly outcome: string;
  readonly reason: string;
  readonly currency: string;
  readonly net: string;
  readonly ended_at: Date;
  readonly event_id: string | null;
  readonly cost: { readonly [key: string]: string } | null;
}

/**
 * What was settled in [start, end), in the order of settling: the refund of an attempt's money is the one row that every attempt which was applied
 * gets once, at its end. Amounts are the ledger's; what the trail says of the same cost has to be the same, or this throws.
 */
export async function settledIn(
  tx: Tx,
  tenant: string,
  { startMs, endMs }: BillingMonth,
  after: SettledCursor | undefined,
): Promise<{ readonly settlements: readonly Settlement[]; readonly next: SettledCursor | undefined }> {
  const movements = await tx.query<{ transfer_id: string; recorded_at: string }>(
    `select transfer_id, recorded_at::text as recorded_at from transfers
     where tenant = $1 and kind = 'direct' and recorded_at < $2 and (recorded_at, transfer_id) > ($3::timestamptz, $4)
     order by transfers.recorded_at, transfer_id limit $5`,
    [
      tenant,
      new Date(endMs),
      after?.recordedAt ?? new Date(startMs).toISOString(),
      after?.transferId ?? '',
      MOVEMENTS_A_PAGE,
    ],
  );
  const refunds = movements.map((one) => one.transfer_id).filter((id) => id.endsWith(REFUND));
  const rows = refunds.length === 0 ? [] : await tx.query<Row>(SETTLED, [tenant, refunds]);
  const last = movements.length === MOVEMENTS_A_PAGE ? movements.at(-1) : undefined;
  return {
    settlements: rows.map((row) => settlementOf(tenant, row)),
    next: last === undefined ? undefined : { recordedAt: last.recorded_at, transferId: last.transfer_id },
  };
}

/** How the id of an attempt's refund ends. */
const REFUND = '-money-refund';

const SETTLED = `
  select r.booking_id, r.attempt, b.division, b.job_name, b.requester, b.trace_id,
    a.provider, a.pool, a.flavour, a.outcome, a.end_code as reason, a.ended_at, spend.unit as currency, coalesce(quota.unit, 'money') as resource,
    coalesce(f.spot, false) as spot, (posted.amount - r.amount)::text as net, e.event_id, e.cost
  from transfers r
  join accounts spend on spend.account_id = r.debit_account
  join bookings b on b.booking_id = r.booking_id
  join attempts a on a.booking_id = r.booking_id and a.attempt = r.attempt
  left join lateral (
    select q.unit from transfers back join accounts q on q.account_id = back.debit_account
    where back.transfer_id = r.booking_id || '-' || r.attempt || '-quota-return' limit 1
  ) quota on true
  left join flavours f on f.tenant = $1 and f.pool = a.pool and f.flavour = a.flavour
  cross join lateral (
    select sum(p.amount) as amount from transfers p
    where p.booking_id = r.booking_id and p.attempt = r.attempt and p.kind = 'post' and p.credit_account = r.debit_account
  ) posted
  left join lateral (
    select event_id, data -> 'cost' as cost
    from (select event_id, subject_seq, convert_from(bytes, 'UTF8')::jsonb -> 'data' as data from audit_events
          where tenant = $1 and subject = 'booking/' || r.booking_id) told
    where data ? 'cost' and (data ->> 'attempt')::integer = r.attempt
    order by subject_seq desc limit 1
  ) e on true
  where r.tenant = $1 and r.transfer_id = any($2::text[])
  order by r.recorded_at, r.transfer_id`;

function settlementOf(tenant: string, row: Row): Settlement {
  const { booking_id: bookingId, attempt, cost, event_id: auditEventId, currency } = row;
  assert(cost !== null && auditEventId !== null, `no audit event tells what attempt ${attempt} of ${bookingId} cost`);
  const cents = BigInt(row.net);
  const isSame = cost.cents === String(cents) && cost.currency === currency;
  assert(
    isSame,
    `the ledger has ${cents} ${currency} for attempt ${attempt} of ${bookingId}, the trail ${cost.cents} ${cost.currency}`,
  );
  return {
    bookingId,
    attempt,
    tenant,
    division: row.division,
    jobName: row.job_name,
    requester: row.requester,
    traceId: row.trace_id,
    provider: row.provider,
    pool: row.pool,
    flavour: row.flavour,
    resource: row.resource,
    spot: row.spot,
    outcome: row.outcome,
    reason: row.reason,
    currency,
    cents,
    unitsMilli: BigInt(cost.unitsMilli!),
    billedMs: BigInt(cost.milliseconds!),
    centsPerUnitHour: BigInt(cost.centsPerUnitHour!),
    endedAtMs: row.ended_at.getTime(),
    auditEventId,
  };
}
