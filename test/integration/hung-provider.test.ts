import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isEnded } from '../../core/booking.ts';
import { attemptKey, type BookingId, ulid } from '../../core/ids.ts';
import { jobSpec } from '../../core/job.ts';
import { applyDocuments } from '../../pools/apply-documents.ts';
import { type Document, parseDocument } from '../../pools/documents.ts';
import type { Observation } from '../../providers/provider.ts';
import { type Booking, loadBooking } from '../../scheduler/apply/booking-store.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import { createBooking } from '../../scheduler/apply/create-booking.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { MemoryProvider } from '../support/memory-provider.ts';
import { type SagaWorld, sagaWorld } from '../support/saga-world.ts';

/** One tenant's provider takes every call and answers none; another tenant's is well. */

const JOBS = 50;
const RIVAL = 'rival';
const NOTE = { actor: 'test', traceId: '0'.repeat(32) } as const;
let hangs = false;
const unanswered = new Set<() => void>();

/** Takes connections and says nothing, while `hangs`. */
class HungProvider extends MemoryProvider {
  override async observe(key: string): Promise<Observation> {
    await this.#answer();
    return super.observe(key);
  }

  override async release(key: string): Promise<void> {
    await this.#answer();
    return super.release(key);
  }

  async #answer(): Promise<void> {
    if (hangs) await new Promise<void>((resolve) => unanswered.add(resolve));
  }
}

const well = new MemoryProvider();
const hung = new HungProvider();
let world: SagaWorld;
let allocator: { stop(): Promise<void> };

beforeAll(async () => {
  world = await sagaWorld(JOBS);
  const { db } = world.database;
  await db.asEngine((tx) => tx.execute('insert into tenants (tenant) values ($1)', [RIVAL]));
  const v1 = { apiVersion: 'merit/v1' } as const;
  const pool = {
    ...v1,
    kind: 'Pool',
    name: 'theirs',
    provider: { kind: 'memory' },
    flavours: [{ name: 'cpu', resource: 'cpu', capacity: 4, price: { currency: 'USD', perUnitHour: '1.00' } }],
    quotas: { audio: { cpu: 4 } },
  };
  const budget = { ...v1, kind: 'Budget', division: 'audio', currency: 'USD', limit: '100.00' };
  const documents = [pool, budget].map((document) => ({ document: parseDocument(document) as Document }));
  const by = { tenant: RIVAL, nowMs: Date.now(), ...NOTE };
  await db.asTenant(RIVAL, (tx) => applyDocuments(tx, by, documents));
  const { providers } = world.context;
  allocator = await world.startAllocator({
    providers: { ...providers, of: async (tenant) => (tenant === RIVAL ? well : hung) },
  });
}, 60_000);
afterAll(async () => {
  hangs = false;
  for (const answer of unanswered) answer();
  await allocator?.stop();
  await world?.close();
});

async function bookTheirs(): Promise<BookingId> {
  const bookingId = ulid(Date.now(), randomBytes(10));
  const job = { name: 'train', division: 'audio', resources: { cpus: 1 }, pools: ['theirs'], run: 'true', lease: '1h' };
  const of = { tenant: RIVAL, division: 'audio', requester: 'eve', nowMs: Date.now(), ...NOTE };
  await world.database.db.asTenant(RIVAL, (tx) => createBooking(tx, { bookingId, spec: jobSpec(job), ...of }));
  return bookingId;
}

async function untilTheirs(id: BookingId, done: (booking: Booking) => boolean): Promise<Booking> {
  const deadline = Date.now() + 25_000;
  for (;;) {
    const booking = await world.database.db.asTenant(RIVAL, (tx) => loadBooking(tx, id));
    if (booking !== undefined && done(booking)) return booking;
    if (Date.now() > deadline) throw new Error(`booking ${id} stays ${JSON.stringify(booking?.state)}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

const applied = ({ state }: Booking) => state.state === 'applied';
const ended = ({ state }: Booking) => isEnded(state.state);

test('a provider that hangs keeps no other tenant from starting, ending and revoking jobs', async () => {
  const ours = await Promise.all(Array.from({ length: JOBS }, () => world.book()));
  for (const id of ours) await world.until(id, applied);
  const running = await bookTheirs();
  await untilTheirs(running, applied);

  hangs = true;
  // Each is looked at once a second: soon as many as may be wait for an answer.
  for (let before = -1; unanswered.size === 0 || unanswered.size > before; ) {
    before = unanswered.size;
    await new Promise((resolve) => setTimeout(resolve, 2_000));
  }

  const id = await bookTheirs();
  await untilTheirs(id, applied);
  well.end(attemptKey(id, 1), 'succeeded');
  expect((await untilTheirs(id, ended)).state.state).toBe('released');
  await world.database.db.asTenant(RIVAL, (tx) => cancelBooking(tx, running, 'eve', Date.now()));
  expect((await untilTheirs(running, ended)).state.state).toBe('cancelled');

  hangs = false;
  for (const answer of unanswered) answer();
  for (const one of ours) hung.end(attemptKey(one, 1), 'succeeded');
  for (const one of ours) await world.until(one, ended);
  expect(await ledgerLeaks(world.database.db)).toEqual([]);
}, 180_000);
