import { setImmediate } from 'node:timers/promises';
import { assert } from '../../../core/assert.ts';
import { seeded } from '../random.ts';
import type { GpuTrace, TraceNode, TracePod } from './gpu-trace.ts';

/**
 * Packing as "Beware of Fragmentation" measures it: pods drawn from the trace at random arrive and stay, until what was asked for is 130 %
 * of the fleet's GPUs. What is then still free was refused to somebody.
 */

/** By it all arrivals ask for that share of the fleet's GPUs. */
export const ARRIVALS = 1.3;

/** Which node a pod takes; undefined: none. What it took stays taken. */
export interface Packer {
  readonly name: string;
  place(pod: TracePod): string | undefined;
}

/** GPU pods only, drawn with replacement. */
export function arrivalsOf({ nodes, pods }: GpuTrace, seed: number, share = ARRIVALS): readonly TracePod[] {
  const random = seeded(seed);
  const asking = pods.filter(({ gpuMilli }) => gpuMilli > 0);
  const enough = share * gpusOf(nodes);
  const drawn: TracePod[] = [];
  for (let asked = 0; asked < enough; ) {
    const pod = asking[Math.floor(random() * asking.length)]!;
    drawn.push({ ...pod, name: `${pod.name}.${drawn.length}` });
    asked += pod.gpuMilli;
  }
  return drawn;
}

export function gpusOf(nodes: readonly TraceNode[]): number {
  return nodes.reduce((sum, { gpuMilli }) => sum + gpuMilli, 0);
}

/** What is left of a node. */
export interface Free {
  readonly node: TraceNode;
  /** Of each GPU. */
  readonly devicesMilli: number[];
  cpuMilli: number;
  memoryMib: number;
}

const DEVICE_MILLI = 1000;

export function freeOf(nodes: readonly TraceNode[]): readonly Free[] {
  return nodes.map((node) => ({
    node,
    devicesMilli: Array.from({ length: node.gpuMilli / DEVICE_MILLI }, () => DEVICE_MILLI),
    cpuMilli: node.cpuMilli,
    memoryMib: node.memoryMib,
  }));
}

/** A share has to find room on one GPU; several GPUs have to be wholly free. */
export function fits(free: Free, pod: TracePod): boolean {
  if (free.cpuMilli < pod.cpuMilli || free.memoryMib < pod.memoryMib) return false;
  if (pod.models.length > 0 && !pod.models.includes(free.node.model)) return false;
  if (pod.gpuMilli < DEVICE_MILLI) return free.devicesMilli.some((milli) => milli >= pod.gpuMilli);
  const wanted = pod.gpuMilli / DEVICE_MILLI;
  return free.devicesMilli.filter((milli) => milli === DEVICE_MILLI).length >= wanted;
}

/** A share goes to the GPU that has the least left of those with room. */
export function take(free: Free, pod: TracePod): void {
  free.cpuMilli -= pod.cpuMilli;
  free.memoryMib -= pod.memoryMib;
  const { devicesMilli } = free;
  if (pod.gpuMilli >= DEVICE_MILLI) {
    for (let wanted = pod.gpuMilli / DEVICE_MILLI; wanted > 0; wanted--)
      devicesMilli[devicesMilli.indexOf(DEVICE_MILLI)] = 0;
    return;
  }
  let best = -1;
  for (const [at, milli] of devicesMilli.entries())
    if (milli >= pod.gpuMilli && (best < 0 || milli < devicesMilli[best]!)) best = at;
  devicesMilli[best]! -= pod.gpuMilli;
}

export function gpuFree({ devicesMilli }: Free): number {
  return devicesMilli.reduce((sum, milli) => sum + milli, 0);
}

/** The first node in the list's order that has room. */
export function firstFit(nodes: readonly TraceNode[]): Packer {
  const frees = freeOf(nodes);
  return {
    name: 'first fit',
    place: (pod) =>
      taken(
        frees.find((free) => fits(free, pod)),
        pod,
      ),
  };
}

/** The node that has the least GPU left with the pod on it; of equal ones the one with the least CPU left, then the first. */
export function bestFit(nodes: readonly TraceNode[]): Packer {
  const frees = freeOf(nodes);
  return {
    name: 'best fit',
    place: (pod) => {
      let best: Free | undefined;
      for (const free of frees) if (fits(free, pod) && (best === undefined || tighter(free, best))) best = free;
      return taken(best, pod);
    },
  };
}

