import { describe, expect, test } from 'vitest';
import { jobSpec, specHash } from '../../../core/job.ts';
import { RefusedInput } from '../../../core/refusal.ts';

const { run: _run, ...WITHOUT_RUN } = {
  run: '',
  name: 'train',
  division: 'vision',
  resources: { gpus: 1 },
  pools: ['gpus-us-east'],
};
const JOB = {
  name: 'train',
  division: 'vision',
  resources: { gpus: 1 },
  pools: ['gpus-us-east'],
  run: 'python train.py',
};

function refused(file: unknown): string[] {
  try {
    jobSpec(file);
  } catch (error) {
    if (error instanceof RefusedInput)
      return error.refusals.map((refusal) => `${refusal.field} ${refusal.code}`).sort();
    throw error;
  }
  return [];
}

describe('a job file', () => {
  test('has its defaults filled in, and quantities become integers', () => {
    expect(jobSpec({ ...JOB, lease: '90m', budget: { max_cost: '12.5' } })).toMatchObject({
      gpuMilli: 1000,
      cpuMilli: 1000,
      leaseMs: 5_400_000,
      maxCostCents: 1250,
      maxRestarts: 0,
      workdir: null,
    });
  });

  test('keeps what it does not say out of its spec, so that an old spec keeps its hash', () => {
    expect(Object.keys(jobSpec(JOB))).toEqual([
      ...['name', 'division', 'model', 'workdir', 'gpuMilli', 'cpuMilli', 'memoryMib', 'pools', 'leaseMs', 'priority'],
      ...['maxCostCents', 'maxRestarts', 'envs', 'parameters', 'run', 'outputs'],
    ]);
    expect(jobSpec({ ...JOB, num_nodes: 1, depends_on: [] })).toEqual(jobSpec(JOB));
  });

  test('of a gang, an array, a schedule and a recovery has them in integers', () => {
    const file = {
      ...JOB,
      resources: { accelerators: 'H100:2', use_spot: true },
      num_nodes: 4,
      min_nodes: 2,
      priority: 'urgent',
      user: 'ada',
      array: { count: 10, max_parallel: 3 },
      depends_on: ['01hzy3v7m8q9r0s1t2v3w4x5y6'],
      schedule: { window: 'off-peak', deadline: '2026-12-01T06:00:00+01:00' },
      recovery: { max_preemptions: 3, checkpoint: 'state/latest', grace: '2m' },
      retry: { backoff: '5s', max_backoff: '10m' },
    };
    expect(jobSpec(file)).toMatchObject({
      gpuMilli: 2000,
      gpuType: 'H100',
      useSpot: true,
      nodes: 4,
      minNodes: 2,
      priority: 0,
      priorityClass: 'urgent',
      user: 'ada',
      array: { count: 10, maxParallel: 3 },
      dependsOn: ['01hzy3v7m8q9r0s1t2v3w4x5y6'],
      offPeak: true,
      deadlineMs: Date.UTC(2026, 11, 1, 5),
      maxPreemptions: 3,
      checkpoint: 'state/latest',
      graceMs: 120_000,
      backoffMs: 5_000,
      maxBackoffMs: 600_000,
    });
  });

  test('with equal content has one hash whatever the order of its members', () => {
    const turned = Object.fromEntries(Object.entries(JOB).reverse());
    expect(specHash(jobSpec(turned))).toBe(specHash(jobSpec(JOB)));
  });

  test.each([
    ['an unknown field', { ...JOB, state: 'applied' }, ['state unknown_field']],
    ['a missing command', WITHOUT_RUN, ['run required']],
    ['half a GPU', { ...JOB, resources: { gpus: 1.5 } }, ['resources.gpus integer']],
    ['a negative GPU', { ...JOB, resources: { gpus: -1 } }, ['resources.gpus range']],
    ['a GPU count past any integer', { ...JOB, resources: { gpus: 1e300 } }, ['resources.gpus range']],
    ['no GPU and no CPU', { ...JOB, resources: { gpus: 0 } }, ['resources.gpus range']],
    ['more money than there is', { ...JOB, budget: { max_cost: '99999999999999999999' } }, ['budget.max_cost range']],
    ['no resource at all', { ...JOB, resources: {} }, ['resources required']],
    ['a pool name that climbs', { ...JOB, pools: ['../admin'] }, ['pools.0 charset']],
    ['a pool twice', { ...JOB, pools: ['a', 'a'] }, ['pools duplicate']],
    ['a lease without a unit', { ...JOB, lease: '30' }, ['lease duration']],
    ['a lease of a year', { ...JOB, lease: '365d' }, ['lease range']],
    ['three decimals of money', { ...JOB, budget: { max_cost: '1.005' } }, ['budget.max_cost scale']],
    ['money with an exponent', { ...JOB, budget: { max_cost: '1e3' } }, ['budget.max_cost decimal_format']],
    ['money with a comma', { ...JOB, budget: { max_cost: '1,000.00' } }, ['budget.max_cost decimal_format']],
    ['money below zero', { ...JOB, budget: { max_cost: '-0' } }, ['budget.max_cost decimal_format']],
    ['an environment name of ours', { ...JOB, envs: { MERIT_PARAMETERS: '{}' } }, ['envs.MERIT_PARAMETERS reserved']],
    ['outputs over http', { ...JOB, outputs: 'http://x/y' }, ['outputs charset']],
    ['GPUs said twice', { ...JOB, resources: { gpus: 1, accelerators: 'H100' } }, ['resources.gpus conflict']],
    ['no GPU of a type', { ...JOB, resources: { accelerators: 'H100:0' } }, ['resources.accelerators charset']],
    [
      'GPUs of a type past any node',
      { ...JOB, resources: { accelerators: 'H100:9999' } },
      ['resources.accelerators range'],
    ],
    ['fewest nodes above the most', { ...JOB, num_nodes: 2, min_nodes: 3 }, ['min_nodes range']],
    ['a dependency that is no id', { ...JOB, depends_on: ['train'] }, ['depends_on.0 charset']],
    [
      'a deadline without a zone',
      { ...JOB, schedule: { deadline: '2026-12-01T06:00:00' } },
      ['schedule.deadline time_format'],
    ],
    [
      'a checkpoint outside of its outputs',
      { ...JOB, recovery: { checkpoint: '../x' } },
      ['recovery.checkpoint charset'],
    ],
    ['a grace of a day', { ...JOB, recovery: { grace: '1d' } }, ['recovery.grace range']],
    [
      'two mistakes, told together',
      { ...JOB, lease: 'soon', pools: ['b', 'b'] },
      ['lease duration', 'pools duplicate'],
    ],
  ])('is refused for %s', (_what, file, expected) => {
    expect(refused(file)).toEqual(expected);
  });
});
