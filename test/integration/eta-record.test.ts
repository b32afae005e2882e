import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isEnded } from '../../core/booking.ts';
import { attemptKey, type BookingId } from '../../core/ids.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import { etaRecords, MAX_ETA_RECORDS, noteEtas } from '../../scheduler/apply/eta-record.sql.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';
import { POOL, type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';

describe('the record of start times', () => {
  let world: SagaWorld;
  beforeAll(async () => {
    world = await sagaWorld();
  });
  afterAll(() => world.close());

  const applied = (booking: Booking) => booking.state.state === 'applied';
  const records = () => world.database.db.asTenant(TENANT, (tx) => etaRecords(tx, TENANT));
  const told = () =>
    world.database.db.asEngine((tx) =>
      tx.query<{ booking_id: string; eta_at: Date | null }>('select booking_id, eta_at from eta_records'),
    );
  const finish = async (id: BookingId) => {
    world.provider.end(attemptKey(id, 1), 'succeeded');
    await world.until(id, ({ state }) => isEnded(state.state));
  };

  test('has what a job was told at the first look that left it waiting, and not who started at once', async () => {
    const allocator = await world.startAllocator();
    const first = await world.book({ resources: { cpus: 4 } });
    const running = await world.until(first, applied);
    const second = await world.book();
    await world.until(second, ({ state }) => state.state === 'waiting' && state.reasons.length > 0);
    // Reasons and start times are stored one after the other.
    await expect.poll(async () => (await told()).length, { timeout: 20_000 }).toBe(1);
    const [one, ...others] = await told();
    expect(others).toEqual([]);
    const end = running.state.state === 'applied' ? running.state.leaseEndsAtMs : 0;
    expect([one?.booking_id, one?.eta_at?.getTime()]).toEqual([second, end]);
    expect(await records()).toEqual([]);
    await finish(first);
    await world.until(second, applied);
    // Its room was free an hour before the lease of the other was over: it was not late, and it was not told well.
    expect(await records()).toMatchObject([{ pool: POOL, told: 1, untold: 0, held: 0, notLater: 1 }]);
    expect((await records())[0]!.medianErrorSeconds).toBeGreaterThan(3_000);
    await finish(second);
    await allocator.stop();
  });

  test('counts a start as held within a minute or a tenth of the wait that was told, and takes the median of what it was off', async () => {
    await world.database.db.asEngine((tx) => tx.execute('delete from eta_records'));
    const atMs = Date.UTC(2026, 10, 26, 8);
    const start = async (waitS: number | null, lateS: number, attempts = 1) => {
      const id = await world.book();
      await world.database.db.asEngine(async (tx) => {
        const etaMs = waitS === null ? null : atMs + waitS * 1000;
        await noteEtas(tx, [{ bookingId: id, tenant: TENANT, toldAtMs: atMs, etaMs }]);
        for (let attempt = 1; attempt <= attempts; attempt++) {
          const startedMs = (etaMs ?? atMs) + lateS * 1000 + (attempt - 1) * 9_000_000;
          await tx.execute(
            `insert into attempts (booking_id, attempt, tenant, pool, flavour, provider, key, started_at)
             values ($1, $2, $3, $4, 'cpu', 'memory', $5, $6)`,
            [id, attempt, TENANT, POOL, `m-${id}-${attempt}`, new Date(startedMs)],
          );
        }
      });
      await world.database.db.asTenant(TENANT, (tx) => cancelBooking(tx, id, 'ada', Date.now()));
    };
    for (const [wait, late] of [
      [100, 60],
      [100, 61],
      [100, -61],
      [6_000, 600],
      [6_000, 601],
    ] as const)
      await start(wait, late);
    // Of several attempts the first start counts.
    await start(100, 0, 2);
    await start(null, 5);
    const [record] = await records();
    expect(record).toMatchObject({ pool: POOL, told: 6, untold: 1, held: 3, notLater: 4, medianErrorSeconds: 61 });
    expect(record?.sinceMs).toBe(atMs);
  });

  test('keeps a limited number of them, the newest, and each booking once', async () => {
    const id = await world.book();
    const sample = { bookingId: id, tenant: TENANT, toldAtMs: 1, etaMs: 2 };
    await world.database.db.asEngine(async (tx) => {
      await tx.execute(
        'insert into eta_records (booking_id, tenant, told_at, record_no) overriding system value values ($1, $2, now(), $3)',
        [id, TENANT, MAX_ETA_RECORDS + 1_000],
      );
      await noteEtas(tx, [sample]);
    });
    expect(await told()).toEqual([{ booking_id: id, eta_at: null }]);
    await world.database.db.asTenant(TENANT, (tx) => cancelBooking(tx, id, 'ada', Date.now()));
  });
});

describe('by HTTP the record', () => {
  let world: HttpWorld;
  beforeAll(async () => {
    world = await httpWorld();
    const price = { currency: 'USD', perUnitHour: '0.50' };
    const flavours = [{ name: 'small', resource: 'cpu', capacity: 4, price }];
    const pool = { apiVersion: 'merit/v1', kind: 'Pool', name: 'cpus', provider: { kind: 'local' }, flavours };
    await world.call('PUT', '/v1/pools/cpus', { ...pool, quotas: {} });
  });
  afterAll(() => world?.close());

  test('is a pool’s own, says what it counts by, and is part of the pool; of none there is none', async () => {
    const record = (await world.call('GET', '/v1/pools/cpus/eta-record')).json();
    expect(record).toEqual({
      ...{ pool: 'cpus', told: 0, untold: 0, held: 0, heldShare: null, notLaterShare: null, medianErrorSeconds: null },
      ...{ since: null, tolerance: { seconds: 60, share: 0.1 }, kept: MAX_ETA_RECORDS },
    });
    expect((await world.call('GET', '/v1/pools/cpus')).json().eta).toEqual(record);
    expect((await world.call('GET', '/v1/top')).json().etas).toEqual([]);
    expect((await world.call('GET', '/v1/pools/none/eta-record')).statusCode).toBe(404);
    expect((await world.call('GET', '/v1/pools/cpus/eta-record', undefined, {}, 'rival')).statusCode).toBe(404);
  });
});
