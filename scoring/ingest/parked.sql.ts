import type { Tx } from '../../platform/postgres.ts';
import { formatTraceparent, newTrace } from '../../platform/trace.ts';
import type { ScoringContext } from '../context.ts';
import { reportMessage } from './pack-reports.ts';

/** Lines appended again in one round; each is at most 1 MiB. */
const RESEND_AT_ONCE = 16;

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
    `update quarantine set awaits = null, resend = true where tenant = $1 and reason = $2 and awaits = any($3::text[])`,
    [tenant, reason, names],
  );
}

interface ParkedRow {
  readonly topic: string;
  readonly partition: number;
  readonly log_offset: bigint;
  readonly line: number;
  readonly tenant: string;
  readonly producer: string | null;
  readonly raw: Buffer;
  readonly trace_id: string;
}

/**
 * Appends the next lines to the log again; false where none is left. A crash between append and mark appends a line twice, which
 * counts as the duplicate that it is. A line that fails again is set aside again, at its new place.
 */
export async function resendParked(ctx: ScoringContext): Promise<boolean> {
  const rows = await ctx.db.asEngine((tx) =>
    tx.query<ParkedRow>(
      `select topic, partition, log_offset, line, tenant, producer, raw, trace_id from quarantine where resend
       order by created_at, topic, partition, log_offset, line limit $1`,
      [RESEND_AT_ONCE],
    ),
  );
  if (rows.length === 0) return false;
  for (const { tenant, producer, raw, trace_id: traceId } of rows) {
    const traceparent = formatTraceparent({ ...newTrace(), traceId });
    await ctx.eventLog.append(reportMessage(raw, { tenant, producer: producer ?? undefined, traceparent }));
  }
  await ctx.db.asLeader(ctx.epoch, (tx) =>
    tx.execute(
      `update quarantine q set resend = false
       from unnest($1::text[], $2::integer[], $3::bigint[], $4::integer[]) as a (topic, partition, log_offset, line)
       where (q.topic, q.partition, q.log_offset, q.line) = (a.topic, a.partition, a.log_offset, a.line)`,
      [
        rows.map((row) => row.topic),
        rows.map((row) => row.partition),
        rows.map((row) => row.log_offset),
        rows.map((row) => row.line),
      ],
    ),
  );
  return true;
}
