import { STATUS_CODES } from 'node:http';
import { OperatingError } from '../../core/operating-error.ts';
import { type Refusal, RefusedInput, refusalText } from '../../core/refusal.ts';
import { isDatabaseAway } from '../../platform/postgres.ts';
import { ProviderError } from '../../providers/provider.ts';
import { BacklogFull } from '../../scoring/ingest/backlog.ts';
import type { BacklogRefusal } from '../../scoring/ingest/backlog-meter.ts';
import { PartlyAppended } from '../../scoring/ingest/pack-reports.ts';
import { RETRY_AFTER_SECONDS } from './limits.ts';

/** An answer other than success, decided by the API itself: status, stable code, and the text for a person. */
export class HttpProblem extends Error {
  override name = 'HttpProblem';
  readonly status: number;
  readonly code: string;
  readonly reasons: readonly Refusal[];
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: string,
    detail: string,
    options: { readonly reasons?: readonly Refusal[]; readonly headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(detail);
    this.status = status;
    this.code = code;
    this.reasons = options.reasons ?? [];
    this.headers = options.headers ?? {};
  }
}

/** RFC 9457, with our stable `code`, every reason at once, and the trace to name when asking for help. */
export interface ProblemDocument {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly reasons: readonly Refusal[];
  readonly trace_id: string;
  /** Of an upload that ended early: what of it is durable. */
  readonly durable?: { readonly messages: number; readonly lines: number; readonly bytes: number };
}

export interface Problem {
  readonly status: number;
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly document: ProblemDocument;
  /** True where the fault is ours or the world's, not the caller's: it belongs into the log. */
  readonly ours: boolean;
}

/** Refusals of the bytes themselves are 400; of what they say, 422. */
const SYNTAX_CODES: ReadonlySet<string> = new Set([
  'body_required',
  'not_an_object',
  'json_syntax',
  'duplicate_key',
  'forbidden_key',
  'depth',
  'encoding',
]);

const MAX_REASONS = 50;

/** The problem that an error thrown anywhere below a route is told as. Nothing of an unknown error reaches the caller. */
export function problemOf(error: unknown, traceId: string): Problem {
  if (error instanceof HttpProblem) {
    const told = made(error.status, error.code, error.message, error.reasons, traceId, error.headers);
    // We chose to say so: a full house is counted, and fills no log.
    return error.code === 'overloaded' ? { ...told, ours: false } : told;
  }
  if (error instanceof BacklogFull) return backlogFull(error.refusal, traceId);
  if (error instanceof PartlyAppended) {
    const problem = problemOf(error.cause, traceId);
    return { ...problem, document: { ...problem.document, durable: error.durable } };
  }
  if (error instanceof RefusedInput) {
    const reasons = error.refusals.slice(0, MAX_REASONS);
    const code = reasons[0]?.code ?? 'invalid';
    const status = SYNTAX_CODES.has(code) ? 400 : 422;
    return made(status, code, reasons.map(refusalText).join('; '), reasons, traceId);
  }
  if (error instanceof OperatingError) return operating(error, traceId);
  if (error instanceof ProviderError) return provider(error, traceId);
  return frameworkProblem(error, traceId) ?? databaseProblem(error, traceId) ?? internal(traceId);
}

/** Counted, and no fault: it fills no log. */
export function backlogFull({ reason, retryAfterSeconds, state }: BacklogRefusal, traceId: string): Problem {
  const waits = `${state.messages} messages, the oldest for ${Math.round(state.ageMs / 1000)} s`;
  const detail = `reports that were taken wait to be read (${waits}), up to the limit of ${reason}; send yours again after Retry-After`;
  const headers = { 'retry-after': String(retryAfterSeconds) };
  return { ...made(503, 'backlog', detail, [], traceId, headers), ours: false };
}

function made(
  status: number,
  code: string,
  detail: string,
  reasons: readonly Refusal[],
  traceId: string,
  headers: Readonly<Record<string, string>> = {},
): Problem {
  const document = {
    type: `urn:merit:problem:${code}`,
    title: STATUS_CODES[status] ?? 'Error',
    status,
    code,
    detail,
    reasons,
    trace_id: traceId,
  };
  return { status, code, headers, document, ours: status >= 500 };
}

const LATER = { 'retry-after': String(RETRY_AFTER_SECONDS) };

function operating(error: OperatingError, traceId: string): Problem {
  // The message may name hosts and paths of ours: the caller gets the code, what to do, and the trace.
  const detail = `a part that Merit needs failed (${error.code}); the server's log has it under this trace`;
  switch (error.code) {
    case 'conflict':
      return made(409, 'conflict', detail, [], traceId);
    case 'not-found':
      return made(404, 'not_found', detail, [], traceId);
    case 'capacity':
      // Counted, and no fault: it fills no log.
      return {
        ...made(503, 'capacity', 'as much is held as may be; send it again after Retry-After', [], traceId, LATER),
        ours: false,
      };
    case 'unreachable':
    case 'timeout':
    case 'database':
    case 'storage':
    case 'part-missing':
    case 'aborted':
    case 'witness':
      return made(503, error.code.replaceAll('-', '_'), detail, [], traceId, LATER);
    case 'bad-reply':
    case 'auth':
      return made(502, `peer_${error.code.replaceAll('-', '_')}`, detail, [], traceId);
  }
}

function provider(error: ProviderError, traceId: string): Problem {
  // Its message may name hosts of ours, as above.
  const detail = `the provider of this job failed (${error.code}); the server's log has it under this trace`;
  switch (error.code) {
    case 'not_found':
      return made(404, 'not_found', detail, [], traceId);
    case 'auth':
    case 'invalid':
      return made(502, `provider_${error.code}`, detail, [], traceId);
    case 'transient':
    case 'no_capacity':
    case 'quota_exceeded':
    case 'preempted':
      return made(503, 'provider_away', 'the provider of this job is away; see `merit why`', [], traceId, LATER);
  }
}

/** What fastify and its body reader throw, by their codes. */
function frameworkProblem(error: unknown, traceId: string): Problem | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return made(413, 'body_too_large', 'the body is larger than 1 MiB', [], traceId, { connection: 'close' });
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return made(415, 'media_type', 'send application/json (NDJSON where the route says so)', [], traceId);
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return made(400, 'content_length', 'the body is not as long as Content-Length says', [], traceId, {
        connection: 'close',
      });
    case 'FST_ERR_CTP_EMPTY_TYPE':
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return made(400, 'body_required', 'this request needs a JSON body', [], traceId);
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return made(404, 'not_found', 'there is nothing under this path', [], traceId);
    case 'ECONNRESET':
    case 'ERR_STREAM_PREMATURE_CLOSE':
      return made(400, 'body_cut', 'the body ended too early', [], traceId, { connection: 'close' });
    default:
      return undefined;
  }
}

const LOCK_NOT_AVAILABLE = '55P03';

function databaseProblem(error: unknown, traceId: string): Problem | undefined {
  if (isDatabaseAway(error)) return made(503, 'unreachable', 'the database is away; try again', [], traceId, LATER);
  if ((error as { code?: unknown } | null)?.code === LOCK_NOT_AVAILABLE) {
    return {
      ...made(409, 'busy', 'another request is changing the same thing; try again', [], traceId, LATER),
      ours: false,
    };
  }
  return undefined;
}

function internal(traceId: string): Problem {
  return made(500, 'internal', 'an error of Merit itself; its log has it under this trace', [], traceId);
}

export function notFound(what: string): HttpProblem {
  return new HttpProblem(404, 'not_found', `there is no such ${what}`);
}
