import type { Suite } from '../../core/suite.ts';
import type { LogMessage } from '../../platform/event-log.ts';
import { newTrace, parseTraceparent } from '../../platform/trace.ts';
import { ROW_STATUS, type RowBlock } from '../../scoring-native/row-block.ts';
import type { Observation } from '../rules/contribution.ts';
import { isWatched } from '../rules/evidence.ts';
import { KEY_WORDS } from './dedup-index.ts';
import { type LinePlace, nativeLine } from './native-line.ts';
import { type PackedMessages, valueAt } from './packed-messages.ts';
import { type LogLine, nonBlankLines, type Position, uploadLineOf } from './read-lines.ts';
import { PRODUCER_HEADER, STRAY_HEADER, TRACE_HEADER } from './report-log.ts';
import type { Routes } from './shards.ts';
import { type Origin, originOf } from './strays.ts';

const LINE_FEED = 0x0a;

/** What a block was read from: consecutive messages of one tenant, from one on, as one run of bytes. */
export interface NativeSource {
  readonly packed: PackedMessages;
  readonly from: number;
  readonly to: number;
  readonly tenant: string;
  /** By the kernel's numbers. */
  readonly suites: readonly Suite[];
}

/**
 * The rows of a kernel's block as lines of the log: columns for what is counted from them, and a line as an object where one is asked for.
 * Valid as long as the block.
 */
export class NativeRows {
  readonly tenant: string;
  readonly rows: number;
  suite!: Int32Array;
  model!: Uint32Array;
  observedAtMs!: Float64Array;
  weight!: Uint32Array;
  /** Four words a row, and eight. */
  keys!: Uint32Array;
  digests!: Uint32Array;
  readonly #block: RowBlock;
  readonly #source: NativeSource;
  #status!: Uint8Array;
  #present!: Uint32Array;
  #presentWords = 0;
  #x!: Float64Array;
  #metricStride = 0;
  /** The message of a row. */
  readonly #messageOf: Uint32Array;
  /** By message: its first row in this block, and what a row's line in the file is beyond its line in the message. */
  readonly #lineBases = new Map<number, number>();
  readonly #firstRows = new Map<number, number>();
  readonly #traceIds = new Map<number, string>();
  /** Of messages that were appended again. */
  readonly #origins: ReadonlyMap<number, Origin>;
  /** Rows of a message whose sender they do not name as their producer: the reference says so. */
  readonly #foreign: ReadonlySet<number>;
  readonly #lines = new Map<number, LogLine>();

  constructor(block: RowBlock, source: NativeSource) {
    this.#block = block;
    this.#source = source;
    this.tenant = source.tenant;
    this.rows = block.rows;
    this.refresh();
    this.#messageOf = this.#placed();
    this.#origins = this.#foundOrigins();
    this.#foreign = this.#foundForeign();
  }

  /** To be called after whatever may have grown the kernel's memory: it lies elsewhere then, and the columns here are empty. */
  refresh(): void {
    const { key, digest, metricStride, model, observedAtMs, present, presentWords, status, suite, weight, x } =
      this.#block.columns;
    this.#status = status;
    this.suite = suite;
    this.model = model;
    this.observedAtMs = observedAtMs;
    this.weight = weight;
    this.#present = present;
    this.#presentWords = presentWords;
    this.#x = x;
    this.#metricStride = metricStride;
    this.keys = wordsOf(key);
    this.digests = wordsOf(digest);
  }

