import type { KernelSuite } from './kernel.ts';
import type { KernelExports } from './kernel-module.ts';
import type { LineFault } from './reference.ts';

/** What became of a row. A caller may write another status, so that a checked row is not offered, or an accepted one not aggregated. */
export const ROW_STATUS = {
  checked: 0,
  /** Refused; faultOf says why. */
  quarantined: 1,
  tooLong: 2,
  accepted: 3,
  duplicate: 4,
  conflict: 5,
  /** For callers: set aside by a rule of their own. */
  held: 6,
} as const;

/** No suite of the tenant has the report's suite name, or the line was not read. */
export const UNKNOWN_SUITE = -1;
export const ROW_KEY_BYTES = 16;
export const ROW_DIGEST_BYTES = 32;

/** Views into the kernel's memory, an entry a row; `rows` of the block says how many count. */
export interface RowColumns {
  /** The bytes that offset and length point into. */
  readonly input: Uint8Array;
  readonly status: Uint8Array;
  /** 1-based, in the file, blank lines counted. */
  readonly line: Uint32Array;
  readonly offset: Uint32Array;
  /** Without the line feed; 0 where the line was too long. */
  readonly length: Uint32Array;
  readonly suite: Int32Array;
  readonly model: Uint32Array;
  readonly weight: Uint32Array;
  readonly observedAtMs: Float64Array;
  /** 16 bytes a row. */
  readonly key: Uint8Array;
  /** 32 bytes a row; without digests only the first 16 mean something. */
  readonly digest: Uint8Array;
  /** `presentWords` words a row, a bit a metric of the row's suite. */
  readonly present: Uint32Array;
  readonly presentWords: number;
  /** `metricStride` values a row; only those whose bit is set count. */
  readonly x: Float64Array;
  readonly q: Float64Array;
  readonly metricStride: number;
  /** Where the producer's name lies in the input; its length is 0 where the reference read the row. */
  readonly producer: Uint32Array;
  readonly producerLength: Uint8Array;
}

export function rowColumns(wasm: KernelExports, buffer: ArrayBuffer, rows: number, inputBytes: number): RowColumns {
  const presentWords = wasm.wordsARow();
  const metricStride = wasm.metricsARow();
  const at = (column: number) => wasm.rowColumn(column);
  return {
    input: new Uint8Array(buffer, wasm.inputAt(), inputBytes),
    status: new Uint8Array(buffer, at(0), rows),
    line: new Uint32Array(buffer, at(1), rows),
    offset: new Uint32Array(buffer, at(2), rows),
    length: new Uint32Array(buffer, at(3), rows),
    suite: new Int32Array(buffer, at(4), rows),
    model: new Uint32Array(buffer, at(5), rows),
    weight: new Uint32Array(buffer, at(6), rows),
    observedAtMs: new Float64Array(buffer, at(7), rows),
    key: new Uint8Array(buffer, at(8), rows * ROW_KEY_BYTES),
    digest: new Uint8Array(buffer, at(9), rows * ROW_DIGEST_BYTES),
    present: new Uint32Array(buffer, at(10), rows * presentWords),
    presentWords,
    x: new Float64Array(buffer, at(11), rows * metricStride),
    q: new Float64Array(buffer, at(12), rows * metricStride),
    metricStride,
    producer: new Uint32Array(buffer, at(13), rows),
    producerLength: new Uint8Array(buffer, at(14), rows),
  };
}

/** What a block asks of its kernel. */
export interface BlockSource {
  columns(): RowColumns;
  faultOf(line: Uint8Array, row: number): LineFault;
  suiteAt(suite: number): KernelSuite;
  producerRead(row: number): string | undefined;
  modelName(model: number): string;
}

/** Non-blank lines in order. Valid until the kernel reads on. */
export class RowBlock {
  rows = 0;
  readonly #source: BlockSource;

  constructor(source: BlockSource) {
    this.#source = source;
  }

  /** Ask again after whatever may grow the memory: reading, offering, aggregating. */
  get columns(): RowColumns {
    return this.#source.columns();
  }

  /** The line's bytes, not copied. */
  bytesOf(row: number): Uint8Array {
    const { input, length, offset } = this.#source.columns();
    return input.subarray(offset[row]!, offset[row]! + length[row]!);
  }

  /** Why a quarantined row was refused, in the reference's words; undefined for others. */
  faultOf(row: number): LineFault | undefined {
    const { status } = this.#source.columns();
    return status[row] === ROW_STATUS.quarantined ? this.#source.faultOf(this.bytesOf(row), row) : undefined;
  }

  /** The model of a row that was read. */
  modelOf(row: number): string {
    return this.#source.modelName(this.#source.columns().model[row]!);
  }

  /** Does the row, which was read, name that producer? `name` in ASCII. */
  isOf(row: number, name: Uint8Array): boolean {
    const { input, producer, producerLength } = this.#source.columns();
    const length = producerLength[row]!;
    if (length === 0) return this.#source.producerRead(row) === Buffer.from(name).toString('latin1');
    if (length !== name.length) return false;
    const at = producer[row]!;
    for (let i = 0; i < length; i++) if (input[at + i] !== name[i]) return false;
    return true;
  }

  /** The suite of a row that was read, undefined where it is unknown. */
  suiteOf(row: number): KernelSuite | undefined {
    const suite = this.#source.columns().suite[row]!;
    return suite === UNKNOWN_SUITE ? undefined : this.#source.suiteAt(suite);
  }

  /** Does the row hold that metric of its suite? */
  has(row: number, metric: number): boolean {
    const { present, presentWords } = this.#source.columns();
    return (present[row * presentWords + (metric >> 5)]! & (1 << (metric & 31))) !== 0;
  }
}
