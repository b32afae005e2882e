/**
 * The reference pipeline: NDJSON bytes in any chunking → checked reports → first of each id → whatever takes them. It is
 * what the native kernels must equal, bit for bit and line for line, and what runs until they do.
 *
 * This folder imports nothing of ours, so that a kernel can never lean on the code it is judged by: the parts that know
 * reports and suites are handed in (scoring/rules/oracle.ts wires them).
 */

/** Why a line was set aside. */
export interface LineFault {
  readonly code: string;
  /** Byte offset in the line. */
  readonly position: number;
  /** One line for a person. */
  readonly reason: string;
}

export type LineReading<Report> =
  | { readonly ok: true; readonly report: Report }
  | { readonly ok: false; readonly fault: LineFault };

export type Offer = 'new' | 'duplicate' | 'conflict';

export interface LineSource {
  push(chunk: Uint8Array): void;
  finish(): void;
}

export type SourceLine =
  | { readonly kind: 'line'; readonly number: number; readonly bytes: Uint8Array }
  | { readonly kind: 'too_long'; readonly number: number };

export interface PipelineParts<Report> {
  /** Splits bytes into non-blank lines with 1-based numbers. */
  splitLines(onLine: (line: SourceLine) => void): LineSource;
  /** Reads and checks one line, its suite's own limits included. */
  read(line: Uint8Array): LineReading<Report>;
  readonly tooLong: LineFault;
  /** The key of deduplication (16 bytes or more) and the SHA-256 of the canonical form. */
  identify(report: Report): { readonly key: Uint8Array; readonly digest: Uint8Array };
  /** First in log order stays; equal digests are duplicates, others conflicts. */
  offer(key: Uint8Array, digest: Uint8Array): Offer;
  /** Takes an accepted report. */
  take(report: Report, digest: Uint8Array): void;
  /** Told of each quarantined line and each conflict. */
  setAside(line: number, kind: 'quarantined' | 'conflict', fault: LineFault): void;
}

/** Every non-blank line counts exactly once. */
export interface PipelineCounts {
  readonly accepted: number;
  readonly quarantined: number;
  readonly duplicates: number;
  readonly conflicts: number;
}

/** A report whose id is taken. */
export const CONFLICT: LineFault = {
  code: 'conflict',
  position: 0,
  reason: 'conflict: another report of this producer has the same reportId and other content; the first stays',
};

export class ReferencePipeline<Report> {
  readonly #parts: PipelineParts<Report>;
  #lines: LineSource;
  #accepted = 0;
  #quarantined = 0;
  #duplicates = 0;
  #conflicts = 0;

  constructor(parts: PipelineParts<Report>) {
    this.#parts = parts;
    this.#lines = parts.splitLines((line) => this.#line(line));
  }

  push(chunk: Uint8Array): void {
    this.#lines.push(chunk);
  }

  /** Ends one file: what follows starts at line 1 again. Ids are remembered across files. */
  endFile(): void {
    this.#lines.finish();
    this.#lines = this.#parts.splitLines((line) => this.#line(line));
  }

  counts(): PipelineCounts {
    return {
      accepted: this.#accepted,
      quarantined: this.#quarantined,
      duplicates: this.#duplicates,
      conflicts: this.#conflicts,
    };
  }

  #line(line: SourceLine): void {
    const parts = this.#parts;
    const reading: LineReading<Report> =
      line.kind === 'too_long' ? { ok: false, fault: parts.tooLong } : parts.read(line.bytes);
    if (!reading.ok) {
      this.#quarantined++;
      parts.setAside(line.number, 'quarantined', reading.fault);
      return;
    }
    const { key, digest } = parts.identify(reading.report);
    const offer = parts.offer(key, digest);
    if (offer === 'duplicate') {
      this.#duplicates++;
    } else if (offer === 'conflict') {
      this.#conflicts++;
      parts.setAside(line.number, 'conflict', CONFLICT);
    } else {
      this.#accepted++;
      parts.take(reading.report, digest);
    }
  }
}
