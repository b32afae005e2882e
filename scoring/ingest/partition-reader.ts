import { assert } from '../../core/assert.ts';
import type { Suite } from '../../core/suite.ts';
import type { LogMessage } from '../../platform/event-log.ts';
import { newTrace } from '../../platform/trace.ts';
import type { ReportKernel } from '../../scoring-native/kernel.ts';
import type { RowBlock } from '../../scoring-native/row-block.ts';
import { createReportKernel } from '../report-kernel.ts';
import { type LineNames, Names } from './line-names.ts';
import { NativeRows, type NativeSource } from './native-rows.ts';
import { type PackedMessages, valueAt } from './packed-messages.ts';
import { deltasOfColumns, type PaneDeltas } from './pane-deltas.ts';
import { type LogLine, readLines } from './read-lines.ts';
import { REFUSED_HEADER, STRAY_HEADER, TOO_LARGE_HEADER } from './report-log.ts';
import { isSentInCircles, type Routing } from './routing.ts';
import { StrayLines, type StrayMessage } from './strays.ts';

/** Rows of a block: a flush takes no more lines than that. About 250 bytes each of a suite with eight metrics. */
export const READER_BLOCK_ROWS = 20_480;
/** What a kernel is given at once, and keeps room for: places in it are places in the packed bytes. */
const READER_CHUNK_BYTES = 12 * 1024 * 1024;
/** The kernel's own memory of reports is not used: duplicates are looked up in the index of all partitions. */
const MAX_REPORTS = 1;

/** The suites of one tenant by name. */
export type SuitesOf = (tenant: string) => ReadonlyMap<string, Suite>;

/** Consecutive messages that are read at one go. */
type Piece =
  | { readonly kind: 'reference'; readonly lines: readonly LogLine[] }
  | { readonly kind: 'kernel'; readonly from: number; readonly to: number };

/** Lines that were read and are not done: [from, to) of the kernel's rows, or what the reference read. */
type Stretch =
  | { readonly kind: 'rows'; readonly rows: NativeRows; readonly from: number; readonly to: number }
  | { readonly kind: 'lines'; readonly lines: readonly LogLine[] };

const NOTHING: Stretch = { kind: 'lines', lines: [] };

/** The lines of one partition, read by a kernel of its own, in order, a stretch at a time; it is valid until the last of it is done. */
export class PartitionReader {
  readonly #suitesOf: SuitesOf;
  readonly routing: Routing;
  readonly #kernel: ReportKernel;
  /** By the kernel's numbers. */
  readonly #suites: Suite[] = [];
  readonly #numbers = new Map<string, number>();
  #packed: PackedMessages | undefined;
  #pieces: Piece[] = [];
  #blocks: Iterator<RowBlock> | undefined;
  #source: NativeSource | undefined;
  #stretch: Stretch = NOTHING;

