import type { Clock } from '../../platform/clock.ts';
import type { KubernetesObject } from '../../platform/kubernetes/list.ts';
import { type FlavourCapacity, isProviderError } from '../provider.ts';
import type { Cluster } from './cluster.ts';
import type { Flavour } from './flavour.ts';
import { KEY_LABEL } from './ownership.ts';
import { type Amounts, type Condition, conditionOf, isLivePod, type Pod } from './pod.ts';
import { milliOf } from './quantity.ts';

/** Merit asks every 2 s whether the cluster is there, and all pods are a long list: an answer holds this long. */
const CAPACITY_MS = 10_000;

export interface Node extends KubernetesObject {
  readonly spec?: { readonly unschedulable?: boolean };
  readonly status?: { readonly allocatable?: Amounts; readonly conditions?: readonly Condition[] };
}

export interface ResourceQuota extends KubernetesObject {
  readonly spec?: { readonly scopes?: readonly string[]; readonly scopeSelector?: object };
  readonly status?: { readonly hard?: Amounts; readonly used?: Amounts };
}

/** What is read of a cluster for its capacity. */
export interface Inventory {
  readonly nodes: readonly Node[];
  /** Of all namespaces. */
  readonly pods: readonly Pod[];
  /** Of the pool's namespace. */
  readonly quotas: readonly ResourceQuota[];
}

/**
 * Per flavour what its ready, schedulable nodes have and what Merit runs on its others, less what any pod asked for, Merit's or not; of both no more than the namespace's quotas leave.
 * Two flavours that share nodes or a quota each tell what would be left for them alone.
 */
export function capacityOf(
  flavours: readonly Flavour[],
  { nodes, pods, quotas }: Inventory,
): readonly FlavourCapacity[] {
  const asked = new Map<string, Pod[]>();
  for (const pod of pods) {
    const node = pod.spec?.nodeName;
    if (node === undefined || !isLivePod(pod)) continue;
    const there = asked.get(node) ?? [];
    there.push(pod);
    asked.set(node, there);
  }
  return flavours.map(({ name, nodeSelector = {}, gpuResource }) => {
    const mine = nodes.filter((node) => matches(node, nodeSelector));
    const of = (resource: string | undefined): readonly [total: bigint, free: bigint] => {
      if (resource === undefined) return [0n, 0n];
      let total = 0n;
      let free = 0n;
      for (const node of mine) {
        const pods = asked.get(node.metadata.name) ?? [];
        if (!isUsable(node)) {
          // Merit's own are booked, and have their room for as long as they run.
          total += sumOf(pods.filter(isOurs), resource);
          continue;
        }
        const has = milliOf(node.status?.allocatable?.[resource]);
        const used = sumOf(pods, resource);
        total += has;
        free += has > used ? has - used : 0n;
      }
      return withinQuotas(total, free, resource, quotas);
    };
    const [totalGpuMilli, freeGpuMilli] = of(gpuResource);
    const [totalCpuMilli, freeCpuMilli] = of('cpu');
    return { flavour: name, totalGpuMilli, freeGpuMilli, totalCpuMilli, freeCpuMilli };
  });
}

function isOurs({ metadata: { labels = {} } }: Pod): boolean {
  return KEY_LABEL in labels;
}

function sumOf(pods: readonly Pod[], resource: string): bigint {
  return pods.reduce((all, pod) => all + askedBy(pod, resource), 0n);
}

function isUsable(node: Node): boolean {
  return node.spec?.unschedulable !== true && conditionOf(node, 'Ready') !== undefined;
}

function matches({ metadata: { labels = {} } }: Node, selector: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([name, value]) => labels[name] === value);
}

/** As the scheduler reckons it: all containers together, or the largest that runs before them. */
export function askedBy({ spec }: Pod, resource: string): bigint {
  const of = (one: { readonly resources?: { readonly requests?: Amounts; readonly limits?: Amounts } }) =>
    milliOf(one.resources?.requests?.[resource] ?? one.resources?.limits?.[resource]);
  const inits = spec?.initContainers ?? [];
  const sidecars = inits
    .filter(({ restartPolicy }) => restartPolicy === 'Always')
    .reduce((all, one) => all + of(one), 0n);
  const together = (spec?.containers ?? []).reduce((all, one) => all + of(one), sidecars);
  const largest = inits.map(of).reduce((most, one) => (one > most ? one : most), 0n);
  return (together > largest ? together : largest) + milliOf(spec?.overhead?.[resource]);
}

function withinQuotas(
  total: bigint,
  free: bigint,
  resource: string,
  quotas: readonly ResourceQuota[],
): readonly [bigint, bigint] {
  const names = resource === 'cpu' ? ['requests.cpu', 'cpu'] : [`requests.${resource}`];
  let [most, left] = [total, free];
  for (const { spec, status } of quotas) {
    // One for some pods only says nothing of ours.
    if ((spec?.scopes ?? []).length > 0 || spec?.scopeSelector !== undefined) continue;
    for (const name of names) {
      const hard = status?.hard?.[name];
      if (hard === undefined) continue;
      const limit = milliOf(hard);
      const rest = limit - milliOf(status?.used?.[name]);
      if (limit < most) most = limit;
      if (rest < left) left = rest > 0n ? rest : 0n;
    }
  }
  return [most, left < most ? left : most];
}

/** Asks a cluster what it has; an answer holds for a while. */
export class CapacityReader {
  readonly #cluster: Cluster;
  readonly #clock: Clock;
  readonly #flavours: readonly Flavour[];
  #told: { readonly atMs: number; readonly capacity: readonly FlavourCapacity[] } | undefined;

  constructor(cluster: Cluster, flavours: readonly Flavour[], clock: Clock) {
    this.#cluster = cluster;
    this.#flavours = flavours;
    this.#clock = clock;
  }

  /** Empty where Merit may not look at nodes or at all pods: then the pool's file says what there is. Throws ProviderError. */
  async read(signal: AbortSignal): Promise<readonly FlavourCapacity[]> {
    const atMs = this.#clock.now();
    if (this.#told !== undefined && atMs - this.#told.atMs < CAPACITY_MS) return this.#told.capacity;
    const inventory = await this.#inventory(signal);
    const capacity = inventory === undefined ? [] : capacityOf(this.#flavours, inventory);
    this.#told = { atMs, capacity };
    return capacity;
  }

  async #inventory(signal: AbortSignal): Promise<Inventory | undefined> {
    const cluster = this.#cluster;
    const namespace = await cluster.namespace();
    const live = { fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed,spec.nodeName!=' };
    try {
      const { items: nodes } = await cluster.list<Node>('/api/v1/nodes', {}, 'listing nodes', signal);
      const { items: pods } = await cluster.list<Pod>(
        '/api/v1/pods',
        live,
        'listing the pods of all namespaces',
        signal,
      );
      const path = `/api/v1/namespaces/${namespace}/resourcequotas`;
      const { items: quotas } = await cluster.list<ResourceQuota>(path, {}, 'listing resource quotas', signal);
      return { nodes, pods, quotas };
    } catch (error) {
      if (!isNoRight(error)) throw error;
      return undefined;
    }
  }
}

/** Refused by its roles, and not because nobody knows the caller any more. */
function isNoRight(error: unknown): boolean {
  return (
    isProviderError(error) && error.code === 'auth' && (error.cause as { status?: unknown } | undefined)?.status === 403
  );
}
