/** Blocks are never given back: what grows doubles, so at most as much again is left behind. */
let top: usize = (__heap_base + 15) & ~15;

/** Readable bytes behind every block, so that 16-byte loads need no care at its end. */
export const PADDING: usize = 64;

/** A zeroed block, aligned to 16; 0 where the memory that the host gave must not grow that far. */
export function take(bytes: usize): usize {
  const at = top;
  const end = <u64>at + <u64>bytes + <u64>(PADDING + 15);
  if (end > 0xffff0000) return 0;
  const next = <usize>end & ~15;
  const pages = <i32>((next + 0xffff) >>> 16);
  const missing = pages - memory.size();
  if (missing > 0 && memory.grow(missing) < 0) return 0;
  top = next;
  return at;
}
