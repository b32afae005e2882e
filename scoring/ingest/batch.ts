import { quarantineAt } from '../../core/eval-report.ts';
import { isClockSkewed } from '../rules/watermark.ts';
import { DedupEntries } from './dedup-entries.ts';
import { type DedupEntry, DIGEST_WORDS, KEY_WORDS, type Known } from './dedup-index.ts';
import { type Counted, isFault, type LineReport } from './line-report.ts';
import type { NativeRows } from './native-rows.ts';
import type { Aside, LogLine, Position } from './read-lines.ts';
import { isSentInCircles, type Routing } from './routing.ts';
import { type SetAside, setAside } from './set-aside.ts';
import { arrivedAtMs, isBehind, originOf, type StrayMark } from './strays.ts';
import type { SuiteBatch } from './suite-batch.ts';
import { suiteKey } from './suite-state.sql.ts';

export interface Counters {
  accepted: number;
  quarantined: number;
  duplicates: number;
  conflicts: number;
  lateArchived: number;
}

export interface SuiteDedupEntry extends DedupEntry {
  readonly tenant: string;
  readonly suite: string;
}

/** What the rows of one suite are counted into. */
interface RowLane {
  readonly key: string;
  readonly suite: SuiteBatch;
  readonly counts: Counters;
  readonly owner: number;
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
  readonly known: KnownReports;
  /** undefined: the partition serves every shard. */
  readonly routing?: Routing;
  /** How far lines of other partitions were taken in here. */
  readonly strayMarks?: readonly StrayMark[];
}

/** Reports of earlier flushes. */
export interface KnownReports {
  findWords(keys: Uint32Array, keyAt: number, digests: Uint32Array, digestAt: number): Known;
}

/** Rows at a time: V8 compiles a function that is called often once, but one that runs long, and seldom, anew each time. */
export const STRIDE_ROWS = 256;

/** The effects of the lines read so far; nothing in it is shared with another flush. */
export class Batch {
  readonly #world: BatchWorld;
  readonly asides: SetAside[] = [];
  readonly counters = new Map<string, { readonly tenant: string; readonly suite: string; readonly counts: Counters }>();
  /** The reports accepted so far. */
  readonly entries: DedupEntries;
  readonly #owners = new Map<string, number>();
  next: (Position & { readonly appendedAtMs: number }) | undefined;
  lines = 0;
  #appendedAtMs = 0;
  /** By source partition, moved by this batch or not. */
  readonly #strayMarks: Map<number, StrayMark>;
  readonly #movedMarks = new Set<number>();
  /** The suite whose tick became final with the last line. */
  final: { readonly key: string; readonly traceId: string } | undefined;

  /** `lines`: how many it may take. */
  constructor(world: BatchWorld, lines?: number) {
    this.#world = world;
    this.entries = new DedupEntries(lines);
    this.#strayMarks = new Map(world.strayMarks?.map((mark) => [mark.source, mark]));
  }

