import type { Writable } from 'node:stream';
import pg from 'pg';
import { assert } from '../core/assert.ts';
import { OperatingError } from '../core/operating-error.ts';
import { clientConfig } from './pg-client.ts';
import { type DatabaseUrl, withLogin } from './pg-login.ts';
import { isDatabaseAway } from './postgres.ts';

/** A statement that is planned once a connection, by its name; values are bound. */
export interface Statement {
  /** The same name never means another text. */
  readonly name: string;
  readonly text: string;
  /** It reads many rows: those of it take turns on connections of their own, and no other waits behind them. */
  readonly isLong?: true;
}

/**
 * Reads of one statement in one round trip: the transaction's begin with the caller's tenant, the statement and the commit are
 * written together, and those of many callers follow one another on a few connections without waiting for each other's answers. For
 * the hottest reads only: against `Database.asTenant`, which takes three round trips and plans anew, a small read took 0.6 instead of
 * 1.7 ms and a quarter of Postgres' CPU time (2 busy cores).
 */
export interface TenantReads {
  /** As merit_app under row-level security, read-only. Throws OperatingError `capacity` where too many wait. */
  read<R extends object>(tenant: string, statement: Statement, values: readonly unknown[]): Promise<readonly R[]>;
  close(): Promise<void>;
}

/** Of short statements, and of long ones: few of those, since they come in bursts and each keeps a core from the others. */
const SHORT_CONNECTIONS = 4;
const LONG_CONNECTIONS = 2;
/** Over all connections; beyond it the caller is told to come again. */
export const MAX_READS_WAITING = 512;
const READ_TIMEOUT_MS = 10_000;

/** What pg does not type. */
interface WithStream {
  readonly connection: { readonly stream: Pick<Writable, 'cork' | 'uncork'> };
}

class Line {
  waiting = 0;
  readonly #url: DatabaseUrl;
  #client: Promise<pg.Client> | undefined;
  /** The one that it came to. */
  #given: pg.Client | undefined;
  /** Reads that wait on each connection. */
  readonly #waitingOn = new WeakMap<pg.Client, number>();
  /** Those of a login that was replaced, on which somebody waits. */
  readonly #retired = new Set<pg.Client>();

  constructor(url: DatabaseUrl) {
    this.#url = url;
    if (typeof url !== 'string') url.onChange(() => void this.#retire());
  }

  /** The next read opens another connection; this one ends when what waits on it is answered. */
  async #retire(): Promise<void> {
    const opened = this.#client;
    this.#client = undefined;
    // Who took it before is counted by then.
    const client = await opened?.catch(() => undefined);
    if (client === undefined) return;
    if (this.#given === client) this.#given = undefined;
    if ((this.#waitingOn.get(client) ?? 0) === 0) await client.end();
    else this.#retired.add(client);
  }

  #count(client: pg.Client, by: number): void {
    const waiting = (this.#waitingOn.get(client) ?? 0) + by;
    this.#waitingOn.set(client, waiting);
    if (waiting === 0 && this.#retired.delete(client)) void client.end();
  }

  async read<R extends object>(begin: string, statement: Statement, values: readonly unknown[]): Promise<readonly R[]> {
    this.waiting++;
    try {
      const client = await this.#open();
      this.#count(client, 1);
      // Queued in one turn, so that nothing comes between them, and sent as one packet. Where one fails the commit behind it is a
      // rollback.
      const { stream } = (client as unknown as WithStream).connection;
      stream.cork();
      const answers = Promise.all([
        client.query(begin),
        client.query<R & pg.QueryResultRow>({ ...statement, values: values as unknown[] }),
        client.query('commit'),
      ]);
      stream.uncork();
      const counted = answers.finally(() => this.#count(client, -1));
      // Its end may be heard of later than its last answer: the next read must not be written to it.
      counted.catch((error: unknown) => {
        if (isDatabaseAway(error)) this.#giveUp(client);
      });
      return (await counted)[1].rows;
    } finally {
      this.waiting--;
    }
  }

  #giveUp(client: pg.Client): void {
    if (this.#given !== client) return;
    this.#given = undefined;
    this.#client = undefined;
    void client.end().catch(() => {});
  }

  #open(): Promise<pg.Client> {
    if (this.#client !== undefined) return this.#client;
    const opening: Promise<pg.Client> = this.#connect(() => {
      if (this.#client === opening) this.#client = undefined;
    });
    this.#client = opening;
    return opening;
  }

  async #connect(forget: () => void): Promise<pg.Client> {
    try {
      return await withLogin(this.#url, () => this.#connectOnce(forget));
    } catch (cause) {
      forget();
      throw new OperatingError('unreachable', 'safe', 'connecting to Postgres', {
        cause,
        mend: 'check DATABASE_URL and that Postgres runs',
      });
    }
  }

  async #connectOnce(forget: () => void): Promise<pg.Client> {
    const config = clientConfig(this.#url, 'merit reads');
    const client = new pg.Client({
      ...config,
      // Planned once, whatever the values: Postgres by itself goes on planning where it hopes for a little from it.
      options: `${config.options} -c plan_cache_mode=force_generic_plan`,
      pipeline: true,
      statement_timeout: READ_TIMEOUT_MS,
      // The connection breaks with it: what waits behind a statement that does not answer fails, and is asked anew.
      query_timeout: READ_TIMEOUT_MS * 2,
    });
    // More than one may come; without a listener the second would end the process.
    let isOpen = false;
    const lost = () => {
      if (isOpen) forget();
    };
    client.on('error', lost);
    client.on('end', lost);
    await client.connect();
    isOpen = true;
    this.#given = client;
    return client;
  }

  async close(): Promise<void> {
    const client = await this.#client?.catch(() => undefined);
    await client?.end();
  }
}

export function openTenantReads(appUrl: DatabaseUrl): TenantReads {
  const short = Array.from({ length: SHORT_CONNECTIONS }, () => new Line(appUrl));
  const long = Array.from({ length: LONG_CONNECTIONS }, () => new Line(appUrl));
  const lines = [...short, ...long];
  return {
    read: (tenant, statement, values) => {
      assert(tenant !== '', 'a tenant has a name');
      const own = statement.isLong === true ? long : short;
      const shortest = own.reduce((least, line) => (line.waiting < least.waiting ? line : least));
      if (lines.reduce((sum, line) => sum + line.waiting, 0) >= MAX_READS_WAITING) {
        return Promise.reject(new OperatingError('capacity', 'safe', 'reading', { cause: 'too many reads wait' }));
      }
      const begin = `begin read only; select set_config('merit.tenant', ${pg.escapeLiteral(tenant)}, true)`;
      return shortest.read(begin, statement, values);
    },
    close: async () => {
      await Promise.all(lines.map((line) => line.close()));
    },
  };
}
