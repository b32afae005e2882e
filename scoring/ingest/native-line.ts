import { readEvalReport } from '../../core/eval-report.ts';
import type { Suite } from '../../core/suite.ts';
import { ROW_DIGEST_BYTES, ROW_KEY_BYTES, ROW_STATUS, type RowBlock } from '../../scoring-native/row-block.ts';
import { isWatched } from '../rules/evidence.ts';
import { type Counted, type LineReport, reportByReference } from './line-report.ts';
import { type LogLine, readOne } from './read-lines.ts';

/** Where a line of the log lies, and what is known of it without reading it. */
export type LinePlace = Omit<LogLine, 'reading' | 'rawSha256'>;

/**
 * A row of the kernel as a line of the log. Its report is valid as long as the kernel's block. `suite`: undefined where the row is not taken as the
 * kernel read it; the reference reads it then, and its words stay the reference's.
 */
export function nativeLine(place: LinePlace, block: RowBlock, row: number, suite: Suite | undefined): LogLine {
  const reading: LogLine['reading'] =
    suite === undefined
      ? readOne(place.message, place.raw)
      : { ok: true, report: new NativeReport(place.message.tenant, block, row, suite, place.raw) };
  return { ...place, rawSha256: undefined, reading };
}

class NativeReport implements LineReport {
  readonly suite: string;
  readonly model: string;
  readonly observedAtMs: number;
  readonly #tenant: string;
  readonly #block: RowBlock;
  readonly #row: number;
  readonly #suite: Suite;
  readonly #raw: Uint8Array;

  constructor(tenant: string, block: RowBlock, row: number, suite: Suite, raw: Uint8Array) {
    this.suite = suite.name;
    this.model = block.modelOf(row);
    this.observedAtMs = block.columns.observedAtMs[row]!;
    this.#tenant = tenant;
    this.#block = block;
    this.#row = row;
    this.#suite = suite;
    this.#raw = raw;
  }

  get entry(): LineReport['entry'] {
    const { key, digest } = this.#block.columns;
    return {
      key: copied(key, this.#row, ROW_KEY_BYTES),
      digest: copied(digest, this.#row, ROW_DIGEST_BYTES),
      observedAtMs: this.observedAtMs,
    };
  }

  get producer(): string {
    return this.#byReference().producer;
  }

  /** Under another version than the kernel's the reference reads the line again. */
  under(version: Suite): ReturnType<LineReport['under']> {
    return version.hash === this.#suite.hash ? this.#counted() : this.#byReference().under(version);
  }

  #counted(): Counted {
    const { columns } = this.#block;
    const first = this.#row * columns.metricStride;
    return {
      observation: {
        model: this.model,
        observedAtMs: this.observedAtMs,
        w: BigInt(columns.weight[this.#row]!),
        metrics: this.#suite.metrics.flatMap((rule, metric) =>
          isWatched(rule) && this.#block.has(this.#row, metric) ? [{ rule, x: columns.x[first + metric]! }] : [],
        ),
      },
      contribution: undefined,
      counts: () => {
        this.#block.columns.status[this.#row] = ROW_STATUS.accepted;
      },
    };
  }

  #byReference(): LineReport {
    const reading = readEvalReport(this.#raw);
    if (!reading.ok) throw new Error('the reference refuses a line that the kernel took');
    return reportByReference(this.#tenant, reading.report);
  }
}

function copied(column: Uint8Array, row: number, bytes: number): Buffer {
  return Buffer.from(column.subarray(row * bytes, (row + 1) * bytes));
}
