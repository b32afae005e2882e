import type { CompiledColumn } from './compile-schema.ts';
import { type Instance, type WasmGlobal, wordAt } from './instance.ts';
import type { ColumnType, Schema } from './schema.ts';

/**
 * Rows and refused lines of one stretch of the input. All arrays are views of the reader's memory: they hold until the function that got
 * the batch returns. `slice()` what is to outlive it.
 */
export interface Batch<Of extends Schema = Schema> {
  /** Lines that fit. */
  readonly rows: number;
  /** The number of each row's line, 1-based, blank lines counted. */
  readonly lines: Float64Array;
  /** Each row's line in `bytes`, without its line feed. */
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
  readonly columns: { readonly [Name in keyof Of]: ColumnValues[Of[Name]['type']] };
  readonly refused: RefusedLines;
  /** The input that the batch was read from. */
  readonly bytes: Uint8Array;
  /** The place of bytes[0] in the input since the start or the last finish(). */
  readonly offset: number;
}

/** One entry a row. What is absent has `present` 0 and the value 0. */
export interface ColumnValues {
  readonly number: { readonly values: Float64Array; readonly present: Uint8Array };
  readonly integer: { readonly values: Float64Array; readonly present: Uint8Array };
  readonly boolean: { readonly values: Uint8Array; readonly present: Uint8Array };
  /** Milliseconds since the epoch. */
  readonly time: { readonly values: Float64Array; readonly present: Uint8Array };
  /** Ids; `reader.ids` has their texts. */
  readonly id: { readonly values: Uint32Array; readonly present: Uint8Array };
  /** The string's content is bytes[starts] … bytes[ends], as it was written: where `escaped` is 1, with escapes. */
  readonly text: {
    readonly starts: Uint32Array;
    readonly ends: Uint32Array;
    readonly escaped: Uint8Array;
    readonly present: Uint8Array;
  };
  /** Row i has the entries from offsets[i] to offsets[i + 1], in the order of the line. */
  readonly numbers: {
    readonly offsets: Uint32Array;
    readonly keys: Uint32Array;
    readonly values: Float64Array;
    readonly present: Uint8Array;
  };
}

/** One entry a refused line, in the order of lines. */
export interface RefusedLines {
  readonly count: number;
  readonly lines: Float64Array;
  /** Byte offset of the fault in its line. */
  readonly offsets: Uint32Array;
  /** Places in REASONS. */
  readonly reasons: Uint8Array;
  /** The place of the column in the schema whose value does not fit; −1 where the line itself is at fault. */
  readonly columns: Int32Array;
  /** The line in `bytes`; empty for one that is too large, which is not kept. */
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
}

/** Views of what the module has read so far. */
export function batchOf<Of extends Schema>(
  instance: Instance,
  columns: readonly CompiledColumn[],
  bytes: Uint8Array,
  offset: number,
): Batch<Of> {
  const { wasm, memory } = instance;
  const rows = wasm.row.value;
  const values = columns.map((column) => [column.name, valuesOf(instance, column, rows)]);
  return {
    rows,
    lines: new Float64Array(memory.buffer, wasm.rowLines.value, rows),
    starts: new Uint32Array(memory.buffer, wasm.rowStarts.value, rows),
    ends: new Uint32Array(memory.buffer, wasm.rowEnds.value, rows),
    columns: Object.fromEntries(values) as Batch<Of>['columns'],
    refused: refusedOf(instance),
    bytes,
    offset,
  };
}

function refusedOf({ wasm, memory }: Instance): RefusedLines {
  const count = wasm.refusals.value;
  return {
    count,
    lines: new Float64Array(memory.buffer, wasm.refusalLines.value, count),
    offsets: new Uint32Array(memory.buffer, wasm.refusalOffsets.value, count),
    reasons: new Uint8Array(memory.buffer, wasm.refusalCodes.value, count),
    columns: new Int32Array(memory.buffer, wasm.refusalColumns.value, count),
    starts: new Uint32Array(memory.buffer, wasm.refusalStarts.value, count),
    ends: new Uint32Array(memory.buffer, wasm.refusalEnds.value, count),
  };
}

function valuesOf(instance: Instance, { pointer, type }: CompiledColumn, rows: number): ColumnValues[ColumnType] {
  const { wasm, memory } = instance;
  const block = (field: WasmGlobal) => wordAt(instance, pointer + field.value);
  const present = new Uint8Array(memory.buffer, block(wasm.PRESENT), rows);
  const at = block(wasm.VALUES);
  switch (type) {
    case 'number':
    case 'integer':
    case 'time':
      return { values: new Float64Array(memory.buffer, at, rows), present };
    case 'boolean':
      return { values: new Uint8Array(memory.buffer, at, rows), present };
    case 'id':
      return { values: new Uint32Array(memory.buffer, at, rows), present };
    case 'text':
      return {
        starts: new Uint32Array(memory.buffer, at, rows),
        ends: new Uint32Array(memory.buffer, block(wasm.ENDS), rows),
        escaped: new Uint8Array(memory.buffer, block(wasm.ESCAPED), rows),
        present,
      };
    case 'numbers': {
      const entries = block(wasm.ENTRIES);
      return {
        offsets: new Uint32Array(memory.buffer, block(wasm.OFFSETS), rows + 1),
        keys: new Uint32Array(memory.buffer, block(wasm.ENTRY_KEYS), entries),
        values: new Float64Array(memory.buffer, at, entries),
        present,
      };
    }
  }
}
