/** How event time is cut: into minutes for panes, or by the bounds of fixed windows. */

const MINUTE_MS: f64 = 60000;
/** Windows of one T. */
export const MAX_WINDOWS: u32 = 8;

/** Start and end of each window, in milliseconds. */
const WINDOWS: usize = memory.data(128, 16);
/** Every start and end, ascending: stretch i lies between bounds i − 1 and i. */
const BOUNDS: usize = memory.data(128, 16);
export let windowCount: u32 = 0;

export function windowStart(window: u32): i64 {
  return load<i64>(WINDOWS + (<usize>window << 4));
}

function windowEnd(window: u32): i64 {
  return load<i64>(WINDOWS + (<usize>window << 4), 8);
}

/** One window more, [start, end), at most MAX_WINDOWS. With none the stretches are minutes. */
export function addWindow(start: i64, end: i64): void {
  store<i64>(WINDOWS + (<usize>windowCount << 4), start);
  store<i64>(WINDOWS + (<usize>windowCount << 4), end, 8);
  insert(start);
  windowCount++;
  insert(end);
}

let boundCount: u32 = 0;

function insert(bound: i64): void {
  let place = boundCount;
  while (place > 0 && load<i64>(BOUNDS + (<usize>(place - 1) << 3)) > bound) {
    store<i64>(BOUNDS + (<usize>place << 3), load<i64>(BOUNDS + (<usize>(place - 1) << 3)));
    place--;
  }
  store<i64>(BOUNDS + (<usize>place << 3), bound);
  boundCount++;
}

/**
 * The stretch of an instant. The quotient of instants of four-digit years is below 2^33, a whole number or 1/60000 from one at least, which is
 * far more than it is rounded by: the floor is exact.
 */
// @ts-ignore: decorator
@inline
export function stretchOf(ms: f64): i64 {
  return windowCount == 0 ? <i64>floor(ms / MINUTE_MS) : boundsUpTo(<i64>ms);
}

function boundsUpTo(ms: i64): i64 {
  let n: u32 = 0;
  for (let i: u32 = 0; i < boundCount; i++) n += <u32>(load<i64>(BOUNDS + (<usize>i << 3)) <= ms);
  return <i64>n;
}

/** Does the window cover the stretch? */
export function covers(window: u32, stretch: i64): bool {
  return stretch > boundsUpTo(windowStart(window) - 1) && stretch <= boundsUpTo(windowEnd(window) - 1);
}

// @ts-ignore: decorator
@inline
export function floorDiv(a: i64, b: i64): i64 {
  const q = a / b;
  return q - <i64>(a < q * b);
}
