import { quarantineAt } from '../../core/eval-report.ts';
import type { Observation } from '../rules/contribution.ts';
import { Edge, type EdgeEntry } from '../rules/edge.ts';
import { addEvidence, type EvidenceRow, evidenceOf, tickAfter, watchCounts } from '../rules/evidence.ts';
import { PaneTable } from '../rules/pane-table.ts';
import {
  affectedTicks,
  isClockSkewed,
  isTooLate,
  type PartitionMark,
  suiteWatermark,
  tickAt,
} from '../rules/watermark.ts';
import type { DedupEntry, DedupIndex } from './dedup-index.ts';
import { type Counted, isFault, type LineReport } from './line-report.ts';
import type { Aside, LogLine, Position } from './read-lines.ts';
import { type SetAside, setAside } from './set-aside.ts';
import { type SuiteState, suiteKey } from './suite-state.sql.ts';

/** A watch that counts reports now. */
export interface OpenWatch {
  readonly watchId: string;
  readonly model: string;
  readonly role: 'incumbent' | 'candidate';
  readonly startMs: number | null;
}

export interface Counters {
  accepted: number;
  quarantined: number;
  duplicates: number;
  conflicts: number;
  lateArchived: number;
}

/** Reports of a model in a tick. */
export interface TickReports {
  readonly model: string;
  readonly tickMs: number;
  n: number;
}

export interface SuiteDedupEntry extends DedupEntry {
  readonly tenant: string;
  readonly suite: string;
}

/** What the lines of one flush do to one version of a suite. */
export class SuiteBatch {
  state: SuiteState;
  /** As the transaction found it. */
  readonly before: SuiteState;
  readonly watches: readonly OpenWatch[];
  readonly panes: PaneTable;
  readonly edge: Edge;
  readonly tickReports = new Map<string, TickReports>();
  /** Partition → its mark; the batch moves its own partition's only. */
  readonly marks: Map<number, PartitionMark>;
  /** Published ticks that late reports touch. */
  rescore: { fromMs: number; toMs: number } | undefined;
  touched = false;
  /** Accepted reports. Of a version beside the active one also those that it refuses, and those it would take that the active one sets aside. */
  counted = 0;
  refused = 0;
  missed = 0;
  readonly #evidence = new Map<string, EvidenceRow>();

  constructor(
    state: SuiteState,
    watches: readonly OpenWatch[],
    marks: readonly PartitionMark[],
    edge: readonly EdgeEntry[],
  ) {
    this.state = state;
    this.before = state;
    this.watches = watches;
    this.marks = new Map(marks.map((mark) => [mark.partition, mark]));
    this.edge = new Edge(edge);
    this.panes = new PaneTable(state.suite.hash);
  }

