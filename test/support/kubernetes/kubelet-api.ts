import { readFileSync } from 'node:fs';
import { Agent, request } from 'undici';

export interface ApiFacts {
  readonly url: string;
  readonly caFile: string;
  readonly adminToken: string;
}

/** An API server as its administrator speaks to it: what is under test has a client of its own. */
export class AdminApi {
  readonly #facts: ApiFacts;
  readonly #agent: Agent;

  constructor(facts: ApiFacts) {
    this.#facts = facts;
    this.#agent = new Agent({ connect: { ca: readFileSync(facts.caFile) }, bodyTimeout: 0 });
  }

  /** The answer; throws what was refused, with its status. */
  async call<T = unknown>(
    method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    path: string,
    body?: unknown,
    type = 'application/json',
  ): Promise<T> {
    const reply = await request(`${this.#facts.url}${path}`, {
      method,
      dispatcher: this.#agent,
      headers: { authorization: `Bearer ${this.#facts.adminToken}`, 'content-type': type },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await reply.body.text();
    if (reply.statusCode >= 300) throw new ApiRefusal(reply.statusCode, `${method} ${path}: ${text}`);
    return JSON.parse(text) as T;
  }

  /** undefined: there is none. */
  async find<T = unknown>(path: string): Promise<T | undefined> {
    return this.call<T>('GET', path).catch((error: unknown) => {
      if (error instanceof ApiRefusal && error.status === 404) return undefined;
      throw error;
    });
  }

  /** The lines of a watch until the signal aborts. */
  async *watch(path: string, signal: AbortSignal): AsyncGenerator<{ readonly type: string; readonly object: unknown }> {
    const reply = await request(`${this.#facts.url}${path}`, {
      dispatcher: this.#agent,
      headers: { authorization: `Bearer ${this.#facts.adminToken}` },
      signal,
    });
    if (reply.statusCode !== 200) throw new ApiRefusal(reply.statusCode, await reply.body.text());
    let rest = '';
    for await (const chunk of reply.body) {
      rest += String(chunk);
      const lines = rest.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) yield JSON.parse(line) as { type: string; object: unknown };
    }
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }
}

export class ApiRefusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}
