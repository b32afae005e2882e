import type { RayJobClient, RayNode } from 'ray-job-submission-client';
import { ProviderError } from '../provider.ts';
import type { RayFlavour } from './config.ts';

/** A live node with what it has, what of that is in use, and its labels. */
export interface Node extends RayNode {
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * The live nodes. Their labels cost a second call, so they are asked for only where they decide. A cluster has its head at least: no node at
 * all means that Ray has not counted yet. Throws ProviderError `transient`, or RayJobError.
 */
export async function knownNodes(
  client: RayJobClient,
  withLabels: boolean,
  signal: AbortSignal,
): Promise<readonly Node[]> {
  const [nodes, labels] = await Promise.all([client.nodes(signal), withLabels ? client.labels(signal) : undefined]);
  if (nodes.length === 0) throw new ProviderError('transient', 'Ray does not know its nodes yet');
  if (labels === undefined) return nodes.map((node) => ({ ...node, labels: {} }));
  // The summary may still show a node that the state API knows to be dead.
  return nodes.flatMap((node) => {
    const own = labels.get(node.nodeId);
    return own === undefined ? [] : [{ ...node, labels: own }];
  });
}

export function usesLabels(flavour: RayFlavour, labels?: Readonly<Record<string, string>>): boolean {
  return Object.keys({ ...flavour.labels, ...labels }).length > 0;
}

/** The nodes that jobs of a flavour run on: those with its resource whose labels match. */
export function nodesOf(flavour: RayFlavour, nodes: readonly Node[]): readonly Node[] {
  const { resource, labels } = flavour;
  return nodes.filter(
    (node) =>
      (resource === undefined || (node.resources.get(resource)?.total ?? 0) > 0) && labelsMatch(node.labels, labels),
  );
}

/** As Ray matches them: `a`, `!a`, `in(a,b)`, `!in(a,b)`; a label that a node has not is none of those named. */
export function labelsMatch(
  labels: Readonly<Record<string, string>>,
  wanted: Readonly<Record<string, string>> | undefined,
): boolean {
  return Object.entries(wanted ?? {}).every(([name, value]) => {
    const isNot = value.startsWith('!');
    const text = isNot ? value.slice(1) : value;
    const values = text.startsWith('in(')
      ? text
          .slice(3, -1)
          .split(',')
          .map((one) => one.trim())
      : [text];
    return values.includes(labels[name] ?? '') !== isNot;
  });
}
