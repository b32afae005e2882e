import { heldBy, type Run, type Work } from './work.ts';

/** What a simulated schedule comes to. Times in ms of virtual time. */

export function makespanOf(runs: readonly Run[]): number {
  return runs.reduce((latest, { toMs }) => Math.max(latest, toMs), 0);
}

/** The share of all that was held that evicted runs held: done, and lost. */
export function lostShare(runs: readonly Run[]): number {
  let [held, lost] = [0, 0];
  for (const run of runs) {
    held += heldBy(run);
    if (!run.finished) lost += heldBy(run);
  }
  return held === 0 ? 0 : lost / held;
}

export interface ClassWait {
  readonly count: number;
  /** Creation to the *last* admission, as Kueue's recorder keeps it: a later admission overwrites the one before. */
  readonly meanMs: number;
  readonly p95Ms: number;
  readonly worstMs: number;
  readonly evictions: number;
}

/** Waits by class; `all` too. */
export function waitsOf(
  runs: readonly Run[],
  classOf = (work: Work): string => work.className,
): ReadonlyMap<string, ClassWait> {
  const waits = new Map<string, { ms: number[]; evictions: number }>();
  const at = (name: string) => {
    const found = waits.get(name) ?? { ms: [], evictions: 0 };
    waits.set(name, found);
    return found;
  };
  for (const { work, fromMs, finished } of runs) {
    for (const entry of [at(classOf(work)), at('all')]) {
      if (finished) entry.ms.push(fromMs - work.createdAtMs);
      else entry.evictions++;
    }
  }
  return new Map(
    [...waits].map(([name, { ms, evictions }]) => {
      const ascending = ms.toSorted((a, b) => a - b);
      const sum = ascending.reduce((total, one) => total + one, 0);
      const p95Ms = ascending[Math.max(0, Math.ceil(ascending.length * 0.95) - 1)] ?? 0;
      const meanMs = ascending.length === 0 ? 0 : sum / ascending.length;
      return [name, { count: ascending.length, meanMs, p95Ms, worstMs: ascending.at(-1) ?? 0, evictions }];
    }),
  );
}

export interface Fairness {
  /** Mean over the windows and roots. */
  readonly jain: number;
  readonly worst: number;
}

/** Windows of the makespan in which shares are compared. */
const WINDOWS = 20;

/**
 * Jain's index, (Σx)² ÷ n·Σx², of what each queue of a root has held since the start, at the end of each twentieth of the makespan: 1 where
 * all have had the same, 1/n where one has had all. It is meant for queues that want and may have the same, as those of Kueue's generators.
 */
export function fairnessOf(
  runs: readonly Run[],
  queues: readonly { readonly name: string; readonly root: string }[],
): Fairness {
  const endMs = makespanOf(runs);
  const held = new Map(queues.map(({ name }) => [name, new Float64Array(WINDOWS)]));
  for (const { work, fromMs, toMs } of runs) {
    const sums = held.get(work.queue)!;
    for (let window = 0; window < WINDOWS; window++) {
      const untilMs = ((window + 1) * endMs) / WINDOWS;
      if (fromMs < untilMs) sums[window]! += work.askMilli * (Math.min(toMs, untilMs) - fromMs);
    }
  }
  const indices: number[] = [];
  for (const members of Map.groupBy(queues, ({ root }) => root).values()) {
    for (let window = 0; window < WINDOWS; window++)
      indices.push(jainIndex(members.map(({ name }) => held.get(name)![window]!)));
  }
  return {
    jain: indices.reduce((sum, one) => sum + one, 0) / indices.length,
    worst: Math.min(...indices),
  };
}

export function jainIndex(shares: readonly number[]): number {
  let [sum, squares] = [0, 0];
  for (const share of shares) {
    sum += share;
    squares += share * share;
  }
  return squares === 0 ? 1 : (sum * sum) / (shares.length * squares);
}

/** What was held ÷ (nominal × the time from the start to the end), in percent: Kueue's `clusterQueueClassesMinUsage`. */
export function usagePercent(runs: readonly Run[], nominalMilli: number): number {
  return (100 * runs.reduce((sum, run) => sum + heldBy(run), 0)) / (nominalMilli * makespanOf(runs));
}

/**
 * Capacity that stood free while work waited that could have had it, in milli × ms: at each instant, for each flavour the free part, but
 * not more than those ask that wait and may take it. It is an upper bound of what any scheduler could have used of it: a work of many
 * flavours counts for each, and one that asks for more than is free counts with the free part.
 */
export function idleWhileWaiting(runs: readonly Run[], capacityMilli: ReadonlyMap<string, number>): number {
  const changes: {
    readonly atMs: number;
    readonly work: Work;
    readonly flavour: string;
    readonly waits: number;
    readonly runs: number;
  }[] = [];
  const lastEnd = new Map<Work, number>();
  for (const { work, flavour, fromMs, toMs } of runs.toSorted((a, b) => a.fromMs - b.fromMs)) {
    const since = lastEnd.get(work) ?? work.createdAtMs;
    changes.push({ atMs: since, work, flavour, waits: 1, runs: 0 });
    changes.push({ atMs: fromMs, work, flavour, waits: -1, runs: 1 });
    changes.push({ atMs: toMs, work, flavour, waits: 0, runs: -1 });
    lastEnd.set(work, toMs);
  }
  changes.sort((a, b) => a.atMs - b.atMs);
  const free = new Map(capacityMilli);
  const waiting = new Map([...capacityMilli.keys()].map((flavour) => [flavour, 0]));
  let [idle, atMs] = [0, 0];
  for (const change of changes) {
    if (change.atMs > atMs) {
      for (const [flavour, asked] of waiting) idle += Math.min(asked, free.get(flavour)!) * (change.atMs - atMs);
      atMs = change.atMs;
    }
    const { work, flavour } = change;
    if (change.runs !== 0) free.set(flavour, free.get(flavour)! - change.runs * work.askMilli);
    if (change.waits !== 0)
      for (const one of work.flavours) waiting.set(one, waiting.get(one)! + change.waits * work.askMilli);
  }
  return idle;
}
