import { randomFillSync } from 'node:crypto';
import {
  type KernelExports,
  type KernelLimit,
  KernelLimitReached,
  type KernelMemory,
  kernelInstance,
} from './kernel-module.ts';
import { PaneColumns } from './pane-columns.ts';
import type { LineFault, LineReading } from './reference.ts';
import { RowBlock, type RowColumns, rowColumns } from './row-block.ts';

/**
 * The native kernel: NDJSON bytes in any chunking → checked rows → first of each id → exact pane or window sums, all inside one WebAssembly
 * memory. It is sure of a line or hands it to the reference reader, so that what it accepts, what it refuses and in which words are the
 * reference's; only the speed is its own.
 */

export interface KernelMetric {
  readonly name: string;
  /** 10^scale. */
  readonly factor: number;
  /** Inclusive, tested on x before rounding; null: any finite x. */
  readonly valid: readonly [number, number] | null;
}

export interface KernelSuite {
  readonly name: string;
  /** In code-point order of names. */
  readonly metrics: readonly KernelMetric[];
}

/** A line that the reference reader accepted. */
export interface ReadReport {
  readonly reportId: string;
  readonly producer: string;
  readonly model: string;
  readonly suite: string;
  readonly observedAtMs: number;
  /** The report's sampleSize. */
  readonly weight: number;
  /** By the metrics of its suite, undefined where it has none; empty where the suite is unknown. */
  readonly values: readonly (number | undefined)[];
  /** RFC 8785. */
  readonly canonical: string;
}

export interface KernelWindow {
  /** [startMs, endMs) of event time. */
  readonly startMs: number;
  readonly endMs: number;
}

export interface KernelOptions {
  /** Suites of the tenant ''; others come by addSuite. */
  readonly suites?: readonly KernelSuite[];
  /** The reference: reads a line on which the kernel is not sure. */
  readonly readLine: (line: Uint8Array, tenant: string) => LineReading<ReadReport>;
  readonly tooLong: LineFault;
  /** ⌊γ^i⌋ of the sketch, as scoring/rules/sketch.ts has them. */
  readonly bucketBounds: Float64Array;
  /**
   * True: key and digest of each row are SHA-256, as they are published. False: fingerprints of 128 bits under secret numbers, for
   * work that only has to tell equal from other; they mean nothing outside this kernel.
   */
  readonly digests: boolean;
  /** Sums of these windows instead of panes, at most 8. */
  readonly windows?: readonly KernelWindow[];
  readonly maxLineBytes: number;
  readonly maxDepth: number;
  /** Reports remembered; each takes about 45 bytes. */
  readonly maxReports?: number;
  readonly maxModels?: number;
  /** Memory of sums between two takePanes. */
  readonly maxPaneBytes?: number;
  /** Rows of a block. Few keep the work in the processor's caches. */
  readonly blockRows?: number;
  /** What is handed over at once; a longer chunk in pieces. Rows' places are places in it. */
  readonly chunkBytes?: number;
  readonly maxMemoryBytes?: number;
}

/** What 26 bits of a record's number allow. */
export const MAX_KERNEL_REPORTS = 2 ** 26 - 2;
export const MAX_KERNEL_MODELS = 2 ** 20;
export const MAX_KERNEL_WINDOWS = 8;
const DEFAULT_PANE_BYTES = 256 * 2 ** 20;
const DEFAULT_BLOCK_ROWS = 256;
export const MAX_BLOCK_ROWS = 2 ** 16;
const PAGE_BYTES = 65_536;
const MAX_MEMORY_BYTES = 2 ** 32;
const DEFAULT_CHUNK_BYTES = 2 ** 20;
/** Names of the scratch lie that far apart. */
const SCRATCH_SLOT = 512;
const MAX_TENANT_BYTES = 255;

const KEY_BYTES = 16;
const encoder = new TextEncoder();

/** A place in the memory of reports, for rollback. */
export type ReportMark = number & { readonly mark: unique symbol };

