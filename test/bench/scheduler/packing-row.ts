import type { Fallback, NodeInput, PlannerConfig } from '../../../pools/planner-input.ts';
import { Planner } from '../../../scheduler/admission/planner.ts';
import { median, type Row, type RowParts, row } from '../harness.ts';
import { readTrace, type TraceNode, type TracePod } from './gpu-trace.ts';
import {
  arrivalsOf,
  bestFit,
  firstFit,
  gpusOf,
  modelsBySize,
  type Packed,
  type Packer,
  pack,
  typeByType,
} from './packing.ts';
import { aDivision, aFlavour, NO_SHARING } from './planner-scheduler.ts';
import type { RowOptions } from './rows.ts';

/**
 * The real trace's pods with its type constraints (gpuspec33) arrive and stay until 130 % of the fleet was asked for: how many GPUs are then
 * stranded. Nodes have CPUs, memory and GPUs, shares of one GPU have to find it on one.
 */

const SEEDS = [1, 2, 3];
const FLOOR = 1;
const COMMAND = 'npm run bench:scheduler -- trace';

export async function packingRows({ trace: folder, signal, progress }: RowOptions): Promise<readonly Row[]> {
  const trace = readTrace(folder, 'gpuspec33');
  if (trace === undefined) {
    const detail = `skipped: no trace in ${folder}; name its folder with --trace`;
    return [row({ ...about('best fit'), value: null, detail })];
  }
  const { nodes } = trace;
  const models = modelsBySize(nodes);
  const ours = [plannerPacker, (all: readonly TraceNode[]) => plannerPacker(all, 'packing')];
  const peers = [bestFit, firstFit, typeByType(bestFit, models), typeByType(firstFit, models)];
  const makes = [...ours, ...peers];
  const packed = makes.map((): { name: string; packed: Packed[] } => ({ name: '', packed: [] }));
  for (const [round, seed] of SEEDS.entries()) {
    const arrivals = arrivalsOf(trace, seed);
    for (const [at, make] of makes.entries()) {
      const packer = make(nodes);
      packed[at]!.name = packer.name;
      packed[at]!.packed.push(await pack(nodes, arrivals, packer, signal));
      progress.show('packing', round * makes.length + at + 1, SEEDS.length * makes.length);
    }
  }
  const [byOrder, byPacking, ...others] = packed;
  const given = `GPUs of ${gpusOf(nodes) / 1000} that nothing took, by seed, and the paper’s expected fragmentation`;
  const rowOf = (peer: (typeof packed)[number], merit: (typeof packed)[number]) =>
    row({
      ...about(peer.name, merit.name),
      value: median(peer.packed.map(({ unallocated }, seed) => unallocated / merit.packed[seed]!.unallocated)),
      detail: `${given}: ${merit.name} ${told(merit.packed)}; ${peer.name} ${told(peer.packed)}`,
    });
  // Type by type is what a scheduler can do that leaves the order of types to its user: a peer of that way only.
  return [...others.map((peer) => rowOf(peer, byOrder!)), ...others.slice(0, 2).map((peer) => rowOf(peer, byPacking!))];
}

/** By itself Merit takes types in its division's order, here the largest first; with `ties: packing` it looks at the machines of all. */
function about(peer: string, merit = 'Merit'): Omit<RowParts, 'value' | 'detail'> {
  return {
    what: `packing the GPU trace to 130 %: GPUs stranded by ${peer} ÷ by ${merit}`,
    floor: FLOOR,
    aim: null,
    counted: true,
    command: COMMAND,
  };
}

function told(packed: readonly Packed[]): string {
  return packed
    .map(
      ({ unallocated, fragmented, refused }) =>
        `${unallocated.toFixed(1)} (${fragmented.toFixed(1)}, ${refused} pods refused)`,
    )
    .join(', ');
}

const DIVISION = 'all';

/** One division has the whole fleet; each pod is asked for when it arrives, and given up where it is not admitted at once. */
export function plannerPacker(nodes: readonly TraceNode[], ties: NonNullable<Fallback['ties']> = 'order'): Packer {
  const planner = new Planner(packingConfig(nodes, ties));
  return {
    name: ties === 'order' ? 'Merit' : `Merit with ties: ${ties}`,
    place: (pod) => {
      planner.addPending(askOf(pod));
      const { admitted, infeasible } = planner.cycle(0);
      const placed = admitted[0]?.podSets[0]?.nodes?.[0]?.node;
      if (placed === undefined && infeasible.length === 0) planner.removePending(pod.name);
      return placed;
    },
  };
}

function askOf({ name, models, gpuMilli, cpuMilli, memoryMib }: TracePod) {
  return {
    id: name,
    division: DIVISION,
    user: null,
    podSets: [{ count: 1, resources: { gpu: gpuMilli, cpu: cpuMilli, memory: memoryMib } }],
    minReplicas: null,
    flavours: models.length === 0 ? null : models,
    priority: 0,
    createdAtMs: 0,
    notBeforeMs: 0,
    leaseMs: null,
    maxCostMinor: null,
    preferPrice: false,
    startWithin: null,
  };
}

/** A type is a flavour; those with most GPUs first. */
function packingConfig(nodes: readonly TraceNode[], ties: NonNullable<Fallback['ties']>): PlannerConfig {
  const types = modelsBySize(nodes).map((model) => {
    return { model, capacity: sumOf(nodes.filter((node) => node.model === model)) };
  });
  return {
    fairSharing: NO_SHARING,
    flavours: types.map(({ model, capacity }) => aFlavour(model, capacity)),
    nodes: nodes.map(nodeOf),
    groups: [],
    divisions: [
      aDivision(DIVISION, {
        group: null,
        flavours: types.map(({ model }) => model),
        fallback: { whenFull: 'next', prefer: 'borrow', ties },
        quota: types.flatMap(({ model, capacity }) =>
          Object.entries(capacity).map(([resource, nominalMilli]) => {
            return { flavour: model, resource, nominalMilli, borrowMilli: 0, lendMilli: 0 };
          }),
        ),
      }),
    ],
    guards: [],
    reservations: [],
  };
}

function nodeOf({ name, model, gpuMilli, cpuMilli, memoryMib }: TraceNode): NodeInput {
  return { name, flavour: model, capacity: { gpu: gpuMilli, cpu: cpuMilli, memory: memoryMib }, cordoned: false };
}

function sumOf(nodes: readonly TraceNode[]): { readonly gpu: number; readonly cpu: number; readonly memory: number } {
  let [gpu, cpu, memory] = [0, 0, 0];
  for (const node of nodes) {
    gpu += node.gpuMilli;
    cpu += node.cpuMilli;
    memory += node.memoryMib;
  }
  return { gpu, cpu, memory };
}
