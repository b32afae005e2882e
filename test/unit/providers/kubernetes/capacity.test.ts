import { expect, test } from 'vitest';
import { askedBy, capacityOf, type Node } from '../../../../providers/kubernetes/capacity.ts';
import type { Flavour } from '../../../../providers/kubernetes/flavour.ts';
import type { Pod } from '../../../../providers/kubernetes/pod.ts';
import { milliOf } from '../../../../providers/kubernetes/quantity.ts';

test.each([
  ['4', 4_000n],
  ['500m', 500n],
  ['1.5', 1_500n],
  ['2Ki', 2_048_000n],
  ['1.5Gi', 1_610_612_736_000n],
  ['2e3', 2_000_000n],
  ['12E', 12_000_000_000_000_000_000_000n],
  ['1500u', 1n],
  [8, 8_000n],
  ['many', 0n],
  [undefined, 0n],
] as const)('the quantity %s is %s thousandths', (text, milli) => {
  expect(milliOf(text)).toBe(milli);
});

const FLAVOUR: Flavour = { name: 'a', gpuResource: 'nvidia.com/gpu', nodeSelector: { pool: 'a' }, spot: false };
const node = (name: string, more: Partial<Node> = {}): Node => ({
  metadata: { name, labels: { pool: 'a' } },
  status: { allocatable: { cpu: '8', 'nvidia.com/gpu': '4' }, conditions: [{ type: 'Ready', status: 'True' }] },
  ...more,
});
const pod = (nodeName: string, requests: Readonly<Record<string, string>>, phase = 'Running'): Pod => ({
  metadata: { name: 'p' },
  spec: { nodeName, containers: [{ name: 'c', resources: { requests } }] },
  status: { phase },
});

test('free is what ready nodes of the flavour have, less what any pod on them asked for', () => {
  const nodes = [
    node('one'),
    node('two'),
    node('cordoned', { spec: { unschedulable: true } }),
    node('away', { status: { allocatable: { cpu: '8' }, conditions: [{ type: 'Ready', status: 'Unknown' }] } }),
    node('other', { metadata: { name: 'other', labels: { pool: 'b' } } }),
  ];
  const pods = [
    pod('one', { cpu: '1500m', 'nvidia.com/gpu': '3' }),
    pod('two', { cpu: '2' }, 'Succeeded'),
    pod('other', { cpu: '8' }),
    pod('cordoned', { cpu: '4', 'nvidia.com/gpu': '2' }),
    // What its node has less of than is asked of it frees nothing elsewhere.
    pod('two', { 'nvidia.com/gpu': '9' }),
  ];
  expect(capacityOf([FLAVOUR], { nodes, pods, quotas: [] })).toEqual([
    { flavour: 'a', totalGpuMilli: 8_000n, freeGpuMilli: 1_000n, totalCpuMilli: 16_000n, freeCpuMilli: 14_500n },
  ]);
});

test('what Merit runs on a node that takes nothing new is there as long as it runs, and none of it free', () => {
  const nodes = [node('one'), node('cordoned', { spec: { unschedulable: true } })];
  const ours = pod('cordoned', { cpu: '3', 'nvidia.com/gpu': '2' });
  const labels = { 'merit/key': 'm-b1-1' };
  const pods = [{ ...ours, metadata: { ...ours.metadata, labels } }, pod('cordoned', { cpu: '1' })];
  expect(capacityOf([FLAVOUR], { nodes, pods, quotas: [] })).toEqual([
    { flavour: 'a', totalGpuMilli: 6_000n, freeGpuMilli: 4_000n, totalCpuMilli: 11_000n, freeCpuMilli: 8_000n },
  ]);
});

test('of both there is no more than the namespace’s quotas leave; a quota for some pods only says nothing', () => {
  const quota = (hard: Readonly<Record<string, string>>, used: Readonly<Record<string, string>>, spec = {}) => ({
    metadata: { name: 'q' },
    spec,
    status: { hard, used },
  });
  const quotas = [
    quota({ 'requests.nvidia.com/gpu': '3', cpu: '6' }, { 'requests.nvidia.com/gpu': '2', cpu: '7' }),
    quota({ 'requests.cpu': '0' }, {}, { scopes: ['BestEffort'] }),
  ];
  expect(capacityOf([FLAVOUR], { nodes: [node('one')], pods: [], quotas })).toEqual([
    { flavour: 'a', totalGpuMilli: 3_000n, freeGpuMilli: 1_000n, totalCpuMilli: 6_000n, freeCpuMilli: 0n },
  ]);
});

test('a pod asks for all its containers, or for the largest that runs before them; sidecars and overhead count', () => {
  const container = (cpu: string) => ({ name: 'c', resources: { requests: { cpu } } });
  const spec = {
    containers: [container('1'), container('500m')],
    initContainers: [container('4'), { ...container('1'), restartPolicy: 'Always' }],
    overhead: { cpu: '250m' },
  };
  expect(askedBy({ metadata: { name: 'p' }, spec }, 'cpu')).toBe(4_250n);
  expect(
    askedBy({ metadata: { name: 'p' }, spec: { ...spec, initContainers: spec.initContainers.slice(1) } }, 'cpu'),
  ).toBe(2_750n);
});
