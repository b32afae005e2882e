import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { isEnded } from '../../core/booking.ts';
import { attemptKey, type BookingId } from '../../core/ids.ts';
import type { Evidence } from '../../peers/wire.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { askExtension } from '../../scheduler/apply/extend.ts';
import { forged } from '../support/forged-receipt.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';
import { verifiedReceipt } from '../support/verified-receipt.ts';

/** A Finance that was restored from a backup, or whose people ended a hold by hand: what has run ends all the same. */
let world: SagaWorld;
let allocator: { stop(): Promise<void> };
let differs: number;

beforeAll(async () => {
  world = await sagaWorld();
});
afterAll(() => world.close());
afterEach(async () => {
  await allocator.stop();
  expect(await ledgerLeaks(world.database.db)).toEqual([]);
});

const { signal } = new AbortController();
const applied = (booking: Booking) => booking.state.state === 'applied';

async function running(finance = world.context.finance): Promise<BookingId> {
  differs = 0;
  const metrics = { ...world.context.metrics, financeDiffers: () => void differs++ };
  allocator = await world.startAllocator({ metrics, finance });
  const id = await world.book();
  await world.until(id, applied);
  return id;
}

async function finish(id: BookingId): Promise<Booking> {
  world.provider.end(attemptKey(id, 1), 'succeeded');
  return world.until(id, (booking) => isEnded(booking.state.state));
}

async function releasedEvent(id: string): Promise<{ readonly data: { readonly evidence: readonly string[] } }> {
  const rows = await world.database.db.asTenant(TENANT, (tx) =>
    tx.query<{ body: { data: { evidence: readonly string[] } } }>(
      "select convert_from(bytes, 'UTF8')::jsonb as body from audit_events where subject = $1 and type = 'booking.released'",
      [`booking/${id}`],
    ),
  );
  return rows[0]!.body;
}

describe('where Finance lost its book’s last changes', () => {
  test('a hold that it no longer knows is asked for again by its id, confirmed and settled', async () => {
    const before = await world.financeBook.changes();
    const id = await running();
    await world.financeBook.restore(before);
    expect(world.finance.get(`h-${id}-1`)).toBeUndefined();
    expect((await finish(id)).state).toMatchObject({ state: 'released', reason: { code: 'succeeded' } });
    expect(world.finance.get(`h-${id}-1`)).toMatchObject({
      status: 'settled',
      request: { bookingId: id, attempt: 1, division: 'vision', amount: { amount: '1.00', currency: 'USD' } },
      settled: { amount: '0.01', currency: 'USD' },
    });
    expect(differs).toBe(0);
    const { result } = await verifiedReceipt(world.database.db, TENANT, id);
    expect(result).toMatchObject({ code: 0, findings: [] });
  });

  test('a hold of which it knows no longer that it was confirmed is confirmed again, then settled', async () => {
    const before = await world.financeBook.changes();
    const id = await running();
    await world.financeBook.restore(before + 1);
    expect(world.finance.get(`h-${id}-1`)?.status).toBe('held');
    await finish(id);
    expect(world.finance.get(`h-${id}-1`)).toMatchObject({ status: 'settled', settled: { amount: '0.01' } });
    expect(differs).toBe(0);
  });

  test('a longer lease’s hold is asked for again for its own part', async () => {
    const id = await running();
    await world.database.db.asTenant(TENANT, (tx) => askExtension(tx, id, 3_600_000, 'ada', Date.now()));
    const granted = ({ state }: Booking) => 'extensions' in state && state.extensions?.at(-1)?.state === 'granted';
    const before = await world.financeBook.changes();
    await world.until(id, granted);
    await world.financeBook.restore(before);
    await finish(id);
    expect(world.finance.get(`h-${id}-1`)).toMatchObject({ status: 'settled', settled: { amount: '0.01' } });
    expect(world.finance.get(`h-${id}-1-x1`)).toMatchObject({
      status: 'settled',
      request: { amount: { amount: '1.00' } },
      settled: { amount: '0.00' },
    });
  });

  test('a reply that is lost on the way is waited for, and each call is repeated', async () => {
    const before = await world.financeBook.changes();
    const id = await running();
    await world.financeBook.restore(before);
    for (const route of ['hold', 'confirm', 'settle']) world.finance.control.dropReply(route, 1);
    await finish(id);
    expect(world.finance.get(`h-${id}-1`)).toMatchObject({ status: 'settled', settled: { amount: '0.01' } });
    expect(differs).toBe(0);
  });
});

describe('where Finance refuses for good', () => {
  test('to hold it once more, the booking ends by the ledger, its quota is free, and its event says what Finance said', async () => {
    const before = await world.financeBook.changes();
    const id = await running();
    await world.financeBook.restore(before);
    world.finance.refuseNext({ code: 'insufficient_funds', text: 'out of money' });
    expect((await finish(id)).state).toMatchObject({ state: 'released', reason: { code: 'succeeded' } });
    expect(differs).toBe(1);
    const { data } = await releasedEvent(id);
    expect(data).toMatchObject({
      cost: { cents: '1' },
      financeDiffers: [
        { holdId: `h-${id}-1`, reason: { code: expect.any(String), text: expect.stringContaining('out of money') } },
      ],
    });
    expect(data.evidence).toHaveLength(2);
    const { result } = await verifiedReceipt(world.database.db, TENANT, id);
    expect(result).toMatchObject({ code: 0, findings: [], summary: { financeDiffers: [`h-${id}-1`] } });
    await allocator.stop();
    const next = await running();
    await finish(next);
  });

  test('once, and the hold stands as it was, it is asked again', async () => {
    let refusals = 0;
    const { finance } = world.context;
    const evidence = { peer: 'finance', request: {}, answer: {} } as unknown as Evidence;
    const refused = {
      kind: 'conflict',
      code: 'busy',
      reason: { code: 'finance_busy', text: 'busy', mend: '' },
      evidence,
    } as const;
    const id = await running({
      ...finance,
      // The second time after it was confirmed anew.
      settle: async (...call) => (++refusals <= 2 ? refused : finance.settle(...call)),
    });
    await finish(id);
    expect(refusals).toBe(3);
    expect(differs).toBe(0);
    expect(world.finance.get(`h-${id}-1`)).toMatchObject({ status: 'settled', settled: { amount: '0.01' } });
  });

  const spent = { amountCents: '77', currency: 'USD' };
  test.each([
    ['reversed', 'finance_reversed', (id: string) => world.context.finance.reverse(id, TENANT, signal)],
    ['settled otherwise', 'finance_already_settled', (id: string) => world.context.finance.settle(id, spent, signal)],
  ])('to settle what its people %s, the booking ends likewise', async (_, code, byHand) => {
    const id = await running();
    expect(await byHand(`h-${id}-1`)).toMatchObject({ kind: 'done' });
    await finish(id);
    expect(differs).toBe(1);
    expect((await releasedEvent(id)).data).toMatchObject({
      financeDiffers: [{ holdId: `h-${id}-1`, reason: { code } }],
    });
  });
});

test('a receipt that says so of a hold of which Finance refused nothing is told as tampered', async () => {
  const id = await running();
  await finish(id);
  const { text } = await verifiedReceipt(world.database.db, TENANT, id);
  const lie = await forged(text, (event) =>
    event.type === 'booking.released'
      ? { ...event, data: { ...(event.data as object), financeDiffers: [{ holdId: `h-${id}-1` }] } }
      : event,
  );
  expect(lie.code).toBe(10);
  expect(lie.findings.map(({ field }) => field)).toEqual(['event.data.financeDiffers']);
});
