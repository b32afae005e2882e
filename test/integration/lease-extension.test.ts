import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { isEnded } from '../../core/booking.ts';
import { contentHash, type Json } from '../../core/canonical.ts';
import type { Extension } from '../../core/extension.ts';
import { attemptKey, type BookingId } from '../../core/ids.ts';
import { ALLOW_ALL } from '../../peers/sentinelnet/rules.ts';
import { systemClock } from '../../platform/clock.ts';
import { applyBudget } from '../../pools/apply-pool.ts';
import { parseBudget } from '../../pools/pool-file.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import { askExtension } from '../../scheduler/apply/extend.ts';
import { QueueView } from '../../scheduler/apply/queue-view.ts';
import { forged, type Lie } from '../support/forged-receipt.ts';
import { healthy } from '../support/healthy.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';
import { verifiedReceipt } from '../support/verified-receipt.ts';

/** Longer leases of what runs: real Postgres, both peers, the ledger and the audit trail. A CPU costs 1.00 USD an hour. */
let world: SagaWorld;
let allocator: { stop(): Promise<void> };

beforeAll(async () => {
  world = await sagaWorld();
});
afterAll(() => world.close());
afterEach(async () => {
  world.sentinel.control.clear();
  world.finance.control.clear();
  world.sentinel.setRules(ALLOW_ALL);
  await setBudget('1000.00');
  await allocator?.stop();
  expect(await ledgerLeaks(world.database.db)).toEqual([]);
});

const HOUR_MS = 3_600_000;
const FREEZE = { name: 'freeze', division: 'vision', text: 'frozen for the audit' };
const applied = (booking: Booking) => booking.state.state === 'applied';
const ended = (booking: Booking) => isEnded(booking.state.state);
const extensions = ({ state }: Booking): readonly Extension[] =>
  'extensions' in state ? (state.extensions ?? []) : [];
const last = (is: Extension['state']) => (booking: Booking) => extensions(booking).at(-1)?.state === is;

function setBudget(limit: string): Promise<unknown> {
  const by = { tenant: TENANT, actor: 'test', traceId: '0'.repeat(32), nowMs: Date.now() };
  const budget = { apiVersion: 'merit/v1', kind: 'Budget', division: 'vision', currency: 'USD', limit };
  return world.database.db.asTenant(TENANT, (tx) => applyBudget(tx, by, parseBudget(budget)));
}

async function running(over: object = {}): Promise<BookingId> {
  const id = await world.book(over);
  await world.until(id, applied);
  return id;
}

const extend = (id: string, byMs: number) =>
  world.database.db.asTenant(TENANT, (tx) => askExtension(tx, id, byMs, 'ada', Date.now()));

const leaseEnd = async (id: string) => {
  const { state } = await world.get(id);
  if (state.state !== 'applied') throw new Error(state.state);
  return state.leaseEndsAtMs;
};

async function finish(id: BookingId): Promise<Booking> {
  world.provider.end(attemptKey(id, 1), 'succeeded');
  return world.until(id, ended);
}

async function spent(): Promise<bigint> {
  const [row] = await world.database.db.asEngine((tx) =>
    tx.query<{ cents: bigint }>(
      "select (debits_pending + debits_posted - credits_posted)::bigint as cents from accounts where kind = 'budget'",
    ),
  );
  return row?.cents ?? 0n;
}

