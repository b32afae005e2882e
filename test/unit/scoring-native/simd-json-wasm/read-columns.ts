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
      const [start, end] = [batch.starts[row]!, batch.ends[row]!];
      const inInput = this.#input.subarray(batch.offset + start, batch.offset + end);
      if (Buffer.compare(batch.bytes.subarray(start, end), inInput) !== 0) throw new Error('a span is not the line');
      this.#kept.push({ line: batch.lines[row]!, cells: this.#cells(batch, row) });
    }
    for (let i = 0; i < batch.refused.count; i++) this.#refused.push(this.reader.refusal(batch, i));
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
