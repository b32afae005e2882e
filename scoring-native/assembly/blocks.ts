import { take } from '../simd-json-wasm/assembly/heap';
import { hostReached, LIMIT_MEMORY } from './host';

/** Blocks that grow and shrink: powers of two, those given back are kept by size. */
const SMALLEST_SHIFT: u32 = 6;
const FREE: usize = memory.data(32 << 2, 16);

// @ts-ignore: decorator
@inline
function shiftOf(bytes: usize): u32 {
  return bytes <= 64 ? SMALLEST_SHIFT : 32 - <u32>clz<u32>(<u32>bytes - 1);
}

/** A block of at least `bytes`, aligned to 16, not zeroed; 16-byte loads may begin in it anywhere. */
export function allocate(bytes: usize): usize {
  const shift = shiftOf(bytes);
  const free = load<usize>(FREE + (<usize>shift << 2));
  if (free != 0) {
    store<usize>(FREE + (<usize>shift << 2), load<usize>(free));
    return free;
  }
  const block = take(1 << <usize>shift);
  if (block == 0) hostReached(LIMIT_MEMORY);
  return block;
}

/** Gives a block back that allocate gave for `bytes`. */
export function release(block: usize, bytes: usize): void {
  if (block == 0) return;
  const at = FREE + (<usize>shiftOf(bytes) << 2);
  store<usize>(block, load<usize>(at));
  store<usize>(at, block);
}

/** Twice the block, its contents moved, zeroes behind them. */
export function doubled(block: usize, bytes: usize): usize {
  const next = allocate(bytes << 1);
  memory.copy(next, block, bytes);
  memory.fill(next + bytes, 0, bytes);
  release(block, bytes);
  return next;
}

/** What copy may spoil behind the last byte, and read too. */
export const COPY_SPILL: usize = 63;

/** Copies n bytes, up to COPY_SPILL more on both sides. */
// @ts-ignore: decorator
@inline
export function copy(to: usize, from: usize, n: usize): void {
  v128.store(to, v128.load(from));
  v128.store(to, v128.load(from, 16), 16);
  if (n > 32) copyLong(to, from, n);
}

function copyLong(to: usize, from: usize, n: usize): void {
  let i: usize = 32;
  while (i < n) {
    v128.store(to + i, v128.load(from + i));
    v128.store(to + i, v128.load(from + i, 16), 16);
    i += 32;
  }
}
