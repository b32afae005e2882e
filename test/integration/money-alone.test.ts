import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { isEnded } from '../../core/booking.ts';
import type { BookingId } from '../../core/ids.ts';
import { moneySpec } from '../../core/money-request.ts';
import { RefusedInput } from '../../core/refusal.ts';
import { buildReceipt } from '../../ledger/audit/receipt.ts';
import { awaitSealed } from '../../ledger/audit/sequencer.ts';
import { verifyFile } from '../../ledger/audit/verify.ts';
import { systemClock } from '../../platform/clock.ts';
import { applyDocuments } from '../../pools/apply-documents.ts';
import { parseDocument } from '../../pools/documents.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import { closeMoney } from '../../scheduler/apply/close-money.ts';
import { askExtension } from '../../scheduler/apply/extend.ts';
import { proposeRevoke } from '../../scheduler/signatures/revoke.ts';
import { rootsOf } from '../support/audit-story.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { ANN, Scene } from '../support/saga-stories.ts';
import { type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';
import { signingPolicy, testKey } from '../support/signers.ts';

let world: SagaWorld;
let allocator: { stop(): Promise<void> };
beforeAll(async () => {
  world = await sagaWorld();
});
afterAll(() => world.close());
afterEach(async () => {
  await allocator.stop();
  expect(await ledgerLeaks(world.database.db)).toEqual([]);
});

const by = () => ({ actor: 'ada', nowMs: Date.now() });
const close = (id: string, spent: string) =>
  world.database.db.asTenant(TENANT, (tx) => closeMoney(tx, id, spent, by()));
/** What the ledger has as spent. */
async function spent(): Promise<bigint> {
  const [row] = await world.database.db.asEngine((tx) =>
    tx.query<{ spent: bigint }>(
      "select (credits_posted - debits_posted)::bigint as spent from accounts where account_id = 'spend:acme:vision:USD'",
    ),
  );
  return row?.spent ?? 0n;
}
const HOUR_MS = 3_600_000;
const LOOK_MS = 100;
const ended = ({ state }: Booking) => isEnded(state.state);

async function granted(amount: string): Promise<BookingId> {
  const scene = new Scene(world);
  await scene.ask('grant', amount);
  const id = scene.cast.get('grant') as BookingId;
  await world.until(id, ({ state }) => state.state === 'applied');
  return id;
}

describe('money alone', () => {
  test('is settled for what was said to be spent, once, at Finance and in the ledger, and its receipt tells strangers so', async () => {
    allocator = await world.startAllocator();
    const id = await granted('20.00');
    const asked = world.sentinel.control.calls.find(({ route }) => route === 'decide');
    expect(asked?.body).toMatchObject({ pool: 'money', money: { purpose: 'labels', agent: 'labeller' } });
    expect(world.provider.submits).toEqual([]);
    expect(await close(id, '12.50')).toMatchObject({ kind: 'closed' });
    expect(await close(id, '13.00')).toMatchObject({ kind: 'refused', code: 'spent_otherwise' });
    expect((await world.until(id, ended)).state).toMatchObject({ state: 'released', reason: { code: 'closed' } });
    expect(await close(id, '12.50')).toMatchObject({ kind: 'already' });
    expect(await close(id, '13.00')).toMatchObject({
      kind: 'refused',
      code: 'spent_otherwise',
      text: expect.stringContaining('12.50 USD'),
    });
    expect(world.finance.get(`h-${id}-1`)).toMatchObject({ status: 'settled', settled: { amount: '12.50' } });
    const { db } = world.database;
    expect(await spent()).toBe(1250n);
    await awaitSealed(db, systemClock, AbortSignal.timeout(60_000));
    const receipt = await db.asTenant(TENANT, (tx) => buildReceipt(tx, id));
    if (receipt.kind !== 'receipt') throw new Error(receipt.kind);
    const { code, findings } = verifyFile(Buffer.from(receipt.text), rootsOf(world.signer));
    expect({ code, findings }).toEqual({ code: 0, findings: [] });
    const more = receipt.text.replace('"cents":"1250"', '"cents":"9999"');
    expect(verifyFile(Buffer.from(more), rootsOf(world.signer)).code).toBe(10);
  });

  test.each([
    ['another amount', { amountCents: '1' }],
    ['another booking', { bookingId: 'another' }],
    ['another division', { division: 'nlp' }],
  ])('that Finance has as of %s is rejected before it is applied, and given back', async (_, wrong) => {
    const { finance } = world.context;
    const get: typeof finance.get = async (id, signal) => {
      const hold = await finance.get(id, signal);
      return hold?.ask === undefined ? hold : { ...hold, ask: { ...hold.ask, ...wrong } };
    };
    allocator = await world.startAllocator({ finance: { ...finance, get } });
    const scene = new Scene(world);
    await scene.ask('grant', '5.00');
    const id = scene.cast.get('grant') as BookingId;
    expect((await world.until(id, ended)).state).toMatchObject({
      state: 'rejected',
      reason: { code: 'finance_differs' },
    });
    expect(world.finance.get(`h-${id}-1`)?.status).toBe('reversed');
    expect(await world.eventTypes(id)).not.toContain('booking.applied');
  });

  test.each([
    ['whose time is over', 'expired', async () => {}],
    [
      'that is cancelled',
      'cancelled',
      (scene: Scene, id: BookingId) => scene.asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now())),
    ],
    [
      'that is revoked',
      'revoked',
      async (scene: Scene, id: BookingId) => {
        const policy = parseDocument(signingPolicy({ ann: ANN, ben: testKey() }));
        await scene.asTenant((tx) => applyDocuments(tx, scene.by(), [{ document: policy }]));
        const asked = { ...scene.by(), environment: 'merit-test' };
        await scene.asTenant((tx) => proposeRevoke(tx, asked, id, 'it is spent on coins'));
        await scene.sign(id, 'allocation.revoke', ANN);
      },
    ],
  ] as const)(
    '%s before anybody said what was spent is settled whole, and nothing else is taken for it later',
    async (_, end, act) => {
      const before = await spent();
      const scene = new Scene(world);
      await scene.ask('grant', '5.00', { leaseMs: end === 'expired' ? 2_000 : HOUR_MS, graceMs: 100 });
      const id = scene.cast.get('grant') as BookingId;
      expect(await close(id, '0.00')).toMatchObject({ kind: 'refused', code: 'not_applied' });
      allocator = await world.startAllocator();
      await world.until(id, ({ state }) => state.state === 'applied' || isEnded(state.state));
      await act(scene, id);
      expect((await world.until(id, ended)).state).toMatchObject({ state: end });
      expect(world.finance.get(`h-${id}-1`)).toMatchObject({ status: 'settled', settled: { amount: '5.00' } });
      expect(await spent()).toBe(before + 500n);
      expect(await close(id, '0.00')).toMatchObject({ kind: 'refused', code: 'spent_otherwise' });
      expect(await close(id, '5.00')).toMatchObject({ kind: 'already' });
    },
  );

  test.each([
    ['whose time is over', 'released', 500, async () => {}],
    [
      'that is cancelled',
      'cancelled',
      HOUR_MS,
      (scene: Scene, id: BookingId) => scene.asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now())),
    ],
  ] as const)('%s is settled for what is said within its grace', async (_, end, leaseMs, act) => {
    allocator = await world.startAllocator();
    const scene = new Scene(world);
    await scene.ask('grant', '5.00', { leaseMs, graceMs: HOUR_MS });
    const id = scene.cast.get('grant') as BookingId;
    const { state } = await world.until(id, (one) => one.state.state === 'applied');
    await act(scene, id);
    if (end === 'released' && state.state === 'applied')
      while (Date.now() <= state.leaseEndsAtMs + LOOK_MS) await systemClock.sleep(LOOK_MS);
    expect(await close(id, '2.00')).toMatchObject({ kind: 'closed' });
    expect((await world.until(id, ended)).state).toMatchObject({ state: end, reason: { code: 'closed' } });
    expect(world.finance.get(`h-${id}-1`)).toMatchObject({ status: 'settled', settled: { amount: '2.00' } });
  });

  test('that the budget does not allow waits and says so; closed with nothing spent, all of it goes back; it is neither extended nor closed beyond what it is', async () => {
    allocator = await world.startAllocator();
    const first = await granted('900.00');
    const scene = new Scene(world);
    await scene.ask('grant', '200.00');
    const second = scene.cast.get('grant') as BookingId;
    const waiting = await world.until(second, ({ state }) => state.state === 'waiting' && state.reasons.length > 0);
    expect(waiting.state).toMatchObject({
      reasons: [{ code: 'exceeds_limit', text: expect.stringContaining('200.00 USD') }],
    });
    await expect(close(first, '900.01')).rejects.toThrow(RefusedInput);
    await expect(close(first, '1.5')).rejects.toThrow(RefusedInput);
    const { db } = world.database;
    expect(await db.asTenant(TENANT, (tx) => askExtension(tx, first, 60_000, 'ada', Date.now()))).toMatchObject({
      kind: 'refused',
    });
    expect(await close(first, '0.00')).toMatchObject({ kind: 'closed' });
    expect((await world.until(first, ended)).state.state).toBe('released');
    expect(world.finance.get(`h-${first}-1`)).toMatchObject({ status: 'settled', settled: { amount: '0.00' } });
    await world.until(second, ({ state }) => state.state === 'applied');
    await close(second, '0.00');
    await world.until(second, ended);
  });

  test.each([
    [{ amount: '0.00' }, 'range amount'],
    [{ amount: '5' }, 'scale amount'],
    [{ amount: '5', currency: 'JPY', lease: '31d' }, 'range lease'],
    [{ amount: '5.00', purpose: '' }, 'length purpose'],
  ])('%j is refused with its field', async (over, refusal) => {
    allocator = { stop: async () => {} };
    const ask = { division: 'vision', currency: 'USD', purpose: 'labels', ...over };
    try {
      moneySpec(ask);
      expect.unreachable();
    } catch (error) {
      const [first] = (error as RefusedInput).refusals;
      expect(`${first?.code} ${first?.field}`).toBe(refusal);
    }
  });
});
