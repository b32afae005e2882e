import { isObject } from './job.ts';
import type { JsonValue } from './strict-json.ts';

/** One live node's logical resources by Ray's own names (CPU, GPU, memory in bytes, custom ones as they were given). */
export interface RayNode {
  readonly nodeId: string;
  readonly resources: ReadonlyMap<string, { readonly used: number; readonly total: number }>;
}

/**
 * The nodes of GET /nodes?view=summary, or what is wrong as a string. This view, not /api/cluster_status: that one camel-cases
 * resource names (pool_a becomes poolA). It gives text, one line a resource: `0.0/4.0 GPU`, `0B/23.01GiB memory`.
 */
export function nodesOfReply(value: JsonValue): readonly RayNode[] | string {
  const data = isObject(value) ? value.data : undefined;
  const byNode = isObject(data) ? data.nodeLogicalResources : undefined;
  if (!isObject(byNode)) return 'the summary has no nodeLogicalResources';
  const nodes: RayNode[] = [];
  for (const [nodeId, text] of Object.entries(byNode)) {
    if (typeof text !== 'string') return `the resources of node ${nodeId.slice(0, 60)} are not text`;
    nodes.push({ nodeId, resources: resourcesOfText(text) });
  }
  return nodes;
}

/**
 * The labels of each live node in GET /api/v0/nodes, by node id, or what is wrong as a string. Ray answers with 100 nodes unless it is asked
 * for more.
 */
export function labelsOfReply(value: JsonValue): ReadonlyMap<string, Readonly<Record<string, string>>> | string {
  const data = isObject(value) ? value.data : undefined;
  const result = isObject(data) ? data.result : undefined;
  const nodes = isObject(result) ? result.result : undefined;
  if (!isObject(result) || !Array.isArray(nodes)) return 'the state reply has no list of nodes';
  if (typeof result.total === 'number' && result.total > nodes.length)
    return `the state reply has ${nodes.length} of ${result.total} nodes`;
  const labels = new Map<string, Readonly<Record<string, string>>>();
  for (const node of nodes) {
    if (!isObject(node) || typeof node.node_id !== 'string') return 'a node has no node_id';
    if (node.state === 'ALIVE') labels.set(node.node_id, textsOf(node.labels));
  }
  return labels;
}

function textsOf(value: JsonValue | undefined): Readonly<Record<string, string>> {
  if (!isObject(value)) return {};
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

const LINE = /^\s*([\d.]+(?:e[+-]?\d+)?)([KMGTP]i?B|B)?\/([\d.]+(?:e[+-]?\d+)?)([KMGTP]i?B|B)?\s+(\S+)/;

/** Lines of another form are skipped: Ray appends notes about placement groups. */
export function resourcesOfText(text: string): ReadonlyMap<string, { readonly used: number; readonly total: number }> {
  const resources = new Map<string, { readonly used: number; readonly total: number }>();
  for (const line of text.split('\n')) {
    const match = LINE.exec(line);
    if (match === null) continue;
    const used = Number(match[1]) * factorOf(match[2]);
    const total = Number(match[3]) * factorOf(match[4]);
    const name = match[5];
    if (name !== undefined && Number.isFinite(used) && Number.isFinite(total)) resources.set(name, { used, total });
  }
  return resources;
}

const POWERS = 'KMGTP';

function factorOf(unit: string | undefined): number {
  if (unit === undefined || unit === 'B') return 1;
  return (unit[1] === 'i' ? 1024 : 1000) ** (POWERS.indexOf(unit[0] ?? '') + 1);
}
