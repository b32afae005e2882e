import {
  type EvalReport,
  quarantineAt,
  quarantineText,
  readEvalReport,
  reportDigest,
  reportKey,
} from '../../core/eval-report.ts';
import { LineSplitter, MAX_LINE_BYTES } from '../../core/ndjson.ts';
import type { Suite } from '../../core/suite.ts';
import { FirstWins } from '../../scoring-native/first-wins.ts';
import {
  type LineFault,
  type LineReading,
  type PipelineCounts,
  type PipelineParts,
  ReferencePipeline,
} from '../../scoring-native/reference.ts';
import { type Contribution, contribute, isContributionFault } from './contribution.ts';
import type { Pane } from './pane.ts';
import { PaneTable } from './pane-table.ts';

/** A report that its own limits and its suite's let through; contribution null: its suite is not among those given. */
export interface CheckedReport {
  readonly report: EvalReport;
  readonly suite: Suite | null;
  readonly contribution: Contribution | null;
}

export const TOO_LONG: LineFault = {
  code: 'too_large',
  position: MAX_LINE_BYTES,
  reason: `too_large: the line is longer than ${MAX_LINE_BYTES} bytes`,
};

/** Reads one line and checks it against its own limits and those of its suite, where that is among `suites` (by name). */
export function readChecked(line: Uint8Array, suites: ReadonlyMap<string, Suite>): LineReading<CheckedReport> {
  const reading = readEvalReport(line);
  if (!reading.ok) return { ok: false, fault: lineFault(reading.quarantine) };
  const { report } = reading;
  const suite = suites.get(report.suite) ?? null;
  if (suite === null) return { ok: true, report: { report, suite, contribution: null } };
  const contribution = contribute(suite, report);
  if (isContributionFault(contribution)) {
    const { code, path, problem } = contribution;
    return { ok: false, fault: lineFault(quarantineAt(line, code, path, problem)) };
  }
  return { ok: true, report: { report, suite, contribution } };
}

function lineFault(quarantine: Parameters<typeof quarantineText>[0]): LineFault {
  return { code: quarantine.code, position: quarantine.position, reason: quarantineText(quarantine) };
}

export interface Sink {
  take(checked: CheckedReport, digest: Uint8Array): void;
  setAside(line: number, kind: 'quarantined' | 'conflict', fault: LineFault): void;
}

/** The reference pipeline over the given suites, its accepted reports and set-aside lines going to `sink`. */
export function referencePipeline(suites: readonly Suite[], sink: Sink): ReferencePipeline<CheckedReport> {
  const byName = new Map(suites.map((suite) => [suite.name, suite]));
  const seen = new FirstWins();
  const parts: PipelineParts<CheckedReport> = {
    splitLines: (onLine) => new LineSplitter(onLine),
    read: (line) => readChecked(line, byName),
    tooLong: TOO_LONG,
    identify: ({ report }) => ({ key: reportKey('', report), digest: reportDigest(report) }),
    offer: (key, digest) => seen.offer(key, digest),
    take: (checked, digest) => sink.take(checked, digest),
    setAside: (line, kind, fault) => sink.setAside(line, kind, fault),
  };
  return new ReferencePipeline(parts);
}

export interface OracleResult {
  readonly counts: PipelineCounts;
  /** Pane deltas of every suite, sorted by key within a suite. */
  readonly panes: readonly Pane[];
  /** 32 bytes an accepted report, in the order read. */
  readonly digests: readonly Uint8Array[];
  readonly aside: readonly {
    readonly line: number;
    readonly kind: 'quarantined' | 'conflict';
    readonly code: string;
  }[];
}

/** What native kernels are judged by: everything that bytes in any chunking come to, in memory. */
export function oracle(suites: readonly Suite[], chunks: Iterable<Uint8Array>): OracleResult {
  const tables = new Map(suites.map((suite) => [suite.hash, new PaneTable(suite.hash)]));
  const digests: Uint8Array[] = [];
  const aside: { line: number; kind: 'quarantined' | 'conflict'; code: string }[] = [];
  const pipeline = referencePipeline(suites, {
    take: ({ suite, contribution }, digest) => {
      digests.push(digest);
      if (suite !== null && contribution !== null) tables.get(suite.hash)?.add(contribution);
    },
    setAside: (line, kind, { code }) => aside.push({ line, kind, code }),
  });
  for (const chunk of chunks) pipeline.push(chunk);
  pipeline.endFile();
  const panes = Array.from(tables.values()).flatMap((table) => table.rows());
  return { counts: pipeline.counts(), panes, digests, aside };
}
