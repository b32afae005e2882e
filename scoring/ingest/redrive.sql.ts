import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Tx } from '../../platform/postgres.ts';
import { lockSubject } from '../registry/lock-subject.ts';
import type { Requester } from '../registry/suites.ts';
import { MAX_REDRIVEN, type Place, placeOfRow, placeText, readPlace } from './quarantine-place.ts';
import { REPORTS_TOPIC } from './report-log.ts';

/** Every member is a literal that must be equal; `since`: set aside at or after this RFC 3339 time. */
export interface QuarantineFilter {
  readonly reason?: string;
  readonly suite?: string;
  readonly producer?: string;
  readonly since?: string;
  readonly partition?: number;
}

/** What no second reading can mend, and what does. */
const NEVER: Readonly<Record<string, string>> = {
  too_large: 'send the whole report again, split or below 1 MiB: of this one only the first KiB was kept',
  tombstone: 'nothing was sent: send the report',
  empty: 'nothing was sent: send the report',
  conflict: 'the first report stays: send this one under a reportId of its own',
  producer_mismatch: 'let the identity of that producer send it',
  tenant: 'let it be sent again for a tenant that eventLog.kafka.tenants names',
};

export interface Redriven {
  /** Lines that are appended to the log again by this request. */
  readonly redriven: number;
  /** Named, but sent again before. */
  readonly already: number;
  /** Found by the filter and left for another request. */
  readonly left: number;
  /** Found by the filter, and never to be sent again. */
  readonly never: number;
}

/**
 * Has lines appended to the log once more, in the caller's transaction, with an audit event that names each. A line is sent again at most once,
 * whoever asks how often: what comes of the second reading has a place of its own. Throws RefusedInput where a named line is none, or is such
 * that nothing can mend it; then nothing is done.
 */
export async function redriveNamed(tx: Tx, by: Requester, ids: readonly string[], dryRun: boolean): Promise<Redriven> {
  const places = placesOf(ids);
  const rows = await tx.query<CandidateRow>(
    `select ${CANDIDATE} from quarantine q
       join (select distinct * from unnest($2::text[], $3::integer[], $4::bigint[], $5::integer[]) as a (topic, partition, log_offset, line)) a
         using (topic, partition, log_offset, line)
     where tenant = $1 order by topic, partition, log_offset, line for update of q`,
    [
      by.tenant,
      places.map((place) => place.topic),
      places.map((place) => place.partition),
      places.map((place) => place.offset),
      places.map((place) => place.line),
    ],
  );
  const found = new Map(rows.map((row) => [row.place, row]));
  const refusals = ids.flatMap((id, i) => refusalOf(`ids[${i}]`, found.get(id)));
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const fresh = rows.filter((row) => !row.redriven);
  if (!dryRun) await resend(tx, by, fresh);
  return { redriven: fresh.length, already: rows.length - fresh.length, left: 0, never: 0 };
}

/** As redriveNamed, the oldest lines that a filter finds, at most `limit`; those that were sent again already are not looked at. */
export async function redriveFound(
  tx: Tx,
  by: Requester,
  filter: QuarantineFilter,
  limit: number,
  dryRun: boolean,
): Promise<Redriven> {
  const values = [by.tenant, ...filterValues(filter)];
  const [counted] = await tx.query<{ fit: bigint; never: bigint }>(
    `select count(*) filter (where not ${IS_NEVER}) as fit, count(*) filter (where ${IS_NEVER}) as never
     from quarantine q where tenant = $1 and redriven_at is null and ${FILTER}`,
    values,
  );
  const fresh = await tx.query<CandidateRow>(
    `select ${CANDIDATE} from quarantine q where tenant = $1 and redriven_at is null and not ${IS_NEVER} and ${FILTER}
     order by created_at, topic, partition, log_offset, line limit $7 for update`,
    [...values, Math.min(limit, MAX_REDRIVEN)],
  );
  if (!dryRun) await resend(tx, by, fresh);
  const fit = Number(counted?.fit ?? 0);
  const left = Math.max(0, fit - fresh.length);
  return { redriven: fresh.length, already: 0, left, never: Number(counted?.never ?? 0) };
}

interface CandidateRow {
  readonly place: string;
  readonly reason: string;
  readonly raw_sha256: string;
  readonly redriven: boolean;
  readonly never: boolean;
}

/** Cut, or with nothing in it, or of a reason that holds whatever is mended. */
const IS_NEVER = `(q.raw_size <> octet_length(q.raw) or q.raw_size = 0 or q.reason in (${Object.keys(NEVER)
  .map((reason) => `'${reason}'`)
  .join(', ')}))`;
const CANDIDATE = `${placeOfRow('q')} as place, q.reason, q.raw_sha256, q.redriven_at is not null as redriven, ${IS_NEVER} as never`;

/** Of `q`, with its values from $2 on. */
export const FILTER = `($2::text is null or q.reason = $2) and ($3::text is null or q.suite = $3) and ($4::text is null or q.producer = $4)
   and ($5::timestamptz is null or q.created_at >= $5) and ($6::integer is null or q.partition = $6)`;

export function filterValues({ reason, suite, producer, since, partition }: QuarantineFilter): readonly unknown[] {
  return [reason ?? null, suite ?? null, producer ?? null, since ?? null, partition ?? null];
}

function placesOf(ids: readonly string[]): readonly Place[] {
  const refusals: Refusal[] = [];
  const places = ids.flatMap((id, i) => {
    const place = readPlace(id);
    if (place === undefined) refusals.push(...refusalOf(`ids[${i}]`, undefined));
    return place === undefined ? [] : [place];
  });
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return places;
}

function refusalOf(field: string, row: CandidateRow | undefined): readonly Refusal[] {
  if (row === undefined)
    return [refuse('not_found', field, 'is no line in the quarantine', 'look with: merit quarantine ls')];
  if (!row.never) return [];
  const mend = NEVER[row.reason];
  if (mend === undefined)
    return [refuse('cannot_redrive', field, 'is not kept whole any more', 'send the whole report again')];
  return [refuse('cannot_redrive', field, `was set aside as ${row.reason}, which no second reading mends`, mend)];
}

/** `awaits` goes too: its registration would send it a second time. */
async function resend(tx: Tx, by: Requester, lines: readonly CandidateRow[]): Promise<void> {
  if (lines.length === 0) return;
  const places = lines.map((line) => readPlace(line.place)!);
  await tx.execute(
    `update quarantine q set awaits = null, resend = true, redriven_at = clock_timestamp(), redriven_by = $2
     from unnest($3::text[], $4::integer[], $5::bigint[], $6::integer[]) as a (topic, partition, log_offset, line)
     where q.tenant = $1 and (q.topic, q.partition, q.log_offset, q.line) = (a.topic, a.partition, a.log_offset, a.line)`,
    [
      by.tenant,
      by.actor,
      places.map((place) => place.topic),
      places.map((place) => place.partition),
      places.map((place) => place.offset),
      places.map((place) => place.line),
    ],
  );
  const subject = `quarantine/${REPORTS_TOPIC}`;
  await lockSubject(tx, by.tenant, subject);
  await appendAudit(tx, {
    tenant: by.tenant,
    subject,
    type: 'quarantine.redriven',
    at: formatRfc3339(by.nowMs),
    actor: by.actor,
    trace: by.traceId,
    data: { lines: places.map((place, i) => ({ place: placeText(place), sha256: lines[i]!.raw_sha256 })) },
  });
}
