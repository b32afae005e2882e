import { expect, test } from 'vitest';
import { quotaBound } from '../../../bench/scheduler/bounds.ts';
import { CycleLoad, SHAPES } from '../../../bench/scheduler/cycles-load.ts';
import { makespanOf, waitsOf } from '../../../bench/scheduler/figures.ts';
import { BASELINE, type Generator, workloadsOf } from '../../../bench/scheduler/kueue-generators.ts';
import { kueuePlanner } from '../../../bench/scheduler/kueue-planner.ts';
import { judgeOf, quotasOf } from '../../../bench/scheduler/kueue-quotas.ts';
import { bestFit, pack } from '../../../bench/scheduler/packing.ts';
import { plannerPacker } from '../../../bench/scheduler/packing-row.ts';
import { simulate } from '../../../bench/scheduler/simulate.ts';

const SMALL: Generator = {
  ...BASELINE,
  cohorts: 2,
  queuesPerCohort: 2,
  classes: BASELINE.classes.map((of) => ({ ...of, count: of.count / 50 })),
};

test('the planner runs Kueue’s generator to its end within its quotas; what it evicts runs again', async () => {
  const works = workloadsOf(SMALL);
  const { runs } = await simulate(works, kueuePlanner(SMALL), { judge: judgeOf(SMALL) });
  expect(runs.filter(({ finished }) => finished)).toHaveLength(works.length);
  expect(makespanOf(runs)).toBeGreaterThanOrEqual(quotaBound(works, quotasOf(SMALL)));
  // Large ones have the highest priority, and each of them its division's own quota.
  expect(waitsOf(runs).get('large')).toMatchObject({ meanMs: 0, evictions: 0 });
});

test('a minimum run time that no run outlives lets nothing be evicted', async () => {
  const guard = { pool: null, minRunMs: 1_000, maxCheckpointAgeMs: null, rate: null, graceMs: 0 };
  const works = workloadsOf(SMALL);
  const evictions = async (planner: ReturnType<typeof kueuePlanner>) =>
    waitsOf((await simulate(works, planner)).runs).get('all')!.evictions;
  expect(await evictions(kueuePlanner(SMALL))).toBeGreaterThan(0);
  expect(await evictions(kueuePlanner(SMALL, [guard]))).toBe(0);
});

test('the load of the cycle bench stays as it is: what starts is replaced', () => {
  const load = new CycleLoad(2 * SHAPES);
  const before = load.pending;
  for (let i = 0; i < 20; i++) load.step();
  expect(load.admitted).toBeGreaterThan(20);
  expect(load.pending).toBe(before);
});

test('the planner packs pods onto whole machines, types in its division’s order', async () => {
  const node = (name: string, model: string) => ({ name, model, gpuMilli: 2000, cpuMilli: 4000, memoryMib: 4096 });
  const nodes = [node('a', 'T4'), node('b', 'G2'), node('c', 'G2')];
  let made = 0;
  const pod = (gpuMilli: number, models: readonly string[] = []) => {
    const facts = { cpuMilli: 1000, memoryMib: 1024, qos: 'LS', createdS: 0, scheduledS: 0, deletedS: 1 };
    return { name: `p${made++}`, gpuMilli, models, ...facts };
  };
  const pods = [pod(700), pod(2000), pod(300), pod(2000, ['T4']), pod(1000), pod(500)];
  const packed = await pack(nodes, pods, plannerPacker(nodes));
  expect(packed).toMatchObject({ placed: 5, refused: 1, unallocated: 0 });
  expect(packed.unallocated).toBeLessThanOrEqual((await pack(nodes, pods, bestFit(nodes))).unallocated);
});
