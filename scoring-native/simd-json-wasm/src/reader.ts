import { type Batch, batchOf } from './batch.ts';
import { type CompiledColumn, compileSchema } from './compile-schema.ts';
import { Ids } from './ids.ts';
import { createInstance, type Instance, needed, wordAt } from './instance.ts';
import { REASONS, type Refusal } from './reason.ts';
import { type Schema, wholeWithin } from './schema.ts';

export interface ReaderOptions {
  /** A line longer than this, its line feed not counted, is refused unread. Default 1 MiB. */
  readonly maxLineBytes?: number;
  /** Objects and arrays inside each other. Default 32. */
  readonly maxDepth?: number;
  /** What the reader's memory never grows beyond. Default 64 MiB. */
  readonly maxMemoryBytes?: number;
  /** Rows, and refused lines, of a batch. Default 4096. */
  readonly maxBatchRows?: number;
  /** RFC 8259 allows NUL in strings (as an escape); most of what reads them later does not. Default false. */
  readonly allowNul?: boolean;
  /** Are `__proto__`, and `prototype` below `constructor`, ordinary keys? Default false: they are refused. */
  readonly allowPrototypeKeys?: boolean;
}

const MIB = 1024 * 1024;
/** What is copied in at once: it stays in the cache while it is read. */
const BLOCK_BYTES = 256 * 1024;
const SCRATCH_BYTES = 8192;
const LINE_FEED = 0x0a;

/**
 * Reads lines of JSON into columns. Bytes go in by push() in any pieces; batches come out by `onBatch`, each before the push() or
 * finish() that completed its lines returns.
 */
export class ColumnReader<Of extends Schema> {
  /** The texts of columns with ids, and of the keys of dictionaries, by name of the column. */
  readonly ids: { readonly [Name in keyof Of as Of[Name]['type'] extends 'id' | 'numbers' ? Name : never]: Ids };

  readonly #onBatch: (batch: Batch<Of>) => void;
  readonly #instance: Instance;
  readonly #columns: readonly CompiledColumn[];
  readonly #maxLineBytes: number;
  /** Where the input block begins in memory. */
  readonly #input: number;
  #memory: Uint8Array;
  /** Bytes at the start of the block that belong to a line that is not complete. */
  #pending = 0;
  /** A line passed the limit; what comes of it is dropped. */
  #dropping = false;
  /** The place in the input of the first byte of the block. */
  #offset = 0;
  #state: 'idle' | 'in onBatch' = 'idle';

  constructor(schema: Of, onBatch: (batch: Batch<Of>) => void, options: ReaderOptions = {}) {
    const { allowNul = false, allowPrototypeKeys = false } = options;
    const maxMemoryBytes = wholeWithin('options.maxMemoryBytes', options.maxMemoryBytes ?? 64 * MIB, MIB, 4096 * MIB);
    const maxLineBytes = wholeWithin('options.maxLineBytes', options.maxLineBytes ?? MIB, 1, 1024 * MIB);
    const maxDepth = wholeWithin('options.maxDepth', options.maxDepth ?? 32, 1, 512);
    const rows = wholeWithin('options.maxBatchRows', options.maxBatchRows ?? 4096, 1, MIB);
    const instance = createInstance(maxMemoryBytes);
    const { wasm } = instance;
    wasm.setLimits(maxDepth, maxLineBytes, allowNul ? 0 : 1, allowPrototypeKeys ? 0 : 1);
    needed(wasm.createRows(rows));
    needed(wasm.createRefusals(rows));
    this.#input = needed(wasm.createInput(Math.max(maxLineBytes + 1 + BLOCK_BYTES, SCRATCH_BYTES)));
    this.#onBatch = onBatch;
    this.#instance = instance;
    this.#maxLineBytes = maxLineBytes;
    this.#columns = compileSchema(schema, { instance, rows, allowPrototypeKeys, scratch: this.#input });
    this.#memory = new Uint8Array(instance.memory.buffer);
    this.ids = this.#idsByName();
  }

