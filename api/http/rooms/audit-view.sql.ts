import type { AuditEvent } from '../../../core/audit-event.ts';
import type { Tx } from '../../../platform/postgres.ts';
import type { Page, Rows, View } from '../services.ts';

interface EventRow {
  readonly bytes: Buffer;
  readonly seq: bigint | null;
  readonly recorded_at: Date;
  readonly event_id: string;
}

function eventView(row: EventRow): View {
  const event = JSON.parse(row.bytes.toString('utf8')) as AuditEvent;
  return { ...event, seq: row.seq === null ? null : Number(row.seq) } as unknown as View;
}

/** The events of one thing, in its own order. */
export async function subjectEvents(tx: Tx, tenant: string, subject: string): Promise<readonly View[]> {
  const rows = await tx.query<EventRow>(
    'select bytes, seq, recorded_at, event_id from audit_events where tenant = $1 and subject = $2 order by subject_seq',
    [tenant, subject],
  );
  return rows.map(eventView);
}

/** The tenant's events by sequence; those not sequenced yet last. The sort key is the sequence, or `~` and the time and id. */
export async function eventRows(
  tx: Tx,
  tenant: string,
  filter: { readonly subject?: string; readonly type?: string },
  page: Page,
): Promise<Rows> {
  const unsequenced = page.after?.startsWith('~') === true;
  const [time = null, id = null] = unsequenced ? page.after!.slice(1).split('|') : [];
  const after = page.after === undefined || unsequenced ? null : page.after;
  const rows = await tx.query<EventRow>(
    `select bytes, seq, recorded_at, event_id from audit_events where tenant = $1
       and ($2::text is null or subject = $2) and ($3::text is null or type = $3)
       and case when $5::timestamptz is not null then seq is null and (date_trunc('milliseconds', recorded_at), event_id) > ($5::timestamptz, $6)
                when $4::bigint is not null then seq > $4 or seq is null else true end
     order by seq nulls last, date_trunc('milliseconds', recorded_at), event_id limit $7`,
    [tenant, filter.subject ?? null, filter.type ?? null, after, time, id, page.limit],
  );
  const last = rows.length === page.limit ? rows.at(-1) : undefined;
  return { items: rows.map(eventView), last: last === undefined ? undefined : keyOf(last) };
}

function keyOf(row: EventRow): string {
  return row.seq === null ? `~${row.recorded_at.toISOString()}|${row.event_id}` : String(row.seq);
}
