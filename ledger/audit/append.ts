import { assert } from '../../core/assert.ts';
import type { AuditEvent } from '../../core/audit-event.ts';
import { canonicalBytes, sha256Hex } from '../../core/canonical.ts';
import { byteaArray, int8Array, textArray } from '../../platform/pg-arrays.ts';
import type { Tx } from '../../platform/postgres.ts';

/** What the caller tells; the id, the number within the subject and the version are given here. */
export type NewAuditEvent = Omit<AuditEvent, 'v' | 'id' | 'n'>;

export interface AppendedEvent {
  readonly id: string;
  readonly n: number;
}

/** An event names evidence by hash instead of carrying it. */
export const MAX_EVENT_BYTES = 1024 * 1024;
/** Events in one call. */
export const MAX_EVENTS_PER_CALL = 10_000;

/** The id of event `n` of a subject: 32 hex of SHA-256, so that whoever knows the subject can name it. */
export function auditEventId(tenant: string, subject: string, n: number): string {
  return sha256Hex(`${tenant}\n${subject}#${n}`).slice(0, 32);
}

/**
 * Writes an event in the caller's transaction, the one that makes the change it tells of. The caller holds a lock on what
 * the subject names (its row, for a booking), so that `n` has no gap and no rival; two rivals without one end in a unique
 * violation, never in a gap.
 */
export async function appendAudit(tx: Tx, event: NewAuditEvent): Promise<AppendedEvent> {
  const [appended] = await appendAudits(tx, [event]);
  assert(appended !== undefined, 'one event is appended');
  return appended;
}

/** Many events in two statements, in the order given. */
export async function appendAudits(tx: Tx, events: readonly NewAuditEvent[]): Promise<readonly AppendedEvent[]> {
  return events.length === 0 ? [] : appendAfter(tx, await lastNumbers(tx, events), events);
}

/** As appendAudits, after numbers that were read since the subjects were locked. */
export async function appendAfter(
  tx: Tx,
  last: LastNumbers,
  events: readonly NewAuditEvent[],
): Promise<readonly AppendedEvent[]> {
  if (events.length === 0) return [];
  assert(events.length <= MAX_EVENTS_PER_CALL, `at most ${MAX_EVENTS_PER_CALL} events a call`);
  const next = new Map(last);
  const rows = events.map((event) => {
    const key = subjectKey(event.tenant, event.subject);
    const n = (next.get(key) ?? 0) + 1;
    next.set(key, n);
    const id = auditEventId(event.tenant, event.subject, n);
    const { tenant, subject, type, at, actor, trace, data } = event;
    // In the order of its canonical form, which then needs no copy.
    const full: AuditEvent = { actor, at, data, id, n, subject, tenant, trace, type, v: 1 };
    const bytes = canonicalBytes(full);
    assert(bytes.length <= MAX_EVENT_BYTES, `an audit event of ${type} is over ${MAX_EVENT_BYTES} bytes`);
    return { id, n, tenant, subject, type, bytes };
  });
  await tx.execute(
    `insert into audit_events (event_id, tenant, subject, subject_seq, type, bytes)
     select id, tenant, subject, n, type, bytes
     from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bytea[])
       with ordinality as e (id, tenant, subject, n, type, bytes, at)
     order by at`,
    [
      textArray(rows.map((r) => r.id)),
      textArray(rows.map((r) => r.tenant)),
      textArray(rows.map((r) => r.subject)),
      int8Array(rows.map((r) => r.n)),
      textArray(rows.map((r) => r.type)),
      byteaArray(rows.map((r) => r.bytes)),
    ],
  );
  return rows.map(({ id, n }) => ({ id, n }));
}

function subjectKey(tenant: string, subject: string): string {
  return `${tenant}\n${subject}`;
}

/** The number of a subject's last event; of one that has none, nothing. */
export type LastNumbers = ReadonlyMap<string, number>;

export async function lastNumbers(
  tx: Tx,
  named: readonly { readonly tenant: string; readonly subject: string }[],
): Promise<LastNumbers> {
  const subjects = new Map(named.map((one) => [subjectKey(one.tenant, one.subject), one]));
  const rows = await tx.query<{ tenant: string; subject: string; n: bigint }>(
    `select a.tenant, a.subject, a.subject_seq as n
     from unnest($1::text[], $2::text[]) as s (tenant, subject),
       lateral (select tenant, subject, subject_seq from audit_events e
                where e.tenant = s.tenant and e.subject = s.subject order by subject_seq desc limit 1) a`,
    [
      textArray([...subjects.values()].map((event) => event.tenant)),
      textArray([...subjects.values()].map((event) => event.subject)),
    ],
  );
  return new Map(rows.map((row) => [subjectKey(row.tenant, row.subject), Number(row.n)]));
}
