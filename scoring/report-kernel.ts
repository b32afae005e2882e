import { canonicalText } from '../core/canonical.ts';
import { JSON_MAX_DEPTH } from '../core/json.ts';
import { MAX_LINE_BYTES } from '../core/ndjson.ts';
import type { Suite } from '../core/suite.ts';
import { type KernelOptions, type ReadReport, ReportKernel } from '../scoring-native/kernel.ts';
import { ALL_TIME, ANY_METRIC_ROW, type PaneColumns } from '../scoring-native/pane-columns.ts';
import type { LineReading } from '../scoring-native/reference.ts';
import { readChecked, TOO_LONG } from './rules/oracle.ts';
import { ANY_METRIC, NO_SUMS, type Pane, RESOLUTIONS, type Sums } from './rules/pane.ts';
import type { WindowName } from './rules/published.ts';
import type { ModelSums, WindowSums } from './rules/score-models.ts';
import { bucketBounds } from './rules/sketch.ts';

/** The native kernel, wired to the rules that it must equal, as scoring/rules/oracle.ts wires the reference. */

export type ReportKernelOptions = Pick<
  KernelOptions,
  'digests' | 'windows' | 'maxReports' | 'maxModels' | 'maxPaneBytes' | 'blockRows' | 'chunkBytes' | 'maxMemoryBytes'
>;

/** The suites of one tenant; more of others by addSuite and `suitesOf`. */
export function createReportKernel(
  suites: readonly Suite[],
  options: ReportKernelOptions,
  suitesOf: (tenant: string) => ReadonlyMap<string, Suite> = always(suites),
): ReportKernel {
  return ReportKernel.create({
    ...options,
    suites,
    readLine: (line, tenant) => readByReference(line, suitesOf(tenant)),
    tooLong: TOO_LONG,
    bucketBounds: bucketBounds(),
    maxLineBytes: MAX_LINE_BYTES,
    maxDepth: JSON_MAX_DEPTH,
  });
}

function always(suites: readonly Suite[]): () => ReadonlyMap<string, Suite> {
  const byName = new Map(suites.map((suite) => [suite.name, suite]));
  return () => byName;
}

function readByReference(line: Uint8Array, suites: ReadonlyMap<string, Suite>): LineReading<ReadReport> {
  const reading = readChecked(line, suites);
  if (!reading.ok) return reading;
  const { report, suite, contribution } = reading.report;
  const values = new Map(contribution?.metrics.map(({ rule, x }) => [rule.name, x]));
  return {
    ok: true,
    report: {
      reportId: report.reportId,
      producer: report.producer,
      model: report.model,
      suite: report.suite,
      observedAtMs: report.observedAtMs,
      weight: report.sampleSize,
      values: suite?.metrics.map(({ name }) => values.get(name)) ?? [],
      canonical: canonicalText(report.document),
    },
  };
}

/** The kernel's panes as rows of scoring/rules/pane.ts. `suites` are those the kernel was given, in order. */
export function panesOf(columns: PaneColumns, suites: readonly Suite[]): Pane[] {
  return Array.from({ length: columns.rows }, (_, row) => {
    const suite = suites[columns.suite[row]!]!;
    const metric = columns.metric[row]!;
    return {
      suiteHash: suite.hash,
      model: columns.modelOf(row),
      metric: metric === ANY_METRIC_ROW ? ANY_METRIC : suite.metrics[metric]!.name,
      resolution: RESOLUTIONS[columns.part[row]!]!,
      paneStartMs: columns.startMs[row]!,
      sums: columns.sumsOf(row),
    };
  });
}

/**
 * The sums that a kernel of one suite, with the suite's windows in order, gathered: one entry a model of any report, by name. A window that holds
 * no report is absent.
 */
export function* windowSumsOf(columns: PaneColumns, suite: Suite): Generator<ModelSums> {
  let row = 0;
  while (row < columns.rows) {
    // A model begins with the row of all its reports, in a window or not.
    const model = columns.modelOf(row++);
    const windows = new Map<WindowName, { any: Sums; metrics: Map<string, Sums>; revision: number }>();
    for (; row < columns.rows && columns.part[row] !== ALL_TIME; row++) {
      const { name } = suite.windows[columns.part[row]!]!;
      const window = windows.get(name) ?? { any: NO_SUMS, metrics: new Map<string, Sums>(), revision: 0 };
      windows.set(name, window);
      const metric = columns.metric[row]!;
      if (metric === ANY_METRIC_ROW) window.any = columns.sumsOf(row);
      else window.metrics.set(suite.metrics[metric]!.name, columns.sumsOf(row));
    }
    yield { model, windows: windows satisfies ReadonlyMap<WindowName, WindowSums> };
  }
}
