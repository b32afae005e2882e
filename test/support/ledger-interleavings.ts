import pg from 'pg';
import { invariantQueries } from '../../ledger/invariants.ts';
import { ensureAccounts } from '../../ledger/quota/account.ts';
import { type LedgerModel, newModel } from '../../ledger/quota/model.ts';
import { clientConfig } from '../../platform/pg-client.ts';
import type { TestDatabase } from './db.ts';
import { type LedgerCase, ledgerCases, seededRandom, treeCaseAccounts } from './ledger-cases.ts';
import { hasOrder, type Seen } from './ledger-orders.ts';
import { prepared, Session, Ticks, Turns } from './ledger-sessions.ts';
import { applyStep, balancesOf, expectStep } from './ledger-step.ts';

const SESSIONS = 3;
/** Before the sessions begin: the tree, and some of it in use. */
const FIRST_STEPS = 4;
const STEPS_A_SESSION = 2;
const DEATH_SHARE = 0.12;
/** Of a transaction there are about ten statements; from then on its caller dies while it commits. */
const MAX_DIE_AT = 14;
const ORPHAN_PAUSE_MS = 5;
/** What is deleted between interleavings leaves dead rows. */
const VACUUM_EVERY = 400;
/** What an interleaving changes, in an order in which it can be written. */
const TABLES = ['accounts', 'transfers', 'pending_transfers'] as const;
/** Names of the rules of accounts and transfers that do not hold: all of them in one statement. */
const ANY_BROKEN = invariantQueries()
  .filter(({ sql }) => !/\b(bookings|audit_|evidence|manifests)/.test(sql))
  .map(({ name, sql }) => `select '${name}' as name where exists (${sql})`)
  .join('\nunion all ');

export interface Tally {
  readonly transactions: number;
  readonly deaths: number;
}

/** Where interleavings begin, and what their sessions do. */
interface World {
  readonly seed: number;
  readonly model: LedgerModel;
  readonly steps: readonly LedgerCase[];
}

/** Interleavings of ledger operations on one database, one after the other; each begins where its world does, whatever was there before. */
export class Interleavings {
  readonly #admin: pg.Client;
  readonly #cleaner: pg.Client;
  readonly #sessions: readonly Session[];
  #since = 0;
  #world: World | undefined;

  private constructor(admin: pg.Client, cleaner: pg.Client, sessions: readonly Session[]) {
    this.#admin = admin;
    this.#cleaner = cleaner;
    this.#sessions = sessions;
  }

  static async open(database: TestDatabase): Promise<Interleavings> {
    await database.db.asEngine(async (tx) => {
      await tx.execute("insert into tenants (tenant) values ('acme'), ('globex')");
      await ensureAccounts(tx, treeCaseAccounts());
    });
    const name = new URL(database.urls.admin).pathname.slice(1);
    const connect = async () => {
      const client = new pg.Client(clientConfig(database.urls.admin, 'merit test'));
      await client.connect();
      return client;
    };
    const cleaner = await connect();
    for (const table of TABLES) {
      await cleaner.query(`create table ${table}_at_first as select * from ${table}`);
      await cleaner.query(`create table ${table}_of_world as select * from ${table}`);
    }
    // What is looked for is an order: nobody waits for a disk, and who sees what is the same.
    await cleaner.query(`alter database ${name} set synchronous_commit = off`);
    await cleaner.query(`alter database ${name} set plan_cache_mode = force_generic_plan`);
    // On a connection of its own: each change of this setting makes Postgres forget all plans of its connection.
    await cleaner.query('set session_replication_role = replica; set synchronous_commit = off');
    const sessions = Array.from({ length: SESSIONS }, () => new Session(database.urls.engine));
    return new Interleavings(await connect(), cleaner, sessions);
  }

