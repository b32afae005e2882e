import { sha256Hex } from '../../core/canonical.ts';
import { type JsonObject, parseJsonObject } from '../../core/json.ts';
import { locateJson, memberBytes } from '../../core/json-position.ts';
import { MAX_MESSAGE_BYTES } from '../../platform/event-log.ts';
import type { KafkaRecord } from '../../platform/kafka/client.ts';
import { type OpenedRecord, TENANT_HEADER } from '../../platform/kafka/event-log.ts';
import { parseTraceparent } from '../../platform/trace.ts';
import {
  FIRST_LINE_HEADER,
  PRODUCER_HEADER,
  REDRIVE_HEADER,
  REFUSED_HEADER,
  STRAY_HEADER,
  TOO_LARGE_HEADER,
  TOO_LARGE_KEPT_BYTES,
  TRACE_HEADER,
} from './report-log.ts';

/** More of either says nothing that is read (rule K45). */
const MAX_HEADERS = 64;
const MAX_HEADERS_BYTES = 16 * 1024;
const EVENT = 'application/cloudevents+json';
const SPEC_VERSION = '1.0';
const ATTRIBUTES = ['id', 'source', 'type'] as const;
const NDJSON: ReadonlySet<string> = new Set(['application/x-ndjson', 'application/ndjson', 'application/jsonl']);
const JSON_TYPES = /^application\/(?:[a-z0-9.-]+\+)?json$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const CARRIED = [FIRST_LINE_HEADER, PRODUCER_HEADER, REDRIVE_HEADER, STRAY_HEADER, TOO_LARGE_HEADER] as const;

interface Refused {
  readonly code: string;
  readonly position: number;
  readonly problem: string;
}
type Headers = Readonly<Record<string, string | undefined>>;
type Data = { readonly bytes: Uint8Array; readonly traceparent?: string | undefined } | Refused;

/**
 * A record of Kafka as a message of the report log: NDJSON, or one report, plain or as a CloudEvent 1.0 in structured or binary mode. What cannot be
 * opened keeps its bytes and says why. `tenants`: whose reports the log holds. The value of a plain one, which is what comes in numbers, is handed on as it is. Sources: CloudEvents 1.0.2
 * (JSON format, Kafka protocol binding), W3C Trace Context.
 */
export function openRecord(record: KafkaRecord, tenants: ReadonlySet<string>): OpenedRecord {
  // Of a record that carries too much to be read no header is believed.
  const problem = headersProblem(record);
  const headers = problem === undefined ? headersOf(record) : {};
  const opened = () => openFrom(record, problem, headers);
  const tenant = headers[TENANT_HEADER];
  if (tenant === undefined) return opened();
  if (tenants.has(tenant)) return { ...opened(), tenant };
  // What is too large says no more than that, to the log's own tenant.
  return (record.value?.length ?? 0) > MAX_MESSAGE_BYTES ? opened() : withoutTenant(record);
}

/** Kept by the log's own tenant, since it is nobody's. */
function withoutTenant({ key, value }: KafkaRecord): OpenedRecord {
  const refused = `tenant:0:names a tenant whose reports this log does not hold, by its header ${TENANT_HEADER}`;
  return {
    key: key === null ? '' : Buffer.from(key).toString('utf8'),
    value,
    headers: { [REFUSED_HEADER]: refused },
  };
}

function openFrom(record: KafkaRecord, problem: string | undefined, headers: Headers): OpenedRecord {
  const { value } = record;
  const key = record.key === null ? '' : Buffer.from(record.key).toString('utf8');
  const refused = (why: Refused, trace: Readonly<Record<string, string>>): OpenedRecord => ({
    key,
    value,
    headers: { ...trace, [REFUSED_HEADER]: `${why.code}:${why.position}:${why.problem}` },
  });
  if (problem !== undefined) return refused({ code: 'headers', position: 0, problem }, {});
  const sent = traceOf(headers[TRACE_HEADER] ?? headers[`ce_${TRACE_HEADER}`]);
  if (value === null) return { key, value, headers: sent };
  if (value.length > MAX_MESSAGE_BYTES) {
    const mark = { [TOO_LARGE_HEADER]: `${value.length}:${sha256Hex(value)}` };
    return { key, value: value.subarray(0, TOO_LARGE_KEPT_BYTES), headers: { ...sent, ...mark } };
  }
  const type = mediaType(headers['content-type']);
  const data = type === EVENT ? structured(value) : (binaryFault(headers) ?? contents(value, type));
  if ('code' in data) return refused(data, sent);
  const trace = Object.keys(sent).length > 0 ? sent : traceOf(data.traceparent);
  const carried: Record<string, string> = {};
  for (const name of CARRIED) if (headers[name] !== undefined) carried[name] = headers[name];
  return { key, value: data.bytes, headers: { ...carried, ...trace } };
}

