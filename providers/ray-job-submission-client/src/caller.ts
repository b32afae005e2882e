import { RayJobError } from './errors.ts';
import { errorOfReply } from './reason.ts';
import { retryAfterMs, sleep, waitBeforeAttemptMs } from './retry.ts';
import { type JsonValue, parseStrictJson } from './strict-json.ts';
import type { TokenSource } from './token.ts';
import { badReply, type Call, type Reply, type Transport } from './transport.ts';

export type Request = Omit<Call, 'headers'> & { readonly contentType?: string };

export interface CallerSettings {
  readonly transport: Transport;
  readonly token: TokenSource;
  readonly getAttempts: number;
  readonly longestWaitMs: number;
  readonly random: () => number;
}

/** Sends requests with the token, repeats those that may be repeated, and turns every other reply than 200 into a RayJobError. */
export class Caller {
  readonly #settings: CallerSettings;

  constructor(settings: CallerSettings) {
    this.#settings = settings;
  }

  async json(request: Request, maxBytes: number): Promise<JsonValue> {
    const bytes = await this.#repeated(request, async () => (await this.#authorised(request)).read(maxBytes));
    try {
      return parseStrictJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    } catch (cause) {
      throw badReply(request, `the reply is ${bytes.length === 0 ? 'empty' : (cause as Error).message}`, cause);
    }
  }

  /** The reply if it is a 200. */
  ok(request: Request): Promise<Reply> {
    return this.#repeated(request, () => this.#authorised(request));
  }

  /** Reads are repeated on what a repeat can mend: a reply that tore among it, where all of it is waited for. */
  async #repeated<T>(request: Request, work: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        if (request.method !== 'GET' || attempt >= this.#settings.getAttempts || !mayPass(error)) throw error;
        const waitMs = waitBeforeAttemptMs(attempt, error.retryAfterMs, this.#settings.random());
        if (waitMs > this.#settings.longestWaitMs) throw error;
        await sleep(waitMs, request.signal);
      }
    }
  }

  async #authorised(request: Request): Promise<Reply> {
    const authorization = await this.#settings.token.header();
    try {
      return await this.#once(request, authorization);
    } catch (error) {
      // A missing token is 401, a wrong or outdated one 403. Either way nothing was done, so one repeat is safe, even of a POST.
      if (!(error instanceof RayJobError && error.code === 'auth')) throw error;
      const renewed = await this.#settings.token.renewed(authorization);
      if (renewed === undefined) throw error;
      return this.#once(request, renewed);
    }
  }

  async #once(request: Request, authorization: string | undefined): Promise<Reply> {
    const headers = {
      ...(request.contentType === undefined ? {} : { 'content-type': request.contentType }),
      ...(authorization === undefined ? {} : { authorization }),
    };
    const reply = await this.#settings.transport.send({ ...request, headers });
    if (reply.status === 200) return reply;
    const text = await reply.readErrorText();
    const asked = retryAfterMs(reply.retryAfter, Date.now());
    throw errorOfReply(request.doing, reply.status, text, { mutates: request.method !== 'GET', retryAfterMs: asked });
  }
}

/** Faults that come and go. Not 500: Ray answers with it what it will answer again (a dead node's log, a malformed id). */
function mayPass(error: unknown): error is RayJobError {
  if (!(error instanceof RayJobError)) return false;
  if (error.code === 'unreachable') return true;
  return error.code === 'server' && [408, 429, 502, 503, 504].includes(error.status ?? 0);
}
