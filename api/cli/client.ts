import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseJson } from '../../core/json.ts';
import { ownOf } from '../../core/own.ts';
import { type Refusal, refusalText } from '../../core/refusal.ts';
import { type Connection, findConnection } from './connection.ts';
import { CliError, EXIT } from './exit.ts';
import type { Invocation } from './invocation.ts';

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Buffer;
}

export interface RequestOptions {
  readonly body?: unknown;
  /** Sent as is, with its media type. */
  readonly raw?: { readonly type: string; readonly bytes: Uint8Array };
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  /** How often a server that is busy is waited for. */
  readonly waits?: number;
  /** Told each time, before the wait. */
  readonly onWait?: (ms: number) => void;
}

const REQUEST_TIMEOUT_MS = 30_000;
const UPLOAD_TIMEOUT_MS = 10 * 60_000;
/** A server that is busy is waited for so often, and so long at most. */
const MAX_WAITS = 10;
const MAX_WAIT_S = 60;
/** A stream in which not even a sign of life comes for so long is dead. */
const STREAM_SILENCE_MS = 45_000;
/** A reply larger than this is none that this client reads. */
const MAX_REPLY_BYTES = 256 * 1024 * 1024;

/** The `--if-version` of a command as the header that holds it. */
export function ifMatch({ ifVersion }: Invocation['options']): Record<string, string> {
  return ifVersion === undefined ? {} : { 'if-match': `"${String(ifVersion)}"` };
}

export interface Streamed extends AsyncIterable<Uint8Array> {
  readonly headers: Headers;
}

export interface Client {
  readonly url: string;
  request(method: string, path: string, options?: RequestOptions): Promise<Reply>;
  /** The JSON of a reply; a problem is thrown as CliError with the exit code of its kind. */
  json<T>(method: string, path: string, options?: RequestOptions): Promise<T>;
  get<T>(path: string): Promise<T>;
  /** A reply that goes on coming, as it comes; a problem is thrown as by `json`. Ends with `signal`, or throws CliError. */
  stream(path: string, headers: Readonly<Record<string, string>>): Promise<Streamed>;
  /** Every item of a list, page after page, at most `most`. */
  all<T>(path: string, most?: number): Promise<readonly T[]>;
}

const MOST_ROWS = 10_000;

export async function connect(invocation: Pick<Invocation, 'io' | 'signal'>): Promise<Client> {
  const connection = await findConnection(invocation.io);
  return clientOf(connection, invocation.signal);
}

export function clientOf(connection: Connection, signal: AbortSignal): Client {
  const { url } = connection;
  let { token } = connection;
  const traceId = randomBytes(16).toString('hex');

  /** With the token; once more with the one that its file holds by now, where that is another and this one was not taken. */
  async function ask(
    path: string,
    init: RequestInit & { readonly headers: Record<string, string> },
  ): Promise<Response> {
    const once = () =>
      fetch(new URL(path, url), {
        ...init,
        headers: { ...init.headers, authorization: `Bearer ${token}` },
        redirect: 'error',
      });
    const response = await once();
    if (response.status !== 401) return response;
    const renewed = await connection.readTokenAgain();
    if (renewed === token) return response;
    await response.body?.cancel();
    token = renewed;
    return once();
  }

  const common = (): Record<string, string> => ({
    traceparent: `00-${traceId}-${randomBytes(8).toString('hex')}-01`,
  });

  function unreachable(cause: unknown, late: boolean): CliError {
    if (cause instanceof CliError) return cause;
    if (signal.aborted) return new CliError(EXIT.interrupted, 'interrupted', 'interrupted');
    const code = (cause as { cause?: { code?: string } }).cause?.code;
    const why = late ? 'did not answer in time' : `cannot be reached${code === undefined ? '' : ` (${code})`}`;
    return new CliError(EXIT.unreachable, 'unreachable', `the server at ${url.origin} ${why}`, {
      mend: 'start it with "npm start", or check MERIT_URL',
      cause,
    });
  }

  async function request(method: string, path: string, options: RequestOptions = {}): Promise<Reply> {
    const headers: Record<string, string> = {
      ...common(),
      accept: 'application/json, */*',
      ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(options.raw === undefined ? {} : { 'content-type': options.raw.type }),
      ...(method === 'POST' ? { 'idempotency-key': randomBytes(16).toString('hex') } : {}),
      ...options.headers,
    };
    const body = options.raw?.bytes ?? (options.body === undefined ? null : JSON.stringify(options.body));
    for (let waited = 0; ; waited++) {
      const limit = AbortSignal.timeout(
        options.timeoutMs ?? (options.raw === undefined ? REQUEST_TIMEOUT_MS : UPLOAD_TIMEOUT_MS),
      );
      try {
        const response = await ask(path, {
          method,
          headers,
          body: body as string | Uint8Array<ArrayBuffer> | null,
          signal: AbortSignal.any([signal, limit]),
        });
        const reply = { status: response.status, headers: response.headers, bytes: await readCapped(response) };
        const pauseMs = waited < (options.waits ?? MAX_WAITS) ? askedToWaitMs(reply) : undefined;
        if (pauseMs === undefined) return reply;
        options.onWait?.(pauseMs);
        await sleep(pauseMs, undefined, { signal });
      } catch (cause) {
        throw unreachable(cause, limit.aborted);
      }
    }
  }

  async function stream(path: string, headers: Readonly<Record<string, string>>): Promise<Streamed> {
    const silent = new AbortController();
    const timer = setTimeout(() => silent.abort(), STREAM_SILENCE_MS);
    const failed = (cause: unknown) => {
      clearTimeout(timer);
      return unreachable(cause, silent.signal.aborted);
    };
    const response = await ask(path, {
      headers: { ...common(), accept: 'text/event-stream, application/problem+json', ...headers },
      signal: AbortSignal.any([signal, silent.signal]),
    }).catch((cause: unknown) => {
      throw failed(cause);
    });
    if (response.status >= 400) {
      const reading = parseJson(await readCapped(response));
      clearTimeout(timer);
      throw problemError(response.status, reading.ok ? reading.value : undefined);
    }
    const chunks = (async function* () {
      try {
        for await (const chunk of response.body ?? []) {
          timer.refresh();
          yield chunk;
        }
      } catch (cause) {
        throw failed(cause);
      } finally {
        clearTimeout(timer);
      }
    })();
    return { headers: response.headers, [Symbol.asyncIterator]: () => chunks };
  }

  async function json<T>(method: string, path: string, options?: RequestOptions): Promise<T> {
    const reply = await request(method, path, options);
    const reading = reply.bytes.length === 0 ? undefined : parseJson(reply.bytes);
    if (reply.status >= 400) throw problemError(reply.status, reading?.ok === true ? reading.value : undefined, path);
    if (reading === undefined || !reading.ok)
      throw new CliError(EXIT.internal, 'bad_reply', `the server answered ${reply.status} without JSON`, {
        mend: 'check that MERIT_URL names a Merit server',
      });
    return reading.value as T;
  }

  async function all<T>(path: string, most: number = MOST_ROWS): Promise<readonly T[]> {
    const items: T[] = [];
    let cursor: string | undefined;
    do {
      const join = path.includes('?') ? '&' : '?';
      const page = await json<{ items: T[]; nextCursor?: string }>(
        'GET',
        cursor === undefined ? path : `${path}${join}cursor=${encodeURIComponent(cursor)}`,
      );
      items.push(...page.items);
      cursor = page.nextCursor;
    } while (cursor !== undefined && items.length < most);
    return items.slice(0, most);
  }

  return { url: url.origin, request, json, get: (path) => json('GET', path), stream, all };
}

