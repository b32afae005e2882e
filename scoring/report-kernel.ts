import { canonicalText } from '../core/canonical.ts';
import { JSON_MAX_DEPTH } from '../core/json.ts';
import { MAX_LINE_BYTES } from '../core/ndjson.ts';
import type { Suite } from '../core/suite.ts';
import { type KernelOptions, type ReadReport, ReportKernel } from '../scoring-native/kernel.ts';
import { ANY_METRIC_ROW, type PaneColumns } from '../scoring-native/pane-columns.ts';
import type { LineReading } from '../scoring-native/reference.ts';
import { readChecked, TOO_LONG } from './rules/oracle.ts';
import { ANY_METRIC, type Pane, RESOLUTIONS } from './rules/pane.ts';
import { bucketBounds } from './rules/sketch.ts';

/** The native kernel, wired to the rules that it must equal, as scoring/rules/oracle.ts wires the reference. */

export type ReportKernelOptions = Pick<
  KernelOptions,
  'digests' | 'windows' | 'maxReports' | 'maxModels' | 'maxPaneBytes' | 'blockRows' | 'maxMemoryBytes'
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
