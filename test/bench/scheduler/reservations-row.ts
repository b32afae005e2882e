import { assert } from '../../../core/assert.ts';
import {
  type AccountSpec,
  capacityAccount,
  ensureAccounts,
  quotaAccount,
  readBalances,
} from '../../../ledger/quota/account.ts';
import { executeMany } from '../../../ledger/quota/execute.sql.ts';
import type { Batch } from '../../../ledger/quota/transfer.ts';
import { type Database, openDatabase, type Tx } from '../../../platform/postgres.ts';
import { type BenchDatabase, startBenchPostgres, TENANT } from '../database.ts';
import { each, median, type Row, ratioOf, row, type Times, takeTurns } from '../harness.ts';
import type { RowOptions } from './rows.ts';

/**
 * Reservations on one hot account, each a pending transfer from a pool's capacity to a division's quota with both limits held by the
 * database, durable when it is answered, in a transaction that reads the leader's epoch FOR SHARE. Batched: many in one transaction, one
 * transaction at a time, as the engine commits. One call each: the same ledger, a transaction a reservation, on 32 connections at once,
 * which wait for each other's row locks. By the wall clock, since that waiting takes no CPU.
 *
 * Beside it, one call each by a single statement written by hand, without idempotence or outcomes: what no code above Postgres could beat.
 */

const FLOOR = 15;
const AIM = 25;
const ROUNDS = 7;
const CONNECTIONS = 32;
const BATCH = 500;
/** In a round: a quarter to half a second of each on an idle machine. */
const BATCHED = 10 * BATCH;
const SINGLE = 8 * CONNECTIONS;
const ASK = 1_000n;
const COMMAND = 'npm run bench:scheduler -- reservations';
const POOL = 'hot';
const FLAVOUR = 'only';
const RESOURCE = 'gpu';
const CAPACITY = capacityAccount(TENANT, POOL, FLAVOUR, RESOURCE);
const QUOTA = quotaAccount(TENANT, 'lab', POOL, FLAVOUR, RESOURCE);

/**
 * `rows.ts` takes it as `reservations: async (options) => (await import('./reservations-row.ts')).reservationRows(options)`. Two rows: the ratio
 * with its floor, and the hand-written statement for scale.
 */
export async function reservationRows({
  signal,
  progress,
}: Pick<RowOptions, 'signal' | 'progress'>): Promise<readonly Row[]> {
  const postgres = await startBenchPostgres();
  try {
    const database = await postgres.database();
    const { engine, app } = database.urls;
    const db = openDatabase({ appUrl: app, engineUrl: engine, maxConnections: CONNECTIONS });
    try {
      return await measured(new HotAccount(database, db, signal, progress.show.bind(progress)));
    } finally {
      await db.close();
      await database.close();
    }
  } finally {
    await postgres.stop();
  }
}

async function measured(hot: HotAccount): Promise<readonly Row[]> {
  await hot.open();
  const times = await takeTurns(
    [
      { name: 'batched', pass: () => hot.batched() },
      { name: 'one each', pass: () => hot.oneCallEach() },
      { name: 'by hand', pass: () => hot.byHand() },
    ],
    ROUNDS,
    1,
  );
  await hot.check();
  const batched = `${BATCH} a commit ${rate(times, 'batched')}`;
  return [
    row({
      what: 'durable reservations on one hot account: batched against one call each on 32 connections',
      value: ratioOf(times, 'batched', 'one each'),
      floor: FLOOR,
      aim: AIM,
      detail: `${batched}; one call each ${rate(times, 'one each')}`,
      limit: 'CPU of the batched side, here and in Postgres: two rows a reservation and their indexes',
      command: COMMAND,
    }),
    row({
      what: 'durable reservations on one hot account: batched against one hand-written statement each on 32 connections',
      value: ratioOf(times, 'batched', 'by hand'),
      floor: null,
      aim: null,
      detail: `${batched}; one statement and commit each, no epoch, no retries by id ${rate(times, 'by hand')}`,
      command: COMMAND,
    }),
  ];
}

function rate(times: Times, name: string): string {
  const seconds = median(times.get(name)!);
  return `${Math.round(1 / seconds)}/s (${each(seconds, 1)})`;
}

class HotAccount {
  readonly #database: BenchDatabase;
  readonly #db: Database;
  readonly #signal: AbortSignal;
  readonly #show: (what: string, done: number, all: number) => void;
  #made = 0;
  #rounds = 0;

