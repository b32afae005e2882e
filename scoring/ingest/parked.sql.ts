import { OperatingError } from '../../core/operating-error.ts';
import { StaleLeader, type Tx } from '../../platform/postgres.ts';
import { formatTraceparent, newTrace } from '../../platform/trace.ts';
import { type ConsumerContext, ENGINE_ACTOR, type ScoringContext } from '../context.ts';
import { appendReport } from './pack-reports.ts';
import { asked } from './partition-feed.ts';
import { placeText } from './quarantine-place.ts';

/** Lines appended again in one round; each is at most 1 MiB. */
const RESEND_AT_ONCE = 16;
/** A line that another consumer has claimed is left to it for so long. */
const CLAIM_MS = 60_000;
/** How often it is looked for lines to send. */
const LOOK_MS = 1_000;

/** The reasons that a registration takes away. */
export type ParkedReason = 'unknown_model' | 'unknown_suite';

/** Names of the tenant were registered: what waits for them is to be sent again, behind the transaction that knows them. */
export async function wantParked(
  tx: Tx,
  tenant: string,
  reason: ParkedReason,
  names: readonly string[],
): Promise<void> {
  if (names.length === 0) return;
  await tx.execute(
    `update quarantine set awaits = null, resend = true, redriven_at = clock_timestamp(), redriven_by = $4
     where tenant = $1 and reason = $2 and awaits = any($3::text[])`,
    [tenant, reason, names, ENGINE_ACTOR],
  );
}

interface ParkedRow {
  readonly topic: string;
  readonly partition: number;
  readonly log_offset: bigint;
  readonly line: number;
  readonly tenant: string;
  readonly sender: string | null;
  readonly raw: Buffer;
  readonly trace_id: string;
}

/** Who sends. */
export interface Resender {
  /** Under which its claims are known. */
  readonly claim: bigint;
  /** A transaction that it may write in. */
  readonly write: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>;
}

/** By claim: one round at a time, whoever asks. */
const sending = new Set<bigint>();

/**
 * Appends the next lines to the log again; false where there are none to send now. Other consumers leave a line alone that one of them has
 * claimed; a crash between append and mark appends it twice, which counts as the duplicate that it is. A line that fails again is set aside again,
 * at its new place, and names its first one. One that the log does not take is given back, and holds up none behind it.
 */
export async function resendParked(
  ctx: Pick<ConsumerContext, 'db' | 'eventLog' | 'log'>,
  by: Resender,
): Promise<boolean> {
  if (sending.has(by.claim)) return false;
  sending.add(by.claim);
  try {
    return await resendClaimed(ctx, by);
  } finally {
    sending.delete(by.claim);
  }
}

/** Looks for lines to send, however busy the consumer is with others. Ends by `signal`; throws StaleLeader. */
export async function runResending(ctx: ScoringContext, signal: AbortSignal): Promise<void> {
  const by: Resender = { claim: ctx.epoch, write: (work) => ctx.db.asLeader(ctx.epoch, work) };
  while (!signal.aborted) {
    let more = false;
    try {
      more = await resendParked(ctx, by);
    } catch (error) {
      if (error instanceof StaleLeader) throw error;
      ctx.log.warn({ error: String(error) }, 'lines that are to be read again could not be sent; it is tried again');
    }
    if (!more) await ctx.clock.sleep(LOOK_MS, signal);
  }
}

async function resendClaimed(ctx: Pick<ConsumerContext, 'db' | 'eventLog' | 'log'>, by: Resender): Promise<boolean> {
  const waiting = await ctx.db.asEngine((tx) => tx.query('select 1 from quarantine where resend limit 1'));
  if (waiting.length === 0) return false;
  const rows = await by.write((tx) =>
    tx.query<ParkedRow>(
      `with claimed as (
         update quarantine q set resend_by = $1, resend_claimed_at = clock_timestamp()
         from (select topic, partition, log_offset, line from quarantine
               where resend and (resend_by is null or resend_by = $1 or resend_claimed_at < clock_timestamp() - $2 * interval '1 millisecond')
               order by created_at, topic, partition, log_offset, line limit $3 for update skip locked) next
         where (q.topic, q.partition, q.log_offset, q.line) = (next.topic, next.partition, next.log_offset, next.line)
         returning q.topic, q.partition, q.log_offset, q.line, q.tenant, q.sender, q.raw, q.trace_id, q.created_at)
       select * from claimed order by created_at, topic, partition, log_offset, line`,
      [by.claim, CLAIM_MS, RESEND_AT_ONCE],
    ),
  );
  if (rows.length === 0) return false;
  const sent: Sent[] = [];
  const refused: ParkedRow[] = [];
  try {
    for (const row of rows) {
      try {
        sent.push({ row, ...(await asked(() => appendReport(ctx.eventLog, row.raw, sourceOf(row)))) });
      } catch (error) {
        if (!isOfTheLine(error)) throw error;
        ctx.log.warn({ tenant: row.tenant, place: placeOf(row), error: error.message, mend: error.mend }, GIVEN_BACK);
        refused.push(row);
      }
    }
  } finally {
    // Also of a round that was broken off: what was appended is not to be appended once more.
    if (sent.length + refused.length > 0) await by.write((tx) => markDone(tx, sent, refused));
  }
  return true;
}

const GIVEN_BACK =
  'a line that was to be read again cannot be sent; it stays in the quarantine, to be redriven once that is mended';

interface Sent {
  readonly row: ParkedRow;
  readonly partition: number;
  readonly offset: bigint;
}

function placeOf(row: ParkedRow): string {
  return placeText({ ...row, offset: row.log_offset });
}

function sourceOf(row: ParkedRow): Parameters<typeof appendReport>[2] {
  const { tenant, sender, trace_id: traceId } = row;
  const traceparent = formatTraceparent({ ...newTrace(), traceId });
  return { tenant, producer: sender ?? undefined, traceparent, redriveOf: placeOf(row) };
}

/** The log takes others, but never this one as things are: it is another tenant's, or too large for it. */
function isOfTheLine(error: unknown): error is OperatingError {
  if (!(error instanceof OperatingError) || error.retry !== 'never') return false;
  return error.code === 'conflict' || error.code === 'capacity';
}

async function markDone(tx: Tx, sent: readonly Sent[], refused: readonly ParkedRow[]): Promise<void> {
  const rows = [...sent.map(({ row }) => row), ...refused];
  await tx.execute(
    `update quarantine q set resend = false, resent_partition = a.to_partition, resent_offset = a.to_offset,
       redriven_at = case when a.to_offset is not null then q.redriven_at end, redriven_by = case when a.to_offset is not null then q.redriven_by end
     from unnest($1::text[], $2::integer[], $3::bigint[], $4::integer[], $5::integer[], $6::bigint[])
       as a (topic, partition, log_offset, line, to_partition, to_offset)
     where (q.topic, q.partition, q.log_offset, q.line) = (a.topic, a.partition, a.log_offset, a.line)`,
    [
      rows.map((row) => row.topic),
      rows.map((row) => row.partition),
      rows.map((row) => row.log_offset),
      rows.map((row) => row.line),
      rows.map((_, i) => sent[i]?.partition ?? null),
      rows.map((_, i) => sent[i]?.offset ?? null),
    ],
  );
}
