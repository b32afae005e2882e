import { type AttemptSpec, type FlavourCapacity, type Offer, ProviderError } from '../provider.ts';
import type { RayFlavour } from './config.ts';
import type { RayJobOptions } from './job-options.ts';
import { labelsMatch, type Node, nodesOf } from './nodes.ts';

/** Ray writes memory as GiB with two decimals: a total read back may be this much below the true one. */
const MEMORY_ROUNDING_BYTES = 11_000_000n;

export function capacityOf(flavours: readonly RayFlavour[], nodes: readonly Node[]): readonly FlavourCapacity[] {
  return flavours.map((flavour) => {
    const own = nodesOf(flavour, nodes);
    return {
      flavour: flavour.name,
      totalGpuMilli: sum(own, 'GPU', (amount) => amount.total),
      freeGpuMilli: sum(own, 'GPU', (amount) => amount.total - amount.used),
      totalCpuMilli: sum(own, 'CPU', (amount) => amount.total),
      freeCpuMilli: sum(own, 'CPU', (amount) => amount.total - amount.used),
    };
  });
}

export function offersOf(flavours: readonly RayFlavour[]): readonly Offer[] {
  return flavours.flatMap((flavour) => {
    if (flavour.centsPerUnitHour === undefined) return [];
    return [
      {
        flavour: flavour.name,
        spot: flavour.spot ?? false,
        currency: flavour.currency ?? 'USD',
        centsPerUnitHour: BigInt(flavour.centsPerUnitHour),
      },
    ];
  });
}

/**
 * Ray queues what can never fit for 15 minutes and cannot be told to drop it, so such an attempt is not submitted. Each of its nodes has to
 * lie whole on one of the flavour's nodes, empty: as many of one size as a node holds, so that counting them is the whole of the packing.
 * Throws ProviderError `no_capacity`.
 */
export function assertCouldFit(
  spec: AttemptSpec,
  flavour: RayFlavour,
  options: RayJobOptions,
  nodes: readonly Node[],
): void {
  const count = spec.nodes ?? 1;
  const strict = options.spread === 'strict';
  const rooms = nodesOf(flavour, nodes)
    .filter((node) => labelsMatch(node.labels, options.labels))
    .map((node) => roomOf(spec, node));
  const places = rooms.reduce((all, room) => all + (strict ? Math.min(room, 1) : room), 0);
  if (places >= count) return;
  const { gpuMilli, cpuMilli, memoryBytes } = spec.resources;
  const size = `${gpuMilli} milli-GPU, ${cpuMilli} milli-CPU and ${memoryBytes} bytes of memory`;
  const text =
    count === 1
      ? `no node of flavour ${flavour.name} could ever hold ${size}`
      : `flavour ${flavour.name} could never hold ${count} nodes of ${size}${strict ? ', each on a machine of its own' : ''}: it has room for ${places}`;
  throw new ProviderError('no_capacity', text);
}

/** How many nodes of the attempt an empty one holds, all of them at most. */
function roomOf({ resources, nodes }: AttemptSpec, node: Node): number {
  const memory = BigInt(Math.round(node.resources.get('memory')?.total ?? 0)) + MEMORY_ROUNDING_BYTES;
  const amounts = [
    [milli(node.resources.get('GPU')?.total), resources.gpuMilli],
    [milli(node.resources.get('CPU')?.total), resources.cpuMilli],
    [memory, resources.memoryBytes],
  ] as const;
  const rooms = amounts.filter(([, asked]) => asked > 0n).map(([total, asked]) => total / asked);
  return Number(rooms.reduce((least, room) => (room < least ? room : least), BigInt(nodes ?? 1)));
}

type Amount = { readonly used: number; readonly total: number };

function sum(nodes: readonly Node[], name: string, pick: (amount: Amount) => number): bigint {
  return nodes.reduce((all, node) => {
    const amount = node.resources.get(name);
    return amount === undefined ? all : all + milli(pick(amount));
  }, 0n);
}

function milli(amount: number | undefined): bigint {
  return BigInt(Math.max(0, Math.round((amount ?? 0) * 1000)));
}
