import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { attemptKey } from '../../core/ids.ts';
import { StaleLeader } from '../../platform/postgres.ts';
import { ProviderError } from '../../providers/provider.ts';
import { postgresDesk } from '../../scheduler/apply/booking-desk.sql.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { RunKeeper } from '../../scheduler/apply/run-keeper.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { bookingWithAttempt } from '../support/log-jobs.ts';
import { MemoryProvider } from '../support/memory-provider.ts';

const TENANT = 'acme';
const BEGAN_MS = 1_000_000;
const LIMITS = { everyMs: 10_000, saveEveryMs: 60_000, maxAtATime: 1, timeoutMs: 1_000 };

let database: TestDatabase;
let epoch: bigint;
let booking: Booking;
let provider: MemoryProvider;
let nowMs: number;
beforeAll(async () => {
  database = await testDatabase();
  await database.db.asEngine((tx) => tx.execute('insert into tenants (tenant) values ($1)', [TENANT]));
  epoch = await nextEpoch();
});
afterAll(() => database.close());
beforeEach(async () => {
  booking = await bookingWithAttempt(database, TENANT);
  provider = new MemoryProvider();
  nowMs = BEGAN_MS;
});

async function nextEpoch(): Promise<bigint> {
  return database.db.asEngine(async (tx) => {
    const [row] = await tx.query<{ epoch: bigint }>(
      "update leader_epochs set epoch = epoch + 1 where name = 'engine' returning epoch",
    );
    return row?.epoch ?? 0n;
  });
}

function keeper(of = epoch): RunKeeper {
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  return new RunKeeper({ desk: postgresDesk(database.db, of), clock: { now: () => nowMs } as never, log }, LIMITS);
}

/** As a look at the running job does, `afterMs` later; waits for the reading that it began. */
async function look(keeping: RunKeeper, afterMs: number, cpuMs: number): Promise<void> {
  nowMs += afterMs;
  provider.used.set(attemptKey(booking.bookingId, 1), { cpuMs, memoryBytes: cpuMs * 10 });
  keeping.follow(booking, 1, provider, BEGAN_MS);
  await keeping.settled();
}

const kept = () =>
  postgresDesk(database.db, epoch).runs.read({ tenant: TENANT, bookingId: booking.bookingId, attempt: 1 });
const end = (endedAtMs: number) => ({ beganAtMs: BEGAN_MS, endedAtMs, exitCode: 3 });

test('what a job uses is saved now and then, and another leader goes on where it was saved', async () => {
  const old = keeper();
  await look(old, 2_000, 500);
  await look(old, 5_000, 900);
  expect((await kept())?.usage.points).toHaveLength(1);
  await look(old, 10_000, 1_500);
  expect((await kept())?.usage.readCpuMs).toBe(500);
  await look(old, 60_000, 4_000);
  expect((await kept())?.usage.readCpuMs).toBe(4_000);
  const next = keeper();
  await look(next, 10_000, 5_000);
  await next.complete(booking, 1, provider, end(nowMs + 1_000));
  const run = await kept();
  expect(run).toMatchObject({ ...end(nowMs + 1_000), usage: { readCpuMs: 5_000 } });
  expect(run?.usage.points.map(({ toMs }) => toMs - BEGAN_MS)).toEqual([2_000, 17_000, 77_000, 87_000, 88_000]);
});

test('a reading that fails, or a provider that is gone, holds nothing up: the end is kept without', async () => {
  const keeping = keeper();
  provider.down = new ProviderError('transient', 'away');
  await look(keeping, 2_000, 500);
  await keeping.complete(booking, 1, provider, end(nowMs));
  expect(await kept()).toEqual({ ...end(nowMs), usage: { everyMs: LIMITS.everyMs, points: [], readCpuMs: null } });
});

test('the end is kept once, and by the leader only', async () => {
  await keeper().complete(booking, 1, provider, end(nowMs));
  await keeper().complete(booking, 1, provider, { ...end(nowMs + 5_000), exitCode: 0 });
  expect(await kept()).toMatchObject(end(nowMs));
  const old = epoch;
  epoch = await nextEpoch();
  booking = await bookingWithAttempt(database, TENANT);
  await expect(keeper(old).complete(booking, 1, provider, end(nowMs))).rejects.toThrow(StaleLeader);
  expect(await kept()).toBeUndefined();
});
