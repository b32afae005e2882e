import type { GpuTrace, TraceNode, TracePod } from './gpu-trace.ts';
import type { Work } from './work.ts';

/** Queueing: the trace's arrivals and run times as they were, on a fleet cut so small that work has to wait. */

/** GPUs by type, in milli: `gpus` of them in the proportions of the whole fleet, by largest remainder. Types that get none are left out. */
export function cutFleet(nodes: readonly TraceNode[], gpus: number): ReadonlyMap<string, number> {
  const whole = new Map<string, number>();
  for (const { model, gpuMilli } of nodes) whole.set(model, (whole.get(model) ?? 0) + gpuMilli);
  const all = [...whole.values()].reduce((sum, one) => sum + one, 0);
  const shares = [...whole].map(([model, milli]) => ({ model, exact: (gpus * milli) / all }));
  const got = new Map(shares.map(({ model, exact }) => [model, Math.floor(exact)]));
  let left = gpus - [...got.values()].reduce((sum, one) => sum + one, 0);
  for (const { model } of shares.toSorted((a, b) => (b.exact % 1) - (a.exact % 1))) {
    if (left-- <= 0) break;
    got.set(model, got.get(model)! + 1);
  }
  return new Map([...got].filter(([, count]) => count > 0).map(([model, count]) => [model, count * 1000]));
}

export interface QueueingCase {
  readonly works: readonly Work[];
  /** Pods that never ran in the trace: how long they would have run is not known. */
  readonly neverRan: number;
  /** Pods that ask for more of their types than the cut fleet has. */
  readonly tooLarge: number;
}

/** All pods are of one queue: what is compared is queueing alone. */
export const TRACE_QUEUE = 'trace';
const MINUTE_MS = 60_000;

/**
 * Pods with GPUs as works: created when they were, running as long as they did. Leases, which the trace does not tell, are the run time
 * rounded up to a power of two of minutes, so that schedulers plan with an estimate that is up to twice too long. A pod without a type may
 * take any; rare types are tried first, so that the common one stays free for what fits nowhere else.
 */
export function queueingCase({ pods }: GpuTrace, fleetMilli: ReadonlyMap<string, number>): QueueingCase {
  const order = [...fleetMilli].toSorted(([, a], [, b]) => a - b).map(([model]) => model);
  const works: Work[] = [];
  let [neverRan, tooLarge] = [0, 0];
  for (const pod of pods) {
    if (pod.gpuMilli === 0) continue;
    const { scheduledS } = pod;
    if (scheduledS === undefined || pod.deletedS <= scheduledS) {
      neverRan++;
      continue;
    }
    const flavours = order.filter(
      (model) => (pod.models.length === 0 || pod.models.includes(model)) && fleetMilli.get(model)! >= pod.gpuMilli,
    );
    if (flavours.length === 0) tooLarge++;
    else works.push(workOf(pod, scheduledS, flavours));
  }
  works.sort((a, b) => a.createdAtMs - b.createdAtMs);
  return { works, neverRan, tooLarge };
}

function workOf(pod: TracePod, scheduledS: number, flavours: readonly string[]): Work {
  const runtimeMs = (pod.deletedS - scheduledS) * 1000;
  return {
    id: pod.name,
    queue: TRACE_QUEUE,
    root: TRACE_QUEUE,
    className: `${sizeOf(pod.gpuMilli)}, ${pod.qos === 'BE' ? 'best effort' : 'guaranteed or burst'}`,
    priority: 0,
    askMilli: pod.gpuMilli,
    runtimeMs,
    leaseMs: MINUTE_MS * 2 ** Math.ceil(Math.log2(Math.max(1, runtimeMs / MINUTE_MS))),
    createdAtMs: pod.createdS * 1000,
    flavours,
  };
}

function sizeOf(gpuMilli: number): string {
  if (gpuMilli < 1000) return 'a share of a GPU';
  return gpuMilli === 1000 ? '1 GPU' : `${gpuMilli / 1000} GPUs`;
}
