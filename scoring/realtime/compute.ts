import type { EvalReport } from '../../core/eval-report.ts';
import { RefusedInput, refuse } from '../../core/refusal.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import { parseSuite, type Suite } from '../../core/suite.ts';
import type { TenantReads } from '../../platform/postgres-reads.ts';
import { type Contribution, contribute, isContributionFault } from '../rules/contribution.ts';
import { type BriefExplanation, briefly, explain } from '../rules/explain.ts';
import { liveInstant, liveWindows, withReport } from '../rules/live.ts';
import type { PublishedModel, WindowName } from '../rules/published.ts';
import { isClockSkewed } from '../rules/watermark.ts';
import { type LiveHead, readHead, readSuiteDocument } from './live-windows.sql.ts';
import { type FoundWindows, type LiveWindows, rankedModel } from './live-windows.ts';
import type { RealtimeMetrics } from './metrics.ts';

/** A score computed now; nothing of it is stored. */
export interface ComputedScore {
  readonly suite: string;
  readonly suiteHash: string;
  /** T: the later of the suite's watermark and the report's observedAt. */
  readonly at: string;
  /** What was committed when it was computed. */
  readonly basis: {
    /** The last published tick: the board that ranks are told among; null: none yet. */
    readonly tick: string | null;
    readonly watermark: string | null;
    /** Partition → offset of the next message, and lines done of it where it is half read. */
    readonly offsets: { readonly [partition: string]: string };
    readonly lines: { readonly [partition: string]: number };
  };
  readonly report: {
    readonly producer: string;
    readonly reportId: string;
    /** Windows that the report is in; none where it is more than 7 days late. */
    readonly counted: readonly WindowName[];
    /** Metrics of it that the suite does not know: they are counted, not scored. */
    readonly unknownMetrics: readonly string[];
  };
  readonly model: PublishedModel;
  /** The same without the report. */
  readonly before: PublishedModel;
  /** Of `model`: contributions that add up to its composite. */
  readonly explanation: BriefExplanation;
}

/** Versions of suites kept parsed; a hash never means another document. */
const MAX_SUITES = 1_000;
/**
 * Scores one report against the live windows, on the calling thread: the sums of a model's windows are in memory, and each
 * call first reads the version of the suite's state, one small statement. Windows of another version are not used, in whatever
 * process they were read and whoever committed since: an answer is never older than the commits that were there when its
 * call came. Nothing is told between processes, so nothing can be missed.
 */
export class LiveScores {
  readonly #reads: TenantReads;
  readonly #metrics: RealtimeMetrics;
  readonly #windows: LiveWindows;
  readonly #suites = new Map<string, Suite>();

  constructor(reads: TenantReads, metrics: RealtimeMetrics, windows: LiveWindows) {
    this.#reads = reads;
    this.#metrics = metrics;
    this.#windows = windows;
  }

  /** Throws RefusedInput where the consumer would set the report aside. `nowMs`: when it would arrive. */
  async compute(tenant: string, report: EvalReport, nowMs: number): Promise<ComputedScore> {
    const startedMs = performance.now();
    const key = { tenant, suite: report.suite, model: report.model };
    const first = await readHead(this.#reads, key);
    const { suite, contribution } = await this.#check(tenant, report, first, nowMs);
    const found = await this.#windows.find(key, suite, first, report.observedAtMs);
    const computed = scored(report, suite, contribution, found);
    this.#metrics.computed(found.from, (performance.now() - startedMs) / 1000);
    return computed;
  }

  /** As the consumer checks it, in the same order. */
  async #check(
    tenant: string,
    report: EvalReport,
    head: LiveHead,
    nowMs: number,
  ): Promise<{ readonly suite: Suite; readonly contribution: Contribution }> {
    const { suiteHash, retired } = head;
    if (suiteHash === null) throw refused('unknown_suite', 'suite', 'is not registered', 'apply the suite first');
    if (retired === undefined)
      throw refused('unknown_model', 'model', 'is not registered', 'add it as a version of a model first');
    if (retired) throw refused('retired', 'model', 'is retired', 'name a version that is not');
    if (isClockSkewed(report.observedAtMs, nowMs)) {
      throw refused('clock_skew', 'observedAt', 'is more than 5 minutes ahead', 'set the clock of its producer');
    }
    const suite = await this.#suite(tenant, report.suite, suiteHash);
    const contribution = contribute(suite, report);
    if (!isContributionFault(contribution)) return { suite, contribution };
    const { code, path, problem } = contribution;
    throw refused(code, path.join('.'), problem, 'send a value that the suite takes');
  }

  async #suite(tenant: string, name: string, hash: string): Promise<Suite> {
    const known = this.#suites.get(`${tenant} ${hash}`);
    if (known !== undefined) return known;
    const suite = parseSuite(await readSuiteDocument(this.#reads, tenant, name, hash));
    if (this.#suites.size >= MAX_SUITES) this.#suites.clear();
    this.#suites.set(`${tenant} ${hash}`, suite);
    return suite;
  }
}

function scored(
  report: EvalReport,
  suite: Suite,
  contribution: Contribution,
  { entry, head }: FoundWindows,
): ComputedScore {
  const { watermarkMs, scoredTickMs, positions } = head;
  const atMs = liveInstant(watermarkMs, report.observedAtMs);
  const { sums, counted } = withReport(suite, watermarkMs, entry.sums, contribution);
  const model = counted.length === 0 ? entry.before : rankedModel(suite, liveWindows(suite, atMs), entry, sums);
  const known = new Set(suite.metrics.map(({ name }) => name));
  return {
    suite: suite.name,
    suiteHash: suite.hash,
    at: formatRfc3339(atMs),
    basis: {
      tick: scoredTickMs === null ? null : formatRfc3339(scoredTickMs),
      watermark: watermarkMs === null ? null : formatRfc3339(watermarkMs),
      offsets: Object.fromEntries(positions.map(([partition, offset]) => [String(partition), offset])),
      lines: Object.fromEntries(
        positions.filter(([, , lines]) => lines > 0).map(([partition, , lines]) => [String(partition), lines]),
      ),
    },
    report: {
      producer: report.producer,
      reportId: report.reportId,
      counted,
      unknownMetrics: Object.keys(report.metrics).filter((name) => !known.has(name)),
    },
    model,
    before: entry.before,
    explanation: briefly(explain(suite, model)),
  };
}

function refused(code: string, field: string, problem: string, mend: string): RefusedInput {
  return new RefusedInput([refuse(code, field, problem, mend)]);
}
