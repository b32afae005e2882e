import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { Busy, Refused, type Target } from './target.ts';

export interface HttpOptions {
  /** Of the Merit server, such as http://127.0.0.1:7460. */
  readonly url: string;
  /** The bearer token, or where it is read from each time. */
  readonly token: string | (() => string | Promise<string>);
  readonly fetch?: typeof fetch;
}

const zip = promisify(gzip);
const REQUEST_TIMEOUT_MS = 60_000;
const MAX_WAIT_S = 60;
const MAX_PROBLEM = 500;
/** Of what is wrong with a request itself; anything else may be mended meanwhile. */
const HOPELESS = new Set([400, 403, 404, 405, 411, 413, 415, 422]);

/** Over HTTP, as NDJSON with gzip. Lines of any shard go together: the server sorts them. */
export function http({ url, token, fetch: send = fetch }: HttpOptions): Target {
  const to = new URL('/v1/eval-reports:batch', url);
  return {
    byShard: false,
    deliver: async ({ lines, traceparent }, signal) => {
      const bearer = typeof token === 'string' ? token : await token();
      const response = await send(to, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${bearer}`,
          'content-type': 'application/x-ndjson',
          'content-encoding': 'gzip',
          traceparent,
        },
        body: await zip(lines),
        redirect: 'error',
        signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]),
      });
      const text = await response.text();
      if (response.status === 202) return;
      const problem = `Merit answered ${response.status}: ${text.slice(0, MAX_PROBLEM)}`;
      if (HOPELESS.has(response.status)) throw new Refused(problem);
      const seconds = /^[0-9]{1,9}$/.exec(response.headers.get('retry-after') ?? '')?.[0];
      if (seconds !== undefined) throw new Busy(problem, Math.min(Number(seconds), MAX_WAIT_S) * 1_000);
      throw new Error(problem);
    },
  };
}
