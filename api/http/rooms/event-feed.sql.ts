import type { AuditEvent } from '../../../core/audit-event.ts';
import type { Json } from '../../../core/canonical.ts';
import { formatRfc3339 } from '../../../core/rfc3339.ts';
import type { Tx } from '../../../platform/postgres.ts';
import { EVENTS_PER_READ, MAX_EVENT_DATA_BYTES } from '../limits.ts';
import type { EventFilter, EventPage, StreamEvent, View } from '../services.ts';

/**
 * The tenant's events from two stored sequences, each of which only grows at its end: published ticks by (transaction, number),
 * as far as no older transaction still runs, and audit events by their place in the chain. A position is where both stand:
 * `<xact>.<tick number>-<next seq>`. Whoever goes on from one gets every event behind it once.
 */
interface Position {
  readonly xact: bigint;
  readonly tickNo: bigint;
  readonly nextSeq: bigint;
}

const POSITION = /^([0-9]{1,18})\.([0-9]{1,18})-([0-9]{1,18})$/;

function readPosition(text: string): Position | undefined {
  const match = POSITION.exec(text);
  if (match === null) return undefined;
  return { xact: BigInt(match[1]!), tickNo: BigInt(match[2]!), nextSeq: BigInt(match[3]!) };
}

export function isPosition(text: string): boolean {
  return readPosition(text) !== undefined;
}

function positionText({ xact, tickNo, nextSeq }: Position): string {
  return `${xact}.${tickNo}-${nextSeq}`;
}

/** The oldest transaction that still runs: what is older is committed or gone for good. */
const HORIZON = 'pg_snapshot_xmin(pg_current_snapshot())::text::bigint';

/** Where the stream stands now: everything that is committed later comes after it. */
export async function positionNow(tx: Tx, tenant: string): Promise<string> {
  const rows = await tx.query<{ xact: bigint; next_seq: bigint }>(
    `select ${HORIZON} as xact, coalesce((select max(seq) + 1 from audit_events where tenant = $1 and seq is not null), 0) as next_seq`,
    [tenant],
  );
  const { xact, next_seq } = rows[0]!;
  return positionText({ xact, tickNo: 0n, nextSeq: next_seq });
}

/** Another text whenever there may be something new. */
export async function feedHead(tx: Tx, tenant: string): Promise<string> {
  const rows = await tx.query<{ xact: bigint | null; seq: bigint | null }>(
    `select (select max(xact) from score_ticks where tenant = $1 and xact < ${HORIZON}) as xact,
            (select max(seq) from audit_events where tenant = $1 and seq is not null) as seq`,
    [tenant],
  );
  return `${rows[0]!.xact}-${rows[0]!.seq}`;
}

/** What comes after a position, ticks before audit events, at most EVENTS_PER_READ of each looked at. undefined: it is no position. */
export async function eventsAfter(
  tx: Tx,
  tenant: string,
  from: string,
  filter: EventFilter,
): Promise<EventPage | undefined> {
  const start = readPosition(from);
  if (start === undefined) return undefined;
  const ticks = await tickRows(tx, tenant, start);
  const audits = await auditRows(tx, tenant, start);
  const events: StreamEvent[] = [];
  let at = start;
  for (const tick of ticks) {
    at = { ...at, xact: tick.xact, tickNo: tick.tick_no };
    const data = tickView(tick);
    if (wanted(filter, TICK_TYPE, tick.suite)) events.push({ id: positionText(at), type: TICK_TYPE, data });
  }
  for (const audit of audits) {
    at = { ...at, nextSeq: audit.seq + 1n };
    const event = JSON.parse(audit.bytes.toString('utf8')) as AuditEvent;
    const { type, subject } = event;
    const suite = subject.startsWith('suite/') ? subject.slice('suite/'.length) : undefined;
    if (wanted(filter, type, suite)) events.push({ id: positionText(at), type, data: auditView(event, audit.seq) });
  }
  const more = ticks.length === EVENTS_PER_READ || audits.length === EVENTS_PER_READ;
  return { events, position: positionText(at), more };
}

const TICK_TYPE = 'score.tick';

/** `decision` takes in `decision.promote`. */
function wanted({ suite, types }: EventFilter, type: string, suiteOf: string | undefined): boolean {
  if (suite !== undefined && suite !== suiteOf) return false;
  return types === undefined || types.some((one) => type === one || type.startsWith(`${one}.`));
}

interface TickRow {
  readonly xact: bigint;
  readonly tick_no: bigint;
  readonly suite: string;
  readonly suite_hash: string;
  readonly tick_ms: bigint;
  readonly models: number;
  readonly revised: boolean;
  readonly trace_id: string;
  readonly emitted_at: Date;
}

function tickRows(tx: Tx, tenant: string, { xact, tickNo }: Position): Promise<readonly TickRow[]> {
  return tx.query<TickRow>(
    `select xact, tick_no, suite, suite_hash, tick_ms, models, revised, trace_id, emitted_at from score_ticks
     where tenant = $1 and (xact, tick_no) > ($2, $3) and xact < ${HORIZON} order by xact, tick_no limit $4`,
    [tenant, xact, tickNo, EVENTS_PER_READ],
  );
}

function tickView(row: TickRow): View {
  return {
    type: TICK_TYPE,
    id: String(row.tick_no),
    suite: row.suite,
    suiteHash: row.suite_hash,
    tick: formatRfc3339(Number(row.tick_ms)),
    models: row.models,
    revised: row.revised,
    at: row.emitted_at.toISOString(),
    trace: row.trace_id,
  };
}

interface AuditRow {
  readonly seq: bigint;
  readonly bytes: Buffer;
}

/** Of an event that is larger than a stream takes, all but its data. */
function auditRows(tx: Tx, tenant: string, { nextSeq }: Position): Promise<readonly AuditRow[]> {
  return tx.query<AuditRow>(
    `select seq, case when octet_length(bytes) <= $3 then bytes
                      else convert_to((convert_from(bytes, 'UTF8')::jsonb - 'data')::text, 'UTF8') end as bytes
     from audit_events where tenant = $1 and seq >= $2 order by seq limit $4`,
    [tenant, nextSeq, MAX_EVENT_DATA_BYTES, EVENTS_PER_READ],
  );
}

function auditView(event: AuditEvent, seq: bigint): View {
  const { type, subject, n, id, at, actor, trace } = event;
  const data = (event.data ?? null) as Json;
  return { type, subject, n, id, seq: Number(seq), at, actor, trace, data };
}
