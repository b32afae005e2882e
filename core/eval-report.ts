import { hash } from 'node:crypto';
import { canonicalText } from './canonical.ts';
import { nameRefusal } from './ids.ts';
import { isJsonObject, type JsonFaultCode, type JsonObject, parseJsonObject } from './json.ts';
import { locateJson } from './json-position.ts';
import { parseRfc3339 } from './rfc3339.ts';

export const REPORT_SCHEMA_VERSION = 1;
export const REPORT_MAX_METRICS = 256;
/** w ≤ 2^20: with |q| ≤ 2^40 it keeps every sum of a window within 128 bits. */
export const REPORT_MAX_SAMPLE_SIZE = 2 ** 20;
export const REPORT_KEY_BYTES = 16;

/** A report whose own limits hold; what only a suite can refuse (valid, range of a metric) is checked against the suite. */
export interface EvalReport {
  readonly reportId: string;
  readonly producer: string;
  readonly model: string;
  readonly suite: string;
  /** Event time in milliseconds since the epoch. */
  readonly observedAtMs: number;
  /** The weight w: an integer in 1…2^20. */
  readonly sampleSize: number;
  /** Own members only: read it with reportMetric, names such as `constructor` are legal. */
  readonly metrics: Readonly<Record<string, number>>;
  /** The object received, unknown members included, nothing filled in. */
  readonly document: JsonObject;
}

export type QuarantineCode =
  | JsonFaultCode
  | 'too_large'
  | 'schema'
  | 'unknown_version'
  | 'charset'
  | 'time_format'
  | 'size'
  | 'range'
  | 'valid'
  | 'clock_skew';

/** Why a whole report is set aside. Its id stays free for a corrected one. */
export interface Quarantine {
  readonly code: QuarantineCode;
  /** Dotted path of the value at fault, '' for the whole line. */
  readonly field: string;
  /** Byte offset in the line. */
  readonly position: number;
  readonly problem: string;
}

/** One line for a person: `range: metrics.loss at byte 130 is beyond …`. Never the value itself. */
export function quarantineText(quarantine: Quarantine): string {
  const where = quarantine.field === '' ? '' : `${quarantine.field} `;
  return `${quarantine.code}: ${where}at byte ${quarantine.position} ${quarantine.problem}`;
}

export type ReportReading =
  | { readonly ok: true; readonly report: EvalReport }
  | { readonly ok: false; readonly quarantine: Quarantine };

/** Reads one report from the bytes of a line or a message. */
export function readEvalReport(bytes: Uint8Array): ReportReading {
  const reading = parseJsonObject(bytes);
  if (!reading.ok) {
    const { code, position, reason } = reading;
    return { ok: false, quarantine: { code, field: '', position, problem: reason } };
  }
  const checked = checkReport(reading.value);
  if ('report' in checked) return { ok: true, report: checked.report };
  return { ok: false, quarantine: quarantineAt(bytes, checked.code, checked.path, checked.problem) };
}

/** A quarantine that points at the value under `path` in the line. */
export function quarantineAt(
  bytes: Uint8Array,
  code: QuarantineCode,
  path: readonly string[],
  problem: string,
): Quarantine {
  return { code, field: path.join('.'), position: locateJson(bytes, path), problem };
}

/** The value of one metric, or undefined where the report has none of that name. */
export function reportMetric(report: EvalReport, name: string): number | undefined {
  return Object.hasOwn(report.metrics, name) ? report.metrics[name] : undefined;
}

/** SHA-256 of the RFC 8785 form of the object received: 32 bytes. Equal digests mean duplicates. */
export function reportDigest(report: EvalReport): Buffer {
  return hash('sha256', canonicalText(report.document), 'buffer');
}

/**
 * The key of deduplication: the first 16 bytes of the SHA-256 over tenant, producer and reportId, the tenant '' offline. No name holds the
 * separator.
 */
export function reportKey(tenant: string, report: Pick<EvalReport, 'producer' | 'reportId'>): Buffer {
  return hash('sha256', `${tenant}\n${report.producer}\n${report.reportId}`, 'buffer').subarray(0, REPORT_KEY_BYTES);
}

