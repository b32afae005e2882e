import type { RayJobClient, RayNode } from 'ray-job-submission-client';
import { type AttemptSpec, type FlavourCapacity, type Offer, ProviderError } from '../provider.ts';
import type { RayFlavour } from './config.ts';

/** Ray writes memory as GiB with two decimals: a total read back may be this much below the true one. */
const MEMORY_ROUNDING_BYTES = 11_000_000;

/** A cluster has its head at least: no node at all means that Ray has not counted yet. Throws ProviderError `transient`, or RayJobError. */
export async function knownNodes(client: RayJobClient, signal: AbortSignal): Promise<readonly RayNode[]> {
  const nodes = await client.nodes(signal);
  if (nodes.length === 0) throw new ProviderError('transient', 'Ray does not know its nodes yet');
  return nodes;
}

export function capacityOf(flavours: readonly RayFlavour[], nodes: readonly RayNode[]): readonly FlavourCapacity[] {
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
 * Ray queues what can never fit for 15 minutes and cannot be told to drop it, so such an attempt is not submitted. An entrypoint runs on
 * one node: one of the flavour's nodes, empty, has to hold all of it. Throws ProviderError `no_capacity`.
 */
export function assertCouldFit(spec: AttemptSpec, flavour: RayFlavour, nodes: readonly RayNode[]): void {
  const { gpuMilli, cpuMilli, memoryBytes } = spec.resources;
  const fits = nodesOf(flavour, nodes).some(
    (node) =>
      milli(node.resources.get('GPU')?.total) >= gpuMilli &&
      milli(node.resources.get('CPU')?.total) >= cpuMilli &&
      BigInt(Math.round(node.resources.get('memory')?.total ?? 0) + MEMORY_ROUNDING_BYTES) >= memoryBytes,
  );
  if (fits) return;
  throw new ProviderError(
    'no_capacity',
    `no node of flavour ${flavour.name} could ever hold ${gpuMilli} milli-GPU, ${cpuMilli} milli-CPU and ${memoryBytes} bytes of memory`,
  );
}

function nodesOf(flavour: RayFlavour, nodes: readonly RayNode[]): readonly RayNode[] {
  const resource = flavour.resource;
  return resource === undefined ? nodes : nodes.filter((node) => (node.resources.get(resource)?.total ?? 0) > 0);
}

type Amount = { readonly used: number; readonly total: number };

function sum(nodes: readonly RayNode[], name: string, pick: (amount: Amount) => number): bigint {
  return nodes.reduce((all, node) => {
    const amount = node.resources.get(name);
    return amount === undefined ? all : all + milli(pick(amount));
  }, 0n);
}

function milli(amount: number | undefined): bigint {
  return BigInt(Math.max(0, Math.round((amount ?? 0) * 1000)));
}
