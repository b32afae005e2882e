/**
 * Which GPUs an attempt gets: whole ones that nobody uses, or for less than one the fullest that still has room, so that whole ones
 * stay free. `usedMilli` has one entry a GPU. Undefined: they are not free now. Pure.
 */
export function assignGpus(wantMilli: bigint, usedMilli: readonly bigint[]): readonly number[] | undefined {
  if (wantMilli === 0n) return [];
  if (wantMilli >= 1000n) {
    const free = usedMilli.flatMap((used, index) => (used === 0n ? [index] : []));
    const count = Number(wantMilli / 1000n);
    return free.length < count ? undefined : free.slice(0, count);
  }
  let best: number | undefined;
  for (const [index, used] of usedMilli.entries()) {
    if (used + wantMilli > 1000n) continue;
    if (best === undefined || used > (usedMilli[best] ?? 0n)) best = index;
  }
  return best === undefined ? undefined : [best];
}

/** What each GPU carries under these assignments. */
export function gpuUse(
  gpus: number,
  holders: readonly { readonly gpuMilli: bigint; readonly gpus: readonly number[] }[],
): readonly bigint[] {
  const used = Array.from({ length: gpus }, () => 0n);
  for (const holder of holders) {
    for (const index of holder.gpus) {
      if (index < gpus) used[index] = (used[index] ?? 0n) + (holder.gpuMilli >= 1000n ? 1000n : holder.gpuMilli);
    }
  }
  return used;
}