  #foundOrigins(): ReadonlyMap<number, Origin> {
    const { messages } = this.#source.packed;
    const origins = new Map<number, Origin>();
    for (const message of this.#firstRows.keys()) {
      const origin = messages[message]!.headers[STRAY_HEADER] === undefined ? undefined : originOf(messages[message]!);
      if (origin !== undefined) origins.set(message, origin);
    }
    return origins;
  }

  #foundForeign(): ReadonlySet<number> {
    const foreign = new Set<number>();
    for (const [message, first] of this.#firstRows) {
      const sender = this.#source.packed.messages[message]!.headers[PRODUCER_HEADER];
      if (sender === undefined) continue;
      const name = Buffer.from(sender);
      for (let row = first; row < this.rows && this.#messageOf[row] === message; row++) {
        if (!this.#block.isOf(row, name)) foreign.add(row);
      }
    }
    return foreign;
  }

  #placed(): Uint32Array {
    const { ends } = this.#source.packed;
    const messageOf = new Uint32Array(this.rows);
    let message = this.#source.from;
    for (let row = 0; row < this.rows; row++) {
      const at = this.#offsetOf(row);
      while (at >= ends[message]!) message++;
      messageOf[row] = message;
      if (!this.#firstRows.has(message)) this.#firstRows.set(message, row);
    }
    return messageOf;
  }

  /** Where the row's line begins in the packed bytes. */
  #offsetOf(row: number): number {
    const { packed, from } = this.#source;
    return packed.begins[from]! + this.#block.columns.offset[row]!;
  }

  messageAt(row: number): LogMessage {
    return this.#source.packed.messages[this.#messageOf[row]!]!;
  }

  /** Did the kernel take the row, know its suite, and find no other producer in it than its sender? */
  isRead(row: number): boolean {
    const status = this.#status[row];
    const taken = this.suite[row]! >= 0 && status !== ROW_STATUS.quarantined && status !== ROW_STATUS.tooLong;
    return taken && !this.#foreign.has(row);
  }

  suiteOf(row: number): Suite {
    return this.#source.suites[this.suite[row]!]!;
  }

  modelOf(row: number): string {
    return this.#block.modelOf(row);
  }

  appendedAtMs(row: number): number {
    return this.messageAt(row).appendedAtMs;
  }

  traceIdAt(row: number): string {
    const message = this.#messageOf[row]!;
    let traceId = this.#traceIds.get(message);
    if (traceId === undefined) {
      const given = this.messageAt(row).headers[TRACE_HEADER];
      traceId = parseTraceparent(given)?.traceId ?? newTrace().traceId;
      this.#traceIds.set(message, traceId);
    }
    return traceId;
  }

  /** Were some of the messages appended again? */
  get hasOrigins(): boolean {
    return this.#origins.size > 0;
  }

  /** Where the row's line was read before; undefined: nowhere. */
  originOf(row: number): Origin | undefined {
    return this.#origins.size === 0 ? undefined : this.#origins.get(this.#messageOf[row]!);
  }

  /** The partition that serves the row's shard; undefined: its line is no report. */
  routeOf(row: number, routes: NonNullable<Routes>): number | undefined {
    if (this.isRead(row)) return routes[this.keys[row * KEY_WORDS]! & 0xff];
    const { reading } = this.lineAt(row);
    return reading.ok ? routes[reading.report.entry.key[0]!] : undefined;
  }

  /** 1-based, in the message. */
  lineIn(row: number): number {
    const message = this.#messageOf[row]!;
    let base = this.#lineBases.get(message);
    const { line } = this.#block.columns;
    if (base === undefined) {
      const first = this.#firstRows.get(message)!;
      const { bytes, begins } = this.#source.packed;
      const before = lineFeeds(bytes.subarray(begins[message]!, this.#offsetOf(first)));
      base = line[first]! - 1 - before;
      this.#lineBases.set(message, base);
    }
    return line[row]! - base;
  }

  /** How many rows at the start are lines that were done before. */
  done(): number {
    const { fromLine } = this.#source.packed;
    let row = 0;
    while (row < this.rows && this.#messageOf[row] === 0 && this.lineIn(row) <= fromLine) row++;
    return row;
  }

  /** Rows of the same message from there on. */
  ofMessage(row: number, to: number): number {
    let end = row;
    while (end < to && this.#messageOf[end] === this.#messageOf[row]) end++;
    return end - row;
  }

  /** Where the partition stands once the row is done. */
  nextOf(row: number): Position {
    const { offset } = this.messageAt(row);
    return this.#isLast(row) ? { offset: offset + 1n, line: 0 } : { offset, line: this.lineIn(row) };
  }

  #isLast(row: number): boolean {
    const message = this.#messageOf[row]!;
    if (row + 1 < this.rows) return this.#messageOf[row + 1] !== message;
    const { bytes, ends } = this.#source.packed;
    const from = this.#offsetOf(row) + this.rawOf(row).length;
    return nonBlankLines(bytes.subarray(from, ends[message])).length === 0;
  }

  /** Up to its line feed; the kernel tells no length of a line that is too long. */
  rawOf(row: number): Uint8Array {
    const { packed } = this.#source;
    const value = valueAt(packed, this.#messageOf[row]!)!;
    const from = this.#offsetOf(row) - packed.begins[this.#messageOf[row]!]!;
    const end = value.indexOf(LINE_FEED, from);
    return value.subarray(from, end === -1 ? value.length : end);
  }

  lineAt(row: number): LogLine {
    let made = this.#lines.get(row);
    if (made === undefined) {
      const raw = this.rawOf(row);
      const message = this.messageAt(row);
      const line = this.lineIn(row);
      const place: LinePlace = {
        message,
        line,
        uploadLine: uploadLineOf(message) + line - 1,
        traceId: this.traceIdAt(row),
        next: this.nextOf(row),
        raw,
        rawSize: raw.length,
      };
      made = nativeLine(place, this.#block, row, this.isRead(row) ? this.suiteOf(row) : undefined);
      this.#lines.set(row, made);
    }
    return made;
  }

  /** Does the row hold that metric of its suite? */
  has(row: number, metric: number): boolean {
    return (this.#present[row * this.#presentWords + (metric >> 5)]! & (1 << (metric & 31))) !== 0;
  }

  valueOf(row: number, metric: number): number {
    return this.#x[row * this.#metricStride + metric]!;
  }

  /** What evidence is made of, under the version that the kernel read the row by. */
  observation(row: number, suite: Suite): Observation {
    return {
      model: this.modelOf(row),
      observedAtMs: this.observedAtMs[row]!,
      w: BigInt(this.weight[row]!),
      metrics: suite.metrics.flatMap((rule, metric) =>
        isWatched(rule) && this.has(row, metric) ? [{ rule, x: this.valueOf(row, metric) }] : [],
      ),
    };
  }

  /** It counts: the kernel adds it. */
  accept(row: number): void {
    this.#status[row] = ROW_STATUS.accepted;
  }

  /** The rows [from, to) do not count yet. */
  hold(from: number, to: number): void {
    for (let row = from; row < to; row++) {
      const status = this.#status[row];
      if (status === ROW_STATUS.checked || status === ROW_STATUS.accepted) this.#status[row] = ROW_STATUS.held;
    }
  }
}

function lineFeeds(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(LINE_FEED); at !== -1; at = bytes.indexOf(LINE_FEED, at + 1)) count++;
  return count;
}

function wordsOf(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}
