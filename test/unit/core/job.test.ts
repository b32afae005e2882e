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
    [
      'two mistakes, told together',
      { ...JOB, lease: 'soon', pools: ['b', 'b'] },
      ['lease duration', 'pools duplicate'],
    ],
  ])('is refused for %s', (_what, file, expected) => {
    expect(refused(file)).toEqual(expected);
  });
});
