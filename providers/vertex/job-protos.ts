/** A part of the SDK's description of its messages, as protobuf.js writes it. */
export interface ProtoNode {
  nested?: Record<string, ProtoNode>;
}

const SERVICE = 'JobService';

/**
 * The SDK compiles the messages of all its services, and of their betas, when its first client is made, and nothing else of the process goes on meanwhile.
 * This leaves of its description what the service of jobs reaches: with all imports 0.8 s of CPU and 63 MB instead of 2.0 s and 156 MB. It is changed where
 * the SDK keeps it, before the client is made.
 */
export function keepOnlyJobs(protos: ProtoNode): void {
  const platform = protos.nested?.google?.nested?.cloud?.nested?.aiplatform;
  const all = platform?.nested?.v1?.nested;
  if (platform === undefined || all?.[SERVICE] === undefined) return;
  const kept: Record<string, ProtoNode> = {};
  const left = [SERVICE];
  for (let name = left.pop(); name !== undefined; name = left.pop()) {
    const node = all[name];
    if (node === undefined || kept[name] !== undefined) continue;
    kept[name] = node;
    left.push(...namesIn(node));
  }
  platform.nested = { v1: { ...platform.nested?.v1, nested: kept } };
}

/** The first part of every text in it: types of fields, of requests and replies, and of what operations come to. */
function namesIn(value: unknown): readonly string[] {
  if (typeof value === 'string')
    return [value.replace(/^\.?(google\.cloud\.aiplatform\.v1\.)?/, '').split('.')[0] ?? ''];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(namesIn);
}