export class ReportKernel {
  readonly #options: KernelOptions;
  readonly #memory: KernelMemory;
  readonly #wasm: KernelExports;
  readonly #block: RowBlock;
  readonly #faults = new Map<number, LineFault>();
  /** Of rows that the reference read. */
  readonly #producers = new Map<number, string>();
  readonly #chunkBytes: number;
  readonly #models: string[] = [];
  /** Suites by number. */
  readonly #suites: { readonly tenant: string; readonly suite: KernelSuite }[] = [];
  #tenant = '';
  #bytes: Uint8Array;
  #columns: RowColumns | undefined;

  private constructor(options: KernelOptions) {
    const { maxMemoryBytes = MAX_MEMORY_BYTES, blockRows = DEFAULT_BLOCK_ROWS } = options;
    if (blockRows < 1 || blockRows > MAX_BLOCK_ROWS)
      throw new RangeError(`blockRows must be in 1 to ${MAX_BLOCK_ROWS}`);
    this.#options = options;
    this.#chunkBytes = options.chunkBytes ?? DEFAULT_CHUNK_BYTES;
    const { exports, memory } = kernelInstance(Math.floor(maxMemoryBytes / PAGE_BYTES), {
      readLine: (row, at, length) => this.#readLine(row, at, length),
    });
    this.#memory = memory;
    this.#wasm = exports;
    this.#bytes = new Uint8Array(memory.buffer);
    this.#start(blockRows);
    this.#block = new RowBlock({
      columns: () => this.#rowColumns(),
      faultOf: (line, row) => this.#faultOf(line, row),
      suiteAt: (suite) => this.suiteAt(suite),
      modelName: (model) => this.modelName(model),
      producerRead: (row) => this.#producers.get(row),
    });
  }

  static create(options: KernelOptions): ReportKernel {
    const kernel = new ReportKernel(options);
    for (const suite of options.suites ?? []) kernel.addSuite(suite);
    return kernel;
  }

  #start(blockRows: number): void {
    const wasm = this.#wasm;
    const { bucketBounds, digests, maxDepth, maxLineBytes, windows = [] } = this.#options;
    const { maxModels = MAX_KERNEL_MODELS, maxReports = MAX_KERNEL_REPORTS } = this.#options;
    const { maxPaneBytes = DEFAULT_PANE_BYTES } = this.#options;
    if (windows.length > MAX_KERNEL_WINDOWS) throw new RangeError(`more than ${MAX_KERNEL_WINDOWS} windows`);
    const at = wasm.boundsAt(bucketBounds.length);
    new Float64Array(this.#memory.buffer, at, bucketBounds.length).set(bucketBounds);
    const secret = new Uint8Array(this.#memory.buffer, wasm.secretAt(), wasm.secretBytes());
    randomFillSync(secret);
    const seeds = new BigUint64Array(2);
    randomFillSync(seeds);
    wasm.setSeed(seeds[0]!, seeds[1]!);
    const chunk = this.#chunkBytes;
    wasm.start(blockRows, maxLineBytes, chunk, maxReports, maxModels, maxPaneBytes, maxDepth, digests ? 1 : 0);
    for (const { startMs, endMs } of windows) wasm.addWindow(BigInt(startMs), BigInt(endMs));
  }

  /** The bytes of the memory, which move when it grows. */
  #view(): Uint8Array {
    if (this.#bytes.buffer !== this.#memory.buffer) this.#bytes = new Uint8Array(this.#memory.buffer);
    return this.#bytes;
  }

  #rowColumns(): RowColumns {
    const { buffer } = this.#memory;
    if (this.#columns?.input.buffer !== buffer) {
      const { blockRows = DEFAULT_BLOCK_ROWS, maxLineBytes } = this.#options;
      this.#columns = rowColumns(this.#wasm, buffer, blockRows, maxLineBytes + this.#chunkBytes);
    }
    return this.#columns!;
  }

  /** Writes a text into a slot of the scratch; its bytes. */
  #scratch(slot: number, text: string): number {
    const at = this.#wasm.scratchAt() + slot * SCRATCH_SLOT;
    return encoder.encodeInto(text, this.#view().subarray(at, at + SCRATCH_SLOT - 16)).written;
  }

  /** Whose lines follow; the suites of others are unknown to them, and their ids are others. At most 255 bytes. */
  setTenant(tenant: string): void {
    if (tenant === this.#tenant) return;
    const bytes = this.#scratch(0, tenant);
    if (bytes > MAX_TENANT_BYTES) throw new RangeError(`a tenant has more than ${MAX_TENANT_BYTES} bytes`);
    this.#wasm.tenantIs(bytes);
    this.#tenant = tenant;
  }

  /** A suite of the tenant that is set; it takes the place of an earlier one of that name. Its number. Not while a block is in use. */
  addSuite(suite: KernelSuite): number {
    const id = this.#wasm.suite(this.#scratch(0, suite.name));
    for (const { name, factor, valid } of suite.metrics) {
      const [least, greatest] = valid ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
      this.#wasm.metric(this.#scratch(0, name), factor, least, greatest);
    }
    this.#suites.push({ tenant: this.#tenant, suite });
    this.#columns = undefined;
    return id;
  }

  suiteAt(suite: number): KernelSuite {
    return this.#suites[suite]!.suite;
  }

  /** The non-blank lines that the chunk completes, in blocks; each is valid until the next is asked for. */
  *read(chunk: Uint8Array): Generator<RowBlock, void, void> {
    for (let from = 0; from < chunk.length; from += this.#chunkBytes) {
      const piece = chunk.subarray(from, from + this.#chunkBytes);
      const at = this.#wasm.room();
      this.#view().set(piece, at);
      this.#wasm.arrived(piece.length);
      yield* this.#blocks();
    }
  }

  /** Ends one file, whose last line may lack its line feed: what follows starts at line 1 again. Reports are remembered across files. */
  *endFile(): Generator<RowBlock, void, void> {
    this.#wasm.fileEnds();
    yield* this.#blocks();
    this.#wasm.fileBegins();
  }

  /** One file that is there whole. */
  *readFile(bytes: Uint8Array): Generator<RowBlock, void, void> {
    yield* this.read(bytes);
    yield* this.endFile();
  }

  *#blocks(): Generator<RowBlock, void, void> {
    let rows = this.#readBlock();
    while (rows > 0) {
      this.#block.rows = rows;
      yield this.#block;
      rows = this.#readBlock();
    }
  }

  #readBlock(): number {
    this.#faults.clear();
    this.#producers.clear();
    return this.#wasm.readBlock();
  }

  /** Offers the checked rows [from, to) to the memory of reports: each is then accepted, a duplicate or a conflict. */
  offer(from: number, to: number): void {
    this.#wasm.offers(from, to);
  }

  /**
   * Adds the accepted rows [from, to) of known suites to the sums. The first row that found no room below maxPaneBytes, or `to`: take the panes
   * and go on from there.
   */
  aggregate(from: number, to: number): number {
    return this.#wasm.aggregates(from, to);
  }

  /** Everything at once: the lines that the chunk completes are read, offered and added. Throws KernelLimitReached where sums have no room. */
  *run(chunk: Uint8Array): Generator<RowBlock, void, void> {
    for (const block of this.read(chunk)) yield this.#settled(block);
  }

  /** As endFile, for run. */
  *runEnd(): Generator<RowBlock, void, void> {
    for (const block of this.endFile()) yield this.#settled(block);
  }

  #settled(block: RowBlock): RowBlock {
    this.#wasm.offers(0, block.rows);
    if (this.#wasm.aggregates(0, block.rows) < block.rows) throw new KernelLimitReached('panes');
    return block;
  }

  /** The digests of the block's accepted rows, 32 bytes each, in order; valid until the next block. */
  acceptedDigests(): Uint8Array {
    const count = this.#wasm.acceptedDigests(this.#block.rows);
    const at = this.#wasm.acceptedAt();
    return this.#view().subarray(at, at + count * 32);
  }

  /** Reports remembered. */
  get reports(): number {
    return this.#wasm.reportCount();
  }

  mark(): ReportMark {
    return this.#wasm.reportCount() as ReportMark;
  }

  /** Forgets every report that was offered or remembered after the mark. */
  rollback(mark: ReportMark): void {
    this.#wasm.rollback(mark);
  }

  /** Reports accepted before: 16 bytes of key and at least 16 of digest each. Known keys keep what they have. */
  remember(key: Uint8Array, digest: Uint8Array): void {
    const at = this.#wasm.scratchAt();
    const bytes = this.#view();
    bytes.set(key.subarray(0, KEY_BYTES), at);
    bytes.set(digest.subarray(0, KEY_BYTES), at + KEY_BYTES);
    this.#wasm.remember(at, at + KEY_BYTES);
  }

  forgetReports(): void {
    this.#wasm.forgetReports();
  }

  /** The sums since the last call, sorted as PaneTable.rows() sorts within each suite; then there are none. */
  takePanes(): PaneColumns {
    const rows = this.#wasm.takePanes();
    return new PaneColumns(this.#wasm, this.#memory.buffer, rows, (model) => this.modelName(model));
  }

  dropPanes(): void {
    this.#wasm.dropCells();
  }

  /** Models, each in each minute or window, of which there are sums. */
  get cells(): number {
    return this.#wasm.cellsHeld();
  }

  /** Bytes that the sums take. */
  get paneBytes(): number {
    return this.#wasm.cellBytes() >>> 0;
  }

  /** Bytes of the kernel's memory. */
  get memoryBytes(): number {
    return this.#memory.buffer.byteLength;
  }

  /** The model of that number; numbers are dense and stay. */
  modelName(model: number): string {
    let name = this.#models[model];
    if (name === undefined) {
      const at = this.#wasm.modelAt(model);
      name = Buffer.from(this.#memory.buffer, at, this.#wasm.modelLength(model)).toString('latin1');
      this.#models[model] = name;
    }
    return name;
  }

  /** Of a row that the kernel was sure of, the reference's words are asked for here only. */
  #faultOf(line: Uint8Array, row: number): LineFault {
    let fault = this.#faults.get(row);
    if (fault === undefined) {
      const reading = this.#options.readLine(line, this.#tenant);
      if (reading.ok) throw new Error('the kernel refuses a line that its reference takes');
      fault = reading.fault;
      this.#faults.set(row, fault);
    }
    return fault;
  }

  #readLine(row: number, at: number, length: number): void {
    const reading = this.#options.readLine(this.#view().subarray(at, at + length), this.#tenant);
    if (!reading.ok) {
      this.#faults.set(row, reading.fault);
      this.#wasm.quarantine(row);
      return;
    }
    const { report } = reading;
    this.#producers.set(row, report.producer);
    const id = this.#scratch(0, report.reportId);
    const producer = this.#scratch(1, report.producer);
    const model = this.#scratch(2, report.model);
    const suiteLength = this.#scratch(3, report.suite);
    const suite = this.#wasm.report(row, model, suiteLength, report.observedAtMs, report.weight);
    if (suite >= 0) {
      report.values.forEach((x, metric) => {
        if (x !== undefined && this.#wasm.value(row, suite, metric, x) === 0) {
          throw new Error('the kernel refuses a value that its reference took');
        }
      });
    }
    this.#takeContent(row, report.canonical, id, producer);
  }

  #takeContent(row: number, canonical: string, id: number, producer: number): void {
    const at = this.#wasm.contentAt();
    const { read, written } = encoder.encodeInto(canonical, this.#view().subarray(at, at + this.#wasm.contentBytes()));
    if (read < canonical.length) throw new Error('the kernel has no room for a canonical form');
    this.#wasm.content(row, written, id, producer);
  }
}

export { type KernelLimit, KernelLimitReached, type KernelMemory };