/** What a server that has too much to do answers; any other 503 is a part that is away, and told at once. */
const BUSY_CODES = new Set(['backlog', 'capacity', 'overloaded']);

/** How long the server asks to wait before the same is sent again: its effect is the same, by its key; undefined: it does not ask. */
export function askedToWaitMs({ status, headers, bytes }: Reply): number | undefined {
  const seconds = /^[0-9]{1,9}$/.exec(headers.get('retry-after') ?? '')?.[0];
  if (seconds === undefined || (status !== 429 && status !== 503)) return undefined;
  if (status === 503) {
    const reading = parseJson(bytes);
    const code = reading.ok ? (reading.value as ProblemShape | null)?.code : undefined;
    if (typeof code !== 'string' || !BUSY_CODES.has(code)) return undefined;
  }
  return Math.min(Number(seconds), MAX_WAIT_S) * 1_000;
}

async function readCapped(response: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_REPLY_BYTES) throw new CliError(EXIT.internal, 'bad_reply', 'the reply is larger than 256 MiB');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

interface ProblemShape {
  readonly code?: unknown;
  readonly detail?: unknown;
  readonly reasons?: unknown;
  readonly trace_id?: unknown;
}

/** Nouns of the API, and of the commands that list them. */
export const LISTED: Readonly<Record<string, string>> = {
  allocations: 'allocations',
  budgets: 'budgets',
  divisions: 'divisions',
  groups: 'groups',
  jobs: 'jobs',
  models: 'models',
  pools: 'pools',
  'priority-classes': 'priorities',
  promotions: 'promotions',
  proposals: 'proposals',
  suites: 'suites',
};

/** A problem document as the error that the CLI tells. `path`: of the call, which says where those that there are stand. */
export function problemError(status: number, value: unknown, path = ''): CliError {
  const problem = (typeof value === 'object' && value !== null ? value : {}) as ProblemShape;
  const code = typeof problem.code === 'string' ? problem.code : `http_${status}`;
  const reasons = Array.isArray(problem.reasons) ? (problem.reasons as Refusal[]) : [];
  const text =
    reasons.length > 0
      ? reasons.map(refusalText).join('\n')
      : typeof problem.detail === 'string'
        ? problem.detail
        : `the server answered ${status}`;
  const traceId = typeof problem.trace_id === 'string' ? problem.trace_id : undefined;
  const isUnknown = status === 404 && text.startsWith('there is no such ');
  const listed = isUnknown ? ownOf(LISTED, path.split(/[/?]/)[2] ?? '') : undefined;
  return new CliError(exitOfStatus(status, code), code, text, {
    ...(traceId === undefined ? {} : { traceId }),
    ...(listed === undefined ? {} : { mend: `see "merit ${listed} ls"` }),
  });
}

const DENIED_CODES = new Set(['policy_denied', 'quota_exceeded', 'budget_exceeded', 'max_cost']);

function exitOfStatus(status: number, code: string): number {
  if (DENIED_CODES.has(code)) return EXIT.denied;
  if (status === 401 || status === 403) return EXIT.auth;
  if (status === 404) return EXIT.notFound;
  if (status === 409 || status === 412) return EXIT.conflict;
  if (status === 408 || status === 429 || status === 503 || status === 504) return EXIT.unreachable;
  return status >= 500 ? EXIT.internal : EXIT.badValue;
}
