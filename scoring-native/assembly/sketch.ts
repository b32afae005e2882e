import { allocate } from './blocks';

/** The bucket of q, from the same bounds as scoring/rules/sketch.ts: the host hands them in, so that there is one table of them. */

/** Cells an octave: finer than buckets are, which are 1/35 of an octave, so that a cell holds one bound at most. */
const CELL_BITS: u32 = 7;
const FIRST_CELL: u32 = 1023 << CELL_BITS;
/** q ≤ 2^40. */
const CELLS: u32 = 41 << CELL_BITS;

let bounds: usize = 0;
let guesses: usize = 0;
/** The largest stored index, that of 2^40. */
export let mostBucket: i32 = 0;

/** Where the host writes `count` doubles ⌊γ^i⌋, before startSketch. */
export function boundsAt(count: u32): usize {
  bounds = allocate(<usize>(count + 2) << 3);
  mostBucket = <i32>count;
  store<f64>(bounds + (<usize>count << 3), Infinity);
  return bounds;
}

export function startSketch(): void {
  guesses = allocate(<usize>CELLS << 1);
  let i: u32 = 0;
  for (let cell: u32 = 0; cell < CELLS; cell++) {
    const start = reinterpret<f64>(<u64>(FIRST_CELL + cell) << (52 - CELL_BITS));
    while (load<f64>(bounds + (<usize>i << 3)) < start) i++;
    store<u16>(guesses + (<usize>cell << 1), <u16>i);
  }
}

/** The signed index of q, an integer with |q| ≤ 2^40: i + 1 for positive q, 0 for zero, −(i + 1) for negative. */
// @ts-ignore: decorator
@inline
export function bucketOf(q: f64): i32 {
  if (q == 0) return 0;
  const size = abs(q);
  const cell = <u32>(reinterpret<u64>(size) >> (52 - CELL_BITS)) - FIRST_CELL;
  const guess = <i32>load<u16>(guesses + (<usize>cell << 1));
  const index = guess + 1 + <i32>(load<f64>(bounds + (<usize>guess << 3)) < size);
  return q < 0 ? -index : index;
}
