import { OperatingError } from '../../core/operating-error.ts';
import type { Suite } from '../../core/suite.ts';
import { KernelLimitReached, type ReportKernel } from '../../scoring-native/kernel.ts';
import { CONFLICT, type PipelineCounts } from '../../scoring-native/reference.ts';
import { ROW_STATUS, type RowBlock } from '../../scoring-native/row-block.ts';
import { createReportKernel, windowSumsOf } from '../report-kernel.ts';
import { referencePipeline, TOO_LONG } from '../rules/oracle.ts';
import type { ModelSums } from '../rules/score-models.ts';
import { windowAt, windowSpec } from '../rules/windows.ts';
import type { DigestSorter } from './digest-sorter.ts';
import { WindowsAt } from './windows-at.ts';

/** A line that was quarantined, or a report in conflict with an earlier one. */
export interface Notice {
  /** 1-based, in its own source. */
  readonly line: number;
  readonly reason: string;
}

/** Bytes in any chunking → window sums at one T. Digests of accepted reports go to the sorter that it was made with. */
export interface OfflineEngine {
  /** What the chunk set aside. */
  push(chunk: Uint8Array): readonly Notice[];
  /** What the last line of a file set aside, which may lack its line feed. */
  endFile(): readonly Notice[];
  counts(): PipelineCounts;
  /** Of every model that a report named. Once, at the end. */
  sums(): Iterable<ModelSums>;
}

export type MakeEngine = (suite: Suite, atMs: number, digests: DigestSorter) => OfflineEngine;

/** Memory of window sums: some hundred bytes a (model, window, metric), and its sketch. */
const MAX_SUMS_BYTES = 2 ** 31;

/** By the native kernel. */
export const nativeEngine: MakeEngine = (suite, atMs, digests) => {
  const windows = suite.windows.map(({ name }) => windowAt(windowSpec(name), atMs));
  const kernel = createReportKernel([suite], { digests: true, windows, maxPaneBytes: MAX_SUMS_BYTES });
  return new NativeEngine(kernel, suite, digests);
};

class NativeEngine implements OfflineEngine {
  readonly #kernel: ReportKernel;
  readonly #suite: Suite;
  readonly #digests: DigestSorter;
  #accepted = 0;
  #quarantined = 0;
  #duplicates = 0;
  #conflicts = 0;

  constructor(kernel: ReportKernel, suite: Suite, digests: DigestSorter) {
    this.#kernel = kernel;
    this.#suite = suite;
    this.#digests = digests;
  }

  push(chunk: Uint8Array): readonly Notice[] {
    return this.#settle(() => this.#kernel.run(chunk));
  }

  endFile(): readonly Notice[] {
    return this.#settle(() => this.#kernel.runEnd());
  }

  #settle(run: () => Iterable<RowBlock>): readonly Notice[] {
    const notices: Notice[] = [];
    try {
      for (const block of run()) {
        this.#count(block, notices);
        this.#digests.addAll(this.#kernel.acceptedDigests());
      }
    } catch (error) {
      if (!(error instanceof KernelLimitReached)) throw error;
      const mend = 'score fewer reports at a time, or fewer models';
      throw new OperatingError('capacity', 'never', 'scoring reports', { cause: error, mend });
    }
    return notices;
  }

  #count(block: RowBlock, notices: Notice[]): void {
    const { line, status } = block.columns;
    for (let row = 0; row < block.rows; row++) {
      const of = status[row];
      if (of === ROW_STATUS.accepted) this.#accepted++;
      else if (of === ROW_STATUS.duplicate) this.#duplicates++;
      else if (of === ROW_STATUS.conflict) {
        this.#conflicts++;
        notices.push({ line: line[row]!, reason: CONFLICT.reason });
      } else {
        this.#quarantined++;
        const { reason } = of === ROW_STATUS.tooLong ? TOO_LONG : block.faultOf(row)!;
        notices.push({ line: line[row]!, reason });
      }
    }
  }

  counts(): PipelineCounts {
    return {
      accepted: this.#accepted,
      quarantined: this.#quarantined,
      duplicates: this.#duplicates,
      conflicts: this.#conflicts,
    };
  }

  sums(): Iterable<ModelSums> {
    return windowSumsOf(this.#kernel.takePanes(), this.#suite);
  }
}

/** By the reference pipeline: what the native engine must equal to the byte. */
export const referenceEngine: MakeEngine = (suite, atMs, digests) => {
  const windows = new WindowsAt(suite, atMs);
  let notices: Notice[] = [];
  const pipeline = referencePipeline([suite], {
    take: ({ contribution }, digest) => {
      digests.add(digest);
      if (contribution !== null) windows.add(contribution);
    },
    setAside: (line, _kind, { reason }) => notices.push({ line, reason }),
  });
  const told = () => {
    const some = notices;
    notices = [];
    return some;
  };
  return {
    push: (chunk) => {
      pipeline.push(chunk);
      return told();
    },
    endFile: () => {
      pipeline.endFile();
      return told();
    },
    counts: () => pipeline.counts(),
    sums: () => windows.sums(),
  };
};
