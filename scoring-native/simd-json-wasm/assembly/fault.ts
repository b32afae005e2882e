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

/** A line longer than the limit. */
export const TOO_LARGE: u32 = 9;
/** The line is valid JSON, and no object. */
export const NOT_AN_OBJECT: u32 = 10;
/** Valid JSON that does not fit the schema: a required member is missing; a value is of another type, … */
export const MISSING: u32 = 11;
export const TYPE_MISMATCH: u32 = 12;
/** … a number is out of range or no integer where one is asked for … */
export const RANGE: u32 = 13;
export const NOT_WHOLE: u32 = 14;
/** … a text, or a key of a dictionary, is too short or too long or has other characters than it may have … */
export const TEXT_SIZE: u32 = 15;
export const TEXT_CHARACTERS: u32 = 16;
/** … a text is no RFC 3339 date-time with a zone … */
export const TIME_FORMAT: u32 = 17;
/** … a dictionary has too few or too many entries. */
export const ENTRY_COUNT: u32 = 18;

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
