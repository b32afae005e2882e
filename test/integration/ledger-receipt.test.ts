import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { isEnded } from '../../core/booking.ts';
import { attemptKey, ulid } from '../../core/ids.ts';
import { jobSpec } from '../../core/job.ts';
import { ALLOW_ALL } from '../../peers/sentinelnet/rules.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import { arrayTasks, createBookings } from '../../scheduler/apply/create-booking.ts';
import { POOL, type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';
import { verifiedReceipt } from '../support/verified-receipt.ts';

/** Receipts of bookings that the real saga carried through, with real peers: whatever way a booking ends, its receipt holds. */
const TRACE = '0af7651916cd43dd8448eb211c80319c';
let world: SagaWorld;
let allocator: { stop(): Promise<void> };
beforeAll(async () => {
  world = await sagaWorld();
});
afterAll(() => world.close());
afterEach(async () => {
  world.sentinel.setRules(ALLOW_ALL);
  await allocator.stop();
});

/** Once the booking has ended. */
async function verified(id: string): ReturnType<typeof verifiedReceipt> {
  await world.until(id, (booking) => isEnded(booking.state.state));
  return verifiedReceipt(world.database.db, TENANT, id);
}

test('a job that ran: policy, hold, confirmation, transfers, manifest, cost and settlement all fit', async () => {
  allocator = await world.startAllocator();
  const id = await world.book();
  await world.until(id, (booking) => booking.state.state === 'applied');
  world.provider.end(attemptKey(id, 1), 'succeeded');
  const { text, result } = await verified(id);
  expect(result.findings).toEqual([]);
  expect(result).toMatchObject({
    code: 0,
    summary: { state: 'released', attempts: 1, cost: [{ currency: 'USD', cents: '1' }] },
  });
  expect(text).toContain('"peer":"sentinelnet"');
  expect(text).toContain('"status":"settled"');
});

test('a job that failed, was tried again and then ran', async () => {
  allocator = await world.startAllocator();
  const id = await world.book({ max_restarts: 1 });
  await world.until(id, (booking) => booking.state.state === 'applied');
  world.provider.end(attemptKey(id, 1), 'failed');
  await world.until(id, (booking) => booking.state.state === 'applied' && booking.state.attempt === 2);
  world.provider.end(attemptKey(id, 2), 'succeeded');
  const { result } = await verified(id);
  expect(result.findings).toEqual([]);
  expect(result).toMatchObject({ code: 0, summary: { state: 'released', attempts: 2 } });
});

test('a booking that SentinelNet denied', async () => {
  world.sentinel.setRules({ ...ALLOW_ALL, deny: [{ name: 'freeze', division: 'vision', text: 'frozen' }] });
  allocator = await world.startAllocator();
  const { result } = await verified(await world.book());
  expect(result.findings).toEqual([]);
  expect(result).toMatchObject({ code: 0, summary: { state: 'rejected', attempts: 0, transfers: 0 } });
});

test('a booking that Finance refused', async () => {
  world.finance.refuseNext({ code: 'insufficient_funds', text: 'out of money' });
  allocator = await world.startAllocator();
  const { result } = await verified(await world.book());
  expect(result.findings).toEqual([]);
  expect(result).toMatchObject({ code: 0, summary: { state: 'rejected', attempts: 1 } });
});

test('a running job that was cancelled', async () => {
  allocator = await world.startAllocator();
  const id = await world.book();
  await world.until(id, (booking) => booking.state.state === 'applied');
  await world.database.db.asTenant(TENANT, (tx) => cancelBooking(tx, id, 'ada', Date.now()));
  const { result } = await verified(id);
  expect(result.findings).toEqual([]);
  expect(result).toMatchObject({ code: 0, summary: { state: 'cancelled' } });
});

test('a task of an array, of which SentinelNet is told how many there are', async () => {
  allocator = await world.startAllocator();
  const file = { name: 'train', division: 'vision', resources: { cpus: 1 }, pools: [POOL], run: 'true' };
  const newId = () => ulid(Date.now(), randomBytes(10));
  const by = { tenant: TENANT, division: 'vision', requester: 'ada', actor: 'token:test', traceId: TRACE };
  const first = { ...by, bookingId: newId(), nowMs: Date.now(), spec: jobSpec({ ...file, array: { count: 2 } }) };
  const tasks = arrayTasks(first, newId);
  await world.database.db.asTenant(TENANT, (tx) => createBookings(tx, tasks));
  for (const { bookingId: id } of tasks) {
    await world.until(id, (booking) => booking.state.state === 'applied');
    world.provider.end(attemptKey(id, 1), 'succeeded');
    const { text, result } = await verified(id);
    expect(result).toMatchObject({ code: 0, findings: [] });
    expect(text).toContain('"tasks":2');
  }
});