  constructor(suitesOf: SuitesOf, routing: Routing) {
    this.#kernel = createReportKernel(
      [],
      { digests: true, blockRows: READER_BLOCK_ROWS, chunkBytes: READER_CHUNK_BYTES, maxReports: MAX_REPORTS },
      suitesOf,
    );
    this.#suitesOf = suitesOf;
    this.routing = routing;
  }

  get stretch(): Stretch {
    return this.#stretch;
  }

  get size(): number {
    const stretch = this.#stretch;
    return stretch.kind === 'lines' ? stretch.lines.length : stretch.to - stretch.from;
  }

  lineAt(i: number): LogLine {
    const stretch = this.#stretch;
    return stretch.kind === 'lines' ? stretch.lines[i]! : stretch.rows.lineAt(stretch.from + i);
  }

  messageAt(i: number): LogMessage {
    const stretch = this.#stretch;
    return stretch.kind === 'lines' ? stretch.lines[i]!.message : stretch.rows.messageAt(stretch.from + i);
  }

  traceIdAt(i: number): string {
    const stretch = this.#stretch;
    return stretch.kind === 'lines' ? stretch.lines[i]!.traceId : stretch.rows.traceIdAt(stretch.from + i);
  }

  /** How many of the first `count` lines are of the first one's message. */
  ofFirst(count: number): number {
    const stretch = this.#stretch;
    if (stretch.kind === 'rows') return stretch.rows.ofMessage(stretch.from, stretch.from + count);
    const first = stretch.lines[0]?.message.offset;
    const lines = stretch.lines.slice(0, count);
    const end = lines.findIndex(({ message }) => message.offset !== first);
    return end === -1 ? lines.length : end;
  }

  tenants(count: number): ReadonlySet<string> {
    const stretch = this.#stretch;
    if (stretch.kind === 'rows') return new Set([stretch.rows.tenant]);
    return new Set(stretch.lines.slice(0, count).map(({ message }) => message.tenant));
  }

  /** The suites and models that the first `count` lines name. */
  names(count: number): LineNames {
    const names = new Names(this.routing);
    const stretch = this.#stretch;
    if (stretch.kind === 'rows') names.addRows(stretch.rows, stretch.from, stretch.from + count);
    else for (const line of stretch.lines.slice(0, count)) names.addLine(line);
    return names;
  }

  /** Is a message among the first `count` lines that was appended again? */
  hasStrayMessages(count: number): boolean {
    const stretch = this.#stretch;
    if (stretch.kind === 'lines')
      return stretch.lines.slice(0, count).some(({ message }) => message.headers[STRAY_HEADER] !== undefined);
    return stretch.rows.hasOrigins;
  }

  /** How many of the first `count` lines there are up to the last stray, with it. */
  lastStray(count: number): number {
    if (this.routing.isPlain) return 0;
    let last = count;
    while (last > 0 && this.#routeAt(last - 1) === undefined) last--;
    return last;
  }

  /** What is to be appended elsewhere of the lines [from, to), in order. */
  strays(from: number, to: number): readonly StrayMessage[] {
    const messages: StrayLines[] = [];
    let offset: bigint | undefined;
    let open = new Map<number, StrayLines>();
    for (let i = from; i < to; i++) {
      const route = this.#routeAt(i);
      if (route === undefined) continue;
      const { message, line, raw } = this.lineAt(i);
      if (message.offset !== offset) {
        open = new Map();
        offset = message.offset;
      }
      let lines = open.get(route);
      if (lines === undefined) {
        lines = new StrayLines(message, route);
        open.set(route, lines);
        messages.push(lines);
      }
      lines.add(line, raw);
    }
    return messages.map((lines) => lines.message());
  }

  #routeAt(i: number): number | undefined {
    const stretch = this.#stretch;
    if (stretch.kind === 'rows') {
      const route = this.routing.rowRoute(stretch.rows, stretch.from + i);
      return route === undefined || isSentInCircles(this.lineAt(i)) ? undefined : route;
    }
    const line = stretch.lines[i]!;
    return isSentInCircles(line) ? undefined : this.routing.lineRoute(line);
  }

  /** Takes over what follows; everything before must be done. */
  load(packed: PackedMessages): void {
    assert(this.size === 0, 'load: lines are left');
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
    const stretch = this.#stretch;
    this.#stretch =
      stretch.kind === 'lines'
        ? { kind: 'lines', lines: stretch.lines.slice(count) }
        : { ...stretch, from: stretch.from + count };
    if (this.size === 0) this.#advance();
  }

  /** Forgets what was read ahead. */
  clear(): void {
    this.#stretch = NOTHING;
    this.#pieces = [];
    this.#blocks = undefined;
  }

  #advance(): void {
    while (this.size === 0) {
      const block = this.#blocks?.next();
      if (block?.done === false) {
        const rows = new NativeRows(block.value, this.#source!);
        this.#stretch = { kind: 'rows', rows, from: rows.done(), to: rows.rows };
        continue;
      }
      this.#blocks = undefined;
      const piece = this.#pieces.shift();
      if (piece === undefined) return;
      if (piece.kind === 'reference') this.#stretch = { kind: 'lines', lines: piece.lines };
      else this.#open(piece.from, piece.to);
    }
  }

  #open(from: number, to: number): void {
    const packed = this.#packed!;
    const { tenant } = packed.messages[from]!;
    this.#kernel.setTenant(tenant);
    const bytes = packed.bytes.subarray(packed.begins[from]!, packed.ends[to - 1]! + 1);
    assert(bytes.length <= READER_CHUNK_BYTES, 'a piece is one chunk');
    this.#blocks = this.#kernel.readFile(bytes);
    this.#source = { packed, from, to, tenant, suites: this.#suites };
  }

  /** Before effects are drawn from the first `count` lines, once or again: none of them counts yet. */
  begin(count: number): void {
    this.#kernel.dropPanes();
    const stretch = this.#stretch;
    if (stretch.kind === 'rows') stretch.rows.hold(stretch.from, stretch.from + count);
  }

  /** What those of the first `count` lines that count add to the panes, by tenant/suite. */
  panes(count: number): ReadonlyMap<string, PaneDeltas> {
    const deltas = new Map<string, PaneDeltas>();
    const stretch = this.#stretch;
    if (stretch.kind === 'lines' || count === 0) return deltas;
    const to = stretch.from + count;
    const reached = this.#kernel.aggregate(stretch.from, to);
    assert(reached === to, 'the sums of a flush have room');
    const columns = this.#kernel.takePanes();
    stretch.rows.refresh();
    for (const [key, number] of this.#numbers) {
      const of = deltasOfColumns(columns, number, this.#suites[number]!);
      if (of !== undefined) deltas.set(key, of);
    }
    return deltas;
  }
}

const FOR_REFERENCE = [TOO_LARGE_HEADER, REFUSED_HEADER] as const;

/** What the kernel is not given: a message that is no lines. */
function isForReference({ headers }: LogMessage, value: Uint8Array): boolean {
  if (FOR_REFERENCE.some((name) => headers[name] !== undefined)) return true;
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
    } else if (last?.kind === 'kernel' && mayJoin(packed, last.from, i)) {
      pieces[pieces.length - 1] = { ...last, to: i + 1 };
    } else pieces.push({ kind: 'kernel', from: i, to: i + 1 });
  });
  return pieces;
}

/** Of one tenant, and together no more than a chunk. */
function mayJoin(packed: PackedMessages, from: number, message: number): boolean {
  const bytes = packed.ends[message]! + 1 - packed.begins[from]!;
  return packed.messages[from]!.tenant === packed.messages[message]!.tenant && bytes <= READER_CHUNK_BYTES;
}