  get strayMarks(): readonly StrayMark[] {
    return Array.from(this.#movedMarks, (source) => this.#strayMarks.get(source)!);
  }

  dedupEntries(): readonly SuiteDedupEntry[] {
    return [...this.entries.entries()];
  }

  /** One line; false where the batch must end with it. */
  take(line: LogLine): boolean {
    this.#reach(line.message.appendedAtMs);
    this.next = { ...line.next, appendedAtMs: this.#appendedAtMs };
    if (!line.reading.ok) {
      this.#setAside(line, line.reading.aside, '');
      return true;
    }
    if (this.#isRepeat(line)) return true;
    const { report } = line.reading;
    if (this.#world.routing?.lineRoute(line) !== undefined) {
      // What is sent on was appended before the flush.
      if (isSentInCircles(line)) this.#setAside(line, asideAt(line, 'misrouted', '', MISROUTED), '');
      return true;
    }
    const suite = this.#world.suites.get(suiteKey(line.message.tenant, report.suite));
    const counted = this.#check(line, report, suite);
    if ('code' in counted) {
      this.#setAside(line, counted, suite === undefined ? '' : report.suite);
      return true;
    }
    return this.#accept(line, report, suite!, counted);
  }

  /**
   * The rows [from, to), as `take` would take their lines. What nothing stands against is counted from the columns; every other row, and every
   * row of a suite that is under two versions, becomes a line, but for those that were sent on.
   */
  takeRows(rows: NativeRows, from: number, to: number): void {
    const lanes: (RowLane | null)[] = [];
    const models: boolean[] = [];
    let row = from;
    for (let more = true; more && row < to; ) {
      const end = Math.min(row + STRIDE_ROWS, to);
      const reached = this.#takeSome(rows, row, end, lanes, models);
      more = reached.more;
      row = reached.row;
    }
    if (row > from) this.next = { ...rows.nextOf(row - 1), appendedAtMs: this.#appendedAtMs };
    for (const lane of lanes) lane?.suite.finishRows(rows);
  }

  #takeSome(
    rows: NativeRows,
    from: number,
    to: number,
    lanes: (RowLane | null)[],
    models: boolean[],
  ): { readonly row: number; readonly more: boolean } {
    for (let row = from; row < to; row++) {
      const cameFrom = rows.originOf(row);
      if (cameFrom === undefined && this.#world.routing?.rowRoute(rows, row) !== undefined) {
        this.#reach(rows.appendedAtMs(row));
        continue;
      }
      const lane = cameFrom === undefined ? this.#laneOf(lanes, rows, row) : null;
      const plain = lane !== null && this.#isPlain(models, rows, row, lane);
      const more = plain ? this.#takeRow(rows, row, lane) : this.take(rows.lineAt(row));
      if (!more) return { row: row + 1, more };
    }
    return { row: to, more: true };
  }

  /** A line of a message that was appended again, which was taken in before. */
  #isRepeat({ message, line }: LogLine): boolean {
    const origin = originOf(message);
    if (origin === undefined) return false;
    if (!isBehind(line, origin.offset, this.#strayMarks.get(origin.partition))) return true;
    this.#strayMarks.set(origin.partition, { source: origin.partition, offset: origin.offset, line });
    this.#movedMarks.add(origin.partition);
    return false;
  }

  /** null: its rows become lines. */
  #laneOf(lanes: (RowLane | null)[], rows: NativeRows, row: number): RowLane | null {
    if (!rows.isRead(row)) return null;
    const number = rows.suite[row]!;
    const known = lanes[number];
    if (known !== undefined) return known;
    const { tenant } = rows;
    const { name, hash } = rows.suiteOf(row);
    const key = suiteKey(tenant, name);
    const suite = this.#world.suites.get(key);
    const plain = suite !== undefined && suite.before.suite.hash === hash && this.#world.next?.has(key) !== true;
    const lane = plain
      ? { key, suite, counts: this.#countsOf(tenant, name), owner: this.#ownerOf(tenant, name) }
      : null;
    lanes[number] = lane;
    return lane;
  }

  /** A report of a model that is there, in time, and not known yet. */
  #isPlain(models: boolean[], rows: NativeRows, row: number, { suite }: RowLane): boolean {
    const model = rows.model[row]!;
    models[model] ??= this.#world.versions.get(suiteKey(rows.tenant, rows.modelOf(row))) === false;
    const observedAtMs = rows.observedAtMs[row]!;
    if (!models[model] || isClockSkewed(observedAtMs, rows.appendedAtMs(row)) || !suite.isOnTime(observedAtMs)) {
      return false;
    }
    return this.#find(rows.keys, row * KEY_WORDS, rows.digests, row * DIGEST_WORDS) === 'new';
  }

  #takeRow(rows: NativeRows, row: number, { counts, key, owner, suite }: RowLane): boolean {
    this.#reach(rows.appendedAtMs(row));
    this.entries.add(rows.keys, row * KEY_WORDS, rows.digests, row * DIGEST_WORDS, rows.observedAtMs[row]!, owner);
    counts.accepted++;
    const { partition, logAppendMs, lastAppendMs = 0 } = this.#world;
    const final = suite.takeRow(rows, row, partition, Math.max(rows.appendedAtMs(row), lastAppendMs), logAppendMs);
    if (final) this.final = { key, traceId: rows.traceIdAt(row) };
    return !final;
  }

  #check(line: LogLine, report: LineReport, suite: SuiteBatch | undefined): Counted | Aside {
    const { tenant } = line.message;
    if (suite === undefined) return asideAt(line, 'unknown_suite', 'suite', 'is not registered');
    const retired = this.#world.versions.get(suiteKey(tenant, report.model));
    if (retired === undefined) return asideAt(line, 'unknown_model', 'model', 'is not registered');
    if (retired) return asideAt(line, 'retired', 'model', 'is retired');
    if (isClockSkewed(report.observedAtMs, arrivedAtMs(line.message))) {
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
    const { entry } = report;
    const words = this.entries.wordsOf(entry);
    const known = this.#find(words, 0, words, KEY_WORDS);
    if (known === 'same') {
      counts.duplicates++;
      return true;
    }
    if (known === 'other') {
      counts.conflicts++;
      const problem = 'was used for another report of this producer, which stays';
      this.asides.push(setAside(line, asideAt(line, 'conflict', 'reportId', problem)));
      return true;
    }
    this.entries.add(words, 0, words, KEY_WORDS, entry.observedAtMs, this.#ownerOf(tenant, report.suite));
    counts.accepted++;
    const { partition, logAppendMs, lastAppendMs = 0 } = this.#world;
    const at = [partition, Math.max(line.message.appendedAtMs, lastAppendMs), logAppendMs] as const;
    const taken = suite.take(counted, ...at);
    if (taken.late) counts.lateArchived++;
    const final = this.#takeBeside(line, report, at) || taken.final;
    if (final) this.final = { key: suiteKey(tenant, report.suite), traceId: line.traceId };
    return !final;
  }

  #reach(appendedAtMs: number): void {
    this.lines++;
    // Logs may tell fractions of a millisecond.
    this.#appendedAtMs = Math.max(this.#appendedAtMs, Math.floor(appendedAtMs));
  }

  #find(key: Uint32Array, keyAt: number, digest: Uint32Array, digestAt: number): Known {
    const here = this.entries.find(key, keyAt, digest, digestAt);
    return here === 'new' ? this.#world.known.findWords(key, keyAt, digest, digestAt) : here;
  }

  #ownerOf(tenant: string, suite: string): number {
    const key = suiteKey(tenant, suite);
    const owner = this.#owners.get(key) ?? this.entries.owner({ tenant, suite });
    this.#owners.set(key, owner);
    return owner;
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

  #setAside(line: LogLine, aside: Aside, suite: string): void {
    this.#countsOf(line.message.tenant, suite).quarantined++;
    this.asides.push(setAside(line, aside));
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

const MISROUTED = 'was sent from partition to partition too often';

/** The quarantine codes that reading does not know are the consumer's own; the position is the value's byte in the line. */
function asideAt(line: LogLine, code: Aside['code'], field: string, problem: string): Aside {
  return { ...quarantineAt(line.raw, 'schema', [field], problem), code };
}
