import { sha256Hex } from '../../core/canonical.ts';
import { nameRefusal } from '../../core/ids.ts';
import { parseJsonObject } from '../../core/json.ts';
import type { LogMessage } from '../../platform/event-log.ts';
import { newTrace, parseTraceparent } from '../../platform/trace.ts';
import { readPlace } from './quarantine-place.ts';
import type { Aside, LogLine } from './read-lines.ts';
import { PRODUCER_HEADER, REDRIVE_HEADER, TOO_LARGE_KEPT_BYTES, TRACE_HEADER } from './report-log.ts';

/**
 * What the registry, the version of the server, or its configuration said when a line was read, and nothing in the log tells: such lines were set aside then, and a
 * replay leaves them out. What the log does tell (malformed, skewed, repeated, in conflict) is found again.
 */
export const SET_ASIDE_THEN = [
  'unknown_suite',
  'unknown_model',
  'unknown_version',
  'tenant',
  'retired',
  'handler_failed',
] as const;

/** Those, and what a replay that begins behind the report that stays does not find again: of these the rows are kept. */
export const KEPT_FOR_REPLAYS: readonly string[] = [...SET_ASIDE_THEN, 'conflict'];

/** A line as the quarantine keeps it. */
export interface SetAside {
  readonly tenant: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** 1-based, in the message. */
  readonly line: number;
  readonly aside: Aside;
  /** As the line says, where it can be told: they are for finding it again, and prove nothing. */
  readonly producer: string | null;
  readonly suite: string | null;
  /** The authenticated one, which a second reading is held to again; null: the door knew none. */
  readonly sender: string | null;
  /** Of a line past the limit the first KiB. */
  readonly raw: Uint8Array;
  readonly rawSize: number;
  readonly rawSha256: string;
  readonly traceId: string;
  /** The name whose registration it waits for. */
  readonly awaits: string | null;
  /** The place of the line that this is a second reading of. */
  readonly redriveOf: string | null;
}

export function setAside(line: LogLine, aside: Aside): SetAside {
  const { tenant, topic, partition, offset, headers } = line.message;
  const raw = aside.code === 'too_large' ? line.raw.subarray(0, TOO_LARGE_KEPT_BYTES) : line.raw;
  const redriveOf = headers[REDRIVE_HEADER];
  return {
    tenant,
    topic,
    partition,
    offset,
    line: line.line,
    aside,
    ...namesOf(line, raw.length),
    sender: headers[PRODUCER_HEADER] ?? null,
    raw: Uint8Array.from(raw),
    rawSize: line.rawSize,
    rawSha256: line.rawSha256 ?? sha256Hex(line.raw),
    traceId: line.traceId,
    awaits: awaitedName(line, aside),
    redriveOf: redriveOf !== undefined && readPlace(redriveOf) !== undefined ? redriveOf : null,
  };
}

/** A message that was set aside whole is kept as its first line, with its size. */
export const WHOLE_LINE = 1;

/** Does what was set aside at a line of a message, of so many bytes, stand for all of it? */
export function isWholeMessage(line: number, rawSize: number, value: Uint8Array | null): boolean {
  return line === WHOLE_LINE && rawSize >= (value?.length ?? 0);
}

/** A whole message that nobody is to look into. */
export function unreadable(message: LogMessage, problem: string): SetAside {
  const raw = message.value ?? new Uint8Array(0);
  const { tenant, topic, partition, offset, headers } = message;
  return {
    tenant,
    topic,
    partition,
    offset,
    line: WHOLE_LINE,
    aside: { code: 'handler_failed', field: '', position: 0, problem },
    producer: null,
    suite: null,
    sender: headers[PRODUCER_HEADER] ?? null,
    raw,
    rawSize: raw.length,
    rawSha256: sha256Hex(raw),
    traceId: (parseTraceparent(headers[TRACE_HEADER]) ?? newTrace()).traceId,
    awaits: null,
    redriveOf: null,
  };
}

/** Also of a line that is no good report, as far as it is JSON. */
function namesOf(line: LogLine, kept: number): { readonly producer: string | null; readonly suite: string | null } {
  if (line.reading.ok) {
    const { producer, suite } = line.reading.report;
    return { producer, suite };
  }
  const reading = kept === line.rawSize ? parseJsonObject(line.raw) : undefined;
  const named = (value: unknown) => (typeof value === 'string' && nameRefusal('', value) === undefined ? value : null);
  if (reading?.ok !== true) return { producer: null, suite: null };
  return { producer: named(reading.value.producer), suite: named(reading.value.suite) };
}

/** The name whose registration a line waits for; null: nothing that is registered would make it good. */
function awaitedName({ reading }: LogLine, aside: Aside): string | null {
  if (!reading.ok) return null;
  const { report } = reading;
  return aside.code === 'unknown_model' ? report.model : aside.code === 'unknown_suite' ? report.suite : null;
}
