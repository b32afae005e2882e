import { take } from './heap';

/** The block that the host writes lines into. Spans are offsets in it. */
export let inputStart: usize = 0;

export function createInput(bytes: u32): usize {
  inputStart = take(bytes);
  return inputStart;
}
