import { afterAll, beforeAll, expect, test } from 'vitest';
import { isEnded } from '../../core/booking.ts';
import { attemptKey, type BookingId } from '../../core/ids.ts';
import { applyDocuments } from '../../pools/apply-documents.ts';
import { type Document, parseDocument } from '../../pools/documents.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';

/** An engine that reads pools, quotas and budgets once a minute, and is told of each booking at once. */

const PLAN_MS = 60_000;
let world: SagaWorld;
let allocator: { stop(): Promise<void> };
let busy: BookingId;

beforeAll(async () => {
  world = await sagaWorld();
  allocator = await world.startAllocator({ planEveryMs: PLAN_MS });
  busy = await world.book({ resources: { cpus: 4 } });
  await world.until(busy, applied);
  // Something waits: the pools were read a moment ago, and are due in a minute.
  await world.until(await world.book(), ({ state }) => state.state === 'waiting' && state.reasons.length > 0);
});
afterAll(async () => {
  await allocator?.stop();
  await world?.close();
});

const v1 = { apiVersion: 'merit/v1' } as const;
const price = { currency: 'USD', perUnitHour: '1.00' };
const pool = (name: string, cpus: number, quotas: object) => ({
  ...v1,
  kind: 'Pool',
  name,
  provider: { kind: 'memory' },
  flavours: [{ name: 'cpu', resource: 'cpu', capacity: cpus, price }],
  quotas,
});
const budget = (division: string, limit: string) => ({ ...v1, kind: 'Budget', division, currency: 'USD', limit });

async function apply(...documents: object[]): Promise<void> {
  const by = { tenant: TENANT, actor: 'test', traceId: '0'.repeat(32), nowMs: Date.now() };
  const wanted = documents.map((document) => ({ document: parseDocument(document) as Document }));
  const outcome = await world.database.db.asTenant(TENANT, (tx) => applyDocuments(tx, by, wanted));
  expect(outcome.kind).toBe('applied');
}

function applied(booking: Booking): boolean {
  return booking.state.state === 'applied';
}
const ended = (booking: Booking) => isEnded(booking.state.state);
const runs = async (id: BookingId) => {
  const booking = await world.until(id, (one) => applied(one) || ended(one));
  expect(booking.state).toMatchObject({ state: 'applied' });
  world.provider.end(attemptKey(id, 1), 'succeeded');
  await world.until(id, ended);
};

test('what was declared just before a job that needs it lets that job start: a pool', async () => {
  await apply(pool('new', 8, { vision: { cpu: 8 } }));
  const id = await world.book({ pools: ['new'] });
  const next = await world.book({ pools: ['new'], depends_on: [id] });
  await runs(id);
  await runs(next);
});

test('a quota that was raised', async () => {
  await apply(pool('new', 16, { vision: { cpu: 16 } }));
  await runs(await world.book({ pools: ['new'], resources: { cpus: 12 } }));
});

test('a budget that was raised', async () => {
  await apply(budget('vision', '100000.00'));
  await runs(await world.book({ pools: ['new'], resources: { cpus: 8 }, lease: '700h' }));
});

test('what can never start by all that was declared before it is told so once, at once', async () => {
  const id = await world.book({ resources: { cpus: 64 } });
  expect((await world.until(id, ended)).state).toMatchObject({ state: 'infeasible' });
  const none = await world.book({ pools: ['none'] });
  expect((await world.until(none, ended)).state).toMatchObject({ state: 'infeasible' });
  expect(await world.eventTypes(id)).toEqual(['booking.created', 'booking.infeasible']);
});

test('nothing of it is left', async () => {
  world.provider.end(attemptKey(busy, 1), 'succeeded');
  await world.until(busy, ended);
  expect(await ledgerLeaks(world.database.db)).toEqual([]);
});
