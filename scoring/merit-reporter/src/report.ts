import { randomUUID } from 'node:crypto';
import { faultOfValue } from './json-value.ts';

/** An evaluation report as a service hands it over. Unknown members are kept. */
export interface EvalReport {
  /** 1 to 64 of [A-Za-z0-9._-]; with the producer it is what the report is known by. Absent: one is made. */
  readonly reportId?: string;
  /** Absent: the reporter's. */
  readonly producer?: string;
  readonly model: string;
  readonly suite: string;
  /** When it was observed: RFC 3339 with a zone. */
  readonly observedAt: string | Date;
  /** The weight: an integer from 1 to 2^20. Absent: 1. */
  readonly sampleSize?: number;
  /** 1 to 256 finite numbers by name. */
  readonly metrics: Readonly<Record<string, number>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly [member: string]: unknown;
}

export interface ReportFault {
  /** As Merit's quarantine would say it. */
  readonly code: string;
  /** Dotted path; '' for the whole report. */
  readonly field: string;
  readonly problem: string;
}

/** A report that Merit would set aside. Nothing of it was kept or sent. */
export class RefusedReport extends Error {
  override name = 'RefusedReport';
  readonly fault: ReportFault;

  constructor(fault: ReportFault) {
    super(`${fault.code}: ${fault.field === '' ? 'the report' : fault.field} ${fault.problem}`);
    this.fault = fault;
  }
}

const SCHEMA_VERSION = 1;
const MAX_METRICS = 256;
const MAX_SAMPLE_SIZE = 2 ** 20;
export const MAX_LINE_BYTES = 1024 * 1024;
const MAX_NAME = 64;
const NAME = /^[A-Za-z0-9._-]+$/;
/** A longer one is no time; and the pattern looks at no more. */
const MAX_TIME = 64;
const TIME =
  /^([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?(?:[Zz]|[+-]([0-9]{2}):([0-9]{2}))$/;

export interface CheckedReport {
  readonly reportId: string;
  readonly producer: string;
  /** One line of NDJSON, with its line feed. */
  readonly line: Buffer;
}

/** Fills in what is absent and checks by the rules that Merit reads reports by. Throws RefusedReport. */
export function checkReport(report: EvalReport, producer?: string): CheckedReport {
  if (typeof report !== 'object' || report === null || Array.isArray(report))
    throw new RefusedReport({ code: 'not_an_object', field: '', problem: 'must be an object' });
  const { observedAt } = report;
  const document: Record<string, unknown> = {
    ...report,
    schemaVersion: report.schemaVersion ?? SCHEMA_VERSION,
    reportId: report.reportId ?? randomUUID(),
    producer: report.producer ?? producer,
    observedAt: observedAt instanceof Date ? timeOf(observedAt) : observedAt,
  };
  const fault = faultOf(document) ?? faultOfValue(document);
  if (fault !== undefined) throw new RefusedReport(fault);
  const line = Buffer.from(`${JSON.stringify(document)}\n`, 'utf8');
  if (line.length - 1 > MAX_LINE_BYTES)
    throw new RefusedReport({ code: 'too_large', field: '', problem: `has more than ${MAX_LINE_BYTES} bytes` });
  return { reportId: String(document.reportId), producer: String(document.producer), line };
}

function timeOf(date: Date): string {
  return Number.isNaN(date.getTime()) ? 'no time' : date.toISOString();
}

function faultOf(report: Readonly<Record<string, unknown>>): ReportFault | undefined {
  const { schemaVersion, observedAt, sampleSize = 1 } = report;
  if (schemaVersion !== SCHEMA_VERSION)
    return { code: 'unknown_version', field: 'schemaVersion', problem: `is not ${SCHEMA_VERSION}` };
  for (const field of ['reportId', 'producer', 'model', 'suite']) {
    const fault = nameFault(field, report[field]);
    if (fault !== undefined) return fault;
  }
  if (observedAt === undefined) return { code: 'schema', field: 'observedAt', problem: 'is missing' };
  if (typeof observedAt !== 'string' || !isTime(observedAt))
    return { code: 'time_format', field: 'observedAt', problem: 'must be an RFC 3339 date-time with a zone' };
  if (typeof sampleSize !== 'number' || !Number.isInteger(sampleSize) || sampleSize < 1)
    return { code: 'schema', field: 'sampleSize', problem: 'must be an integer of at least 1' };
  if (sampleSize > MAX_SAMPLE_SIZE)
    return { code: 'range', field: 'sampleSize', problem: `is above ${MAX_SAMPLE_SIZE}` };
  return metricsFault(report.metrics) ?? labelsFault(report.labels);
}

function nameFault(field: string, value: unknown): ReportFault | undefined {
  if (typeof value !== 'string')
    return { code: 'schema', field, problem: value === undefined ? 'is missing' : 'must be a string' };
  if (value.length === 0 || value.length > MAX_NAME || !NAME.test(value))
    return { code: 'charset', field, problem: `must be 1 to ${MAX_NAME} of A-Z a-z 0-9 . _ -` };
  return undefined;
}

function metricsFault(metrics: unknown): ReportFault | undefined {
  const field = 'metrics';
  if (typeof metrics !== 'object' || metrics === null || Array.isArray(metrics))
    return { code: 'schema', field, problem: metrics === undefined ? 'is missing' : 'must be an object' };
  const entries = Object.entries(metrics);
  if (entries.length === 0) return { code: 'schema', field, problem: 'is empty' };
  if (entries.length > MAX_METRICS) return { code: 'size', field, problem: `has more than ${MAX_METRICS} entries` };
  for (const [name, value] of entries) {
    const fault = nameFault(field, name);
    if (fault !== undefined) return { ...fault, problem: `has a name that ${fault.problem}` };
    if (typeof value !== 'number' || !Number.isFinite(value))
      return { code: 'number', field: `${field}.${name}`, problem: 'must be a finite number' };
  }
  return undefined;
}

function labelsFault(labels: unknown): ReportFault | undefined {
  if (labels === undefined) return undefined;
  if (typeof labels !== 'object' || labels === null || Array.isArray(labels))
    return { code: 'schema', field: 'labels', problem: 'must be an object of strings' };
  for (const [name, value] of Object.entries(labels))
    if (typeof value !== 'string') return { code: 'schema', field: `labels.${name}`, problem: 'must be a string' };
  return undefined;
}

function isTime(text: string): boolean {
  const match = text.length > MAX_TIME ? null : TIME.exec(text);
  if (match === null) return false;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, zoneHour = 0, zoneMinute = 0] = match
    .slice(1)
    .map((digits) => Number(digits ?? 0));
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const days = month === 2 ? (leap ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31;
  const isDay = month >= 1 && month <= 12 && day >= 1 && day <= days;
  return isDay && hour <= 23 && minute <= 59 && second <= 59 && zoneHour <= 23 && zoneMinute <= 59;
}
