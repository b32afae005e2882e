import type { EvalReport } from '../../core/eval-report.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { RefusedInput, refuse } from '../../core/refusal.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import { parseSuite, type Suite } from '../../core/suite.ts';
import type { TenantReads } from '../../platform/postgres-reads.ts';
import { type Contribution, contribute, isContributionFault } from '../rules/contribution.ts';
import { type Explanation, explain } from '../rules/explain.ts';
import { type LiveWindow, liveInstant, liveWindows, withReport } from '../rules/live.ts';
import type { PublishedModel, WindowName } from '../rules/published.ts';
import { rankAmong } from '../rules/rank.ts';
import { scoreModel } from '../rules/score-models.ts';
import { isClockSkewed } from '../rules/watermark.ts';
import { liveWindowAt } from '../rules/windows.ts';
import { LiveCache, type LiveEntry } from './live-cache.ts';
import {
  type LiveHead,
  type LiveKey,
  type LiveRead,
  readHead,
  readLive,
  readSuiteDocument,
} from './live-windows.sql.ts';
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
  readonly explanation: Explanation;
}

/** Versions of suites kept parsed; a hash never means another document. */
const MAX_SUITES = 1_000;
/** The consumer may commit between two reads; after this many it is told that they do not come together. */
const MAX_READS = 5;

/**
 * Scores one report against the live windows, on the calling thread: the sums of a model's windows are in memory, and each
 * call first reads the version of the suite's state, one small statement. Windows of another version are not used, in whatever
 * process they were read and whoever committed since: an answer is never older than the commits that were there when its
 * call came. Nothing is told between processes, so nothing can be missed.
 */
export class LiveScores {
  readonly #reads: TenantReads;
  readonly #metrics: RealtimeMetrics;
  readonly #cache: LiveCache;
  readonly #suites = new Map<string, Suite>();
  /** Reads under way, so that many calls about one model after a commit make one. */
  readonly #reading = new Map<string, Promise<LiveEntry>>();

  constructor(reads: TenantReads, metrics: RealtimeMetrics, cache = new LiveCache()) {
    this.#reads = reads;
    this.#metrics = metrics;
    this.#cache = cache;
  }

  /** Throws RefusedInput where the consumer would set the report aside. `nowMs`: when it would arrive. */
  async compute(tenant: string, report: EvalReport, nowMs: number): Promise<ComputedScore> {
    const startedMs = performance.now();
    const key = { tenant, suite: report.suite, model: report.model };
    const first = await readHead(this.#reads, key);
    const { suite, contribution } = await this.#check(tenant, report, first, nowMs);
    const { entry, head, loaded } = await this.#live(key, suite, first, report.observedAtMs);
    const computed = scored(report, suite, contribution, entry, head);
    this.#metrics.computed(loaded ? 'read' : 'held', (performance.now() - startedMs) / 1000);
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

  /** The live windows at the version of `first` or a later one, with the head they belong to. */
  async #live(
    key: LiveKey,
    suite: Suite,
    first: LiveHead,
    observedAtMs: number,
  ): Promise<{ readonly entry: LiveEntry; readonly head: LiveHead; readonly loaded: boolean }> {
    let head = first;
    for (let reads = 0; reads < MAX_READS; reads++) {
      const windows = liveWindows(suite, liveInstant(head.watermarkMs, observedAtMs));
      const place = placeOf(key, suite, windows);
      const held = this.#cache.get(place);
      if (held !== undefined && held.head.version === head.version) return { entry: held, head, loaded: reads > 0 };
      const entry = await this.#read(`${place} ${head.version}`, place, key, suite, windows);
      head = entry.head;
      if (head.suiteHash !== suite.hash) break;
      // Where the watermark moved meanwhile the report may fall into later windows.
      if (placeOf(key, suite, liveWindows(suite, liveInstant(head.watermarkMs, observedAtMs))) === place)
        return { entry, head, loaded: true };
    }
    throw new OperatingError('conflict', 'safe', 'reading live windows', {
      cause: 'the suite changed while its windows were read',
      mend: 'send it again',
    });
  }

  #read(
    reading: string,
    place: string,
    key: LiveKey,
    suite: Suite,
    windows: readonly LiveWindow[],
  ): Promise<LiveEntry> {
    const underWay = this.#reading.get(reading);
    if (underWay !== undefined) return underWay;
    const read = readLive(this.#reads, key, suite.hash, windows)
      .then((live) => {
        const entry = { ...live, before: ranked(suite, windows, live, live.sums) };
        this.#cache.set(place, entry);
        return entry;
      })
      .finally(() => this.#reading.delete(reading));
    this.#reading.set(reading, read);
    return read;
  }
}

/** A model's live windows in memory: under which version of the suite, and which ends. */
function placeOf({ tenant, model }: LiveKey, suite: Suite, windows: readonly LiveWindow[]): string {
  return `${tenant} ${suite.hash} ${model} ${windows.map(({ bounds }) => bounds.endMs).join(' ')}`;
}

function scored(
  report: EvalReport,
  suite: Suite,
  contribution: Contribution,
  entry: LiveEntry,
  head: LiveHead,
): ComputedScore {
  const { watermarkMs, scoredTickMs, positions } = head;
  const atMs = liveInstant(watermarkMs, report.observedAtMs);
  const { sums, counted } = withReport(suite, watermarkMs, entry.sums, contribution);
  const model = counted.length === 0 ? entry.before : ranked(suite, liveWindows(suite, atMs), entry, sums);
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
    explanation: explain(suite, model),
  };
}

/** The model as a tick would publish it, ranked among the others of the last board. */
function ranked(
  suite: Suite,
  windows: readonly LiveWindow[],
  { lowers, own }: LiveRead,
  sums: LiveRead['sums'],
): PublishedModel {
  // Any instant within the last panes of all windows gives their bounds.
  const inside = Math.min(...windows.map(({ bounds }) => bounds.endMs)) - 1;
  const model = scoreModel(suite, inside, sums, liveWindowAt);
  return { ...model, rank: rankAmong(lowers, own, model.upper) };
}

function refused(code: string, field: string, problem: string, mend: string): RefusedInput {
  return new RefusedInput([refuse(code, field, problem, mend)]);
}