  /** Reads what `chunk` completes. The chunk is copied: it may be used again at once. */
  push(chunk: Uint8Array): void {
    this.#checkState();
    let from = 0;
    while (from < chunk.length) {
      if (this.#dropping) {
        const feed = chunk.indexOf(LINE_FEED, from);
        const end = feed === -1 ? chunk.length : feed + 1;
        this.#offset += end - from;
        from = end;
        if (feed !== -1) this.#endLongLine();
      } else {
        const end = Math.min(chunk.length, from + BLOCK_BYTES);
        this.#fill(chunk.subarray(from, end));
        from = end;
      }
    }
  }

  /** Ends the input, whose last line may lack its line feed. What is pushed then starts at line 1 again; ids stay. */
  finish(): void {
    this.#checkState();
    if (this.#dropping) this.#endLongLine();
    else if (this.#pending > 0) this.#fill(Uint8Array.of(LINE_FEED));
    this.#offset = 0;
    this.#instance.wasm.restartLines();
  }

  /** What was wrong with refused line `i` of a batch. */
  refusal(batch: Batch<Of>, i: number): Refusal {
    const { refused } = batch;
    if (!(i >= 0 && i < refused.count)) throw new RangeError(`the batch has no refused line ${i}`);
    return {
      line: refused.lines[i]!,
      offset: refused.offsets[i]!,
      reason: REASONS[refused.reasons[i]!]!,
      column: this.#columns[refused.columns[i]!]?.name,
    };
  }

  /** Adds at most a block to what is pending, and reads the lines that are complete. */
  #fill(part: Uint8Array): void {
    const filled = this.#pending + part.length;
    this.#memory.set(part, this.#input + this.#pending);
    const feed = part.lastIndexOf(LINE_FEED);
    if (feed === -1) {
      this.#pending = filled;
    } else {
      const end = this.#pending + feed + 1;
      this.#readLines(end);
      this.#memory.copyWithin(this.#input, this.#input + end, this.#input + filled);
      this.#pending = filled - end;
      this.#offset += end;
    }
    if (this.#pending > this.#maxLineBytes) {
      this.#dropping = true;
      this.#offset += this.#pending;
      this.#pending = 0;
    }
  }

  /** Reads the first `end` bytes of the block, which are whole lines. */
  #readLines(end: number): void {
    const { wasm, memory } = this.#instance;
    let at = this.#input;
    while (at < this.#input + end) {
      at = wasm.readLines(at, this.#input + end);
      if (this.#memory.length === 0) this.#memory = new Uint8Array(memory.buffer);
      this.#emit(end);
    }
  }

  #endLongLine(): void {
    this.#dropping = false;
    this.#instance.wasm.refuseLongLine();
    this.#emit(0);
  }

  /** Hands out what the module has read from the first `end` bytes of the block, if it is anything. */
  #emit(end: number): void {
    const { wasm } = this.#instance;
    if (wasm.row.value === 0 && wasm.refusals.value === 0) return;
    const bytes = this.#memory.subarray(this.#input, this.#input + end);
    const batch = batchOf<Of>(this.#instance, this.#columns, bytes, this.#offset);
    // The counts only: what the batch views stays until the next line is read.
    wasm.clearRows();
    wasm.clearRefusals();
    this.#state = 'in onBatch';
    this.#onBatch(batch);
    this.#state = 'idle';
  }

  /** A batch is lost to an onBatch that throws, so nothing after it would be what the caller takes it for. */
  #checkState(): void {
    if (this.#state === 'in onBatch') throw new Error('the reader is in its onBatch, or onBatch has thrown');
  }

  #idsByName(): ColumnReader<Of>['ids'] {
    const { wasm } = this.#instance;
    const ids = this.#columns
      .filter(({ type }) => type === 'id' || type === 'numbers')
      .map(({ name, pointer }) => {
        const table = wordAt(this.#instance, pointer + wasm.IDS_TABLE.value);
        return [name, new Ids(this.#instance, table)];
      });
    return Object.fromEntries(ids) as ColumnReader<Of>['ids'];
  }
}
