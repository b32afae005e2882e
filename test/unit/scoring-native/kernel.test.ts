import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { WindowsAt } from '../../../scoring/offline/windows-at.ts';
import { createReportKernel, panesOf, type ReportKernelOptions, windowSumsOf } from '../../../scoring/report-kernel.ts';
import { type CheckedReport, referencePipeline } from '../../../scoring/rules/oracle.ts';
import type { Pane } from '../../../scoring/rules/pane.ts';
import { compareText, PaneTable } from '../../../scoring/rules/pane-table.ts';
import type { ModelSums } from '../../../scoring/rules/score-models.ts';
import { windowAt, windowSpec } from '../../../scoring/rules/windows.ts';
import type { ReportKernel } from '../../../scoring-native/kernel.ts';
import type { LineFault } from '../../../scoring-native/reference.ts';
import { ROW_STATUS, type RowBlock } from '../../../scoring-native/row-block.ts';
import { MILL_AT_MS, MILL_SUITES, ReportMill } from '../../support/report-mill.ts';
import { bytesOf, seededRandom } from '../../support/scoring-reports.ts';

/** A few seconds in `npm test`; `npm run test:fuzz` goes on for MERIT_FUZZ_SECONDS seconds. */
const FUZZ_MS = 1000 * Number(process.env.MERIT_FUZZ_SECONDS ?? (process.env.MERIT_FUZZ === 'whole' ? 300 : 4));

interface Outcome {
  readonly counts: { accepted: number; quarantined: number; duplicates: number; conflicts: number };
  readonly aside: { readonly line: number; readonly kind: string; readonly fault?: LineFault | undefined }[];
  readonly digests: string[];
}

/** One file of lines and the cuts at which it is handed over, told by what makes them again. */
interface Recipe {
  readonly seed: number;
  readonly lines: number;
  readonly cuts: readonly number[];
}

const recipes: fc.Arbitrary<Recipe> = fc.record({
  seed: fc.nat(),
  lines: fc.nat(40),
  cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 8 }),
});

function feedOf({ seed, lines, cuts }: Recipe): { readonly bytes: Uint8Array; readonly chunks: readonly Uint8Array[] } {
  const mill = new ReportMill(seededRandom(seed));
  const parts = Array.from({ length: lines }, () => mill.line());
  const bytes = Buffer.concat(parts.flatMap((part, i) => (i === 0 ? [part] : [bytesOf('\n'), part])));
  const ends = cuts.map((cut) => Math.floor(cut * bytes.length)).sort((a, b) => a - b);
  return { bytes, chunks: [...ends, bytes.length].map((end, i) => bytes.subarray(i === 0 ? 0 : ends[i - 1], end)) };
}

function byReference(bytes: Uint8Array, take: (checked: CheckedReport) => void): Outcome {
  const aside: Outcome['aside'] = [];
  const digests: string[] = [];
  const pipeline = referencePipeline(MILL_SUITES, {
    take: (checked, digest) => {
      digests.push(Buffer.from(digest).toString('hex'));
      take(checked);
    },
    setAside: (line, kind, fault) => aside.push(kind === 'conflict' ? { line, kind } : { line, kind, fault }),
  });
  pipeline.push(bytes);
  pipeline.endFile();
  return { counts: pipeline.counts(), aside, digests };
}

function byKernel(
  kernel: ReportKernel,
  chunks: Iterable<Uint8Array>,
  look: (block: RowBlock) => void = () => {},
): Outcome {
  const counts = { accepted: 0, quarantined: 0, duplicates: 0, conflicts: 0 };
  const aside: Outcome['aside'] = [];
  const digests: string[] = [];
  const settle = (block: RowBlock) => {
    const { status, line } = block.columns;
    for (let row = 0; row < block.rows; row++) {
      if (status[row] === ROW_STATUS.accepted) counts.accepted++;
      else if (status[row] === ROW_STATUS.duplicate) counts.duplicates++;
      else if (status[row] === ROW_STATUS.conflict) {
        counts.conflicts++;
        aside.push({ line: line[row]!, kind: 'conflict' });
      } else {
        expect([ROW_STATUS.quarantined, ROW_STATUS.tooLong]).toContain(status[row]);
        counts.quarantined++;
        aside.push({ line: line[row]!, kind: 'quarantined', fault: block.faultOf(row) });
      }
    }
    const accepted = Buffer.from(kernel.acceptedDigests());
    for (let at = 0; at < accepted.length; at += 32) digests.push(accepted.toString('hex', at, at + 32));
    look(block);
  };
  for (const chunk of chunks) for (const block of kernel.run(chunk)) settle(block);
  for (const block of kernel.runEnd()) settle(block);
  return { counts, aside, digests };
}

