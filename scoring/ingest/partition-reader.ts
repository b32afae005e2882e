import { assert } from '../../core/assert.ts';
import type { Suite } from '../../core/suite.ts';
import type { LogMessage } from '../../platform/event-log.ts';
import { newTrace, parseTraceparent } from '../../platform/trace.ts';
import type { ReportKernel } from '../../scoring-native/kernel.ts';
import { ROW_STATUS, type RowBlock } from '../../scoring-native/row-block.ts';
import { createReportKernel } from '../report-kernel.ts';
import { type LinePlace, nativeLine } from './native-line.ts';
import { type PackedMessages, valueAt } from './packed-messages.ts';
import { deltasOfColumns, type PaneDeltas } from './pane-deltas.ts';
import { type LogLine, nonBlankLines, readLines, uploadLineOf } from './read-lines.ts';
import { PRODUCER_HEADER, TOO_LARGE_HEADER, TRACE_HEADER } from './report-log.ts';

/** Rows of a block: a flush takes no more lines than that. */
export const READER_BLOCK_ROWS = 4096;
/** The kernel's own memory of reports is not used: duplicates are looked up in the index of all partitions. */
const MAX_REPORTS = 1;

/** The suites of one tenant by name. */
export type SuitesOf = (tenant: string) => ReadonlyMap<string, Suite>;

/** Consecutive messages that are read at one go. */
type Piece =
  | { readonly kind: 'reference'; readonly lines: readonly LogLine[] }
  | { readonly kind: 'kernel'; readonly from: number; readonly to: number };

/**
 * The lines of one partition, read by a kernel of its own, in order, some at a time: `lines` are those that were read and are not done. They
 * stay valid until the last of them is done.
 */
export class PartitionReader {
  readonly #suitesOf: SuitesOf;
  readonly #kernel: ReportKernel;
  /** By the kernel's numbers. */
  readonly #suites: Suite[] = [];
  readonly #numbers = new Map<string, number>();
  #packed: PackedMessages | undefined;
  #pieces: Piece[] = [];
  #blocks: Iterator<RowBlock> | undefined;
  #places: Iterator<LinePlace> | undefined;
  #block: RowBlock | undefined;
  /** The kernel's row of the first of `#lines`; −1: the reference read them. */
  #firstRow = -1;
  #lines: readonly LogLine[] = [];

