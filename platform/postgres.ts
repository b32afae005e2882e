import { finished } from 'node:stream/promises';
import pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import { assert } from '../core/assert.ts';
import { OperatingError } from '../core/operating-error.ts';
import { clientConfig } from './pg-client.ts';
import { type DatabaseUrl, withLogin } from './pg-login.ts';
import type { RotatingSecret } from './rotating-secret.ts';
import type { Secret } from './secret.ts';

/** int8 and numeric arrive as bigint and string: money and capacity never pass through a double. */
pg.types.setTypeParser(pg.types.builtins.INT8, BigInt);

export type Row = Readonly<Record<string, unknown>>;

/** What a query runs on: a transaction. Values are bound, never spliced. What is asked for without waiting is taken in the order asked. */
export interface Tx {
  /** `name`: planned once a connection, under it; the same name never means another text. For what is asked often and costs more to plan than to do. */
  query<R extends object = Row>(sql: string, values?: readonly unknown[], name?: string): Promise<readonly R[]>;
  /** As query, but says how many rows an INSERT, UPDATE or DELETE touched. */
  execute(sql: string, values?: readonly unknown[]): Promise<number>;
}

export interface CopyTx extends Tx {
  /** What `COPY … TO STDOUT` says, whole: the caller's statement bounds it. Nothing can be bound: values are escaped into the text. */
  copyOut(sql: string): Promise<Buffer>;
}

/** A text as a statement that cannot be given values says it. */
export const escapeLiteral = (text: string): string => pg.escapeLiteral(text);

export interface Database {
  /** A request's transaction: sees one tenant (role merit_app, row-level security). */
  asTenant<T>(tenant: string, work: (tx: Tx) => Promise<T>): Promise<T>;
  /** The engine's transaction: sees all tenants (role merit_engine). Not fenced: reads, and writes that any process may do. */
  asEngine<T>(work: (tx: CopyTx) => Promise<T>): Promise<T>;
  /** The leader's transaction: throws StaleLeader, having changed nothing, when `epoch` is no longer the current one. */
  asLeader<T>(epoch: bigint, work: (tx: Tx) => Promise<T>): Promise<T>;
  /** The engine's transaction behind any other fence. */
  asFenced<T>(fence: Fence, work: (tx: Tx) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Throws where what the transaction is to write is somebody else's by now, having changed nothing; what it locks stays so until the end. */
export type Fence = (tx: Tx) => Promise<void>;

export class StaleLeader extends Error {
  override name = 'StaleLeader';
}

export interface DatabaseOptions {
  readonly appUrl: DatabaseUrl;
  readonly engineUrl: DatabaseUrl;
  readonly maxConnections: number;
}

const STATEMENT_TIMEOUT_MS = 30_000;
const LOCK_TIMEOUT_MS = 10_000;
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 15_000;
/** Serialization failures and deadlocks are repeated this often before they surface. */
const MAX_TRANSACTION_TRIES = 5;
const RETRY_PAUSE_MS = 5;

/** A pool with the URL that its connections are made by. */
interface Opened {
  readonly pool: pg.Pool;
  readonly url: DatabaseUrl;
}

/** The login that a connection was made with, where logins change. */
const madeWith = new WeakMap<object, Secret>();

/** Each connection is made with the login of its moment. */
function clientOfToday(url: RotatingSecret) {
  return class extends pg.Client {
    constructor(config?: pg.ClientConfig) {
      super({ ...config, ...clientConfig(url, 'merit') });
      madeWith.set(this, url.now());
    }
  };
}

/** Made with a login that is not the one of today: it may end any time, and is given up when nobody uses it. */
function isOfYesterday(client: object, url: DatabaseUrl): boolean {
  return typeof url !== 'string' && madeWith.get(client) !== url.now();
}

/** Idle connections of a login that was replaced; those in use go when they are given back. */
async function retire({ pool, url }: Opened): Promise<void> {
  const idle = await Promise.allSettled(Array.from({ length: pool.idleCount }, () => pool.connect()));
  for (const one of idle) if (one.status === 'fulfilled') one.value.release(isOfYesterday(one.value, url));
}

function poolOf(url: DatabaseUrl, max: number): Opened {
  const pool = new pg.Pool({
    ...clientConfig(url, 'merit'),
    ...(typeof url === 'string' ? {} : { Client: clientOfToday(url) }),
    max,
    idleTimeoutMillis: 30_000,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    lock_timeout: LOCK_TIMEOUT_MS,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
  });
  // A broken idle connection is dropped by the pool; without a listener it would end the process.
  pool.on('error', () => {});
  const opened = { pool, url };
  if (typeof url !== 'string') url.onChange(() => void retire(opened));
  return opened;
}

function isTransient(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  return code === '40001' || code === '40P01';
}

/** Of the socket, of the name look-up, and SQLSTATEs: connection exceptions, no free connection (53300), ended by the server (57P…). */
const UNREACHABLE_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  '08000',
  '08001',
  '08003',
  '08004',
  '08006',
  '53300',
  '57P01',
  '57P02',
  '57P03',
  '57P05',
]);