  evidenceRows(): readonly EvidenceRow[] {
    return [...this.#evidence.values()];
  }

  /** Takes an accepted report in. True where it makes a tick final: nothing may be read past it before the tick is published. */
  take(
    counted: Counted,
    partition: number,
    appendedAtMs: number,
    logAppendMs: number,
  ): { late: boolean; final: boolean } {
    this.touched = true;
    this.counted++;
    const { observedAtMs } = counted.observation;
    const late = isTooLate(observedAtMs, this.state.watermarkMs);
    this.#advance(observedAtMs, partition, appendedAtMs, logAppendMs);
    if (!late) this.#count(counted);
    return { late, final: this.#isFinal() };
  }

  /** An accepted report that this version refuses: event time is the suite's and goes on, nothing is counted. */
  pass(observedAtMs: number, partition: number, appendedAtMs: number, logAppendMs: number): { final: boolean } {
    this.touched = true;
    this.refused++;
    this.#advance(observedAtMs, partition, appendedAtMs, logAppendMs);
    return { final: this.#isFinal() };
  }

  #isFinal(): boolean {
    const { suite, watermarkMs, scoredTickMs } = this.state;
    return watermarkMs !== null && scoredTickMs !== null && tickAt(watermarkMs, suite.tickMs) > scoredTickMs;
  }

  #advance(observedAtMs: number, partition: number, appendedAtMs: number, logAppendMs: number): void {
    const { suite, maxObservedMs } = this.state;
    const mark = this.marks.get(partition);
    const watermark = Math.max(mark?.watermarkMs ?? observedAtMs, observedAtMs);
    this.marks.set(partition, {
      partition,
      watermarkMs: watermark,
      lastAppendMs: Math.max(mark?.lastAppendMs ?? 0, appendedAtMs),
    });
    const watermarkMs = suiteWatermark(this.state.watermarkMs, [...this.marks.values()], logAppendMs);
    // Before the first report no tick holds one: the ticks up to it are final and empty.
    const first = watermarkMs === null ? null : tickAt(watermarkMs, suite.tickMs);
    this.state = {
      ...this.state,
      watermarkMs,
      maxObservedMs: Math.max(maxObservedMs ?? observedAtMs, observedAtMs),
      scoredTickMs: this.state.scoredTickMs ?? first,
      decidedTickMs: this.state.decidedTickMs ?? first,
    };
  }

  #count({ observation, contribution, counts }: Counted): void {
    const { suite, watermarkMs, scoredTickMs } = this.state;
    const { model, observedAtMs } = observation;
    if (contribution !== undefined) this.panes.add(contribution);
    counts();
    this.edge.take(observation, watermarkMs);
    const tickMs = tickAfter(observedAtMs, suite.tickMs);
    const key = `${model} ${tickMs}`;
    const reports = this.tickReports.get(key) ?? { model, tickMs, n: 0 };
    reports.n++;
    this.tickReports.set(key, reports);
    this.#addEvidence(observation, tickMs);
    const affected = affectedTicks(suite, observedAtMs);
    if (affected === undefined || scoredTickMs === null || affected.firstMs > scoredTickMs) return;
    const toMs = Math.min(affected.lastMs, scoredTickMs);
    const range = this.rescore ?? { fromMs: affected.firstMs, toMs };
    this.rescore = { fromMs: Math.min(range.fromMs, affected.firstMs), toMs: Math.max(range.toMs, toMs) };
  }

  /** A candidate's challenge counts the incumbent's reports too: both arms over the same stretch. */
  #addEvidence(observation: Observation, tickMs: number): void {
    const { model, observedAtMs } = observation;
    const isIncumbent = this.watches.some((watch) => watch.role === 'incumbent' && watch.model === model);
    const counting = this.watches.filter(
      (watch) =>
        (watch.model === model || (isIncumbent && watch.role === 'candidate')) &&
        watchCounts(watch.startMs, observedAtMs),
    );
    if (counting.length === 0) return;
    for (const { metric, sums } of evidenceOf(observation)) {
      for (const { watchId } of counting) {
        const key = `${watchId} ${model} ${metric} ${tickMs}`;
        const present = this.#evidence.get(key);
        const merged = present === undefined ? sums : addEvidence(present.sums, sums);
        this.#evidence.set(key, { watchId, model, metric, tickMs, sums: merged });
      }
    }
  }
}

export interface BatchWorld {
  readonly partition: number;
  /** The log's greatest append time when the batch was read. */
  readonly logAppendMs: number;
  /** The partition's last append as far as idleness goes: of one with unread messages, logAppendMs. */
  readonly lastAppendMs?: number;
  /** By tenant/suite; what is missing is unknown. */
  readonly suites: ReadonlyMap<string, SuiteBatch>;
  /** The new versions beside them, where there are any. Which lines are accepted is the active version's word alone. */
  readonly next?: ReadonlyMap<string, SuiteBatch>;
  /** tenant/version → retired? */
  readonly versions: ReadonlyMap<string, boolean>;
  readonly known: DedupIndex;
}

/** The effects of the lines read so far; nothing in it is shared with another flush. */
export class Batch {
  readonly #world: BatchWorld;
  readonly asides: SetAside[] = [];
  readonly counters = new Map<string, { readonly tenant: string; readonly suite: string; readonly counts: Counters }>();
  readonly #entries = new Map<string, SuiteDedupEntry>();
  next: (Position & { readonly appendedAtMs: number }) | undefined;
  lines = 0;
  /** The suite whose tick became final with the last line. */
  final: { readonly key: string; readonly traceId: string } | undefined;

  constructor(world: BatchWorld) {
    this.#world = world;
  }

