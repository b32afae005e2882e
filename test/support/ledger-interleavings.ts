import pg from 'pg';
import { invariantQueries } from '../../ledger/invariants.ts';
import { ensureAccounts } from '../../ledger/quota/account.ts';
import { newModel } from '../../ledger/quota/model.ts';
import { clientConfig } from '../../platform/pg-client.ts';
import type { TestDatabase } from './db.ts';
import { ledgerCases, seededRandom, treeCaseAccounts } from './ledger-cases.ts';
import { hasOrder, type Seen } from './ledger-orders.ts';
import { Session, Ticks, Turns } from './ledger-sessions.ts';
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
/** Names of the rules of accounts and transfers that do not hold: all of them in one statement. */
const ANY_BROKEN = invariantQueries()
  .filter(({ sql }) => !/\b(bookings|audit_|evidence|manifests)/.test(sql))
  .map(({ name, sql }) => `select '${name}' as name where exists (${sql})`)
  .join('\nunion all ');

export interface Tally {
  readonly transactions: number;
  readonly deaths: number;
}

/** Interleavings of ledger operations on one database, one after the other; each leaves its database as it was. */
export class Interleavings {
  readonly #admin: pg.Client;
  readonly #sessions: readonly Session[];
  #since = 0;

  private constructor(admin: pg.Client, sessions: readonly Session[]) {
    this.#admin = admin;
    this.#sessions = sessions;
  }

  static async open(database: TestDatabase): Promise<Interleavings> {
    await database.db.asEngine(async (tx) => {
      await tx.execute("insert into tenants (tenant) values ('acme'), ('globex')");
      await ensureAccounts(tx, treeCaseAccounts());
    });
    const admin = new pg.Client(clientConfig(database.urls.admin, 'merit test'));
    await admin.connect();
    await admin.query('create table accounts_at_first as select * from accounts');
    // What is looked for is an order: nobody waits for a disk, and who sees what is the same.
    await admin.query(`alter database ${new URL(database.urls.admin).pathname.slice(1)} set synchronous_commit = off`);
    const sessions = Array.from({ length: SESSIONS }, () => new Session(database.urls.engine));
    return new Interleavings(admin, sessions);
  }

  async close(): Promise<void> {
    for (const session of this.#sessions) await session.close();
    await this.#admin.end();
  }

  /** Throws where what happened has no explanation in the model. */
  async run(seed: number): Promise<Tally> {
    await this.#reset();
    const random = seededRandom(seed);
    const below = (n: number) => Math.floor(random() * n);
    const cases = ledgerCases(seed, FIRST_STEPS + SESSIONS * STEPS_A_SESSION, { tree: true });
    const model = newModel(treeCaseAccounts());
    const first = ledgerCases(seed, 200, { tree: true }).find(({ kind }) => kind === 'set_tree');
    await this.#admin.query('begin');
    for (const step of [...(first === undefined ? [] : [first]), ...cases.slice(0, FIRST_STEPS)]) {
      await applyStep(this.#tx, step);
      expectStep(model, step);
    }
    await this.#admin.query('commit');
    const [turns, ticks, seen] = [new Turns(), new Ticks(), [] as Seen[]];
    const deathsBefore = this.#deaths();
    await turns.run(
      this.#sessions.map((session, at) => async () => {
        const from = FIRST_STEPS + at * STEPS_A_SESSION;
        for (const step of cases.slice(from, from + STEPS_A_SESSION)) {
          const dieAt = random() < DEATH_SHARE ? 1 + below(MAX_DIE_AT) : undefined;
          seen.push(...(await session.take(step, turns, ticks, dieAt)));
        }
      }),
      below,
    );
    await this.#settle();
    const balances = await balancesOf(this.#tx, treeCaseAccounts());
    if (!hasOrder(model, seen, balances)) throw new Error(`seed ${seed}: ${this.#told(seen)}`);
    // By name: Postgres plans all its rules once and not each time.
    const { rows } = await this.#admin.query<{ name: string }>({ name: 'any-broken', text: ANY_BROKEN });
    const broken = rows.map(({ name }) => name);
    if (broken.length > 0) throw new Error(`seed ${seed}: ${broken.join(', ')}: ${plain(seen)}`);
    return { transactions: seen.length, deaths: this.#deaths() - deathsBefore };
  }

  readonly #tx = {
    query: async <R extends object>(sql: string, values: readonly unknown[] = []) =>
      (await this.#admin.query(sql, values as unknown[])).rows as readonly R[],
    execute: async (sql: string, values: readonly unknown[] = []) =>
      (await this.#admin.query(sql, values as unknown[])).rowCount ?? 0,
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

  async #reset(): Promise<void> {
    await this.#admin.query(
      `begin; set local session_replication_role = replica;
       delete from pending_transfers; delete from transfers; delete from accounts;
       insert into accounts select * from accounts_at_first; commit`,
    );
    if (++this.#since % VACUUM_EVERY === 0)
      for (const table of ['pending_transfers', 'transfers', 'accounts']) await this.#admin.query(`vacuum ${table}`);
  }

  #told(seen: readonly Seen[]): string {
    return `no order of these transactions explains what was answered and what is there now: ${plain(seen)}`;
  }
}

function plain(value: unknown): string {
  return JSON.stringify(value, (_key, part) => (typeof part === 'bigint' ? `${part}` : part));
}