/** True where the server was away or went away, so that the caller may try again later. */
export function isDatabaseAway(error: unknown): boolean {
  if (error instanceof OperatingError) return isDatabaseAway(error.cause);
  const code = (error as { code?: unknown } | undefined)?.code;
  if (typeof code === 'string' && UNREACHABLE_CODES.has(code)) return true;
  return (
    error instanceof Error &&
    /Connection terminated|not queryable|connection timeout|timeout expired|timeout exceeded when trying to connect/i.test(
      error.message,
    )
  );
}

/** 28P01: wrong password, 28000: not let in, 3D000: no such database. Waiting does not mend these. */
const REFUSED_CODES = new Set(['28P01', '28000', '3D000']);

function connectFault(cause: unknown): OperatingError {
  const refused = REFUSED_CODES.has(String((cause as { code?: unknown }).code));
  const mend = refused
    ? "check the URL's user, password and database name"
    : 'check DATABASE_URL and that Postgres runs';
  return new OperatingError(refused ? 'auth' : 'unreachable', refused ? 'never' : 'safe', 'connecting to Postgres', {
    cause,
    mend,
  });
}

async function commit(client: pg.PoolClient): Promise<void> {
  let command: string;
  try {
    command = (await client.query('commit')).command;
  } catch (cause) {
    if (!isDatabaseAway(cause)) throw cause;
    // It may have become durable before the connection broke.
    throw new OperatingError('database', 'look-first', 'committing a transaction', { cause });
  }
  // Postgres answers COMMIT of a failed transaction with a quiet ROLLBACK: the work would be lost and reported as done.
  assert(command === 'COMMIT', 'a transaction went on after one of its statements had failed');
}

async function attemptOnce<T>(
  { pool, url }: Opened,
  begin: string,
  prepare: (tx: Tx) => Promise<void>,
  work: (tx: CopyTx) => Promise<T>,
  pipelined: boolean,
): Promise<T> {
  let client: pg.PoolClient;
  try {
    client = await withLogin(url, () => pool.connect());
  } catch (cause) {
    throw connectFault(cause);
  }
  let broken: Error | undefined;
  // The pool listens only while the client is idle; without this a server that goes away ends the process.
  const onError = (error: Error) => {
    broken = error;
  };
  client.on('error', onError);
  let isOver = false;
  try {
    setPipelined(client, pipelined);
    const ask = inOrder(client, () => isOver);
    const tx: CopyTx = {
      query: async <R extends object>(sql: string, values: readonly unknown[] = [], name?: string) =>
        (await ask(sql, values, name)).rows as readonly R[],
      execute: async (sql, values = []) => (await ask(sql, values)).rowCount ?? 0,
      copyOut: async (sql) => {
        const chunks: Buffer[] = [];
        // As it comes: an iterator would first join what has come meanwhile, and copy all of it once more.
        const copied = client.query(copyTo(sql)).on('data', (chunk: Buffer) => chunks.push(chunk));
        await finished(copied, { writable: false });
        return Buffer.concat(chunks);
      },
    };
    await Promise.all([client.query(begin), prepare(tx)]);
    const result = await work(tx);
    isOver = true;
    await commit(client);
    return result;
  } catch (error) {
    isOver = true;
    await client.query('rollback').catch((cause: Error) => {
      broken = cause;
    });
    throw error;
  } finally {
    client.off('error', onError);
    setPipelined(client, false);
    client.release(broken ?? isOfYesterday(client, url));
  }
}