  dedupEntries(): readonly SuiteDedupEntry[] {
    return [...this.#entries.values()];
  }

  /** One line; false where the batch must end with it. */
  take(line: LogLine): boolean {
    // Logs may tell fractions of a millisecond.
    const appendedAtMs = Math.max(this.next?.appendedAtMs ?? 0, Math.floor(line.message.appendedAtMs));
    this.next = { ...line.next, appendedAtMs };
    this.lines++;
    if (!line.reading.ok) {
      this.#setAside(line, line.reading.aside, null, '');
      return true;
    }
    const { report } = line.reading;
    const suite = this.#world.suites.get(suiteKey(line.message.tenant, report.suite));
    const counted = this.#check(line, report, suite);
    if ('code' in counted) {
      this.#setAside(line, counted, report.producer, suite === undefined ? '' : report.suite);
      return true;
    }
    return this.#accept(line, report, suite!, counted);
  }

  #check(line: LogLine, report: LineReport, suite: SuiteBatch | undefined): Counted | Aside {
    const { tenant, appendedAtMs } = line.message;
    if (suite === undefined) return asideAt(line, 'unknown_suite', 'suite', 'is not registered');
    const retired = this.#world.versions.get(suiteKey(tenant, report.model));
    if (retired === undefined) return asideAt(line, 'unknown_model', 'model', 'is not registered');
    if (retired) return asideAt(line, 'retired', 'model', 'is retired');
    if (isClockSkewed(report.observedAtMs, appendedAtMs)) {
      return asideAt(line, 'clock_skew', 'observedAt', 'is more than 5 minutes ahead of its arrival');
    }
    const counted = report.under(suite.state.suite);
    if (!isFault(counted)) return counted;
    const next = this.#nextOf(line, report);
    if (next !== undefined && !isFault(report.under(next.state.suite))) next.missed++;
    return quarantineAt(line.raw, counted.code, counted.path, counted.problem);
  }

  #accept(line: LogLine, report: LineReport, suite: SuiteBatch, counted: Counted): boolean {
    const { tenant } = line.message;
    const counts = this.#countsOf(tenant, report.suite);
    const entry = { ...report.entry, tenant, suite: report.suite };
    const key = entry.key.toString('latin1');
    const here = this.#entries.get(key);
    const known =
      here === undefined
        ? this.#world.known.find(entry.key, entry.digest)
        : here.digest.equals(entry.digest)
          ? 'same'
          : 'other';
    if (known === 'same') {
      counts.duplicates++;
      return true;
    }
    if (known === 'other') {
      counts.conflicts++;
      const problem = 'was used for another report of this producer, which stays';
      this.asides.push(setAside(line, asideAt(line, 'conflict', 'reportId', problem), report.producer));
      return true;
    }
    this.#entries.set(key, entry);
    counts.accepted++;
    const { partition, logAppendMs, lastAppendMs = 0 } = this.#world;
    const at = [partition, Math.max(line.message.appendedAtMs, lastAppendMs), logAppendMs] as const;
    const taken = suite.take(counted, ...at);
    if (taken.late) counts.lateArchived++;
    const final = this.#takeBeside(line, report, at) || taken.final;
    if (final) this.final = { key: suiteKey(tenant, report.suite), traceId: line.traceId };
    return !final;
  }

  /** The same report under the new version, if there is one; what it refuses costs the active one nothing. True where it makes a tick of it final. */
  #takeBeside(line: LogLine, report: LineReport, at: readonly [number, number, number]): boolean {
    const next = this.#nextOf(line, report);
    if (next === undefined) return false;
    const counted = report.under(next.state.suite);
    if (isFault(counted)) return next.pass(report.observedAtMs, ...at).final;
    return next.take(counted, ...at).final;
  }

  #nextOf(line: LogLine, report: LineReport): SuiteBatch | undefined {
    return this.#world.next?.get(suiteKey(line.message.tenant, report.suite));
  }

  #setAside(line: LogLine, aside: Aside, producer: string | null, suite: string): void {
    this.#countsOf(line.message.tenant, suite).quarantined++;
    this.asides.push(setAside(line, aside, producer));
  }

  #countsOf(tenant: string, suite: string): Counters {
    const key = suiteKey(tenant, suite);
    let entry = this.counters.get(key);
    if (entry === undefined) {
      entry = { tenant, suite, counts: { accepted: 0, quarantined: 0, duplicates: 0, conflicts: 0, lateArchived: 0 } };
      this.counters.set(key, entry);
    }
    return entry.counts;
  }
}

/** The quarantine codes that reading does not know are the consumer's own; the position is the value's byte in the line. */
function asideAt(line: LogLine, code: Aside['code'], field: string, problem: string): Aside {
  return { ...quarantineAt(line.raw, 'schema', [field], problem), code };
}