/** A packer of each type, asked in the given order: what a scheduler can do that leaves the order of types to its user. */
export function typeByType(make: (nodes: readonly TraceNode[]) => Packer, models: readonly string[]) {
  return (nodes: readonly TraceNode[]): Packer => {
    const packers = models.map((model) => make(nodes.filter((node) => node.model === model)));
    const place = (pod: TracePod) => {
      for (const packer of packers) {
        const node = packer.place(pod);
        if (node !== undefined) return node;
      }
      return undefined;
    };
    return { name: `${packers[0]!.name} type by type`, place };
  };
}

/** Those with most GPUs first. */
export function modelsBySize(nodes: readonly TraceNode[]): readonly string[] {
  const sizes = [...Map.groupBy(nodes, ({ model }) => model)].map(([model, of]) => ({ model, milli: gpusOf(of) }));
  return sizes.toSorted((a, b) => b.milli - a.milli).map(({ model }) => model);
}

function tighter(a: Free, b: Free): boolean {
  const [ofA, ofB] = [gpuFree(a), gpuFree(b)];
  return ofA !== ofB ? ofA < ofB : a.cpuMilli < b.cpuMilli;
}

function taken(free: Free | undefined, pod: TracePod): string | undefined {
  if (free !== undefined) take(free, pod);
  return free?.node.name;
}

export interface Packed {
  readonly gpus: number;
  /** GPUs that nothing took, though more was asked for than there is: the paper's unallocated GPUs. */
  readonly unallocated: number;
  /** The paper's fragmentation of what is free: GPUs that a pod drawn from the trace's mix could not take, in expectation. */
  readonly fragmented: number;
  readonly placed: number;
  readonly refused: number;
}

/** Pods between two looks at the signal. */
const PODS_A_BREATH = 200;

/** Lets the pods arrive; throws where a packer gives what a node does not have. */
export async function pack(
  nodes: readonly TraceNode[],
  arrivals: readonly TracePod[],
  packer: Packer,
  signal?: AbortSignal,
): Promise<Packed> {
  const frees = new Map(freeOf(nodes).map((free) => [free.node.name, free]));
  let refused = 0;
  for (const [at, pod] of arrivals.entries()) {
    if (at % PODS_A_BREATH === 0) {
      await setImmediate();
      signal?.throwIfAborted();
    }
    const name = packer.place(pod);
    if (name === undefined) {
      refused++;
      continue;
    }
    const free = frees.get(name);
    assert(
      free !== undefined && fits(free, pod),
      `${packer.name} puts ${pod.name} on ${name}, which has no room for it`,
    );
    take(free, pod);
  }
  const left = [...frees.values()];
  return {
    gpus: gpusOf(nodes) / 1000,
    unallocated: left.reduce((sum, free) => sum + gpuFree(free), 0) / 1000,
    fragmented: fragmentationOf(left, arrivals),
    placed: arrivals.length - refused,
    refused,
  };
}

/**
 * The paper's F = Σ_n Σ_m p_m F_n(m). F_n(m) is all that is free on node n where a pod of shape m cannot run; where it can, what is free on
 * GPUs that have less than it asks of one.
 */
export function fragmentationOf(frees: readonly Free[], mix: readonly TracePod[]): number {
  const shapes = [...Map.groupBy(mix, shapeOf).values()];
  let milli = 0;
  for (const free of frees) {
    const all = gpuFree(free);
    if (all === 0) continue;
    for (const pods of shapes) {
      const pod = pods[0]!;
      const ofOne = Math.min(pod.gpuMilli, DEVICE_MILLI);
      const lost = fits(free, pod)
        ? free.devicesMilli.reduce((sum, device) => (device < ofOne ? sum + device : sum), 0)
        : all;
      milli += (lost * pods.length) / mix.length;
    }
  }
  return milli / 1000;
}

export function shapeOf({ gpuMilli, cpuMilli, memoryMib, models }: TracePod): string {
  return [gpuMilli, cpuMilli, memoryMib, ...models].join('|');
}