interface Fault {
  readonly code: QuarantineCode;
  readonly path: readonly string[];
  readonly problem: string;
}

function checkReport(document: JsonObject): { readonly report: EvalReport } | Fault {
  const { schemaVersion, reportId, producer, model, suite, observedAt, sampleSize = 1, metrics, labels } = document;
  if (schemaVersion !== REPORT_SCHEMA_VERSION) return versionFault(schemaVersion);
  const name =
    nameFault('reportId', reportId) ??
    nameFault('producer', producer) ??
    nameFault('model', model) ??
    nameFault('suite', suite);
  if (name !== undefined) return name;
  const observedAtMs = typeof observedAt === 'string' ? parseRfc3339(observedAt) : undefined;
  if (observedAtMs === undefined) {
    const problem = observedAt === undefined ? 'is missing' : 'must be an RFC 3339 date-time with a zone';
    return { code: observedAt === undefined ? 'schema' : 'time_format', path: ['observedAt'], problem };
  }
  if (typeof sampleSize !== 'number' || !Number.isInteger(sampleSize) || sampleSize < 1) {
    return { code: 'schema', path: ['sampleSize'], problem: 'must be an integer of at least 1' };
  }
  if (sampleSize > REPORT_MAX_SAMPLE_SIZE) {
    return { code: 'range', path: ['sampleSize'], problem: `is above ${REPORT_MAX_SAMPLE_SIZE}` };
  }
  const fault = metricsFault(metrics) ?? labelsFault(labels);
  if (fault !== undefined) return fault;
  return {
    report: {
      reportId: reportId as string,
      producer: producer as string,
      model: model as string,
      suite: suite as string,
      observedAtMs,
      sampleSize,
      metrics: metrics as Record<string, number>,
      document,
    },
  };
}

function versionFault(version: unknown): Fault {
  const path = ['schemaVersion'];
  if (version === undefined) return { code: 'schema', path, problem: 'is missing' };
  if (typeof version === 'number' && Number.isInteger(version)) {
    return { code: 'unknown_version', path, problem: `is not ${REPORT_SCHEMA_VERSION}` };
  }
  return { code: 'schema', path, problem: `must be ${REPORT_SCHEMA_VERSION}` };
}

function nameFault(field: string, value: unknown): Fault | undefined {
  if (typeof value !== 'string') {
    return { code: 'schema', path: [field], problem: value === undefined ? 'is missing' : 'must be a string' };
  }
  const refusal = nameRefusal(field, value);
  return refusal === undefined ? undefined : { code: 'charset', path: [field], problem: refusal.problem };
}

function metricsFault(metrics: unknown): Fault | undefined {
  const path = ['metrics'];
  if (!isJsonObject(metrics)) {
    return { code: 'schema', path, problem: metrics === undefined ? 'is missing' : 'must be an object' };
  }
  const names = Object.keys(metrics);
  if (names.length === 0) return { code: 'schema', path, problem: 'is empty' };
  if (names.length > REPORT_MAX_METRICS) {
    return { code: 'size', path, problem: `has more than ${REPORT_MAX_METRICS} entries` };
  }
  for (const name of names) {
    const refusal = nameRefusal(name, name);
    if (refusal !== undefined) {
      return { code: 'charset', path, problem: `has a name that ${refusal.problem}` };
    }
    // parseJson lets no other number through than a finite one.
    if (typeof metrics[name] !== 'number') {
      return { code: 'number', path: ['metrics', name], problem: 'must be a finite number' };
    }
  }
  return undefined;
}

function labelsFault(labels: unknown): Fault | undefined {
  if (labels === undefined) return undefined;
  if (!isJsonObject(labels)) return { code: 'schema', path: ['labels'], problem: 'must be an object of strings' };
  for (const [name, value] of Object.entries(labels)) {
    if (typeof value !== 'string') return { code: 'schema', path: ['labels', name], problem: 'must be a string' };
  }
  return undefined;
}