function headersProblem({ headers }: KafkaRecord): string | undefined {
  if (headers.length > MAX_HEADERS) return `carries ${headers.length} headers, more than ${MAX_HEADERS}`;
  let bytes = 0;
  for (const [name, value] of headers) bytes += name.length + (value?.length ?? 0);
  return bytes > MAX_HEADERS_BYTES ? `carries ${bytes} bytes of headers, more than ${MAX_HEADERS_BYTES}` : undefined;
}

/** The last of a name counts, as Kafka's own clients have it. */
function headersOf({ headers }: KafkaRecord): Headers {
  const found = Object.create(null) as Record<string, string>;
  for (const [name, value] of headers) if (value !== null) found[name.toLowerCase()] = Buffer.from(value).toString();
  return found;
}

/** A malformed trace is none: reading begins a new one (rule K46). */
function traceOf(traceparent: string | undefined): Readonly<Record<string, string>> {
  return traceparent === undefined || parseTraceparent(traceparent) === undefined
    ? {}
    : { [TRACE_HEADER]: traceparent };
}

function mediaType(header: string | undefined): string | undefined {
  return header?.split(';', 1)[0]?.trim().toLowerCase();
}

/** `type`: undefined where nobody said one: NDJSON, of which one report is the shortest. */
function contents(bytes: Uint8Array, type: string | undefined): Data {
  if (type === undefined || NDJSON.has(type)) return { bytes };
  if (JSON_TYPES.test(type)) return { bytes: onOneLine(bytes) };
  return envelope(0, 'is of a content type that is not read here');
}

/** A JSON text may be printed over several lines; inside its strings no line feed stands as it is. */
function onOneLine(bytes: Uint8Array): Uint8Array {
  return bytes.includes(0x0a) ? bytes.map((byte) => (byte === 0x0a ? 0x20 : byte)) : bytes;
}

function binaryFault(headers: Headers): Refused | undefined {
  if (headers.ce_specversion === undefined) return undefined;
  if (headers.ce_specversion !== SPEC_VERSION) return envelope(0, `is no CloudEvent of version ${SPEC_VERSION}`);
  const missing = ATTRIBUTES.find((name) => (headers[`ce_${name}`] ?? '') === '');
  return missing === undefined ? undefined : envelope(0, `is a CloudEvent without ${missing}`);
}

function structured(value: Uint8Array): Data {
  const reading = parseJsonObject(value);
  if (!reading.ok) return { code: reading.code, position: reading.position, problem: reading.reason };
  const event = reading.value;
  const at = (name: string) => locateJson(value, [name]);
  if (event.specversion !== SPEC_VERSION)
    return envelope(at('specversion'), `is no CloudEvent of version ${SPEC_VERSION}`);
  const missing = ATTRIBUTES.find((name) => typeof event[name] !== 'string' || event[name] === '');
  if (missing !== undefined) return envelope(at(missing), `is a CloudEvent without ${missing}`);
  const type = event.datacontenttype ?? 'application/json';
  if (typeof type !== 'string') return envelope(at('datacontenttype'), 'has a content type that is no text');
  const data = dataOf(value, event, mediaType(type) ?? '');
  if ('code' in data) return data;
  return { ...data, traceparent: typeof event.traceparent === 'string' ? event.traceparent : undefined };
}

function dataOf(value: Uint8Array, event: JsonObject, type: string): Data {
  const { data, data_base64: base64 } = event;
  const at = locateJson(value, [data === undefined ? 'data_base64' : 'data']);
  if ((data === undefined) === (base64 === undefined)) return envelope(at, 'holds no data, or data twice');
  if (base64 !== undefined) {
    if (typeof base64 !== 'string' || !BASE64.test(base64)) return envelope(at, 'has data_base64 that is no base64');
    return contents(Buffer.from(base64, 'base64'), type);
  }
  if (NDJSON.has(type))
    return typeof data === 'string' ? { bytes: Buffer.from(data) } : envelope(at, 'has NDJSON data that is no text');
  if (!JSON_TYPES.test(type)) return envelope(at, 'has data of a content type that is not read here');
  if (typeof data !== 'object' || data === null || Array.isArray(data))
    return envelope(at, 'has data that is no JSON object');
  return { bytes: onOneLine(memberBytes(value, 'data') ?? value) };
}

function envelope(position: number, problem: string): Refused {
  return { code: 'envelope', position, problem };
}
