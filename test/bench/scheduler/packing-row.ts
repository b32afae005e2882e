import type { NodeInput, PlannerConfig } from '../../../pools/planner-input.ts';
import { Planner } from '../../../scheduler/admission/planner.ts';
import { median, type Row, row } from '../harness.ts';
import { readTrace, type TraceNode, type TracePod } from './gpu-trace.ts';
import { arrivalsOf, bestFit, firstFit, type Packed, type Packer, pack } from './packing.ts';
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
  const what = 'packing the GPU trace to 130 %: GPUs stranded by';
  if (trace === undefined) {
    const detail = `skipped: no trace in ${folder}; name its folder with --trace`;
    const parts = { value: null, floor: FLOOR, aim: null, counted: true, detail, command: COMMAND };
    return ['best fit', 'first fit'].map((peer) => row({ what: `${what} ${peer} ÷ by Merit`, ...parts }));
  }
  const packed: Record<string, Packed[]> = { Merit: [], 'best fit': [], 'first fit': [] };
  let done = 0;
  for (const seed of SEEDS) {
    const arrivals = arrivalsOf(trace, seed);
    for (const make of [plannerPacker, bestFit, firstFit]) {
      const packer = make(trace.nodes);
      packed[packer.name]!.push(await pack(trace.nodes, arrivals, packer, signal));
      progress.show('packing', ++done, SEEDS.length * 3);
    }
  }
  const ours = `GPUs of ${packed.Merit![0]!.gpus} that nothing took, by seed, and the paper’s expected fragmentation: Merit ${told(packed.Merit!)}`;
  return ['best fit', 'first fit'].map((peer, at) =>
    row({
      what: `${what} ${peer} ÷ by Merit`,
      value: median(packed[peer]!.map(({ unallocated }, at) => unallocated / packed.Merit![at]!.unallocated)),
      floor: FLOOR,
      aim: null,
      counted: true,
      detail: `${at === 0 ? `${ours}; ` : ''}${peer} ${told(packed[peer]!)}`,
      command: COMMAND,
    }),
  );
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
export function plannerPacker(nodes: readonly TraceNode[]): Packer {
  const planner = new Planner(packingConfig(nodes));
  return {
    name: 'Merit',
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
function packingConfig(nodes: readonly TraceNode[]): PlannerConfig {
  const types = [...Map.groupBy(nodes, ({ model }) => model)].map(([model, of]) => ({ model, capacity: sumOf(of) }));
  types.sort((a, b) => b.capacity.gpu - a.capacity.gpu);
  return {
    fairSharing: NO_SHARING,
    flavours: types.map(({ model, capacity }) => aFlavour(model, capacity)),
    nodes: nodes.map(nodeOf),
    groups: [],
    divisions: [
      aDivision(DIVISION, {
        group: null,
        flavours: types.map(({ model }) => model),
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
