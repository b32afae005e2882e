/** Why a line is refused. The numbers are part of the interface: src/reason.ts names them. */
export const JSON_SYNTAX: u32 = 1;
export const DUPLICATE_KEY: u32 = 2;
export const FORBIDDEN_KEY: u32 = 3;
export const DEPTH: u32 = 4;
export const ENCODING: u32 = 5;
/** Not finite as a double. */
export const NUMBER: u32 = 6;
/** The memory that the host allows is used up. */
export const MEMORY: u32 = 7;
/** One more distinct text than an interner may hold. */
export const IDS: u32 = 8;

/** Set by whatever returned 0. */
export let faultCode: u32 = 0;
/** The byte at fault. */
export let faultAt: usize = 0;

/** Every reader returns the place behind what it read, or 0 through here. */
export function fault(code: u32, at: usize): usize {
  faultCode = code;
  faultAt = at;
  return 0;
}
