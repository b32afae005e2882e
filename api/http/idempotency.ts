import { assert } from '../../core/assert.ts';
import { contentHash } from '../../core/canonical.ts';
import type { Database, Tx } from '../../platform/postgres.ts';
import { MAX_IDEMPOTENCY_KEY_LENGTH, MAX_SAME_KEY_WAITING, RETRY_AFTER_SECONDS } from './limits.ts';
import { HttpProblem } from './problem.ts';

/** What a route answers: status, headers of its own, and the JSON value. */
export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
}

/** An answer as bytes: what is stored, and what every repetition gets. */
export interface StoredAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes: Buffer;
  readonly replayed: boolean;
}

const KEY = /^[\x21-\x7e]+$/;

/** The request's key; throws HttpProblem 400 where it is missing or not 1 to 255 printable ASCII characters. */
export function idempotencyKey(header: string | string[] | undefined): string {
  if (header === undefined || header === '') {
    throw new HttpProblem(
      400,
      'idempotency_key_required',
      'send an Idempotency-Key header: any text of your own, the same when you repeat the request',
    );
  }
  if (typeof header !== 'string' || header.length > MAX_IDEMPOTENCY_KEY_LENGTH || !KEY.test(header)) {
    throw new HttpProblem(
      400,
      'idempotency_key',
      `Idempotency-Key must be 1 to ${MAX_IDEMPOTENCY_KEY_LENGTH} printable ASCII characters`,
    );
  }
  return header;
}

/** Within one process, requests with the same key take turns, so that they do not hold connections while they wait. */
class Turns {
  readonly #tails = new Map<string, { tail: Promise<void>; waiting: number }>();

  async take<T>(key: string, work: () => Promise<T>): Promise<T> {
    const line = this.#tails.get(key) ?? { tail: Promise.resolve(), waiting: 0 };
    if (line.waiting >= MAX_SAME_KEY_WAITING) {
      throw new HttpProblem(
        409,
        'idempotency_in_progress',
        'many requests with this Idempotency-Key are waiting already',
        {
          headers: { 'retry-after': String(RETRY_AFTER_SECONDS) },
        },
      );
    }
    line.waiting++;
    this.#tails.set(key, line);
    const before = line.tail;
    let done = () => {};
    line.tail = new Promise((resolve) => {
      done = resolve;
    });
    await before;
    try {
      return await work();
    } finally {
      done();
      if (--line.waiting === 0) this.#tails.delete(key);
    }
  }
}

interface KeyRow {
  readonly route: string;
  readonly body_hash: string;
  readonly status: number | null;
  readonly headers: Record<string, string> | null;
  readonly reply: Buffer | null;
  readonly fresh: boolean;
}

/** Longer than a mutation takes, shorter than a caller's patience: then the other process that holds the key is told of. */
const KEY_LOCK_TIMEOUT_MS = 1500;

/**
 * Runs a mutation at most once for (tenant, key): its effect and its answer commit together. A repetition gets the same
 * bytes; the row it touches makes that answer as durable as the first. Another body under the same key is 422. An answer
 * that is an error is not kept: the whole transaction is undone.
 */
export class Idempotency {
  readonly #db: Database;
  readonly #turns = new Turns();

  constructor(db: Database) {
    this.#db = db;
  }

  run(
    request: { readonly tenant: string; readonly key: string; readonly route: string; readonly body: unknown },
    work: (tx: Tx) => Promise<Answer>,
  ): Promise<StoredAnswer> {
    const bodyHash = contentHash([request.route, request.body ?? null]);
    return this.#turns.take(JSON.stringify([request.tenant, request.key]), () =>
      this.#db.asTenant(request.tenant, async (tx) => {
        const row = await claim(tx, request, bodyHash);
        if (!row.fresh) return replay(row, bodyHash);
        const answer = await work(tx);
        const bytes = Buffer.from(JSON.stringify(answer.body));
        const headers = { 'content-type': 'application/json; charset=utf-8', ...answer.headers };
        await tx.execute(
          'update idempotency_keys set status = $3, headers = $4, reply = $5 where tenant = $1 and key = $2',
          [request.tenant, request.key, answer.status, JSON.stringify(headers), bytes],
        );
        return { status: answer.status, headers, bytes, replayed: false };
      }),
    );
  }
}

async function claim(
  tx: Tx,
  request: { readonly tenant: string; readonly key: string; readonly route: string },
  bodyHash: string,
): Promise<KeyRow> {
  await tx.query("select set_config('lock_timeout', $1, true)", [`${KEY_LOCK_TIMEOUT_MS}ms`]);
  // DO UPDATE, never DO NOTHING: a hit that writes is as durable as the first request, also on a synchronous standby.
  const [row] = await tx.query<KeyRow>(
    `insert into idempotency_keys (tenant, key, route, body_hash) values ($1, $2, $3, $4)
     on conflict (tenant, key) do update set hits = idempotency_keys.hits + 1
     returning route, body_hash, status, headers, reply, (hits = 0) as fresh`,
    [request.tenant, request.key, request.route, bodyHash],
  );
  assert(row !== undefined, 'an upsert returned no row');
  return row;
}

function replay(row: KeyRow, bodyHash: string): StoredAnswer {
  if (row.body_hash !== bodyHash) {
    throw new HttpProblem(
      422,
      'idempotency_key_reused',
      'this Idempotency-Key was used for another request; take a new one',
    );
  }
  assert(row.status !== null && row.reply !== null, 'an idempotency row was committed without its answer');
  return { status: row.status, headers: row.headers ?? {}, bytes: row.reply, replayed: true };
}
