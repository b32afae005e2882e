import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { jobSpec } from '../../../core/job.ts';
import type { Balance, FlavourSnapshot, Snapshot } from '../../../pools/snapshot.ts';
import { costCents } from '../../../pools/snapshot.ts';
import { admit, type Waiting } from '../../../scheduler/admission/admit.ts';

const FLAVOUR: FlavourSnapshot = {
  pool: 'pool',
  flavour: 'h100',
  provider: 'ray',
  resource: 'gpu',
  position: 0,
  capacityMilli: 8000n,
  freeMilli: 8000n,
  currency: 'USD',
  centsPerUnitHour: 200n,
  away: undefined,
};

function snapshot(over: { flavour?: Partial<FlavourSnapshot>; quota?: Balance; budget?: Balance } = {}): Snapshot {
  return {
    flavoursOf: (_tenant, pool) => (pool === 'pool' ? [{ ...FLAVOUR, ...over.flavour }] : undefined),
    quota: () => over.quota ?? { limit: 8000n, free: 8000n },
    budget: () => over.budget ?? { limit: 1_000_000n, free: 1_000_000n },
  };
}

function waiting(
  id: string,
  over: {
    gpus?: number;
    createdAtMs?: number;
    priority?: number;
    pools?: string[];
    maxCost?: string;
    notBeforeMs?: number;
    lease?: string;
  } = {},
): Waiting {
  const spec = jobSpec({
    name: id,
    division: 'vision',
    resources: { gpus: over.gpus ?? 1 },
    pools: over.pools ?? ['pool'],
    run: 'true',
    priority: over.priority ?? 0,
    lease: over.lease ?? '1h',
    ...(over.maxCost === undefined ? {} : { budget: { max_cost: over.maxCost } }),
  });
  return {
    bookingId: id,
    tenant: 'acme',
    spec,
    createdAtMs: over.createdAtMs ?? 0,
    notBeforeMs: over.notBeforeMs ?? 0,
  };
}

const codes = (decision: ReturnType<typeof admit>[number] | undefined) =>
  decision?.kind === 'wait' ? decision.reasons.map((reason) => reason.code) : [];

describe('admission, first in first out by fit', () => {
  test('admits what fits and holds the price of the whole lease', () => {
    const [decision] = admit(snapshot(), [waiting('a', { gpus: 2, lease: '90m' })], 0);
    expect(decision).toMatchObject({
      kind: 'admit',
      placement: { pool: 'pool', flavour: 'h100', gpuMilli: '2000', holdCents: '600', currency: 'USD' },
    });
  });

  test('the older of two that fit only alone goes first, the other waits with what it lacks', () => {
    const decisions = admit(
      snapshot(),
      [waiting('young', { gpus: 5, createdAtMs: 2 }), waiting('old', { gpus: 5, createdAtMs: 1 })],
      10,
    );
    expect(decisions.map((decision) => [decision.bookingId, decision.kind])).toEqual([
      ['old', 'admit'],
      ['young', 'wait'],
    ]);
    expect(codes(decisions[1])).toEqual(['capacity', 'quota']);
  });

  test('a smaller one behind a blocked one is let by', () => {
    const busy = snapshot({ flavour: { freeMilli: 2000n } });
    const decisions = admit(
      busy,
      [waiting('big', { gpus: 4, createdAtMs: 1 }), waiting('small', { gpus: 2, createdAtMs: 2 })],
      10,
    );
    expect(decisions.map((decision) => decision.kind)).toEqual(['wait', 'admit']);
  });

  test('a higher priority goes before an older one', () => {
    const one = snapshot({ flavour: { freeMilli: 1000n } });
    const decisions = admit(
      one,
      [waiting('old', { createdAtMs: 1 }), waiting('urgent', { createdAtMs: 2, priority: 5 })],
      10,
    );
    expect(decisions.filter((decision) => decision.kind === 'admit').map((decision) => decision.bookingId)).toEqual([
      'urgent',
    ]);
  });

  test('all reasons are told, not the first', () => {
    const poor = snapshot({
      flavour: { freeMilli: 0n, away: 'Ray does not answer' },
      quota: { limit: 8000n, free: 0n },
      budget: { limit: 1000n, free: 1n },
    });
    expect(codes(admit(poor, [waiting('a')], 0)[0])).toEqual(['capacity', 'quota', 'budget', 'provider_unreachable']);
  });

  test('what no pool could ever hold is infeasible at once', () => {
    for (const [over, code] of [
      [{ gpus: 9 }, 'capacity'],
      [{ pools: ['nowhere'] }, 'unknown_pool'],
      [{ maxCost: '1.99' }, 'max_cost'],
    ] as const) {
      expect(
        admit(snapshot(), [waiting('a', { ...over, pools: [...('pools' in over ? over.pools : ['pool'])] })], 0)[0],
      ).toMatchObject({ kind: 'infeasible', reason: { code } });
    }
  });

  test('a later pool takes what an earlier one can never hold', () => {
    expect(admit(snapshot(), [waiting('a', { pools: ['nowhere', 'pool'] })], 0)[0]).toMatchObject({
      kind: 'admit',
      placement: { pool: 'pool' },
    });
  });

  test('an attempt that backs off is not tried before its time', () => {
    expect(codes(admit(snapshot(), [waiting('a', { notBeforeMs: 11 })], 10)[0])).toEqual(['backing_off']);
    expect(admit(snapshot(), [waiting('a', { notBeforeMs: 10 })], 10)[0]?.kind).toBe('admit');
  });

  test('never gives away more than is free of capacity, quota or money, and equal arguments give equal decisions', () => {
    const job = fc.record({
      gpus: fc.integer({ min: 1, max: 10 }),
      createdAtMs: fc.nat(50),
      priority: fc.integer({ min: -2, max: 2 }),
    });
    fc.assert(
      fc.property(
        fc.array(job, { maxLength: 30 }),
        fc.nat(12),
        fc.nat(12),
        fc.nat(40),
        (jobs, free, quotaFree, budgetFree) => {
          const given = snapshot({
            flavour: { freeMilli: BigInt(free) * 1000n, capacityMilli: 12_000n },
            quota: { limit: 12_000n, free: BigInt(quotaFree) * 1000n },
            budget: { limit: 10_000n, free: BigInt(budgetFree) * 100n },
          });
          const queue = jobs.map((over, i) => waiting(`j${i}`, over));
          const decisions = admit(given, queue, 100);
          expect(admit(given, [...queue].reverse(), 100)).toEqual(decisions);
          const admitted = decisions.filter((decision) => decision.kind === 'admit');
          const gpus = admitted.reduce((sum, decision) => sum + BigInt(decision.placement.gpuMilli), 0n);
          const money = admitted.reduce((sum, decision) => sum + BigInt(decision.placement.holdCents), 0n);
          expect(gpus <= BigInt(Math.min(free, quotaFree)) * 1000n).toBe(true);
          expect(money <= BigInt(budgetFree) * 100n).toBe(true);
          expect(decisions.length).toBe(queue.length);
        },
      ),
    );
  });
});

describe('the price', () => {
  test('is rounded up, so that what is held covers what is used', () => {
    expect(costCents(1000n, 1n, 1n)).toBe(1n);
    expect(costCents(1000n, 3_600_000n, 250n)).toBe(250n);
    expect(costCents(1500n, 1_800_000n, 100n)).toBe(75n);
    expect(costCents(1000n, 3_600_001n, 250n)).toBe(251n);
  });
});
