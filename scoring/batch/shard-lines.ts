import { assert } from '../../core/assert.ts';
import type { Suite } from '../../core/suite.ts';
import type { ReportKernel } from '../../scoring-native/kernel.ts';
import { ROW_STATUS, type RowBlock } from '../../scoring-native/row-block.ts';
import { nativeLine } from '../ingest/native-line.ts';
import type { LogLine } from '../ingest/read-lines.ts';
import { createReportKernel, panesOf, type ReportKernelOptions } from '../report-kernel.ts';
import { type Pane, RESOLUTIONS } from '../rules/pane.ts';
import { PaneTable } from '../rules/pane-table.ts';

const BLOCK_ROWS = 4_096;
const CHUNK_BYTES = 2 * 1024 * 1024;
/** The kernel's own memory of reports is not used. */
const MAX_REPORTS = 1;

/** Lines of messages as the consumer's kernel reads them, those of one suite, and the panes of those that count. */
export class ShardLines {
  readonly #tenant: string;
  readonly #suite: Suite;
  readonly #kernel: ReportKernel;
  /** What the kernel had no more room for; undefined: nothing. */
  #full: PaneTable | undefined;

  /** `limits`: of the sums in the kernel, more than one line's. */
  constructor(tenant: string, suite: Suite, limits: Pick<ReportKernelOptions, 'maxPaneBytes'> = {}) {
    this.#tenant = tenant;
    this.#suite = suite;
    const suites = new Map([[suite.name, suite]]);
    const blocks = { digests: true, blockRows: BLOCK_ROWS, chunkBytes: CHUNK_BYTES };
    this.#kernel = createReportKernel([], { ...blocks, ...limits, maxReports: MAX_REPORTS }, () => suites);
    this.#kernel.setTenant(tenant);
    this.#kernel.addSuite(suite);
  }

  /**
   * The lines of one message, numbered as the consumer numbers them; lines of other suites may be left out. Each is valid until the next is
   * asked for. Headers only say why a line is set aside, which the quarantine knows.
   */
  *of(value: Uint8Array, partition: number): Generator<LogLine, void, void> {
    const message = { ...NO_MESSAGE, tenant: this.#tenant, partition, value };
    const blocks = this.#kernel.readFile(value);
    let next = blocks.next();
    try {
      for (; !next.done; next = blocks.next()) yield* this.#block(next.value, message);
    } finally {
      // Who asks for no more leaves nothing in the kernel's input.
      while (!next.done) next = blocks.next();
    }
  }

  *#block(block: RowBlock, message: LogLine['message']): Generator<LogLine, void, void> {
    const { line, status, suite } = block.columns;
    // None counts unless it is told so.
    for (let row = 0; row < block.rows; row++) if (status[row] === ROW_STATUS.checked) status[row] = ROW_STATUS.held;
    try {
      for (let row = 0; row < block.rows; row++) {
        const isRead = status[row] === ROW_STATUS.held;
        if (status[row] === ROW_STATUS.tooLong || (isRead && suite[row]! < 0)) continue;
        const raw = block.bytesOf(row);
        const number = line[row]!;
        const place = { ...NOWHERE, message, line: number, uploadLine: number, raw, rawSize: raw.length };
        yield nativeLine(place, block, row, isRead ? this.#suite : undefined);
      }
    } finally {
      this.#sum(block.rows);
    }
  }

  /** Sums that are many, or whose values lie far apart, pass what the kernel has room for at any row. */
  #sum(rows: number): void {
    for (let from = 0; ; ) {
      const to = this.#kernel.aggregate(from, rows);
      if (to === rows) return;
      assert(to > from || this.#kernel.cells > 0, 'the sums of one line have room');
      this.#full ??= new PaneTable(this.#suite.hash);
      for (const pane of this.#taken()) this.#full.merge(pane);
      from = to;
    }
  }

  #taken(): readonly Pane[] {
    return panesOf(this.#kernel.takePanes(), [this.#suite]);
  }

  /** Panes that a drain would give, at most: the kernel adds minutes up to longer panes only then. */
  get panes(): number {
    return (this.#full?.size ?? 0) + this.#kernel.cells * RESOLUTIONS.length * (this.#suite.metrics.length + 1);
  }

  /** What counted since the last drain. */
  drain(): readonly Pane[] {
    const full = this.#full;
    if (full === undefined) return this.#taken();
    this.#full = undefined;
    for (const pane of this.#taken()) full.merge(pane);
    return full.rows();
  }
}

const NO_MESSAGE = { topic: '', offset: 0n, key: '', headers: {}, appendedAtMs: 0 };
const NOWHERE = { traceId: '', next: { offset: 0n, line: 0 } };
