import type { Tx } from '../../platform/postgres.ts';
import { type Place, placeOfRow } from '../ingest/quarantine-place.ts';
import { FILTER, filterValues, type QuarantineFilter } from '../ingest/redrive.sql.ts';
import { MAX_LISTED } from '../registry/suites.ts';

/**
 * open: set aside, and nothing was done about it. redriving: to be read a second time. taken: the second reading found nothing against it (it
 * counts, or was known already). again: it was set aside once more, at a place of its own.
 */
export type QuarantineState = 'open' | 'redriving' | 'taken' | 'again';

export interface QuarantinedLine {
  /** Its place, by which it is named. */
  readonly id: string;
  readonly state: QuarantineState;
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  /** 1-based, in the log message. */
  readonly line: number;
  readonly reason: string;
  readonly field: string;
  /** Byte in the line. */
  readonly position: number;
  readonly problem: string;
  /** As the line says. */
  readonly producer: string | null;
  readonly suite: string | null;
  readonly size: number;
  readonly sha256: string;
  readonly traceId: string;
  readonly createdAt: string;
  /** The model or suite whose registration sends it again. */
  readonly awaits: string | null;
  readonly redrivenAt: string | null;
  readonly redrivenBy: string | null;
  /** Where the second reading was set aside. */
  readonly redrivenAs: string | null;
  /** The line that this is a second reading of. */
  readonly redriveOf: string | null;
}

export interface ListedFilter extends QuarantineFilter {
  /** Only what nothing was done about. */
  readonly open?: boolean;
}

/** A page of the list, newest first: behind the line with this key. */
export interface ListedPage {
  readonly limit?: number;
  readonly after?: string | undefined;
}

export interface ListedLine extends QuarantinedLine {
  /** What the next page begins behind. */
  readonly key: string;
}

/** Newest first; the raw bytes stay where they are. */
export async function listQuarantine(
  tx: Tx,
  tenant: string,
  filter: ListedFilter = {},
  page: ListedPage = {},
): Promise<readonly ListedLine[]> {
  const [createdUs = null, topic = null, partition = null, offset = null, line = null] = page.after?.split('|') ?? [];
  const rows = await tx.query<QuarantineRow>(
    `select ${COLUMNS} from ${ROWS} where q.tenant = $1 and ${FILTER} and ($7::boolean is null or (q.redriven_at is null) = $7)
       and ($8::bigint is null or (q.created_at, q.topic, q.partition, q.log_offset, q.line)
            < (timestamptz 'epoch' + $8::bigint * interval '1 microsecond', $9::text, $10::integer, $11::bigint, $12::integer))
     order by q.created_at desc, q.topic desc, q.partition desc, q.log_offset desc, q.line desc limit $13`,
    [
      tenant,
      ...filterValues(filter),
      filter.open === true ? true : null,
      createdUs,
      topic,
      partition,
      offset,
      line,
      Math.min(page.limit ?? MAX_LISTED, MAX_LISTED),
    ],
  );
  return rows.map((row) => ({
    ...lineOf(row),
    key: [row.created_us, row.topic, row.partition, row.log_offset, row.line].join('|'),
  }));
}

/** One line with its bytes: of one that was cut the first KiB. */
export async function getQuarantined(
  tx: Tx,
  tenant: string,
  place: Place,
): Promise<(QuarantinedLine & { readonly raw: Buffer }) | undefined> {
  const rows = await tx.query<QuarantineRow & { readonly raw: Buffer }>(
    `select ${COLUMNS}, q.raw from ${ROWS}
     where q.tenant = $1 and q.topic = $2 and q.partition = $3 and q.log_offset = $4 and q.line = $5`,
    [tenant, place.topic, place.partition, place.offset, place.line],
  );
  return rows[0] === undefined ? undefined : { ...lineOf(rows[0]), raw: rows[0].raw };
}

const ROWS = `quarantine q
  left join lateral (select ${placeOfRow('a')} as place from quarantine a
                     where a.tenant = q.tenant and a.redrive_of = ${placeOfRow('q')}
                     order by a.log_offset limit 1) again on q.redriven_at is not null
  left join consumer_offsets o on o.topic = q.topic and o.partition = q.resent_partition`;

const COLUMNS = `q.topic, q.partition, q.log_offset, q.line, q.reason, q.field, q.position, q.problem, q.producer, q.suite, q.raw_size, q.raw_sha256,
  q.trace_id, q.created_at, (extract(epoch from q.created_at) * 1000000)::bigint as created_us, q.awaits, q.redriven_at, q.redriven_by, q.redrive_of,
  ${placeOfRow('q')} as place, again.place as again,
  case when q.redriven_at is null then 'open' when again.place is not null then 'again'
       when not q.resend and o.next_offset > q.resent_offset then 'taken' else 'redriving' end as state`;

interface QuarantineRow {
  readonly topic: string;
  readonly partition: number;
  readonly log_offset: bigint;
  readonly line: number;
  readonly reason: string;
  readonly field: string;
  readonly position: number;
  readonly problem: string;
  readonly producer: string | null;
  readonly suite: string | null;
  readonly raw_size: bigint;
  readonly raw_sha256: string;
  readonly trace_id: string;
  readonly created_at: Date;
  readonly created_us: bigint;
  readonly awaits: string | null;
  readonly redriven_at: Date | null;
  readonly redriven_by: string | null;
  readonly redrive_of: string | null;
  readonly place: string;
  readonly again: string | null;
  readonly state: QuarantineState;
}

function lineOf(row: QuarantineRow): QuarantinedLine {
  return {
    id: row.place,
    state: row.state,
    topic: row.topic,
    partition: row.partition,
    offset: row.log_offset.toString(),
    line: row.line,
    reason: row.reason,
    field: row.field,
    position: row.position,
    problem: row.problem,
    producer: row.producer,
    suite: row.suite,
    size: Number(row.raw_size),
    sha256: row.raw_sha256,
    traceId: row.trace_id,
    createdAt: row.created_at.toISOString(),
    awaits: row.awaits,
    redrivenAt: row.redriven_at?.toISOString() ?? null,
    redrivenBy: row.redriven_by,
    redrivenAs: row.again,
    redriveOf: row.redrive_of,
  };
}
