import { type Batch, ColumnReader, type ReaderOptions, type Refusal, type Schema } from 'simd-json-wasm';

/** A row as a person would write it: ids as their texts, texts decoded, dictionaries as lists of entries, what is absent left out. */
export type Cell = number | boolean | string | readonly (readonly [string, number])[];
export type Cells = Readonly<Record<string, Cell>>;

export interface KeptLine {
  readonly line: number;
  readonly cells: Cells;
}

export interface Reading {
  readonly kept: readonly KeptLine[];
  readonly refused: readonly Refusal[];
}

export function bytesOf(text: string | Uint8Array): Uint8Array {
  return typeof text === 'string' ? Buffer.from(text, 'utf8') : text;
}

/** A reader that can be used again: its batches are read out and gathered. */
export class Gatherer<Of extends Schema> {
  readonly reader: ColumnReader<Of>;
  readonly #schema: Of;
  #kept: KeptLine[] = [];
  #refused: Refusal[] = [];
  /** The input as it was given, to hold the spans of batches against. */
  #input: Uint8Array = new Uint8Array(0);
  #lineStarts: number[] = [];

  constructor(schema: Of, options: ReaderOptions = {}) {
    this.#schema = schema;
    this.reader = new ColumnReader(schema, (batch) => this.#gather(batch), options);
  }

  /** Reads one input cut at `cuts`. */
  read(input: string | Uint8Array, cuts: readonly number[] = []): Reading {
    this.#kept = [];
    this.#refused = [];
    const bytes = bytesOf(input);
    this.#input = bytes;
    this.#lineStarts = [0];
    for (const [i, byte] of bytes.entries()) if (byte === 0x0a) this.#lineStarts.push(i + 1);
    const places = cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b);
    let from = 0;
    for (const cut of [...places, bytes.length]) {
      // A chunk that is overwritten after the call, as one who reads into one buffer would do.
      const chunk = Uint8Array.from(bytes.subarray(from, cut));
      this.reader.push(chunk);
      chunk.fill(0x21);
      from = cut;
    }
    this.reader.finish();
    return { kept: this.#kept, refused: this.#refused };
  }

  #gather(batch: Batch<Of>): void {
    for (let row = 0; row < batch.rows; row++) {
      this.#checkSpan(batch, batch.lines[row]!, batch.starts[row]!, batch.ends[row]!);
      this.#kept.push({ line: batch.lines[row]!, cells: this.#cells(batch, row) });
    }
    for (let i = 0; i < batch.refused.count; i++) {
      const refusal = this.reader.refusal(batch, i);
      this.#refused.push(refusal);
      const tooLarge = refusal.reason === 'too_large';
      this.#checkSpan(batch, tooLarge ? undefined : refusal.line, batch.refused.starts[i]!, batch.refused.ends[i]!);
    }
  }

  /** The span must be that line of the input; an empty one where there is none. */
  #checkSpan(batch: Batch<Of>, line: number | undefined, start: number, end: number): void {
    if (line === undefined) {
      if (start !== end) throw new Error('a line that is not kept has a span');
      return;
    }
    const from = batch.offset + start;
    const isLine =
      (this.#lineStarts[line - 1] ?? -1) === from && [undefined, 0x0a].includes(this.#input[from + end - start]);
    const isInput =
      Buffer.compare(batch.bytes.subarray(start, end), this.#input.subarray(from, from + end - start)) === 0;
    if (!isLine || !isInput) throw new Error(`the span of line ${line} is not the line`);
  }

  #cells(batch: Batch<Of>, row: number): Cells {
    const cells: Record<string, Cell> = {};
    for (const name of Object.keys(this.#schema)) {
      const cell = this.#cell(batch, name, row);
      if (cell !== undefined) cells[name] = cell;
    }
    return cells;
  }

  #cell(batch: Batch<Of>, name: string, row: number): Cell | undefined {
    const columns = batch.columns as Batch['columns'];
    const ids = this.reader.ids as Readonly<Record<string, { text(id: number): string }>>;
    const column = columns[name]!;
    if (column.present[row] === 0) return undefined;
    if ('offsets' in column) {
      const at = Array.from(
        { length: column.offsets[row + 1]! - column.offsets[row]! },
        (_, i) => column.offsets[row]! + i,
      );
      return at.map((i) => [ids[name]!.text(column.keys[i]!), column.values[i]!] as const);
    }
    if ('starts' in column) {
      const raw = Buffer.from(batch.bytes.subarray(column.starts[row], column.ends[row])).toString('utf8');
      if ((column.escaped[row] === 1) !== raw.includes('\\')) throw new Error('escaped is wrong');
      return JSON.parse(`"${raw}"`) as string;
    }
    const value = column.values[row]!;
    const { type } = this.#schema[name]!;
    return type === 'id' ? ids[name]!.text(value) : type === 'boolean' ? value === 1 : value;
  }
}

export function readColumns<Of extends Schema>(
  schema: Of,
  input: string | Uint8Array,
  options: ReaderOptions & { readonly cuts?: readonly number[] } = {},
): Reading {
  return new Gatherer(schema, options).read(input, options.cuts);
}
