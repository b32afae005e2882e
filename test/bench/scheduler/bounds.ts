import type { Work } from './work.ts';

/**
 * No schedule ends before this, however clever: for every instant t, what must still be done at t at the least (each work has run since it was
 * created, all at once, nothing lost), spread over the whole capacity from then on. With t = 0 it is work ÷ capacity; later ones count the
 * arrivals. In ms from the same zero as `createdAtMs`.
 */
export function earliestEnd(works: readonly Work[], capacityMilli: number): number {
  // What must be left falls with slope Σ ask of those that could be running: it bends only where one is created or could have ended.
  const bends = works.flatMap(({ createdAtMs, runtimeMs, askMilli }) => [
    { atMs: createdAtMs, slope: -askMilli },
    { atMs: createdAtMs + runtimeMs, slope: askMilli },
  ]);
  bends.sort((a, b) => a.atMs - b.atMs);
  let left = works.reduce((sum, { askMilli, runtimeMs }) => sum + askMilli * runtimeMs, 0);
  let best = left / capacityMilli;
  let [atMs, slope] = [0, 0];
  for (const bend of bends) {
    left += slope * (bend.atMs - atMs);
    best = Math.max(best, bend.atMs + left / capacityMilli);
    atMs = bend.atMs;
    slope += bend.slope;
  }
  return best;
}

export interface Quota {
  readonly queue: string;
  readonly root: string;
  readonly nominalMilli: number;
  readonly borrowMilli: number;
}

/** The quota-bound optimum: the greatest `earliestEnd` over every root (all nominal quota below it) and every queue (what it may ever hold). */
export function quotaBound(works: readonly Work[], quotas: readonly Quota[]): number {
  const roots = new Map<string, number>();
  for (const { root, nominalMilli } of quotas) roots.set(root, (roots.get(root) ?? 0) + nominalMilli);
  const ofRoot = Map.groupBy(works, ({ root }) => root);
  const ofQueue = Map.groupBy(works, ({ queue }) => queue);
  let bound = 0;
  for (const [root, capacityMilli] of roots)
    bound = Math.max(bound, earliestEnd(ofRoot.get(root) ?? [], capacityMilli));
  for (const { queue, root, nominalMilli, borrowMilli } of quotas) {
    const mostMilli = Math.min(nominalMilli + borrowMilli, roots.get(root)!);
    bound = Math.max(bound, earliestEnd(ofQueue.get(queue) ?? [], mostMilli));
  }
  return bound;
}
