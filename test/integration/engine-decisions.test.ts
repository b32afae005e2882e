import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { isEnded } from '../../core/booking.ts';
import { attemptKey, type BookingId } from '../../core/ids.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import { setHold } from '../../scheduler/apply/hold.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { POOL, type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';

/** The planner's decisions carried out: real Postgres, both peers, the ledger and the audit trail; jobs are entries of a map. */

let world: SagaWorld;
let allocator: { stop(): Promise<void> };

beforeAll(async () => {
  world = await sagaWorld();
  await world.database.db.asTenant(TENANT, (tx) =>
    tx.execute("insert into quota_documents (tenant, kind, name, file) values ($1, 'Division', 'vision', $2)", [
      TENANT,
      { apiVersion: 'merit/v1', kind: 'Division', name: 'vision', preemption: { own: 'lower' } },
    ]),
  );
});
afterAll(() => world.close());
afterEach(async () => {
  await allocator?.stop();
  const live = await world.database.db.asEngine((tx) =>
    tx.query<{ booking_id: string }>(
      "select booking_id from bookings where state not in ('released', 'rejected', 'infeasible', 'failed', 'expired', 'cancelled', 'revoked')",
    ),
  );
  expect(live).toEqual([]);
  expect(await ledgerLeaks(world.database.db)).toEqual([]);
});

const ended = (booking: Booking) => isEnded(booking.state.state);
const applied = (booking: Booking) => booking.state.state === 'applied';
const attempt = (count: number) => (booking: Booking) => applied(booking) && booking.state.attempt === count;
const whole = { resources: { cpus: 4 } };
const finish = async (id: BookingId, count = 1) => {
  world.provider.end(attemptKey(id, count), 'succeeded');
  return world.until(id, ended);
};
const waits = (id: BookingId, code: string) =>
  world.until(id, ({ state }) => state.state === 'waiting' && state.reasons.some((reason) => reason.code === code));

describe('a booking that others make room for', () => {
  test('starts once they have left; they keep their place and go on, with what makes room named in trail and reasons', async () => {
    allocator = await world.startAllocator();
    const low = await world.book(whole);
    await world.until(low, applied);
    const high = await world.book({ ...whole, priority: 10 });
    await world.until(high, applied);
    const waiting = await world.get(low);
    expect(waiting.state).toMatchObject({ state: 'waiting', attempt: 2 });
    await finish(high);
    await world.until(low, attempt(2));
    expect((await finish(low, 2)).state).toMatchObject({ state: 'released', attempt: 2 });
    const events = await world.database.db.asTenant(TENANT, (tx) =>
      tx.query<{ type: string; data: { for?: string; reason?: { code: string; for?: string } } }>(
        "select type, convert_from(bytes, 'UTF8')::jsonb->'data' as data from audit_events where subject = $1 order by subject_seq",
        [`booking/${low}`],
      ),
    );
    const notice = events.find(({ type }) => type === 'booking.draining');
    expect(notice?.data).toMatchObject({ for: high, reason: { code: 'preempted', for: high } });
    expect(events.flatMap(({ type }) => (type.startsWith('booking.') ? [type.slice('booking.'.length)] : []))).toEqual([
      ...['created', 'reserved', 'requesting', 'confirming', 'applied', 'draining', 'releasing', 'waiting'],
      ...['reserved', 'requesting', 'confirming', 'applied', 'releasing', 'released'],
    ]);
  });

  test('lets one that was preempted as often as it may be end', async () => {
    allocator = await world.startAllocator();
    const low = await world.book({ ...whole, recovery: { max_preemptions: 0 } });
    await world.until(low, applied);
    const high = await world.book({ ...whole, priority: 10 });
    expect((await world.until(low, ended)).state).toMatchObject({
      state: 'failed',
      reason: { code: 'preempted_too_often' },
    });
    await world.until(high, applied);
    await finish(high);
  });

  test('finds its attempt’s checkpoint in the next one', async () => {
    allocator = await world.startAllocator();
    const low = await world.book({ ...whole, recovery: { checkpoint: 'state/latest' } });
    await world.until(low, applied);
    const outputs = world.provider.jobs.get(attemptKey(low, 1))!.spec.env.MERIT_OUTPUTS!;
    await mkdir(join(fileURLToPath(outputs), 'state'), { recursive: true });
    await writeFile(join(fileURLToPath(outputs), 'state', 'latest'), 'step 40');
    const high = await world.book({ ...whole, priority: 10 });
    await world.until(high, applied);
    await finish(high);
    await world.until(low, attempt(2));
    const { env } = world.provider.jobs.get(attemptKey(low, 2))!.spec;
    expect(env.MERIT_CHECKPOINT).toBe(`${outputs}/state/latest`);
    expect(world.provider.jobs.get(attemptKey(low, 1))!.spec.env.MERIT_CHECKPOINT).toBeUndefined();
    await finish(low, 2);
  });
});

describe('a booking that is kept back', () => {
  test('by a job it depends on starts when that has ended well, and is rejected when it has not', async () => {
    allocator = await world.startAllocator();
    const first = await world.book();
    const second = await world.book({ depends_on: [first] });
    const third = await world.book({ depends_on: [second] });
    await world.until(first, applied);
    expect((await world.get(second)).state.state).toBe('waiting');
    await finish(first);
    await world.until(second, applied);
    world.provider.end(attemptKey(second, 1), 'failed');
    expect((await world.until(second, ended)).state.state).toBe('failed');
    expect((await world.until(third, ended)).state).toMatchObject({
      state: 'rejected',
      reason: { code: 'dependency_failed' },
    });
  });

  test('by a hold starts when it is let go', async () => {
    allocator = await world.startAllocator();
    const busy = await world.book(whole);
    await world.until(busy, applied);
    const held = await world.book();
    await waits(held, 'quota');
    const set = (wanted: 'hold' | 'let_go') =>
      world.database.db.asTenant(TENANT, (tx) => setHold(tx, held, wanted, 'ada', Date.now()));
    expect(await set('hold')).toMatchObject({ kind: 'done' });
    await finish(busy);
    const next = await world.book();
    await world.until(next, applied);
    expect((await world.get(held)).state).toMatchObject({ state: 'waiting', held: { by: 'ada' } });
    await set('let_go');
    await world.until(held, applied);
    await finish(next);
    await finish(held);
  });

  test('past its deadline has expired', async () => {
    allocator = await world.startAllocator();
    const busy = await world.book(whole);
    await world.until(busy, applied);
    const late = await world.book({ schedule: { deadline: new Date(Date.now() + 700).toISOString() } });
    expect((await world.until(late, ended)).state).toMatchObject({
      state: 'expired',
      reason: { code: 'deadline_passed' },
    });
    await finish(busy);
  });
});

describe('a pool', () => {
  test('that is drained lets go of what runs there and starts nothing, until it takes work again', async () => {
    allocator = await world.startAllocator();
    const id = await world.book();
    await world.until(id, applied);
    const set = (state: boolean) =>
      world.database.db.asTenant(TENANT, (tx) =>
        tx.execute('update pools set draining = $2, cordoned = $2 where pool = $1', [POOL, state]),
      );
    await set(true);
    await waits(id, 'cordoned');
    expect(world.provider.jobs.get(attemptKey(id, 1))!.state).toBe('stopped');
    await set(false);
    await world.until(id, attempt(2));
    await finish(id, 2);
  });

  test('whose provider lost one job has it tried again', async () => {
    allocator = await world.startAllocator();
    const id = await world.book();
    await world.until(id, applied);
    world.provider.jobs.delete(attemptKey(id, 1));
    await world.until(id, attempt(2));
    await finish(id, 2);
  });

  test('whose provider knows none of its jobs keeps all of them', async () => {
    await growToEight();
    allocator = await world.startAllocator();
    const ids = await Promise.all(Array.from({ length: 6 }, () => world.book()));
    for (const id of ids) await world.until(id, applied);
    const jobs = new Map(world.provider.jobs);
    world.provider.jobs.clear();
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    for (const id of ids) expect((await world.get(id)).state).toMatchObject({ state: 'applied', attempt: 1 });
    for (const [key, job] of jobs) world.provider.jobs.set(key, job);
    for (const id of ids) await finish(id);
  });

  test('whose cluster was born anew has all of its jobs tried again at once, each from its checkpoint', async () => {
    await growToEight();
    allocator = await world.startAllocator();
    const recovery = { checkpoint: 'last.pt', max_preemptions: 1 };
    const ids = await Promise.all(Array.from({ length: 6 }, () => world.book({ recovery })));
    for (const id of ids) await world.until(id, applied);
    const outputs = new Map(ids.map((id) => [id, world.provider.jobs.get(attemptKey(id, 1))!.spec.env.MERIT_OUTPUTS!]));
    for (const folder of outputs.values()) await writeFile(new URL(`${folder}/last.pt`), 'x');
    world.provider.jobs.clear();
    world.provider.reborn = true;
    for (const id of ids) {
      await world.until(id, attempt(2));
      expect(world.provider.jobs.get(attemptKey(id, 2))?.spec.env.MERIT_CHECKPOINT).toBe(`${outputs.get(id)}/last.pt`);
      await finish(id, 2);
    }
    world.provider.reborn = false;
    const attempts = await world.database.db.asTenant(TENANT, (tx) =>
      tx.query('select attempt, outcome, end_code from attempts where booking_id = $1 order by attempt', [ids[0]]),
    );
    expect(attempts).toMatchObject([
      { outcome: 'retry', end_code: 'preempted' },
      { outcome: 'released', end_code: 'succeeded' },
    ]);
  });
});

async function growToEight(): Promise<void> {
  await world.database.db.asTenant(TENANT, async (tx) => {
    await tx.execute('update flavours set capacity_milli = 8000 where pool = $1', [POOL]);
    await tx.execute('update accounts set net_limit = 8000 where pool = $1', [POOL]);
    await tx.execute(
      "update pools set file = jsonb_set(jsonb_set(file, '{flavours,0,capacity}', '8'), '{quotas,vision,cpu}', '8') where pool = $1",
      [POOL],
    );
  });
}

test('what is cancelled while it makes room ends cancelled or goes on, and who waited for it starts', async () => {
  allocator = await world.startAllocator();
  const low = await world.book({ resources: { cpus: 8 } });
  await world.until(low, applied);
  const high = await world.book({ resources: { cpus: 8 }, priority: 10 });
  await world.database.db.asTenant(TENANT, (tx) => cancelBooking(tx, low, 'ada', Date.now()));
  await world.until(high, applied);
  await world.until(low, (booking) => ended(booking) || booking.state.state === 'waiting');
  if (!ended(await world.get(low)))
    await world.database.db.asTenant(TENANT, (tx) => cancelBooking(tx, low, 'ada', Date.now()));
  await world.until(low, ended);
  await finish(high);
});
