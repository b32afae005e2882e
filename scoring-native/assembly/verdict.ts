/**
 * What a reader of the fast path means by 0. Sure: the reference refuses the line, whatever else it holds; its words are asked for only
 * where somebody reads them. Not sure: the reference decides.
 */
export let refused: bool = false;

/** To be called before each line. */
// @ts-ignore: decorator
@inline
export function beginVerdict(): void {
  refused = false;
}

export function refuse(): usize {
  refused = true;
  return 0;
}
