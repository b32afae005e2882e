import type { Tx } from '../../platform/postgres.ts';
import { MAX_LISTED } from '../registry/suites.ts';

export interface QuarantinedLine {
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
  readonly producer: string | null;
  readonly size: number;
  readonly sha256: string;
  readonly traceId: string;
  readonly createdAt: string;
}

/** Newest first; the raw bytes stay where they are. */
export async function listQuarantine(tx: Tx, tenant: string, limit = MAX_LISTED): Promise<readonly QuarantinedLine[]> {
  const rows = await tx.query<QuarantineRow>(
    `select topic, partition, log_offset, line, reason, field, position, problem, producer, raw_size, raw_sha256, trace_id, created_at
     from quarantine where tenant = $1 order by created_at desc, log_offset desc, line desc limit $2`,
    [tenant, Math.min(limit, MAX_LISTED)],
  );
  return rows.map((row) => ({
    topic: row.topic,
    partition: row.partition,
    offset: row.log_offset.toString(),
    line: row.line,
    reason: row.reason,
    field: row.field,
    position: row.position,
    problem: row.problem,
    producer: row.producer,
    size: Number(row.raw_size),
    sha256: row.raw_sha256,
    traceId: row.trace_id,
    createdAt: row.created_at.toISOString(),
  }));
}

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
  readonly raw_size: bigint;
  readonly raw_sha256: string;
  readonly trace_id: string;
  readonly created_at: Date;
}
