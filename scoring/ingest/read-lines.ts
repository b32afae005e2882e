import { type Quarantine, readEvalReport } from '../../core/eval-report.ts';
import { isBlank, MAX_LINE_BYTES } from '../../core/ndjson.ts';
import type { LogMessage } from '../../platform/event-log.ts';
import { parseTraceparent } from '../../platform/trace.ts';
import { type LineReport, reportByReference } from './line-report.ts';
import {
  FIRST_LINE_HEADER,
  PRODUCER_HEADER,
  REFUSED_HEADER,
  TOO_LARGE_HEADER,
  TOO_LARGE_KEPT_BYTES,
  TRACE_HEADER,
} from './report-log.ts';

/** Why a line is set aside: what reading it finds (core/eval-report.ts), and what only the consumer can know. */
export type AsideCode =
  | Quarantine['code']
  | 'tombstone'
  | 'empty'
  | 'headers'
  | 'envelope'
  | 'tenant'
  | 'producer_mismatch'
  | 'unknown_suite'
  | 'unknown_model'
  | 'retired'
  | 'conflict'
  | 'misrouted'
  | 'handler_failed';

export interface Aside {
  readonly code: AsideCode;
  readonly field: string;
  readonly position: number;
  readonly problem: string;
}

/** A place in a partition: `line` lines of the message at `offset` are done. */
export interface Position {
  readonly offset: bigint;
  readonly line: number;
}

/** One non-blank line of the log, read; or what stands for a message that holds none. */
export interface LogLine {
  readonly message: LogMessage;
  /** 1-based, in the message: with topic, partition and offset the place where a quarantined line is found again. */
  readonly line: number;
  /** 1-based, in the upload. */
  readonly uploadLine: number;
  readonly traceId: string;
  readonly raw: Uint8Array;
  readonly rawSize: number;
  /** Known already where the raw bytes were cut. */
  readonly rawSha256: string | undefined;
  /** Where the partition stands once this line is done. */
  readonly next: Position;
  readonly reading: { readonly ok: true; readonly report: LineReport } | { readonly ok: false; readonly aside: Aside };
}

/** The lines of a message from `fromLine` (lines already done) on. At least one where fromLine is 0. `freshTraceId` is used where the header is no trace. */
export function readLines(message: LogMessage, fromLine: number, freshTraceId: string): readonly LogLine[] {
  const base = {
    message,
    traceId: parseTraceparent(message.headers[TRACE_HEADER])?.traceId ?? freshTraceId,
    rawSha256: undefined,
  };
  const uploadFrom = uploadLineOf(message);
  const end: Position = { offset: message.offset + 1n, line: 0 };
  const whole = { ...base, line: 1, uploadLine: uploadFrom, next: end };
  if (message.value === null) {
    return [
      {
        ...whole,
        raw: new Uint8Array(0),
        rawSize: 0,
        reading: asideReading('tombstone', 'is a message without a value'),
      },
    ];
  }
  const value = message.value;
  const refused = refusedAside(message.headers[REFUSED_HEADER]);
  if (refused !== undefined)
    return [{ ...whole, raw: value, rawSize: value.length, reading: { ok: false, aside: refused } }];
  const tooLarge = tooLargeMark(message.headers[TOO_LARGE_HEADER]);
  if (tooLarge !== null) {
    const size = Number(tooLarge[1]);
    const reading = asideReading('too_large', `has ${size} bytes, more than ${MAX_LINE_BYTES}`);
    return [{ ...whole, raw: value.subarray(0, TOO_LARGE_KEPT_BYTES), rawSize: size, rawSha256: tooLarge[2], reading }];
  }
  const spans = nonBlankLines(value);
  if (spans.length === 0) {
    return [{ ...whole, raw: value, rawSize: value.length, reading: asideReading('empty', 'holds no report') }];
  }
  return spans.flatMap(({ line, bytes }, i) => {
    if (line <= fromLine) return [];
    const next = i === spans.length - 1 ? end : { offset: message.offset, line };
    return [
      {
        ...base,
        line,
        uploadLine: uploadFrom + line - 1,
        raw: bytes,
        rawSize: bytes.length,
        next,
        reading: readOne(message, bytes),
      },
    ];
  });
}

/** A line by the reference. */
export function readOne(message: LogMessage, bytes: Uint8Array): LogLine['reading'] {
  if (bytes.length > MAX_LINE_BYTES)
    return asideReading('too_large', `has ${bytes.length} bytes, more than ${MAX_LINE_BYTES}`);
  const reading = readEvalReport(bytes);
  if (!reading.ok) return { ok: false, aside: reading.quarantine };
  const sender = message.headers[PRODUCER_HEADER];
  if (sender !== undefined && sender !== reading.report.producer) {
    return {
      ok: false,
      aside: { code: 'producer_mismatch', field: 'producer', position: 0, problem: 'is not the sender' },
    };
  }
  return { ok: true, report: reportByReference(message.tenant, reading.report) };
}

function asideReading(code: AsideCode, problem: string): LogLine['reading'] {
  return { ok: false, aside: { code, field: '', position: 0, problem } };
}

function refusedAside(header: string | undefined): Aside | undefined {
  const [, code, position, problem = ''] = /^([a-z_]+):([0-9]{1,9}):(.*)$/s.exec(header ?? '') ?? [];
  return code === undefined ? undefined : { code: code as AsideCode, field: '', position: Number(position), problem };
}

function tooLargeMark(header: string | undefined): RegExpExecArray | null {
  return /^([0-9]{1,15}):([0-9a-f]{64})$/.exec(header ?? '');
}

/** Is it lines at all? What could not be opened, or was cut, was set aside whole, whatever bytes it has: nothing of it was ever accepted. */
export function holdsLines({ headers, value }: Pick<LogMessage, 'headers' | 'value'>): boolean {
  if (value === null || refusedAside(headers[REFUSED_HEADER]) !== undefined) return false;
  return tooLargeMark(headers[TOO_LARGE_HEADER]) === null;
}

/** The 1-based number in the upload of the message's first line. */
export function uploadLineOf({ headers }: LogMessage): number {
  const firstLine = Number(headers[FIRST_LINE_HEADER] ?? '1');
  return Number.isSafeInteger(firstLine) && firstLine > 0 ? firstLine : 1;
}

export function nonBlankLines(value: Uint8Array): { readonly line: number; readonly bytes: Uint8Array }[] {
  const lines: { readonly line: number; readonly bytes: Uint8Array }[] = [];
  let line = 1;
  for (let from = 0; from < value.length; line++) {
    const at = value.indexOf(0x0a, from);
    const end = at === -1 ? value.length : at;
    const bytes = value.subarray(from, end);
    if (!isBlank(bytes)) lines.push({ line, bytes });
    from = end + 1;
  }
  return lines;
}
