import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { metricsView } from '../../api/http/rooms/job-metrics.sql.ts';
import type { View } from '../../api/http/services.ts';
import { isEnded } from '../../core/booking.ts';
import { attemptKey } from '../../core/ids.ts';
import { ALLOW_ALL, type PolicyRules } from '../../peers/sentinelnet/rules.ts';
import { systemClock } from '../../platform/clock.ts';
import { StaleLeader } from '../../platform/postgres.ts';
import { ProviderError } from '../../providers/provider.ts';
import { postgresDesk } from '../../scheduler/apply/booking-desk.sql.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import { sweepOnce } from '../../scheduler/reconcile/sweep.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';

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
  world.provider.down = undefined;
  world.provider.beforeSubmit = undefined;
  world.provider.afterSubmit = undefined;
  await allocator?.stop();
  expect(await ledgerLeaks(world.database.db)).toEqual([]);
});

const FROZEN: PolicyRules = {
  format: 'merit-policy-rules/1',
  deny: [{ name: 'freeze', division: 'vision', text: 'frozen for the audit' }],
  signatures: [],
};

const ended = (booking: { state: { state: Parameters<typeof isEnded>[0] } }) => isEnded(booking.state.state);

describe('a booking', () => {
  test('goes policy, quota and money, hold, provider, confirm, applied, and each step leaves one audit event', async () => {
    allocator = await world.startAllocator();
    const id = await world.book();
    await world.until(id, (booking) => booking.state.state === 'applied');
    expect(world.finance.get(`h-${id}-1`)?.status).toBe('confirmed');
    world.provider.end(attemptKey(id, 1), 'succeeded');
    const last = await world.until(id, ended);
    expect(last.state).toMatchObject({ state: 'released', reason: { code: 'succeeded' } });
    expect(await world.eventTypes(id)).toEqual([
      'booking.created',
      'booking.reserved',
      'booking.requesting',
      'booking.confirming',
      'booking.applied',
      'log.ended',
      'artifact.manifest',
      'booking.releasing',
      'booking.released',
    ]);
    expect(world.finance.get(`h-${id}-1`)).toMatchObject({
      status: 'settled',
      settled: { amount: '0.01', currency: 'USD' },
    });
    expect(world.provider.submits.filter((key) => key === attemptKey(id, 1))).toHaveLength(1);
  });

  test('has what its attempts waited, ran, used and left told when their provider knows them no more', async () => {
    allocator = await world.startAllocator();
    const id = await world.book({ max_restarts: 1, retry: { backoff: '1s' } });
    const [first, second] = [attemptKey(id, 1), attemptKey(id, 2)];
    world.provider.used.set(first, { cpuMs: 100, memoryBytes: 5_000, gpuMilli: 300 });
    const runs = (attempt: number) => world.until(id, ({ state: s }) => s.state === 'applied' && s.attempt === attempt);
    await runs(1);
    const kept = () => world.context.desk.runs.read({ tenant: TENANT, bookingId: id, attempt: 1 });
    await expect.poll(kept).toMatchObject({ usage: { readCpuMs: 100 } });
    world.provider.used.set(first, { cpuMs: 700, memoryBytes: 1_000 });
    world.provider.end(first, 'failed');
    await runs(2);
    world.provider.end(second, 'succeeded');
    await world.until(id, ended);
    world.provider.jobs.clear();
    const told = await world.database.db.asTenant(TENANT, (tx) => metricsView(tx, TENANT, id));
    const [one, two] = (told?.items ?? []) as unknown as readonly View[];
    expect(one).toMatchObject({ attempt: 1, outcome: 'retry', exitCode: 1, cpuMs: 700, memoryPeakBytes: 5_000 });
    expect(one).toMatchObject({
      gpuPeakMilli: 300,
      logBytes: `log of ${first}\n`.length,
      logEnd: 'complete',
      files: null,
    });
    expect(two).toMatchObject({ attempt: 2, outcome: 'released', exitCode: 0, cpuMs: null, usage: [], files: 0 });
    expect(told).toMatchObject({ attempts: 2, exitCode: 0, cpuMs: 700, logBytes: 2 * `log of ${first}\n`.length });
    // The second waited for its back-off.
    expect(two?.waitedMs).toBeGreaterThanOrEqual(1_000);
    for (const { ranMs } of [one!, two!]) expect(ranMs).toBeGreaterThanOrEqual(0);
    expect(await world.database.db.asTenant(TENANT, (tx) => metricsView(tx, TENANT, 'no-such-job'))).toBeUndefined();
  });

  test('that SentinelNet denies is rejected with its reason, and nothing was held or started', async () => {
    world.sentinel.setRules(FROZEN);
    allocator = await world.startAllocator();
    const id = await world.book();
    const last = await world.until(id, ended);
    expect(last.state).toMatchObject({ state: 'rejected', reason: { code: 'policy_denied' } });
    expect(world.finance.get(`h-${id}-1`)).toBeUndefined();
    expect(world.provider.jobs.has(attemptKey(id, 1))).toBe(false);
  });

  test('that Finance refuses is rejected with its reason, and its quota is free again', async () => {
    world.finance.refuseNext({ code: 'insufficient_funds', text: 'the division is out of money' });
    allocator = await world.startAllocator();
    const id = await world.book();
    const last = await world.until(id, ended);
    expect(last.state).toMatchObject({ state: 'rejected', reason: { text: expect.stringContaining('out of money') } });
    expect(await world.eventTypes(id)).toEqual([
      'booking.created',
      'booking.reserved',
      'booking.releasing',
      'booking.rejected',
    ]);
    expect(world.provider.jobs.has(attemptKey(id, 1))).toBe(false);
  });

  test('waits without holding anything while SentinelNet is away, says so, and goes on when it is back', async () => {
    world.sentinel.control.answerWith('decide', { status: 503, body: '{}' }, 3);
    allocator = await world.startAllocator();
    const id = await world.book();
    const held = await world.until(
      id,
      (booking) => booking.state.state === 'waiting' && booking.state.reasons.length > 0,
    );
    expect(held.state).toMatchObject({ reasons: [{ code: 'policy_unavailable' }] });
    await world.until(id, (booking) => booking.state.state === 'applied');
    world.provider.end(attemptKey(id, 1), 'succeeded');
    await world.until(id, ended);
  });

  test('waits without holding anything while its provider is away, says so, and goes on when it is back', async () => {
    world.provider.down = new ProviderError('transient', 'connect ECONNREFUSED');
    allocator = await world.startAllocator();
    const id = await world.book();
    const held = await world.until(
      id,
      (booking) => booking.state.state === 'waiting' && booking.state.reasons.length > 0,
    );
    expect(held.state).toMatchObject({ reasons: [{ code: 'provider_unreachable' }] });
    expect(await world.eventTypes(id)).toEqual(['booking.created']);
    world.provider.down = undefined;
    await world.until(id, (booking) => booking.state.state === 'applied');
    world.provider.end(attemptKey(id, 1), 'succeeded');
    await world.until(id, ended);
  });

  test('whose submit reply is lost is found by its key and adopted: one job', async () => {
    let lost = 1;
    world.provider.afterSubmit = () => {
      if (lost-- > 0) throw new ProviderError('transient', 'socket hang up', { effect: 'unknown' });
    };
    allocator = await world.startAllocator();
    const id = await world.book();
    await world.until(id, (booking) => booking.state.state === 'applied');
    expect(world.provider.submits.filter((key) => key.includes(id))).toHaveLength(1);
    expect(world.provider.live).toEqual([attemptKey(id, 1)]);
    world.provider.end(attemptKey(id, 1), 'succeeded');
    await world.until(id, ended);
  });

  test('whose Finance replies are all lost once is held, confirmed and settled once each', async () => {
    for (const route of ['hold', 'confirm', 'settle']) world.finance.control.dropReply(route, 1);
    allocator = await world.startAllocator();
    const id = await world.book();
    await world.until(id, (booking) => booking.state.state === 'applied');
    world.provider.end(attemptKey(id, 1), 'succeeded');
    await world.until(id, ended);
    expect(world.finance.get(`h-${id}-1`)?.status).toBe('settled');
  });

  test('whose policy changed to a denial between reservation and apply is undone', async () => {
    const gate = world.finance.control.hold('confirm', 'before-effect');
    allocator = await world.startAllocator();
    const id = await world.book();
    await gate.reached;
    world.sentinel.setRules(FROZEN);
    gate.open();
    const last = await world.until(id, ended);
    expect(last.state).toMatchObject({ state: 'rejected', reason: { code: 'policy_denied' } });
    expect(world.provider.live).toEqual([]);
    expect(world.finance.get(`h-${id}-1`)?.status).toBe('reversed');
  });

  test('whose job fails is tried again as its next attempt while restarts remain, then fails', async () => {
    world.provider.afterSubmit = (spec) => world.provider.end(spec.key, 'failed');
    allocator = await world.startAllocator();
    const id = await world.book({ max_restarts: 1 });
    const last = await world.until(id, ended);
    expect(last.state).toMatchObject({ state: 'failed', attempt: 2, reason: { code: 'job_failed' } });
    expect(world.provider.submits.filter((key) => key.includes(id))).toEqual([attemptKey(id, 1), attemptKey(id, 2)]);
  });

  test('that is cancelled while it runs is drained, and while it waits ends at once', async () => {
    allocator = await world.startAllocator();
    const running = await world.book();
    await world.until(running, (booking) => booking.state.state === 'applied');
    await world.database.db.asTenant(TENANT, (tx) => cancelBooking(tx, running, 'ada', Date.now()));
    expect((await world.until(running, ended)).state).toMatchObject({ state: 'cancelled' });
    expect(world.provider.live).toEqual([]);
    await allocator.stop();
    const waiting = await world.book();
    const cancelled = await world.database.db.asTenant(TENANT, (tx) => cancelBooking(tx, waiting, 'ada', Date.now()));
    expect(cancelled?.booking.state.state).toBe('cancelled');
    expect(
      (await world.database.db.asTenant(TENANT, (tx) => cancelBooking(tx, waiting, 'ada', Date.now())))?.kind,
    ).toBe('ended');
  });

  test('whose notice ran out while its provider was away goes on to its release, which waits for the provider', async () => {
    allocator = await world.startAllocator();
    const id = await world.book();
    await world.until(id, (booking) => booking.state.state === 'applied');
    world.provider.down = new ProviderError('transient', 'connect ECONNREFUSED');
    await world.database.db.asTenant(TENANT, (tx) => cancelBooking(tx, id, 'ada', Date.now()));
    await allocator.stop();
    const later = { ...systemClock, now: () => Date.now() + 60_000 };
    allocator = await world.startAllocator({ clock: later });
    await world.until(id, (booking) => booking.state.state === 'releasing');
    expect(world.provider.live).toEqual([attemptKey(id, 1)]);
    world.provider.down = undefined;
    expect((await world.until(id, ended)).state).toMatchObject({ state: 'cancelled' });
    expect(world.provider.live).toEqual([]);
  });

  test('whose outputs lie where no job may write is rejected before anything is held or run', async () => {
    allocator = await world.startAllocator();
    const id = await world.book({ outputs: 'file:///etc' });
    expect((await world.until(id, ended)).state).toMatchObject({
      state: 'rejected',
      reason: { code: 'outputs_outside' },
    });
    expect(await world.eventTypes(id)).toEqual(['booking.created', 'booking.rejected']);
  });

  test('is not another tenant’s to cancel', async () => {
    allocator = await world.startAllocator();
    const id = await world.book();
    expect(
      await world.database.db.asTenant('umbrella', (tx) => cancelBooking(tx, id, 'eve', Date.now())),
    ).toBeUndefined();
    await world.database.db.asTenant(TENANT, (tx) => cancelBooking(tx, id, 'ada', Date.now()));
    await world.until(id, ended);
  });

  test('past its capacity waits with its shortfall and starts when there is room, oldest first', async () => {
    allocator = await world.startAllocator();
    const first = await world.book({ resources: { cpus: 4 } });
    await world.until(first, (booking) => booking.state.state === 'applied');
    const second = await world.book({ resources: { cpus: 3 } });
    const held = await world.until(
      second,
      (booking) => booking.state.state === 'waiting' && booking.state.reasons.length > 0,
    );
    expect(held.state).toMatchObject({
      reasons: [{ code: 'quota', text: expect.stringContaining('3 cpu short') }],
    });
    world.provider.end(attemptKey(first, 1), 'succeeded');
    await world.until(second, (booking) => booking.state.state === 'applied');
    world.provider.end(attemptKey(second, 1), 'succeeded');
    await world.until(second, ended);
  });

  test('a leader whose epoch is over changes nothing', async () => {
    const id = await world.book();
    const stale = { ...world.context, desk: postgresDesk(world.database.db, world.epoch - 1n) };
    const { Allocator } = await import('../../scheduler/apply/engine.ts');
    const stop = new AbortController();
    const run = new Allocator(stale).run(stop.signal);
    await new Promise((resolve) => setTimeout(resolve, 300));
    stop.abort();
    await run.catch((error: unknown) => expect(error).toBeInstanceOf(StaleLeader));
    expect((await world.get(id)).state).toMatchObject({ state: 'waiting', reasons: [] });
    await world.database.db.asTenant(TENANT, (tx) => cancelBooking(tx, id, 'ada', Date.now()));
    allocator = await world.startAllocator();
  });

  test('a resource with our tag that no booking owns is released after two sweeps, a stranger’s is left alone', async () => {
    allocator = await world.startAllocator();
    const spec = { key: 'm-01jd8m00000000000000000000-1', tag: 'merit-test' } as never;
    await world.provider.submit(spec);
    await world.provider.submit({ ...(spec as object), key: 'm-foreign-1', tag: 'somebody-else' } as never);
    const suspects = new Map<string, ReadonlySet<string>>();
    await sweepOnce(world.context, suspects);
    expect(world.provider.live).toContain('m-01jd8m00000000000000000000-1');
    await sweepOnce(world.context, suspects);
    expect(world.provider.live).toEqual(['m-foreign-1']);
    world.provider.jobs.clear();
  });
});
