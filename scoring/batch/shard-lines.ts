import { assert } from '../../core/assert.ts';
import type { Suite } from '../../core/suite.ts';
import type { ReportKernel } from '../../scoring-native/kernel.ts';
import { ROW_STATUS, type RowBlock } from '../../scoring-native/row-block.ts';
import { nativeLine } from '../ingest/native-line.ts';
import type { LogLine } from '../ingest/read-lines.ts';
import { createReportKernel, panesOf } from '../report-kernel.ts';
import { type Pane, RESOLUTIONS } from '../rules/pane.ts';

const BLOCK_ROWS = 4_096;
const CHUNK_BYTES = 2 * 1024 * 1024;
/** The kernel's own memory of reports is not used. */
const MAX_REPORTS = 1;

/** Lines of messages as the consumer's kernel reads them, those of one suite, and the panes of those that count. */
export class ShardLines {
  readonly #tenant: string;
  readonly #suite: Suite;
  readonly #kernel: ReportKernel;

  constructor(tenant: string, suite: Suite) {
    this.#tenant = tenant;
    this.#suite = suite;
    const suites = new Map([[suite.name, suite]]);
    const options = { digests: true, blockRows: BLOCK_ROWS, chunkBytes: CHUNK_BYTES, maxReports: MAX_REPORTS };
    this.#kernel = createReportKernel([], options, () => suites);
    this.#kernel.setTenant(tenant);
    this.#kernel.addSuite(suite);
  }

  /**
   * The lines of one message, numbered as the consumer numbers them; lines of other suites may be left out. Each is valid until the next is
   * asked for. Headers only say why a line is set aside, which the quarantine knows.
   */
  *of(value: Uint8Array, partition: number): Generator<LogLine, void, void> {
    const message = { ...NO_MESSAGE, tenant: this.#tenant, partition, value };
    const blocks = blocksOf(this.#kernel, value);
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
      assert(this.#kernel.aggregate(0, block.rows) === block.rows, 'the sums of a stretch have room');
    }
  }

  /** Panes that a drain would give, at most: the kernel adds minutes up to longer panes only then. */
  get panes(): number {
    return this.#kernel.cells * RESOLUTIONS.length * (this.#suite.metrics.length + 1);
  }

  /** What counted since the last drain. */
  drain(): readonly Pane[] {
    return panesOf(this.#kernel.takePanes(), [this.#suite]);
  }
}

function* blocksOf(kernel: ReportKernel, value: Uint8Array): Generator<RowBlock, void, void> {
  yield* kernel.read(value);
  yield* kernel.endFile();
}

const NO_MESSAGE = { topic: '', offset: 0n, key: '', headers: {}, appendedAtMs: 0 };
const NOWHERE = { traceId: '', next: { offset: 0n, line: 0 } };