describe('a longer lease', () => {
  test('is granted: policy, its own money, and the end of the lease is later by just so much', async () => {
    allocator = await world.startAllocator();
    const id = await running({ resources: { cpus: 2 } });
    const before = await leaseEnd(id);
    const money = await spent();
    expect(await extend(id, 2 * HOUR_MS)).toEqual({ kind: 'asked', n: 1 });
    const longer = await world.until(id, last('granted'));
    expect(longer.state).toMatchObject({
      leaseEndsAtMs: before + 2 * HOUR_MS,
      placement: { holdCents: '600' },
      extensions: [{ state: 'granted', holdCents: '400', actor: 'ada' }],
    });
    expect(await spent()).toBe(money + 400n);
    expect(world.finance.get(`h-${id}-1-x1`)).toMatchObject({
      status: 'confirmed',
      request: { amount: { amount: '4.00' }, attempt: 1 },
    });
    expect(await extend(id, HOUR_MS)).toEqual({ kind: 'asked', n: 2 });
    await world.until(id, (booking) => extensions(booking)[1]?.state === 'granted');
    await finish(id);
    for (const hold of ['', '-x1', '-x2']) expect(world.finance.get(`h-${id}-1${hold}`)?.status).toBe('settled');
    expect(world.finance.get(`h-${id}-1-x1`)?.settled?.amount).toBe('0.00');
    expect(await spent()).toBe(money - 200n + 1n);
    const types = (await world.eventTypes(id)).filter((type) => type.includes('exten'));
    expect(types).toEqual([
      ...['booking.extension_asked', 'booking.extension_held', 'booking.extended'],
      ...['booking.extension_asked', 'booking.extension_held', 'booking.extended'],
    ]);
    const { text, result } = await verifiedReceipt(world.database.db, TENANT, id);
    expect(result.findings).toEqual([]);
    // What a server that lies about it may not say.
    for (const [lie, problem] of [
      [signaturesAsked, /by which 2 people had to sign the longer lease/],
      [longerThanAsked, /is not what was asked for/],
      [otherExtension, /policy answer to m-[0-9a-z]+-1-x9, which is not m-[0-9a-z]+-1-x1/],
      [shorterAsked, /policy answer about another lease than 10800000 ms/],
    ] as const) {
      const told = await forged(text, lie);
      expect(told.findings.map((one) => one.problem).join('\n')).toMatch(problem);
      expect(told.code).toBe(10);
    }
  });

  test('is seen by the planner at once: what waits for the room starts later', async () => {
    allocator = await world.startAllocator();
    const id = await running({ resources: { cpus: 4 } });
    const waiting = await world.book();
    const eta = async () => {
      const view = new QueueView({
        db: world.database.db,
        clock: systemClock,
        providers: { health: () => healthy() },
      });
      return (await view.fresh(TENANT)).explain(waiting, Date.now()).planned?.etaMs;
    };
    expect(await eta()).toBe(await leaseEnd(id));
    await extend(id, HOUR_MS);
    const longer = await world.until(id, last('granted'));
    expect(await eta()).toBe(longer.state.state === 'applied' ? longer.state.leaseEndsAtMs : 0);
    await finish(id);
    await world.until(waiting, applied);
    await finish(waiting);
  });

  test('is what the job runs for: it is drained at its new end and not at the old one', async () => {
    allocator = await world.startAllocator();
    const id = await running();
    await extend(id, HOUR_MS);
    await world.until(id, last('granted'));
    await allocator.stop();
    const later = (ms: number) => ({ clock: { ...systemClock, now: () => Date.now() + ms } });
    allocator = await world.startAllocator(later(1.5 * HOUR_MS));
    await systemClock.sleep(1_500);
    expect((await world.get(id)).state.state).toBe('applied');
    await allocator.stop();
    allocator = await world.startAllocator(later(2.1 * HOUR_MS));
    const drained = await world.until(id, (booking) => booking.state.state === 'draining');
    expect(drained.state).toMatchObject({ reason: { code: 'lease_expired', text: expect.stringContaining('7200 s') } });
    await finish(id);
    const used = ['', '-x1'].map((hold) => Number(world.finance.get(`h-${id}-1${hold}`)?.settled?.amount));
    expect(used[0]).toBe(1);
    expect(used[1]).toBeGreaterThan(0.9);
  });

  test('stays with the job when it goes again: the next attempt is asked about, paid for and run with it, and may be longer still', async () => {
    allocator = await world.startAllocator();
    const id = await running({ max_restarts: 1, retry: { backoff: '1s' } });
    const money = (await spent()) - 100n;
    await extend(id, HOUR_MS);
    await world.until(id, last('granted'));
    world.provider.end(attemptKey(id, 1), 'failed');
    const again = await world.until(id, ({ state }) => state.state === 'applied' && state.attempt === 2);
    if (again.state.state !== 'applied') throw new Error(again.state.state);
    const { appliedAtMs, leaseEndsAtMs, placement } = again.state;
    expect([leaseEndsAtMs - appliedAtMs, placement.holdCents]).toEqual([2 * HOUR_MS, '200']);
    expect(extensions(again)).toEqual([]);
    expect(world.finance.get(`h-${id}-2`)).toMatchObject({ request: { amount: { amount: '2.00' }, attempt: 2 } });
    expect(world.provider.jobs.get(attemptKey(id, 2))?.spec.leaseMs).toBe(2 * HOUR_MS);
    await extend(id, HOUR_MS);
    await world.until(id, last('granted'));
    expect(await leaseEnd(id)).toBe(leaseEndsAtMs + HOUR_MS);
    expect(world.finance.get(`h-${id}-2-x1`)).toMatchObject({ request: { amount: { amount: '1.00' } } });
    world.provider.end(attemptKey(id, 2), 'succeeded');
    await world.until(id, ended);
    expect(await spent()).toBe(money + 2n);
    expect(await findings(id)).toEqual([]);
  });

  test('that the budget does not allow is refused with the reason, and nothing of it is held', async () => {
    allocator = await world.startAllocator();
    const id = await running();
    const before = [await spent(), await leaseEnd(id)];
    await setBudget('3.00');
    await extend(id, 100 * HOUR_MS);
    const refused = await world.until(id, last('refused'));
    expect(extensions(refused)[0]).toMatchObject({
      reason: { code: 'budget_exceeded', text: expect.stringMatching(/100\.00 USD more/) },
    });
    expect([await spent(), await leaseEnd(id)]).toEqual(before);
    expect(world.finance.get(`h-${id}-1-x1`)).toBeUndefined();
    await finish(id);
    expect(await findings(id)).toEqual([]);
  });

  test('that SentinelNet denies is refused before anything is held', async () => {
    allocator = await world.startAllocator();
    const id = await running();
    const before = await spent();
    world.sentinel.setRules({ ...ALLOW_ALL, deny: [FREEZE] });
    await extend(id, HOUR_MS);
    expect(extensions(await world.until(id, last('refused')))[0]).toMatchObject({ reason: { code: 'policy_denied' } });
    expect(await spent()).toBe(before);
    await finish(id);
  });

  test('that Finance refuses gives back what the ledger held, and may be asked for again', async () => {
    allocator = await world.startAllocator();
    const id = await running();
    const before = await spent();
    world.finance.refuseNext({ code: 'insufficient_funds', text: 'out of money' });
    await extend(id, HOUR_MS);
    expect(extensions(await world.until(id, last('refused')))[0]).toMatchObject({
      reason: { text: expect.stringContaining('out of money') },
    });
    expect(await spent()).toBe(before);
    await extend(id, HOUR_MS);
    await world.until(id, last('granted'));
    expect(world.finance.get(`h-${id}-1-x2`)?.status).toBe('confirmed');
    await finish(id);
    expect(await findings(id)).toEqual([]);
  });

  test('whose Finance replies are lost, and whose engine stops in between, is held and confirmed once', async () => {
    allocator = await world.startAllocator();
    const id = await running();
    const gate = world.finance.control.hold('confirm', 'before-effect');
    world.finance.control.dropReply('hold', 1);
    await extend(id, HOUR_MS);
    await gate.reached;
    const stopping = allocator.stop();
    world.finance.control.dropReply('confirm', 1);
    gate.open();
    await stopping;
    allocator = await world.startAllocator();
    await world.until(id, last('granted'));
    await finish(id);
    expect(world.finance.get(`h-${id}-1-x1`)?.status).toBe('settled');
    expect((await world.eventTypes(id)).filter((type) => type === 'booking.extended')).toHaveLength(1);
  });

  test('that is on its way when the job is cancelled is given back with it', async () => {
    allocator = await world.startAllocator();
    const id = await running();
    const gate = world.finance.control.hold('confirm', 'before-answer');
    await extend(id, HOUR_MS);
    await gate.reached;
    await world.database.db.asTenant(TENANT, (tx) => cancelBooking(tx, id, 'ada', Date.now()));
    gate.open();
    expect((await world.until(id, ended)).state).toMatchObject({ state: 'cancelled' });
    expect(world.finance.get(`h-${id}-1-x1`)?.status).toBe('reversed');
    expect(world.finance.get(`h-${id}-1`)?.status).toBe('settled');
    expect(await findings(id)).toEqual([]);
  });

  test('whose policy changed to a denial while Finance confirmed is refused and given back', async () => {
    allocator = await world.startAllocator();
    const id = await running();
    const before = await spent();
    const gate = world.finance.control.hold('confirm', 'before-effect');
    await extend(id, HOUR_MS);
    await gate.reached;
    world.sentinel.setRules({ ...ALLOW_ALL, deny: [FREEZE] });
    gate.open();
    expect(extensions(await world.until(id, last('refused')))[0]).toMatchObject({ reason: { code: 'policy_denied' } });
    expect(world.finance.get(`h-${id}-1-x1`)?.status).toBe('reversed');
    expect(await spent()).toBe(before);
    await finish(id);
  });

  test('is asked for of what runs only, one at a time, and within the limits of leases and of the job’s cost', async () => {
    allocator = await world.startAllocator();
    const id = await running({ budget: { max_cost: '2.00' } });
    expect(await extend(id, 2 * HOUR_MS)).toMatchObject({ kind: 'refused', code: 'max_cost' });
    expect(await extend(id, 30 * 24 * HOUR_MS)).toMatchObject({ kind: 'refused', code: 'lease_too_long' });
    const gate = world.finance.control.hold('confirm', 'before-effect');
    await extend(id, HOUR_MS);
    await gate.reached;
    expect(await extend(id, 1_000)).toMatchObject({ kind: 'refused', code: 'extending' });
    gate.open();
    await world.until(id, last('granted'));
    await finish(id);
    expect(await extend(id, HOUR_MS)).toMatchObject({ kind: 'refused', code: 'not_running' });
    expect(await extend('01k00000000000000000000000', HOUR_MS)).toBeUndefined();
  });
});

