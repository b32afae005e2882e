import { expect, test } from 'vitest';
import { capacityOf, gresIn, nodesIn } from '../../../../providers/slurm/capacity.ts';

const NODE = {
  state: 'mixed',
  state_flags: [],
  partitions: ['gpu'],
  active_features: 'ib,a100',
  cpus: 64,
  idle_cpus: 48,
  gres: 'gpu:a100:4(S:0-1)',
  gres_used: 'gpu:a100:1(IDX:0)',
};
const FLAVOUR = { name: 'a100', gres: 'gpu:a100', partition: 'gpu', spot: false };
const told = (flavour: object, ...nodes: readonly object[]) => {
  const [one] = capacityOf(
    [{ ...FLAVOUR, ...flavour }],
    nodesIn({ nodes: nodes.map((node) => ({ ...NODE, ...node })) } as never),
  );
  return [one?.totalGpuMilli, one?.freeGpuMilli, one?.totalCpuMilli, one?.freeCpuMilli];
};

test('a flavour has what the nodes of its partition, GRES and features have, and what of it nobody holds', () => {
  expect(told({}, {}, {})).toEqual([8000n, 6000n, 128_000n, 96_000n]);
  expect(told({}, {}, { partitions: ['cpu'] }, { gres: 'gpu:h100:8' })).toEqual([4000n, 3000n, 64_000n, 48_000n]);
  expect(told({ constraint: 'ib&a100' }, {}, { active_features: 'a100' })).toEqual([4000n, 3000n, 64_000n, 48_000n]);
  expect(told({ gres: 'gpu' }, {}, { gres: 'gpu:2', gres_used: 'gpu:2' })).toEqual([6000n, 3000n, 128_000n, 96_000n]);
  expect(told({ gres: undefined }, {})).toEqual([0n, 0n, 64_000n, 48_000n]);
});

test.each([
  ['down', []],
  ['idle', ['DRAIN']],
  ['mixed', ['DRAIN']],
  ['idle', ['NOT_RESPONDING']],
  ['idle', ['MAINTENANCE']],
  ['idle', ['POWERED_DOWN']],
  ['unknown', []],
])('of a node that is %s %s what runs on it is there, and nothing else', (state, flags) => {
  const node = { state, state_flags: flags, gres_used: 'gpu:a100:0(IDX:N/A)' };
  expect(told({}, {}, node)).toEqual([4000n, 3000n, 64_000n, 48_000n]);
  const busy = { state, state_flags: flags, alloc_cpus: 16, idle_cpus: 40 };
  expect(told({}, {}, busy)).toEqual([5000n, 3000n, 80_000n, 48_000n]);
});

test('GRES are read as Slurm writes them', () => {
  expect([...gresIn('gpu:a100:2(S:0,2),gpu:h100:4,nic:1,craynetwork:4')]).toEqual([
    ['gpu', 6],
    ['gpu:a100', 2],
    ['gpu:h100', 4],
    ['nic', 1],
    ['craynetwork', 4],
  ]);
  expect([...gresIn('gpu:a100:0(IDX:N/A)')]).toEqual([
    ['gpu', 0],
    ['gpu:a100', 0],
  ]);
  expect([...gresIn('')]).toEqual([]);
  expect(() => nodesIn({ nodes: 3 })).toThrow(expect.objectContaining({ code: 'transient' }));
});
