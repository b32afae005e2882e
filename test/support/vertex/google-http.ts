import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** An entry of Cloud Logging, of a job. */
export interface Entry {
  readonly jobId: string;
  readonly task: string;
  readonly atMs: number;
  readonly id: string;
  readonly message: string;
}

interface Rules {
  /** The token that stands for this identity now; undefined: it is not known. */
  exchange(subjectToken: string): string | undefined;
  isToken(bearer: string): boolean;
  entries(): readonly Entry[];
}

/**
 * A simulator of what a Vertex AI pool needs of Google besides the jobs, over plain HTTP: the exchange of tokens of workload identity federation, uploads to
 * Cloud Storage, and `entries.list` of Cloud Logging.
 */
export class GoogleHttp {
  /** By `bucket/name`. */
  readonly objects = new Map<string, Buffer>();
  readonly asked: string[] = [];
  /** Of a log. */
  pageSize = 3;
  /** Answers none of Storage and Logging. */
  hangs = false;
  throttleMs: number | undefined;
  readonly #rules: Rules;
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch(() => request.socket.destroy());
  });
  url = '';

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request);
    const url = new URL(request.url ?? '/', 'http://127.0.0.1');
    this.asked.push(url.pathname);
    const told = (status: number, value: unknown, headers: Readonly<Record<string, string>> = {}) =>
      void response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
    const refused = (status: number, message: string, headers = {}) =>
      told(status, { error: { code: status, message } }, headers);
    if (url.pathname === '/token') return this.#token(new URLSearchParams(body.toString('utf8')), told);
    if (this.hangs) return;
    if (this.throttleMs !== undefined)
      return refused(429, 'Quota exceeded', { 'retry-after': String(this.throttleMs / 1000) });
    const bearer = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    if (bearer === undefined || !this.#rules.isToken(bearer)) return refused(401, 'Invalid Credentials');
    const upload = /^\/upload\/storage\/v1\/b\/([^/]+)\/o$/.exec(url.pathname);
    const object = /^\/storage\/v1\/b\/([^/]+)\/o\/([^/]+)$/.exec(url.pathname);
    if (upload !== null && request.method === 'POST') {
      const name = `${decodeURIComponent(upload[1]!)}/${url.searchParams.get('name')}`;
      if (this.objects.has(name) && url.searchParams.get('ifGenerationMatch') === '0')
        return refused(412, 'At least one of the pre-conditions you specified did not hold.');
      this.objects.set(name, body);
      return told(200, { md5Hash: md5(body) });
    }
    if (object !== null && request.method === 'GET') {
      const there = this.objects.get(`${decodeURIComponent(object[1]!)}/${decodeURIComponent(object[2]!)}`);
      return there === undefined ? refused(404, 'No such object') : told(200, { md5Hash: md5(there) });
    }
    if (url.pathname === '/v2/entries:list' && request.method === 'POST')
      return this.#entries(JSON.parse(body.toString()), told, refused);
    return refused(404, `the simulator has no ${request.method} ${url.pathname}`);
  }

  #token(asked: URLSearchParams, told: (status: number, value: unknown) => void): void {
    const token = this.#rules.exchange(asked.get('subject_token') ?? '');
    if (token === undefined)
      return void told(400, { error: 'invalid_grant', error_description: 'The subject token is not good.' });
    const issued = 'urn:ietf:params:oauth:token-type:access_token';
    told(200, { access_token: token, issued_token_type: issued, token_type: 'Bearer', expires_in: 3600 });
  }

  /** As much of the language of filters as is asked in. */
  #entries(
    asked: {
      readonly filter?: string;
      readonly orderBy?: string;
      readonly pageSize?: number;
      readonly pageToken?: string;
      readonly resourceNames?: readonly string[];
    },
    told: (status: number, value: unknown) => void,
    refused: (status: number, message: string) => void,
  ): void {
    const { filter = '', orderBy, pageSize = 50, pageToken, resourceNames = [] } = asked;
    const form =
      /^resource\.type="ml_job" AND resource\.labels\.job_id="(\d+)" AND resource\.labels\.task_name=~"([^"]+)"(?: AND timestamp>="([^"]+)")?$/;
    const [, jobId, task = '', since] = form.exec(filter) ?? [];
    if (jobId === undefined || orderBy !== 'timestamp asc' || !/^projects\//.test(resourceNames[0] ?? ''))
      return void refused(400, `the simulator does not know the filter ${filter}`);
    const found = this.#rules
      .entries()
      .filter((entry) => entry.jobId === jobId && new RegExp(task).test(entry.task))
      .filter(({ atMs }) => since === undefined || atMs >= Date.parse(since))
      .sort((a, b) => a.atMs - b.atMs);
    const from = Number(pageToken ?? 0);
    const to = from + Math.min(pageSize, this.pageSize);
    told(200, {
      entries: found.slice(from, to).map(({ task: name, atMs, id, message }) => ({
        insertId: id,
        timestamp: new Date(atMs).toISOString(),
        jsonPayload: { message: `${message}\n` },
        resource: { type: 'ml_job', labels: { job_id: jobId, task_name: name } },
      })),
      ...(to < found.length ? { nextPageToken: String(to) } : {}),
    });
  }
}

function md5(bytes: Buffer): string {
  return createHash('md5').update(bytes).digest('base64');
}