interface Asked {
  readonly peer?: string;
  readonly request: Readonly<Record<string, Json>>;
  readonly answer: Readonly<Record<string, Json>>;
}

/** Of the first extension, what SentinelNet was asked and answered. */
const ofPolicy =
  (change: (asked: Asked) => Pick<Asked, 'request' | 'answer'>): Lie =>
  (event, evidence) => {
    if (event.type !== 'booking.extension_held' || event.data.extension !== 1) return event;
    for (const hash of event.data.evidence as readonly string[]) {
      const body = evidence.get(hash) as unknown as Asked;
      if (body.peer !== 'sentinelnet') continue;
      const { request, answer } = change(body);
      evidence.set(hash, { ...body, request, answer: { ...answer, requestHash: contentHash(request) } });
    }
    return event;
  };
const signaturesAsked = ofPolicy(({ request, answer }) => ({ request, answer: { ...answer, signatures: 2 } }));
const otherExtension = ofPolicy(({ request, answer }) => ({
  request: { ...request, requestId: String(request.requestId).replace('x1', 'x9') },
  answer,
}));
const shorterAsked = ofPolicy(({ request, answer }) => ({ request: { ...request, leaseMs: HOUR_MS }, answer }));
const longerThanAsked: Lie = (event) =>
  event.type === 'booking.extended' ? { ...event, data: { ...event.data, byMs: 99 * HOUR_MS } } : event;

/** What is wrong with the receipt of a booking that has ended. */
async function findings(id: string): Promise<readonly unknown[]> {
  return (await verifiedReceipt(world.database.db, TENANT, id)).result.findings;
}
