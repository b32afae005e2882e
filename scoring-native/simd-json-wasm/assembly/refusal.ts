import { firstColumn, INDEX, MEMBER, NODE, AFTER } from './columns';
import { MISSING } from './fault';
import { take } from './heap';
import { NODE_AT, NODE_LINE, PARENT, REQUIRED, SEEN } from './schema';

/** Lines that are refused, and why: one block with room for a batch. */

/** For what concerns the whole line. */
export const NO_COLUMN: u32 = 0xffffffff;

/**
 * What does not fit the schema in the line being read: of several columns at fault the first of the schema counts, there its first fault.
 */
export let misfitColumn: u32 = NO_COLUMN;
export let misfitCode: u32 = 0;
export let misfitAt: usize = 0;

export let refusalLimit: u32 = 0;
export let refusals: u32 = 0;
/** The line's number, the offset of the fault in the line, the code, the column, and the line's bytes. */
export let refusalLines: usize = 0;
export let refusalOffsets: usize = 0;
export let refusalCodes: usize = 0;
export let refusalColumns: usize = 0;
export let refusalStarts: usize = 0;
export let refusalEnds: usize = 0;

export function createRefusals(limit: u32): bool {
  refusalLimit = limit;
  refusalLines = take(<usize>limit << 3);
  refusalOffsets = take(<usize>limit << 2);
  refusalCodes = take(limit);
  refusalColumns = take(<usize>limit << 2);
  refusalStarts = take(<usize>limit << 2);
  refusalEnds = take(<usize>limit << 2);
  return (
    refusalLines != 0 &&
    refusalOffsets != 0 &&
    refusalCodes != 0 &&
    refusalColumns != 0 &&
    refusalStarts != 0 &&
    refusalEnds != 0
  );
}

export function clearRefusals(): void {
  refusals = 0;
}

export function clearMisfit(): void {
  misfitColumn = NO_COLUMN;
}

/** Notes that the value at `at` does not fit the column of that number. */
export function misfit(column: u32, code: u32, at: usize): void {
  if (misfitColumn <= column) return;
  misfitColumn = column;
  misfitCode = code;
  misfitAt = at;
}

/** Notes the required columns that the line `stamp` lacks, each at the innermost object that should hold it. */
export function noteMissing(stamp: u64): void {
  for (let column = firstColumn; column != 0; column = load<usize>(column, AFTER)) {
    const member = load<usize>(column, MEMBER);
    if (load<u32>(member, REQUIRED) != 0 && load<u64>(member, SEEN) != stamp) {
      let node = load<usize>(column, NODE);
      while (load<u64>(node, NODE_LINE) != stamp) node = load<usize>(node, PARENT);
      misfit(load<u32>(column, INDEX), MISSING, load<usize>(node, NODE_AT));
    }
  }
}

export function refuse(line: f64, code: u32, column: u32, offset: u32, start: u32, end: u32): void {
  store<f64>(refusalLines + (<usize>refusals << 3), line);
  store<u32>(refusalOffsets + (<usize>refusals << 2), offset);
  store<u8>(refusalCodes + refusals, <u8>code);
  store<u32>(refusalColumns + (<usize>refusals << 2), column);
  store<u32>(refusalStarts + (<usize>refusals << 2), start);
  store<u32>(refusalEnds + (<usize>refusals << 2), end);
  refusals++;
}