type Ask = (text: string, values: readonly unknown[], name?: string) => Promise<pg.QueryResult>;

/**
 * Whether statements that were asked for together are on their way together, or each waits for the one before it. pg looks at it for each
 * query; it changes only while none is under way, and not where there is a COPY, which cannot share a pipelined connection.
 */
function setPipelined(client: pg.PoolClient, pipelined: boolean): void {
  (client as { pipeline: boolean }).pipeline = pipelined;
}

/** What was still to be asked for when the transaction came to its end is refused: behind it, it would be committed by itself. */
function inOrder(client: pg.PoolClient, isOver: () => boolean): Ask {
  const ask: Ask = async (text, values, name) => {
    assert(!isOver(), 'a statement belongs to a transaction that goes on');
    return client.query({ text, values: values as unknown[], ...(name === undefined ? {} : { name }) });
  };
  if (client.pipeline) return ask;
  let last: Promise<unknown> = Promise.resolve();
  return (...asked) => {
    const next = last.then(() => ask(...asked));
    last = next.catch(() => {});
    return next;
  };
}

async function inTransaction<T>(
  from: Opened,
  begin: string,
  prepare: (tx: Tx) => Promise<void>,
  work: (tx: CopyTx) => Promise<T>,
  pipelined = false,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await attemptOnce(from, begin, prepare, work, pipelined);
    } catch (error) {
      if (!isTransient(error) || attempt === MAX_TRANSACTION_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_PAUSE_MS * 2 ** (attempt - 1)));
    }
  }
}

const unprepared = async () => {};

/**
 * Opens two pools, one a role. Connections are made when first needed. The leader's transactions are pipelined: what it commits for many
 * bookings is one statement after the other, and each is made ready while Postgres does the one before it.
 */
export function openDatabase(options: DatabaseOptions): Database {
  const app = poolOf(options.appUrl, options.maxConnections);
  const engine = poolOf(options.engineUrl, options.maxConnections);
  let closed: Promise<unknown> | undefined;
  return {
    asTenant: (tenant, work) => {
      assert(tenant !== '', 'a tenant has a name');
      // One round trip for both; the setting ends with the transaction.
      return inTransaction(
        app,
        `begin; select set_config('merit.tenant', ${pg.escapeLiteral(tenant)}, true)`,
        unprepared,
        work,
      );
    },
    asEngine: (work) => inTransaction(engine, 'begin', unprepared, work),
    asLeader: (epoch, work) => inTransaction(engine, 'begin', (tx) => requireEpoch(tx, epoch), work, true),
    asFenced: (fence, work) => inTransaction(engine, 'begin', fence, work, true),
    close: async () => {
      closed ??= Promise.all([app.pool.end(), engine.pool.end()]);
      await closed;
    },
  };
}

/** Holds the row of the epoch's seat until the transaction ends, so that nobody can be made leader in the middle of it. */
async function requireEpoch(tx: Tx, epoch: bigint): Promise<void> {
  const rows = await tx.query('select 1 from leader_epochs where epoch = $1 for share', [epoch]);
  if (rows.length === 0) throw new StaleLeader(`epoch ${epoch} is not the current one`);
}
