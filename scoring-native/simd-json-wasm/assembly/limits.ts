/** What a host may set once, before the first line. */

/** Objects and arrays inside each other. */
export let depthLimit: u32 = 32;
/** Bytes of a line without its line feed. */
export let lineLimit: u32 = 1 << 20;
/** Is NUL in a string refused? RFC 8259 allows it; databases and C do not. */
export let refuseNul: bool = true;
/** Are `__proto__`, and `prototype` below `constructor`, refused as keys? */
export let refusePrototype: bool = true;
/** Makes the hashes of this instance unforeseeable, so that nobody can send texts that all share one place. */
export let seedA: u64 = 0x9e3779b97f4a7c15;
export let seedB: u64 = 0xd1b54a32d192ed03;

export function setLimits(depth: u32, line: u32, nul: bool, prototype: bool): void {
  depthLimit = depth;
  lineLimit = line;
  refuseNul = nul;
  refusePrototype = prototype;
}

export function setSeed(a: u64, b: u64): void {
  seedA = a;
  seedB = b;
}
