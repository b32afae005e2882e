import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BookingId, ulid } from '../../core/ids.ts';
import { jobSpec } from '../../core/job.ts';
import { runSequencer } from '../../ledger/audit/sequencer.ts';
import { finance } from '../../peers/finance/client.ts';
import { type FinanceSimulator, startFinanceSimulator } from '../../peers/finance/simulator.ts';
import { sentinelNet } from '../../peers/sentinelnet/client.ts';
import { type SentinelSimulator, startSentinelSimulator } from '../../peers/sentinelnet/simulator.ts';
import { systemClock } from '../../platform/clock.ts';
import type { EventLog } from '../../platform/event-log.ts';
import { createTopic, openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import { openHttpClient } from '../../platform/http-client.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { Signer } from '../../platform/signer.ts';
import { openFileSigner } from '../../platform/signer-file.ts';
import { applyBudget, applyPool } from '../../pools/apply-pool.ts';
import { parseBudget, parsePool } from '../../pools/pool-file.ts';
import type { Provider } from '../../providers/provider.ts';
import { postgresDesk } from '../../scheduler/apply/booking-desk.sql.ts';
import { type Booking, loadBooking } from '../../scheduler/apply/booking-store.ts';
import type { SagaContext } from '../../scheduler/apply/context.ts';
import { createBooking } from '../../scheduler/apply/create-booking.ts';
import { Allocator } from '../../scheduler/apply/engine.ts';
import { appendReports } from '../../scoring/ingest/pack-reports.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { type TestDatabase, testDatabase } from './db.ts';
import { healthy } from './healthy.ts';
import { MemoryProvider } from './memory-provider.ts';

export const TENANT = 'acme';
export const POOL = 'pool';
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SETTLE_MS = 20_000;

/** Everything a booking needs, real but for the provider's jobs: Postgres, both peers over HTTP, audit sequencer, object store. */
export interface SagaWorld {
  readonly database: TestDatabase;
  readonly sentinel: SentinelSimulator;
  readonly finance: FinanceSimulator;
  /** As many changes of Finance's book as there are now, and then nothing more of it than so many: a backup is restored. */
  readonly financeBook: { changes(): Promise<number>; restore(changes: number): Promise<void> };
  readonly provider: MemoryProvider;
  readonly context: SagaContext;
  /** What the trail is signed by. */
  readonly signer: Signer;
  readonly epoch: bigint;
  /** Of whoever leads now. */
  current(): { readonly context: SagaContext; readonly epoch: bigint };
  /** Another process leads from now on, by a new epoch. */
  lead(): Promise<void>;
  /** A new allocator, as after a restart, running until stopped; `stop` waits for its steps. */
  startAllocator(over?: Partial<SagaContext>): Promise<{ stop(): Promise<void> }>;
  book(over?: object): Promise<BookingId>;
  get(id: string): Promise<Booking>;
  /** Resolves with the booking once `done` holds of it; throws with its state otherwise. */
  until(id: string, done: (booking: Booking) => boolean): Promise<Booking>;
  eventTypes(id: string): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** `signing`: what the audit trail is signed by, made of the key file's signer. */
export async function sagaWorld(cpus = 4, signing: (signer: Signer) => Signer = (one) => one): Promise<SagaWorld> {
  const database = await testDatabase();
  const stateDir = await mkdtemp(join(tmpdir(), 'merit-saga-'));
  const sentinel = await startSentinelSimulator();
  const journalPath = join(stateDir, 'finance.jsonl');
  let financeSimulator = await startFinanceSimulator({ journalPath });
  const provider = new MemoryProvider();
  const store = await openFileObjectStore({ root: join(stateDir, 'objects') });
  const eventLog: EventLog = openPostgresEventLog({ db: database.db, appendAs: 'engine' });
  const peers = {
    sentinel: openHttpClient({ origin: sentinel.url }),
    finance: openHttpClient({ origin: financeSimulator.url }),
  };
  const signer = signing(await openFileSigner({ path: join(stateDir, 'signer.pem'), create: true }));
  const { db } = database;
  await db.asEngine((tx) => createTopic(tx, REPORTS_TOPIC, 1));
  await db.asEngine((tx) => tx.execute('insert into tenants (tenant) values ($1)', [TENANT]));
  const by = { tenant: TENANT, actor: 'test', traceId: TRACE, nowMs: Date.now() };
  await db.asTenant(TENANT, async (tx) => {
    await applyPool(tx, by, parsePool(poolFile(cpus)));
    await applyBudget(
      tx,
      by,
      parseBudget({ apiVersion: 'merit/v1', kind: 'Budget', division: 'vision', currency: 'USD', limit: '1000.00' }),
    );
  });
  const mint = () =>
    db.asEngine(async (tx) => {
      const rows = await tx.query<{ epoch: bigint }>(
        "update leader_epochs set epoch = epoch + 1 where name = 'engine' returning epoch",
      );
      return rows[0]?.epoch ?? 0n;
    });
  const epoch = await mint();
  const silent = {
    info: () => {},
    warn: () => {},
    error: (fields: object, message: string) => console.error(message, fields),
  };
  const sequencerOf = (by: bigint) => {
    const stop = new AbortController();
    const running = runSequencer({ db, epoch: by, signer, clock: systemClock }, stop.signal).catch(() => {});
    return {
      stop: () => {
        stop.abort();
        return running;
      },
    };
  };
  let sequencer = sequencerOf(epoch);
  const context: SagaContext = {
    desk: postgresDesk(db, epoch),
    clock: systemClock,
    sentinelNet: sentinelNet({ http: (request) => peers.sentinel.send(request), timeoutMs: 1_000 }),
    finance: finance({ http: (request) => peers.finance.send(request), timeoutMs: 1_000 }),
    providers: {
      of: async (): Promise<Provider> => provider,
      health: () => healthy(provider.down?.message),
    },
    store,
    publishReports: (ndjson, source) => appendReports(eventLog, ndjson, source),
    stateDir,
    s3Outputs: [],
    planEveryMs: 500,
    sweepEveryMs: 15_000,
    idempotencyRetentionMs: 86_400_000,
    tag: 'merit-test',
    log: silent,
    metrics: {
      transition: () => {},
      requestLatency: () => {},
      applied: () => {},
      extended: () => {},
      preempted: () => {},
      planned: () => {},
      waiting: () => {},
      reclaimHalted: () => {},
      financeDiffers: () => {},
      passedOver: () => {},
    },
  };
  let current = { context, epoch };
  const get = async (id: string): Promise<Booking> => {
    const booking = await db.asTenant(TENANT, (tx) => loadBooking(tx, id));
    if (booking === undefined) throw new Error(`no booking ${id}`);
    return booking;
  };
  return {
    database,
    sentinel,
    get finance() {
      return financeSimulator;
    },
    financeBook: {
      changes: async () => (await journalLines(journalPath)).length,
      restore: async (changes) => {
        const port = Number(new URL(financeSimulator.url).port);
        await financeSimulator.close();
        await writeFile(journalPath, (await journalLines(journalPath)).slice(0, changes).join(''));
        financeSimulator = await startFinanceSimulator({ journalPath, port });
      },
    },
    provider,
    context,
    signer,
    epoch,
    current: () => current,
    lead: async () => {
      await sequencer.stop();
      const next = await mint();
      sequencer = sequencerOf(next);
      current = { context: { ...context, desk: postgresDesk(db, next) }, epoch: next };
    },
    startAllocator: async (over = {}) => {
      const stop = new AbortController();
      const allocator = new Allocator({ ...context, ...over });
      const running = allocator.run(stop.signal);
      const poke = setInterval(() => allocator.wake(), 50);
      return {
        stop: async () => {
          clearInterval(poke);
          stop.abort();
          await running.catch(() => {});
        },
      };
    },
    book: async (over = {}) => {
      const bookingId = ulid(Date.now(), randomBytes(10));
      const spec = jobSpec({
        name: 'train',
        division: 'vision',
        resources: { cpus: 1 },
        pools: [POOL],
        run: 'true',
        lease: '1h',
        ...over,
      });
      await db.asTenant(TENANT, (tx) =>
        createBooking(tx, {
          bookingId,
          tenant: TENANT,
          division: 'vision',
          requester: 'ada',
          actor: 'test',
          traceId: TRACE,
          spec,
          nowMs: Date.now(),
        }),
      );
      return bookingId;
    },
    get,
    until: async (id, done) => {
      const deadline = Date.now() + SETTLE_MS;
      for (;;) {
        const booking = await get(id);
        if (done(booking)) return booking;
        if (Date.now() > deadline) throw new Error(`booking ${id} stays ${JSON.stringify(booking.state)}`);
        await systemClock.sleep(25);
      }
    },
    eventTypes: async (id) => {
      const rows = await db.asTenant(TENANT, (tx) =>
        tx.query<{ type: string }>('select type from audit_events where subject = $1 order by subject_seq', [
          `booking/${id}`,
        ]),
      );
      return rows.map((row) => row.type);
    },
    close: async () => {
      await sequencer.stop();
      await eventLog.close();
      await Promise.all([peers.sentinel.close(), peers.finance.close()]);
      await Promise.all([sentinel.close(), financeSimulator.close()]);
      await database.close();
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}

async function journalLines(path: string): Promise<readonly string[]> {
  return (await readFile(path, 'utf8')).match(/.*\n/g) ?? [];
}

const poolFile = (cpus: number) => ({
  apiVersion: 'merit/v1',
  kind: 'Pool',
  name: POOL,
  provider: { kind: 'memory' },
  flavours: [{ name: 'cpu', resource: 'cpu', capacity: cpus, price: { currency: 'USD', perUnitHour: '1.00' } }],
  quotas: { vision: { cpu: cpus } },
});