  constructor(suitesOf: SuitesOf) {
    this.#kernel = createReportKernel(
      [],
      { digests: true, blockRows: READER_BLOCK_ROWS, maxReports: MAX_REPORTS },
      suitesOf,
    );
    this.#suitesOf = suitesOf;
  }

  get lines(): readonly LogLine[] {
    return this.#lines;
  }

  /** Takes over what follows; everything before must be done. */
  load(packed: PackedMessages): void {
    assert(this.#lines.length === 0, 'load: lines are left');
    for (const tenant of new Set(packed.messages.map((message) => message.tenant))) this.#learn(tenant);
    this.#packed = packed;
    this.#pieces = piecesOf(packed);
    this.#advance();
  }

  /** Suites that are new to the kernel, or in another version. */
  #learn(tenant: string): void {
    for (const suite of this.#suitesOf(tenant).values()) {
      const key = `${tenant}/${suite.name}`;
      const number = this.#numbers.get(key);
      if (number !== undefined && this.#suites[number]!.hash === suite.hash) continue;
      this.#kernel.setTenant(tenant);
      const added = this.#kernel.addSuite(suite);
      this.#suites[added] = suite;
      this.#numbers.set(key, added);
    }
  }

  /** The first `count` lines are done. */
  done(count: number): void {
    this.#lines = this.#lines.slice(count);
    if (this.#firstRow >= 0) this.#firstRow += count;
    if (this.#lines.length === 0) this.#advance();
  }

  /** Forgets what was read ahead. */
  clear(): void {
    this.#lines = [];
    this.#pieces = [];
    this.#blocks = undefined;
    this.#block = undefined;
  }

  #advance(): void {
    while (this.#lines.length === 0) {
      const block = this.#blocks?.next();
      if (block?.done === false) {
        this.#block = block.value;
        this.#takeBlock(block.value);
        continue;
      }
      this.#blocks = undefined;
      const piece = this.#pieces.shift();
      if (piece === undefined) return;
      if (piece.kind === 'reference') {
        this.#firstRow = -1;
        this.#lines = piece.lines;
      } else this.#open(piece.from, piece.to);
    }
  }

  #open(from: number, to: number): void {
    const packed = this.#packed!;
    this.#kernel.setTenant(packed.messages[from]!.tenant);
    const bytes = packed.bytes.subarray(packed.begins[from]!, packed.ends[to - 1]! + 1);
    this.#blocks = blocksOf(this.#kernel, bytes);
    this.#places = placesOf(packed, from, to);
  }

  #takeBlock(block: RowBlock): void {
    const packed = this.#packed!;
    const lines: LogLine[] = [];
    this.#firstRow = 0;
    for (let row = 0; row < block.rows; row++) {
      const place = this.#places!.next();
      assert(place.done !== true, 'a row has its place');
      const { message, line } = place.value;
      // Done before a restart: only at the start of what was loaded.
      if (message === packed.messages[0] && line <= packed.fromLine) {
        this.#firstRow = row + 1;
        continue;
      }
      const number = block.columns.suite[row]!;
      lines.push(nativeLine(place.value, block, row, number < 0 ? undefined : this.#suites[number]));
    }
    this.#lines = lines;
  }

  /** Before effects are drawn from the first `count` lines, once or again: none of them counts yet. */
  begin(count: number): void {
    this.#kernel.dropPanes();
    if (this.#firstRow < 0) return;
    const { status } = this.#block!.columns;
    for (let row = this.#firstRow; row < this.#firstRow + count; row++) {
      if (status[row] === ROW_STATUS.checked || status[row] === ROW_STATUS.accepted) status[row] = ROW_STATUS.held;
    }
  }

  /** What those of the first `count` lines that count add to the panes, by tenant/suite. */
  panes(count: number): ReadonlyMap<string, PaneDeltas> {
    const deltas = new Map<string, PaneDeltas>();
    if (this.#firstRow < 0 || count === 0) return deltas;
    const to = this.#firstRow + count;
    const reached = this.#kernel.aggregate(this.#firstRow, to);
    assert(reached === to, 'the sums of a flush have room');
    const columns = this.#kernel.takePanes();
    for (const [key, number] of this.#numbers) {
      const of = deltasOfColumns(columns, number, this.#suites[number]!);
      if (of !== undefined) deltas.set(key, of);
    }
    return deltas;
  }
}

function* blocksOf(kernel: ReportKernel, bytes: Uint8Array): Generator<RowBlock> {
  yield* kernel.read(bytes);
  yield* kernel.endFile();
}

/** What the kernel is not given: a message that is no lines, and one whose sender every line must name. */
function isForReference({ headers }: LogMessage, value: Uint8Array): boolean {
  if (headers[TOO_LARGE_HEADER] !== undefined || headers[PRODUCER_HEADER] !== undefined) return true;
  return value.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d || byte === 0x0a);
}

function piecesOf(packed: PackedMessages): Piece[] {
  const pieces: Piece[] = [];
  packed.messages.forEach((message, i) => {
    const value = valueAt(packed, i);
    const last = pieces.at(-1);
    if (value === null || isForReference(message, value)) {
      const lines = readLines({ ...message, value }, i === 0 ? packed.fromLine : 0, newTrace().traceId);
      pieces.push({ kind: 'reference', lines });
    } else if (last?.kind === 'kernel' && packed.messages[last.from]!.tenant === message.tenant) {
      pieces[pieces.length - 1] = { ...last, to: i + 1 };
    } else pieces.push({ kind: 'kernel', from: i, to: i + 1 });
  });
  return pieces;
}

/** The place of every non-blank line, in order: the kernel makes a row of each. */
function* placesOf(packed: PackedMessages, from: number, to: number): Generator<LinePlace> {
  for (let i = from; i < to; i++) {
    const message = packed.messages[i]!;
    const lines = nonBlankLines(valueAt(packed, i)!);
    const traceId = parseTraceparent(message.headers[TRACE_HEADER])?.traceId ?? newTrace().traceId;
    const firstLine = uploadLineOf(message);
    for (const [at, { line, bytes }] of lines.entries()) {
      const next =
        at === lines.length - 1 ? { offset: message.offset + 1n, line: 0 } : { offset: message.offset, line };
      yield { message, line, uploadLine: firstLine + line - 1, traceId, next, raw: bytes, rawSize: bytes.length };
    }
  }
}