  async close(): Promise<void> {
    for (const session of this.#sessions) await session.close();
    await this.#admin.end();
    await this.#cleaner.end();
  }

  /**
   * Throws where what happened has no explanation in the model. The seeds of one world begin in the same place and take the same steps, each
   * dealt to the sessions and interleaved in another way; one after the other they cost less, as the place is made once.
   */
  async run(seed: number, world = seed): Promise<Tally> {
    const { model, steps } = await this.#begin(world);
    const random = seededRandom(seed);
    const below = (n: number) => Math.floor(random() * n);
    const dealt = steps.map((step) => ({ step, at: random() })).toSorted((a, b) => a.at - b.at);
    const [turns, ticks, seen] = [new Turns(), new Ticks(), [] as Seen[]];
    const deathsBefore = this.#deaths();
    await turns.run(
      this.#sessions.map((session, at) => async () => {
        for (const { step } of dealt.slice(at * STEPS_A_SESSION, (at + 1) * STEPS_A_SESSION)) {
          const dieAt = random() < DEATH_SHARE ? 1 + below(MAX_DIE_AT) : undefined;
          seen.push(...(await session.take(step, turns, ticks, dieAt)));
        }
      }),
      below,
    );
    await this.#settle();
    const balances = await balancesOf(this.#tx, treeCaseAccounts());
    if (!hasOrder(model, seen, balances)) throw new Error(`seed ${seed} of ${world}: ${this.#told(seen)}`);
    // By name: Postgres plans all its rules once and not each time.
    const { rows } = await this.#admin.query<{ name: string }>({ name: 'any-broken', text: ANY_BROKEN });
    const broken = rows.map(({ name }) => name);
    if (broken.length > 0) throw new Error(`seed ${seed} of ${world}: ${broken.join(', ')}: ${plain(seen)}`);
    return { transactions: seen.length, deaths: this.#deaths() - deathsBefore };
  }

  readonly #tx = {
    query: async <R extends object>(sql: string, values: readonly unknown[] = []) =>
      (await this.#admin.query(prepared(sql, values))).rows as readonly R[],
    execute: async (sql: string, values: readonly unknown[] = []) =>
      (await this.#admin.query(prepared(sql, values))).rowCount ?? 0,
  };

  /** Backends whose callers died end by themselves, when they next look at their connection. */
  async #settle(): Promise<void> {
    const orphans = this.#sessions.flatMap((session) => session.orphans.splice(0));
    while (orphans.length > 0) {
      const { rows } = await this.#admin.query('select 1 from pg_stat_activity where pid = any($1::int[])', [orphans]);
      if (rows.length === 0) return;
      await new Promise((resolve) => setTimeout(resolve, ORPHAN_PAUSE_MS));
    }
  }

  #deaths(): number {
    return this.#sessions.reduce((sum, { deaths }) => sum + deaths, 0);
  }

  /** Makes the world, or puts it back where it is the one of the interleaving before. */
  async #begin(seed: number): Promise<World> {
    if (this.#world?.seed === seed) {
      await this.#put(TABLES.map((table) => [`${table}_of_world`, table]));
      return this.#world;
    }
    await this.#put(TABLES.map((table) => [`${table}_at_first`, table]));
    const first = firstTree(seed);
    const cases = ledgerCases(seed, FIRST_STEPS + SESSIONS * STEPS_A_SESSION, { tree: true });
    const model = newModel(treeCaseAccounts());
    await this.#admin.query('begin');
    for (const step of [...(first === undefined ? [] : [first]), ...cases.slice(0, FIRST_STEPS)]) {
      await applyStep(this.#tx, step);
      expectStep(model, step);
    }
    await this.#admin.query('commit');
    await this.#put(TABLES.map((table) => [table, `${table}_of_world`]));
    this.#world = { seed, model, steps: cases.slice(FIRST_STEPS) };
    return this.#world;
  }

  /** Each table's content is that of the other. */
  async #put(pairs: readonly (readonly [from: string, to: string])[]): Promise<void> {
    const emptied = pairs.map(([, to]) => `delete from ${to};`).toReversed();
    const filled = pairs.map(([from, to]) => `insert into ${to} select * from ${from};`);
    await this.#cleaner.query(`begin; ${[...emptied, ...filled].join(' ')} commit`);
    if (++this.#since % VACUUM_EVERY !== 0) return;
    for (const table of TABLES) {
      await this.#cleaner.query(`vacuum ${table}`);
      await this.#cleaner.query(`vacuum ${table}_of_world`);
    }
  }

  #told(seen: readonly Seen[]): string {
    return `no order of these transactions explains what was answered and what is there now: ${plain(seen)}`;
  }
}

/** Nearly always among the first few cases: the others are not made. */
function firstTree(seed: number): LedgerCase | undefined {
  for (const count of [16, 48, 200]) {
    const tree = ledgerCases(seed, count, { tree: true }).find(({ kind }) => kind === 'set_tree');
    if (tree !== undefined) return tree;
  }
}

function plain(value: unknown): string {
  return JSON.stringify(value, (_key, part) => (typeof part === 'bigint' ? `${part}` : part));
}