  constructor(
    database: BenchDatabase,
    db: Database,
    signal: AbortSignal,
    show: (what: string, done: number, all: number) => void,
  ) {
    this.#database = database;
    this.#db = db;
    this.#signal = signal;
    this.#show = show;
  }

  /** Accounts with limits that all rounds together just reach half of, and every connection connected. */
  async open(): Promise<void> {
    const limit = 2n * ASK * BigInt((ROUNDS + 1) * (BATCHED + 2 * SINGLE));
    const common = { tenant: TENANT, pool: POOL, flavour: FLAVOUR, unit: RESOURCE, limit };
    const accounts: readonly AccountSpec[] = [
      { ...common, id: CAPACITY, kind: 'capacity' },
      { ...common, id: QUOTA, kind: 'quota', division: 'lab' },
    ];
    await this.#leader((tx) => ensureAccounts(tx, accounts));
    await Promise.all(
      Array.from({ length: CONNECTIONS }, () => this.#leader((tx) => tx.query('select pg_sleep(0.05)'))),
    );
  }

  batched(): Promise<number> {
    return this.#timed(BATCHED, async () => {
      for (let done = 0; done < BATCHED; done += BATCH) await this.#reserve(BATCH);
    });
  }

  oneCallEach(): Promise<number> {
    return this.#timed(SINGLE, () => onAllConnections(() => this.#reserve(1)));
  }

  byHand(): Promise<number> {
    return this.#timed(SINGLE, () =>
      onAllConnections(async () => {
        const id = this.#nextId();
        const written = await this.#db.asEngine((tx) =>
          tx.execute(BY_HAND, [CAPACITY, QUOTA, id, TENANT, ASK.toString()]),
        );
        assert(written === 1, `the statement takes ${id}`);
      }),
    );
  }

  /** Every reservation that was answered is in both balances, and is a transfer. */
  async check(): Promise<void> {
    const held = ASK * BigInt(this.#made);
    await this.#db.asEngine(async (tx) => {
      const [capacity, quota] = await readBalances(tx, [CAPACITY, QUOTA]);
      assert(capacity?.debitsPending === held, `the pool gave ${capacity?.debitsPending}, not ${held}`);
      assert(quota?.creditsPending === held, `the division holds ${quota?.creditsPending}, not ${held}`);
      const rows = await tx.query<{ count: bigint }>('select count(*) as count from transfers');
      assert(rows[0]?.count === BigInt(this.#made), `there are ${rows[0]?.count} transfers, not ${this.#made}`);
    });
  }

  /** Seconds a reservation, by the wall clock. */
  async #timed(count: number, work: () => Promise<unknown>): Promise<number> {
    this.#signal.throwIfAborted();
    this.#show('reservations', this.#rounds++, 3 * (ROUNDS + 1));
    const startedMs = performance.now();
    await work();
    return (performance.now() - startedMs) / 1000 / count;
  }

  async #reserve(count: number): Promise<void> {
    const batches = Array.from({ length: count }, (): Batch => {
      const id = this.#nextId();
      return {
        context: { tenant: TENANT, bookingId: id, attempt: 1, nowMs: Date.now() },
        transfers: [{ kind: 'pending', id, debit: CAPACITY, credit: QUOTA, amount: ASK }],
      };
    });
    for (const result of await this.#leader((tx) => executeMany(tx, batches))) assert(result.ok, 'the ledger takes it');
  }

  #leader<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    return this.#db.asLeader(this.#database.epoch, work);
  }

  #nextId(): string {
    return `hot-${++this.#made}`;
  }
}

async function onAllConnections(reserve: () => Promise<void>): Promise<void> {
  const worker = async () => {
    for (let done = 0; done < SINGLE; done += CONNECTIONS) await reserve();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, worker));
}

/** The limits are the rows' constraints; the accounts are locked in the order in which they are named. */
const BY_HAND = `
  with gives as (
    update accounts set debits_pending = debits_pending + $5::bigint where account_id = $1 returning account_id
  ), takes as (
    update accounts set credits_pending = credits_pending + $5::bigint
    where account_id = $2 and exists (select from gives) returning account_id
  )
  insert into transfers (transfer_id, tenant, booking_id, attempt, kind, debit_account, credit_account, amount)
  select $3, $4, $3, 1, 'pending', gives.account_id, takes.account_id, $5::bigint from gives, takes`;
