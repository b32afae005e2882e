import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { sha256Hex } from '../../core/canonical.ts';
import { OperatingError } from '../../core/operating-error.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import type { Tx } from '../../platform/postgres.ts';
import { readChunks } from './log-book.sql.ts';
import { LOG_ENDED, type LogChunk, type LogEnd } from './log-book.ts';

/** Chunks whose rows are read at once. */
const CHUNKS_A_READ = 100;
/** Findings told of one job’s logs; the count goes on. */
export const MAX_LOG_FINDINGS = 1000;

interface Whole {
  readonly size: number;
  readonly sha256: string | null;
}

/** A log that has ended, as the audit trail tells it; `audited` false: it ended before the trail told of logs, so that only its row does. */
export interface EndedLog {
  readonly attempt: number;
  readonly ended: LogEnd;
  readonly bytes: number;
  /** null: what was kept could not be read back when it ended. */
  readonly sha256: string | null;
  readonly audited: boolean;
}

export type LogFinding =
  /** `key` null: no chunk is recorded that begins there. */
  | {
      readonly kind: 'missing_log_chunk';
      readonly attempt: number;
      readonly fromByte: number;
      readonly key: string | null;
    }
  | {
      readonly kind: 'changed_log_chunk';
      readonly attempt: number;
      readonly fromByte: number;
      readonly key: string;
      readonly expected: Whole;
      readonly actual: Whole;
    }
  /** Every chunk is as its row says, and all of them are not the log that ended. */
  | { readonly kind: 'changed_log'; readonly attempt: number; readonly expected: Whole; readonly actual: Whole }
  /** The booking’s audit event `n`, which ends a log, cannot be read. */
  | { readonly kind: 'changed_log_event'; readonly n: number }
  /** Its row is not what the audit trail tells. */
  | { readonly kind: 'changed_log_record'; readonly attempt: number; readonly expected: Whole; readonly actual: Whole };

export interface LogsVerification {
  readonly logs: readonly EndedLog[];
  readonly logBytesRead: number;
  readonly findings: readonly LogFinding[];
  readonly findingsTotal: number;
}

interface Recorded {
  readonly log: EndedLog;
  readonly row: Whole;
}

/**
 * Reads every chunk of a job’s logs that have ended, compares it with its row, and the whole with what the audit trail was told when the log ended:
 * whoever changes a chunk and its rows still has the trail against him. `read` runs a transaction that sees the job. Throws OperatingError `aborted`.
 */
export async function verifyLogs(
  read: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>,
  store: ObjectStore,
  of: { readonly tenant: string; readonly bookingId: string },
  signal: AbortSignal,
): Promise<LogsVerification> {
  const { recorded, unreadable } = await read((tx) => endedLogs(tx, of));
  const findings: LogFinding[] = [];
  let findingsTotal = 0;
  let logBytesRead = 0;
  const tell = (finding: LogFinding) => {
    findingsTotal++;
    if (findings.length < MAX_LOG_FINDINGS) findings.push(finding);
  };
  for (const n of unreadable) tell({ kind: 'changed_log_event', n });
  for (const { log, row } of recorded) {
    const { attempt } = log;
    const expected = { size: log.bytes, sha256: log.sha256 };
    if (!same(row, expected)) tell({ kind: 'changed_log_record', attempt, expected, actual: row });
    const before = findingsTotal;
    const hash = createHash('sha256');
    let at = 0;
    for (let chunks: readonly LogChunk[] = []; at < log.bytes; at = endOf(chunks, at)) {
      chunks = await read((tx) => readChunks(tx, { bookingId: of.bookingId, attempt }, at, CHUNKS_A_READ));
      let next = at;
      for (const chunk of chunks) {
        if (signal.aborted) throw new OperatingError('aborted', 'safe', 'verifying the log');
        if (chunk.fromByte !== next) tell({ kind: 'missing_log_chunk', attempt, fromByte: next, key: null });
        next = chunk.fromByte + chunk.size;
        logBytesRead += await checkChunk(store, attempt, chunk, tell, (bytes) => hash.update(bytes));
      }
      if (chunks.length === 0) {
        tell({ kind: 'missing_log_chunk', attempt, fromByte: at, key: null });
        break;
      }
    }
    const actual = { size: at, sha256: hash.digest('hex') };
    const whole = findingsTotal === before && log.sha256 !== null;
    if (whole && !same(actual, expected)) tell({ kind: 'changed_log', attempt, expected, actual });
  }
  return { logs: recorded.map(({ log }) => log), logBytesRead, findings, findingsTotal };
}

function endOf(chunks: readonly LogChunk[], at: number): number {
  const last = chunks.at(-1);
  return last === undefined ? at : last.fromByte + last.size;
}

/** The bytes that were read. */
async function checkChunk(
  store: ObjectStore,
  attempt: number,
  { fromByte, size, sha256, objectKey: key }: LogChunk,
  tell: (finding: LogFinding) => void,
  take: (bytes: Uint8Array) => void,
): Promise<number> {
  const stream = await store.get(key);
  if (stream === undefined) {
    tell({ kind: 'missing_log_chunk', attempt, fromByte, key });
    return 0;
  }
  const bytes = await buffer(stream);
  const expected = { size, sha256 };
  const actual = { size: bytes.length, sha256: sha256Hex(bytes) };
  if (same(actual, expected)) take(bytes);
  else tell({ kind: 'changed_log_chunk', attempt, fromByte, key, expected, actual });
  return bytes.length;
}

function same(a: Whole, b: Whole): boolean {
  return a.size === b.size && a.sha256 === b.sha256;
}

/** By attempt. The trail’s word goes before the row’s. */
async function endedLogs(
  tx: Tx,
  { tenant, bookingId }: { readonly tenant: string; readonly bookingId: string },
): Promise<{ readonly recorded: readonly Recorded[]; readonly unreadable: readonly number[] }> {
  const rows = await tx.query<{ attempt: number; ended: LogEnd; bytes: bigint; sha256: string | null }>(
    'select attempt, ended, bytes, sha256 from job_logs where booking_id = $1 and ended is not null order by attempt',
    [bookingId],
  );
  const events = await tx.query<{ n: bigint; bytes: Buffer }>(
    'select subject_seq as n, bytes from audit_events where tenant = $1 and subject = $2 and type = $3 order by subject_seq',
    [tenant, `booking/${bookingId}`, LOG_ENDED],
  );
  const told = new Map<number, EndedLog>();
  const unreadable: number[] = [];
  for (const { n, bytes } of events) {
    const log = toldBy(bytes);
    if (log === undefined) unreadable.push(Number(n));
    else told.set(log.attempt, log);
  }
  const byRow = new Map(rows.map((row) => [row.attempt, { ...row, bytes: Number(row.bytes), audited: false }]));
  const recorded = [...new Set([...byRow.keys(), ...told.keys()])]
    .toSorted((a, b) => a - b)
    .map((attempt) => {
      const row = byRow.get(attempt);
      const log = told.get(attempt) ?? row!;
      return { log, row: { size: row?.bytes ?? 0, sha256: row?.sha256 ?? null } };
    });
  return { recorded, unreadable };
}

function toldBy(bytes: Buffer): EndedLog | undefined {
  try {
    const { data } = JSON.parse(bytes.toString('utf8')) as {
      data: { attempt: number; ended: LogEnd; bytes: string; sha256: string | null };
    };
    const { attempt, ended, sha256 } = data;
    return { attempt, ended, bytes: Number(data.bytes), sha256, audited: true };
  } catch {
    return undefined;
  }
}
