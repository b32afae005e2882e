import { ProviderError } from '../provider.ts';
import type { Jobs } from './jobs.ts';
import { isOver } from './observation.ts';
import { type Pod, rankOf } from './pod.ts';
import { hasBegun } from './pod-end.ts';
import type { PodLogs } from './pod-logs.ts';

/** Of one pod: more of a log than that is not told after that of the first. */
const POD_LIMIT_BYTES = 8 * 1024 * 1024;
const CUT = `\n[merit] cut here: of this node only the first ${POD_LIMIT_BYTES / 1024 ** 2} MiB are told\n`;

/**
 * The log of an attempt. Of a gang it is the first node's while it runs; once the Job has ended those of the others follow, each under a line with its rank, so that
 * no byte ever changes its place. What is left out of one that is too long is told in its place.
 */
export async function readJobLog(
  jobs: Jobs,
  logs: PodLogs,
  key: string,
  fromByte: number,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const job = await jobs.findOurs(key, signal);
  if (job === undefined) throw new ProviderError('not_found', `there is no Job ${key}`);
  const pods = (await jobs.pods(key, signal)).filter(hasBegun).sort((a, b) => placeOf(a) - placeOf(b));
  const [first, ...others] = pods;
  if (first === undefined) return new Uint8Array();
  const head = await logs.read(first, fromByte, maxBytes, signal);
  if (head.length > 0 || others.length === 0 || !isOver(job)) return head;
  return afterFirst(first, others, logs, fromByte, maxBytes, signal);
}

async function afterFirst(
  first: Pod,
  others: readonly Pod[],
  logs: PodLogs,
  fromByte: number,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  let begin = await logs.length(first, signal);
  for (const pod of others) {
    const title = Buffer.from(`\n[merit] node ${placeOf(pod)}:\n`);
    const length = await logs.length(pod, signal, POD_LIMIT_BYTES);
    const told = Math.min(length, POD_LIMIT_BYTES);
    const end = Buffer.from(length > POD_LIMIT_BYTES ? CUT : '');
    const at = fromByte - begin;
    const inLog = at - title.length;
    if (inLog < 0) return title.subarray(Math.max(0, at)).subarray(0, maxBytes);
    if (inLog < told) return logs.read(pod, inLog, Math.min(maxBytes, told - inLog), signal);
    if (inLog < told + end.length) return end.subarray(inLog - told).subarray(0, maxBytes);
    begin += title.length + told + end.length;
  }
  return new Uint8Array();
}

function placeOf(pod: Pod): number {
  return Number(rankOf(pod) ?? 0);
}
