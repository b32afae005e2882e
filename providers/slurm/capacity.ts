import type { Json } from '../../core/canonical.ts';
import { type FlavourCapacity, ProviderError } from '../provider.ts';
import type { Flavour } from './config.ts';

/** A node as it counts here. */
export interface SlurmNode {
  readonly partitions: readonly string[];
  readonly features: readonly string[];
  readonly isUsable: boolean;
  readonly cpus: number;
  readonly freeCpus: number;
  readonly usedCpus: number;
  /** By type, as in `gpu:a100`; what has no type stands under its name. */
  readonly gres: ReadonlyMap<string, number>;
  readonly gresUsed: ReadonlyMap<string, number>;
}

/** Words for a node that takes no jobs, or does not answer. */
const UNUSABLE = /down|drain|fail|maint|not_responding|no_respond|power|reboot|future|unknown|error|blocked|invalid/i;

/** The nodes of a reply. Throws ProviderError `transient` where it holds none. */
export function nodesIn(body: Json | undefined): readonly SlurmNode[] {
  const { nodes } = (body ?? {}) as { readonly nodes?: unknown };
  if (!Array.isArray(nodes)) throw new ProviderError('transient', 'Slurm’s reply has no list of nodes');
  return nodes.map(nodeOf);
}

function nodeOf(value: unknown): SlurmNode {
  const node = (value ?? {}) as Readonly<Record<string, unknown>>;
  const words = [node.state, ...(Array.isArray(node.state_flags) ? node.state_flags : [])].map(String);
  const cpus = count(node.cpus);
  return {
    partitions: Array.isArray(node.partitions) ? node.partitions.map(String) : [],
    features: String(node.active_features ?? '').split(','),
    isUsable: !words.some((word) => UNUSABLE.test(word)),
    cpus,
    freeCpus: Math.max(0, Math.min(cpus, count(node.idle_cpus))),
    usedCpus: Math.min(cpus, count(node.alloc_cpus)),
    gres: gresIn(String(node.gres ?? '')),
    gresUsed: gresIn(String(node.gres_used ?? '')),
  };
}

/** `gpu:a100:2(S:0-1),gpu:h100:4,nic:1`, and of what is used `gpu:a100:1(IDX:0)`: by name and by type. */
export function gresIn(text: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  const add = (name: string, units: number) => found.set(name, (found.get(name) ?? 0) + units);
  for (const part of text.replace(/\([^)]*\)/g, '').split(',')) {
    const [name = '', ...rest] = part.split(':');
    const units = Number(rest.at(-1));
    if (name === '' || !Number.isSafeInteger(units) || units < 0) continue;
    add(name, units);
    if (rest.length > 1) add(`${name}:${rest[0]}`, units);
  }
  return found;
}

/**
 * What the flavour's nodes have that take jobs, and what of it nobody holds: of nodes that are down, drained or silent there is what still runs on them. Of a constraint only
 * single features joined by & are looked at; nodes that it names in another way are counted, all of them.
 */
export function capacityOf(flavours: readonly Flavour[], nodes: readonly SlurmNode[]): readonly FlavourCapacity[] {
  return flavours.map(({ name, gres, partition, constraint }) => {
    const own = nodes.filter(
      (node) =>
        node.partitions.includes(partition) &&
        hasFeatures(node, constraint) &&
        (gres === undefined || node.gres.has(gres)),
    );
    const sum = (of: (node: SlurmNode) => number) => BigInt(own.reduce((all, node) => all + of(node), 0)) * 1000n;
    const total = (node: SlurmNode) => {
      if (gres === undefined) return 0;
      return node.isUsable ? (node.gres.get(gres) ?? 0) : usedOf(node, gres);
    };
    const free = (node: SlurmNode) => (gres === undefined ? 0 : Math.max(0, total(node) - usedOf(node, gres)));
    return {
      flavour: name,
      totalGpuMilli: sum(total),
      freeGpuMilli: sum(free),
      totalCpuMilli: sum((node) => (node.isUsable ? node.cpus : node.usedCpus)),
      freeCpuMilli: sum((node) => (node.isUsable ? node.freeCpus : 0)),
    };
  });
}

function usedOf(node: SlurmNode, gres: string): number {
  return node.gresUsed.get(gres) ?? 0;
}

function hasFeatures({ features }: SlurmNode, constraint: string | undefined): boolean {
  if (constraint === undefined || !/^[A-Za-z0-9_.-]+(&[A-Za-z0-9_.-]+)*$/.test(constraint)) return true;
  return constraint.split('&').every((feature) => features.includes(feature));
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : 0;
}
