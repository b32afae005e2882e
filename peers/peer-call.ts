import { canonicalBytes, type Json } from '../core/canonical.ts';
import { withoutHidden } from '../core/hidden-characters.ts';
import { parseJson } from '../core/json.ts';
import { OperatingError, type RetryAdvice } from '../core/operating-error.ts';
import { check } from '../core/schema.ts';
import { type HttpReply, type HttpRequest, MAX_REPLY_BYTES } from '../platform/http-client.ts';
import { Problem } from './wire.ts';

/**
 * How a peer is reached: `openHttpClient({ origin, tls }).send`. One try, no redirect followed, no encoding accepted. Throws
 * OperatingError, `safe` where nothing can have reached the peer (refused, no such host, a certificate that is not trusted),
 * `look-first` where it may have.
 */
export type PeerHttp = (request: Required<HttpRequest>) => Promise<HttpReply>;

/** The peer is there and asks us to wait (429, 503). `retryAfterMs` is what it asked for, capped; the caller adds its jitter. */
export class PeerBusy extends OperatingError {
  readonly retryAfterMs: number | undefined;

  constructor(retry: RetryAdvice, doing: string, status: number, retryAfterMs: number | undefined) {
    super('unreachable', retry, doing, { cause: `the peer answered ${status}` });
    this.retryAfterMs = retryAfterMs;
  }
}

export const MAX_RETRY_AFTER_MS = 60_000;

/** `Retry-After` in ms, capped; undefined (the caller's own backoff) where it is absent, negative or not whole seconds. */
export function retryAfterMs(header: string | undefined): number | undefined {
  if (header === undefined || !/^[0-9]{1,10}$/.test(header)) return undefined;
  return Math.min(Number(header) * 1000, MAX_RETRY_AFTER_MS);
}

export interface PeerQuestion {
  readonly http: PeerHttp;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: Json;
  /** Completes "while …". */
  readonly doing: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Whether asking again is harmless whatever became of this call. */
  readonly pure: boolean;
}

export type PeerAnswer =
  /** 200: JSON as it came, its shape not yet checked. */
  | { readonly kind: 'answer'; readonly body: Json }
  /** 400, 404, 409, 413, 415, 422: the peer says what is wrong with the request. */
  | {
      readonly kind: 'problem';
      readonly status: number;
      readonly code: string;
      readonly detail: string;
      readonly body: Json;
    };

const PROBLEM_STATUSES: ReadonlySet<number> = new Set([400, 404, 409, 413, 415, 422]);

/**
 * One question, one try. Throws OperatingError: `timeout`, `unreachable`, `bad-reply` (torn, too long, not strict JSON, a
 * redirect), `auth` (401, 403; never repeated by itself), `aborted`; its `retry` is `safe` for pure questions and where
 * nothing can have happened, else `look-first`.
 */
export async function askPeer(question: PeerQuestion): Promise<PeerAnswer> {
  const { doing } = question;
  const unsure: RetryAdvice = question.pure ? 'safe' : 'look-first';
  const reply = await send(question, unsure);
  if (reply.status === 401 || reply.status === 403) {
    throw new OperatingError('auth', 'never', doing, {
      cause: `the peer answered ${reply.status}`,
      mend: 'check the client certificate and its role there',
    });
  }
  if (reply.status === 429) throw new PeerBusy('safe', doing, 429, retryAfterMs(reply.headers['retry-after']));
  if (reply.status === 503) throw new PeerBusy(unsure, doing, 503, retryAfterMs(reply.headers['retry-after']));
  if (reply.status !== 200 && !PROBLEM_STATUSES.has(reply.status)) {
    throw new OperatingError('bad-reply', unsure, doing, { cause: `the peer answered ${reply.status}` });
  }
  const reading = parseJson(reply.body);
  if (!reading.ok) throw new OperatingError('bad-reply', unsure, doing, { cause: `the answer ${reading.reason}` });
  if (reply.status === 200) return { kind: 'answer', body: reading.value };
  if (check(Problem, reading.value).length > 0) {
    throw new OperatingError('bad-reply', unsure, doing, {
      cause: `the peer answered ${reply.status} without a reason`,
    });
  }
  const { code, detail } = reading.value as unknown as Problem;
  return { kind: 'problem', status: reply.status, code, detail: withoutHidden(detail ?? ''), body: reading.value };
}

async function send(question: PeerQuestion, unsure: RetryAdvice): Promise<HttpReply> {
  const headers: Record<string, string> = { accept: 'application/json' };
  if (question.body !== undefined) headers['content-type'] = 'application/json';
  try {
    return await question.http({
      method: question.method,
      path: question.path,
      headers,
      body: question.body === undefined ? undefined : canonicalBytes(question.body),
      timeoutMs: question.timeoutMs,
      maxReplyBytes: MAX_REPLY_BYTES,
      signal: question.signal,
    });
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    const retry = error.retry === 'look-first' ? unsure : error.retry;
    throw new OperatingError(error.code, retry, question.doing, {
      cause: error,
      ...(error.mend === undefined ? {} : { mend: error.mend }),
    });
  }
}
