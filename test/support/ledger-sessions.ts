import pg from 'pg';
import { clientConfig } from '../../platform/pg-client.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { LedgerCase } from './ledger-cases.ts';
import type { Seen } from './ledger-orders.ts';
import { applyStep } from './ledger-step.ts';

/**
 * Several connections whose statements are let go one at a time, in an order drawn from a seed, some of whose callers die in between: where one
 * waits for another's lock, the others go on.
 */

/** A statement that is not answered by then waits for a lock, and others have their turn. */
const BLOCKED_AFTER_MS = 5;
const STATEMENT_TIMEOUT_MS = 30_000;
/** Of one transaction, when Postgres ended it in favour of another. */
const MAX_TRIES = 5;

const names = new Map<string, string>();

/** The same statement, which a connection parses and plans once and not each time: that was 40 % of what a step cost Postgres. */
export function prepared(text: string, values: readonly unknown[]): pg.QueryConfig {
  if (values.length === 0) return { text };
  const name = names.get(text) ?? `s${names.size}`;
  names.set(text, name);
  return { name, text, values: [...values] };
}

/** Whoever is called next may send its next statement. */
export class Turns {
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #told: (() => void) | undefined;

  /** Waits for its turn. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#running -= 1;
      this.#told?.();
    });
  }

  async run(works: readonly (() => Promise<void>)[], below: (n: number) => number): Promise<void> {
    this.#running = works.length;
    let left = works.length;
    const done = Promise.all(
      works.map(async (work) => {
        try {
          await work();
        } finally {
          left -= 1;
          this.#running -= 1;
          this.#told?.();
        }
      }),
    );
    done.catch(() => {});
    while (left > 0) {
      const [next] = this.#waiting.splice(below(this.#waiting.length), 1);
      if (next !== undefined) {
        this.#running += 1;
        next();
      }
      await this.#change(next !== undefined && this.#waiting.length > 0);
    }
    await done;
  }

  /** Until nobody's statement is under way; no longer than a while where others could go on. */
  #change(others: boolean): Promise<void> {
    if (this.#running === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#told = undefined;
        resolve();
      };
      const timer = others ? setTimeout(end, BLOCKED_AFTER_MS) : undefined;
      // With nobody waiting, whoever comes back first is the next.
      this.#told = () => {
        if (this.#running === 0 || !others) end();
      };
    });
  }
}

class Died extends Error {
  readonly whileCommitting: boolean;

  constructor(whileCommitting: boolean) {
    super('the caller died');
    this.whileCommitting = whileCommitting;
  }
}

/** Order of what happened, over all sessions. */
export class Ticks {
  #now = 0;
  next(): number {
    return ++this.#now;
  }
}

export class Session {
  /** Backends whose callers died: they may still be at work. */
  readonly orphans: number[] = [];
  deaths = 0;
  readonly #url: string;
  #client: pg.Client | undefined;

  constructor(engineUrl: string) {
    this.#url = engineUrl;
  }

  async open(): Promise<pg.Client> {
    if (this.#client !== undefined) return this.#client;
    const client = new pg.Client({ ...clientConfig(this.#url, 'merit test'), statement_timeout: STATEMENT_TIMEOUT_MS });
    client.on('error', () => {});
    await client.connect();
    this.#client = client;
    return client;
  }

  async close(): Promise<void> {
    await this.#client?.end();
    this.#client = undefined;
  }

  /** Takes the step in a transaction of its own. `dieAt`: the statement before which its caller dies; it is taken again then. */
  async take(step: LedgerCase, turns: Turns, ticks: Ticks, dieAt: number | undefined): Promise<readonly Seen[]> {
    const seen: Seen[] = [];
    let dies = dieAt;
    for (let tries = 0; tries < MAX_TRIES; ) {
      const from = ticks.next();
      try {
        const got = await this.#transaction(step, turns, dies);
        return [...seen, { step, from, until: ticks.next(), got }];
      } catch (error) {
        if (error instanceof Died) {
          this.deaths += 1;
          dies = undefined;
          if (error.whileCommitting) seen.push({ step, from, until: Number.POSITIVE_INFINITY, got: undefined });
          continue;
        }
        await this.#client?.query('rollback');
        tries += 1;
        if (!isTransient(error)) throw error;
      }
    }
    throw new Error(`Postgres ended a transaction ${MAX_TRIES} times`);
  }

  async #transaction(step: LedgerCase, turns: Turns, dieAt: number | undefined): Promise<readonly unknown[]> {
    const client = await this.open();
    let statements = 0;
    let died: Died | undefined;
    const before = async () => {
      await turns.next();
      // Who is dead does not clear up either.
      if (died !== undefined) throw died;
      if (++statements !== dieAt) return;
      died = new Died(false);
      this.#die(client);
      throw died;
    };
    const tx: Tx = {
      query: async <R extends object>(sql: string, values: readonly unknown[] = []) => {
        await before();
        return (await client.query(prepared(sql, values))).rows as readonly R[];
      },
      execute: async (sql, values = []) => {
        await before();
        return (await client.query(prepared(sql, values))).rowCount ?? 0;
      },
    };
    await client.query('begin');
    const got = await applyStep(tx, step);
    await turns.next();
    if (dieAt !== undefined && statements < dieAt) {
      client.query('commit').catch(() => {});
      this.#die(client);
      throw new Died(true);
    }
    await client.query('commit');
    return got;
  }

  /** The connection breaks, without a word to the server. */
  #die(client: pg.Client): void {
    const { processID, connection } = client as unknown as {
      readonly processID: number;
      readonly connection: { readonly stream: { destroy(): void } };
    };
    this.orphans.push(processID);
    setImmediate(() => connection.stream.destroy());
    this.#client = undefined;
  }
}

function isTransient(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return code === '40001' || code === '40P01';
}