function kernelOf(options: Partial<ReportKernelOptions> = {}): ReportKernel {
  return createReportKernel(MILL_SUITES, { digests: true, ...options });
}

function referencePanes(bytes: Uint8Array): { readonly outcome: Outcome; readonly panes: readonly Pane[] } {
  const tables = new Map(MILL_SUITES.map((suite) => [suite.hash, new PaneTable(suite.hash)]));
  const outcome = byReference(bytes, ({ suite, contribution }) => {
    if (suite !== null && contribution !== null) tables.get(suite.hash)?.add(contribution);
  });
  return { outcome, panes: [...tables.values()].flatMap((table) => table.rows()) };
}

function byModel(sums: Iterable<ModelSums>): ModelSums[] {
  return [...sums].sort((a, b) => compareText(a.model, b.model));
}

const fuzz = (share: number) => ({
  numRuns: 1e9,
  interruptAfterTimeLimit: FUZZ_MS * share,
  markInterruptAsFailure: false,
});

describe('the kernel against the reference', () => {
  test(
    'gives the same outcome of every line, the same digests and the same panes, wherever chunks are cut',
    () => {
      // One kernel for all runs, so that what it learned from earlier lines is put to the test too.
      const kernel = kernelOf({ blockRows: 7 });
      fc.assert(
        fc.property(recipes, (recipe) => {
          const { bytes, chunks } = feedOf(recipe);
          const { outcome, panes } = referencePanes(bytes);
          kernel.forgetReports();
          kernel.dropPanes();
          expect(byKernel(kernel, chunks)).toEqual(outcome);
          expect(panesOf(kernel.takePanes(), MILL_SUITES)).toEqual(panes);
        }),
        fuzz(0.5),
      );
    },
    FUZZ_MS + 60_000,
  );

  test(
    'counts and sums are the same by fingerprints instead of digests',
    () => {
      const kernel = kernelOf({ digests: false });
      fc.assert(
        fc.property(recipes, (recipe) => {
          const { bytes, chunks } = feedOf(recipe);
          const { outcome, panes } = referencePanes(bytes);
          kernel.forgetReports();
          kernel.dropPanes();
          const { counts, aside } = byKernel(kernel, chunks);
          expect({ counts, aside }).toEqual({ counts: outcome.counts, aside: outcome.aside });
          expect(panesOf(kernel.takePanes(), MILL_SUITES)).toEqual(panes);
        }),
        fuzz(0.25),
      );
    },
    FUZZ_MS + 60_000,
  );

  test(
    'sums straight into the windows of one T as WindowsAt does',
    () => {
      const [suite] = MILL_SUITES;
      const windows = suite!.windows.map(({ name }) => windowAt(windowSpec(name), MILL_AT_MS));
      const kernel = createReportKernel([suite!], { digests: true, windows });
      fc.assert(
        fc.property(recipes, (recipe) => {
          const { bytes, chunks } = feedOf(recipe);
          const expected = new WindowsAt(suite!, MILL_AT_MS);
          const pipeline = referencePipeline([suite!], {
            take: ({ contribution }) => contribution !== null && expected.add(contribution),
            setAside: () => {},
          });
          pipeline.push(bytes);
          pipeline.endFile();
          kernel.forgetReports();
          kernel.dropPanes();
          byKernel(kernel, chunks);
          expect([...windowSumsOf(kernel.takePanes(), suite!)]).toEqual(byModel(expected.sums()));
        }),
        fuzz(0.25),
      );
    },
    FUZZ_MS + 60_000,
  );
});
