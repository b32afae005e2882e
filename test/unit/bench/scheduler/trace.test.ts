import { describe, expect, test } from 'vitest';
import { parseNodes, parsePods, type TraceNode, type TracePod } from '../../../bench/scheduler/gpu-trace.ts';
import {
  arrivalsOf,
  bestFit,
  firstFit,
  fits,
  fragmentationOf,
  freeOf,
  gpusOf,
  pack,
  take,
} from '../../../bench/scheduler/packing.ts';
import { cutFleet, queueingCase } from '../../../bench/scheduler/queueing.ts';

const NODES = 'sn,cpu_milli,memory_mib,gpu,model\nn0,8000,1024,2,T4\nn1,96000,4096,8,G2\n';
const PODS =
  'name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n' +
  'share,1000,512,1,470,,LS,Running,10,400,15\n' +
  'eight,2000,512,8,1000,G2|G2|T4,BE,Failed,20,80,20\n' +
  'none,2000,512,0,0,,BE,Running,30,90,30\n' +
  'never,1000,512,1,1000,T4,BE,Pending,40,90,\n';

function aNode(name: string, parts: Partial<TraceNode> = {}): TraceNode {
  return { name, model: 'G2', gpuMilli: 2000, cpuMilli: 1e6, memoryMib: 1e6, ...parts };
}

function aPod(gpuMilli: number, parts: Partial<TracePod> = {}): TracePod {
  const times = { createdS: 0, scheduledS: 0, deletedS: 60 };
  return { name: `p${gpuMilli}`, gpuMilli, cpuMilli: 0, memoryMib: 0, models: [], qos: 'LS', ...times, ...parts };
}

describe('the GPU trace', () => {
  test('is read by the names of its columns; several GPUs are whole, one may be a share', () => {
    expect(parseNodes(NODES)[1]).toEqual({ name: 'n1', model: 'G2', gpuMilli: 8000, cpuMilli: 96000, memoryMib: 4096 });
    const [share, eight, none, never] = parsePods(PODS);
    expect(share).toMatchObject({ gpuMilli: 470, models: [], createdS: 10, scheduledS: 15, deletedS: 400 });
    expect(eight).toMatchObject({ gpuMilli: 8000, models: ['G2', 'T4'], qos: 'BE' });
    expect(none?.gpuMilli).toBe(0);
    expect(never?.scheduledS).toBeUndefined();
  });

  test('with a column or a field too few is refused', () => {
    expect(() => parseNodes('sn,gpu\nn0,1\n')).toThrow(/no column cpu_milli, memory_mib, model/);
    expect(() => parseNodes(`${NODES}n2,1\n`)).toThrow(/line 4 of the trace has 2 fields, not 5/);
    expect(() => parseNodes(NODES.replace('96000', ''))).toThrow(/"" where a number belongs/);
  });
});

describe('packing', () => {
  test('draws GPU pods, the same for a seed, until they ask for 130 % of the fleet', () => {
    const trace = { nodes: parseNodes(NODES), pods: parsePods(PODS) };
    const drawn = arrivalsOf(trace, 7);
    expect(drawn).toEqual(arrivalsOf(trace, 7));
    expect(drawn.some(({ name }) => name.startsWith('none'))).toBe(false);
    const asked = drawn.reduce((sum, { gpuMilli }) => sum + gpuMilli, 0);
    expect(asked).toBeGreaterThanOrEqual(1.3 * gpusOf(trace.nodes));
    expect(asked - drawn.at(-1)!.gpuMilli).toBeLessThan(1.3 * gpusOf(trace.nodes));
  });

  test('by best fit keeps the wide node for what needs all of it, by first fit does not', async () => {
    const uneven = [aNode('wide', { gpuMilli: 2000 }), aNode('tight', { gpuMilli: 1000 })];
    expect(await pack(uneven, [aPod(1000), aPod(2000)], bestFit(uneven))).toMatchObject({ unallocated: 0, refused: 0 });
    expect(await pack(uneven, [aPod(1000), aPod(2000)], firstFit(uneven))).toMatchObject({
      unallocated: 2,
      refused: 1,
    });
  });

  test('looks at types, CPUs and memory too, and finds out a packer that does not', async () => {
    const nodes = [aNode('t4', { model: 'T4' }), aNode('poor', { cpuMilli: 999 })];
    const packer = firstFit(nodes);
    expect(packer.place(aPod(1000, { models: ['T4'] }))).toBe('t4');
    expect(packer.place(aPod(1000, { models: ['G2'], cpuMilli: 1000 }))).toBeUndefined();
    const blind = { name: 'blind', place: () => 'poor' };
    await expect(pack(nodes, [aPod(1000, { cpuMilli: 1000 })], blind)).rejects.toThrow(/blind puts p1000 on poor/);
  });

  test('knows GPUs from shares of them: two halves on two GPUs are no whole one', () => {
    const [node] = freeOf([aNode('a')]);
    const half = aPod(500);
    take(node!, half);
    expect(node!.devicesMilli).toEqual([500, 1000]);
    expect([aPod(600), aPod(1000), aPod(2000)].map((pod) => fits(node!, pod))).toEqual([true, true, false]);
    take(node!, aPod(300));
    expect(node!.devicesMilli).toEqual([200, 1000]);
    take(node!, aPod(1000));
    expect(node!.devicesMilli).toEqual([200, 0]);
  });

  test('counts as fragmented what a pod of the mix could not take, by its weight in the mix', () => {
    const frees = freeOf([aNode('a'), aNode('b')]);
    take(frees[0]!, aPod(500));
    // Two GPUs cannot take the 1.5 that are free on a; one GPU can run there, but not on the half.
    expect(fragmentationOf(frees, [aPod(2000), aPod(1000)])).toBe((1.5 + 0.5) / 2);
    expect(fragmentationOf(frees, [aPod(200)])).toBe(0);
  });
});

describe('the cut fleet', () => {
  test('keeps the proportions of the types and drops those that come to nothing', () => {
    const nodes = [
      ...Array.from({ length: 10 }, (_, i) => aNode(`g${i}`, { gpuMilli: 8000 })),
      aNode('t', { model: 'T4', gpuMilli: 19_000 }),
      aNode('a', { model: 'A10', gpuMilli: 1000 }),
    ];
    expect([...cutFleet(nodes, 10)]).toEqual([
      ['G2', 8000],
      ['T4', 2000],
    ]);
  });

  test('is queued for by pods that ran, rare types first; leases are at most twice too long', () => {
    const pods = [...parsePods(PODS), aPod(1000, { models: ['A10'] })];
    const fleet = new Map([
      ['G2', 8000],
      ['T4', 1000],
    ]);
    const { works, neverRan, tooLarge } = queueingCase({ nodes: [], pods }, fleet);
    expect({ neverRan, tooLarge }).toEqual({ neverRan: 1, tooLarge: 1 });
    expect(works.map(({ id, flavours }) => [id, flavours])).toEqual([
      ['share', ['T4', 'G2']],
      ['eight', ['G2']],
    ]);
    expect(works[0]).toMatchObject({ runtimeMs: 385_000, leaseMs: 8 * 60_000, createdAtMs: 10_000, askMilli: 470 });
    expect(works[1]).toMatchObject({ runtimeMs: 60_000, leaseMs: 60_000, className: '8 GPUs, best effort' });
  });
});
