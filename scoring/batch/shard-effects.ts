import { assert } from '../../core/assert.ts';
import type { Suite } from '../../core/suite.ts';
import { DEDUP_HORIZON_MS, DedupIndex } from '../ingest/dedup-index.ts';
import { isFault, type LineReport } from '../ingest/line-report.ts';
import type { LogLine } from '../ingest/read-lines.ts';
import { Routing } from '../ingest/routing.ts';
import { routesOf } from '../ingest/shards.ts';
import { isTooLate, MAX_SKEW_MS } from '../rules/watermark.ts';
import { type HourShare, isInHourShare } from './hour-share.ts';
import { type MessageBatch, type ShardCounts, type ShardRules, type Stretch, WHOLE } from './messages.ts';
import { type PackedPanes, packPanes } from './pane-deltas.ts';
import { ShardLines } from './shard-lines.ts';

const DAY_MS = 86_400_000;
/** Of a SHA-256 these name the content, the next as many confirm it: DedupIndex's key and content. */
const KEY_BYTES = 16;

export interface EffectsRules extends ShardRules {
  readonly suite: Suite;
  /** Only this share is counted; absent: all. */
  readonly share?: HourShare;
  /** Of sums in the kernel's memory; what has no room there is added up outside it. Absent: the kernel's own. */
  readonly maxPaneBytes?: number;
}

/**
 * What the lines of one partition that the consumer accepted do to a version's panes. Which were accepted is the record's word: a
 * line that was read for a suite was accepted, set aside (it is in the quarantine: a conflict is too), sent on to the partition that serves it, or
 * a duplicate, whose content was accepted before. So content alone tells the first from its repeats, whenever the consumer forgot an id.
 */
export class ShardEffects {
  readonly #rules: EffectsRules;
  readonly #routings = new Map<string, Routing>();
  /** Nothing that was observed before it is filled in. */
  readonly #fromMs: number;
  readonly #known = new KnownContents();
  #watermarkMs: number | null = null;
  readonly #lines: ShardLines;
  #counts = { counted: 0, late: 0, refused: 0, outdated: 0 };

  constructor(rules: EffectsRules) {
    this.#rules = rules;
    this.#fromMs = countedFromMs(rules);
    this.#lines = new ShardLines(rules.tenant, rules.suite, rules);
  }

  /** Panes that a drain would give, at most. */
  get panes(): number {
    return this.#lines.panes;
  }

  /** `replay`: only what is known and the watermark move. */
  take(batch: MessageBatch, replay: boolean): void {
    const last = batch.ends.length - 1;
    const asides = asidesByMessage(batch);
    const suite = this.#rules.suite.name;
    const { stretch } = batch;
    const isOurs = this.#oursOf(stretch);
    let from = 0;
    batch.ends.forEach((end, i) => {
      const value = batch.bytes.subarray(from, end);
      from = end;
      // Nothing of it is observed so late that a pane is kept, and no later report can be too late by it and not too old.
      if (batch.appendedAtMs[i]! + MAX_SKEW_MS < this.#fromMs) return;
      const aside = asides.get(i);
      if (aside?.has(WHOLE) === true) return;
      for (const line of this.#lines.of(value, stretch.partition)) {
        if (i === last && stretch.untilLine > 0 && line.line > stretch.untilLine) break;
        if (i === 0 && line.line <= stretch.afterLine) continue;
        if (aside?.has(line.line) === true || !line.reading.ok || line.reading.report.suite !== suite) continue;
        // Of several partitions no line hangs on another but its repeats, which are of its instant.
        if (this.#rules.onTimeFromMs !== null && !this.#isOurs(line.reading.report)) continue;
        // Asked last: for it a line is hashed, which those of other suites need not be.
        if (isOurs(line)) this.#accepted(line.reading.report, replay);
      }
    });
  }

  /** Was a line of the stretch taken in where it lies, and is it, or its next repeat, the shard's? */
  #oursOf({ partition, partitions, servedSince }: Stretch): (line: LogLine) => boolean {
    const there = this.#routing(partition, partitions);
    if (servedSince === null) return (line) => there.lineRoute(line) === undefined;
    const since = this.#routing(this.#rules.partition, servedSince);
    return (line) => there.lineRoute(line) === undefined && since.lineRoute(line) === undefined;
  }

  #routing(partition: number, partitions: number): Routing {
    const name = `${partition}/${partitions}`;
    const routing = this.#routings.get(name) ?? new Routing(partition, routesOf(partitions));
    this.#routings.set(name, routing);
    return routing;
  }

  #accepted(report: LineReport, replay: boolean): void {
    const { onTimeFromMs } = this.#rules;
    const { observedAtMs } = report;
    const late = onTimeFromMs === null && isTooLate(observedAtMs, this.#watermarkMs);
    // Its repeats are of the same instant.
    this.#watermarkMs = Math.max(this.#watermarkMs ?? observedAtMs, observedAtMs);
    if (!this.#isOurs(report)) return;
    const counts = replay ? NOWHERE : this.#counts;
    if (late) counts.late++;
    else if (observedAtMs < this.#fromMs) counts.outdated++;
    // The suite may be days behind this partition: nothing that counts is forgotten.
    else if (this.#known.isNew(report, onTimeFromMs ?? this.#watermarkMs)) this.#count(report, replay);
  }

  #isOurs({ observedAtMs }: LineReport): boolean {
    const { share } = this.#rules;
    return share === undefined || isInHourShare(share, observedAtMs);
  }

  #count(report: LineReport, replay: boolean): void {
    if (replay) return;
    const counted = report.under(this.#rules.suite);
    if (isFault(counted)) this.#counts.refused++;
    else {
      this.#counts.counted++;
      assert(counted.contribution === undefined, 'what its own version takes the kernel took');
      counted.counts();
    }
  }

  /** What was taken since the last drain. */
  drain(): { readonly panes: PackedPanes; readonly counts: ShardCounts } {
    const { keptFrom } = this.#rules;
    const kept = this.#lines.drain().filter((pane) => pane.paneStartMs >= keptFrom[pane.resolution]);
    const drained = { panes: packPanes(kept), counts: this.#counts };
    this.#counts = { counted: 0, late: 0, refused: 0, outdated: 0 };
    return drained;
  }
}

/** What was observed before it is not filled in. */
export function countedFromMs({ keptFrom, onTimeFromMs }: Pick<ShardRules, 'keptFrom' | 'onTimeFromMs'>): number {
  return Math.max(keptFrom['1h'], onTimeFromMs ?? Number.NEGATIVE_INFINITY);
}

/** Where a replay counts. */
const NOWHERE = { late: 0, outdated: 0 };

/**
 * The contents seen, by the day of event time on which they were observed: a repeat is of the same instant, and days that are
 * past the horizon go whole.
 */
class KnownContents {
  readonly #days = new Map<number, DedupIndex>();
  #newestDay = Number.NEGATIVE_INFINITY;

  /** Notes it. */
  isNew(report: LineReport, watermarkMs: number): boolean {
    const day = Math.floor(report.observedAtMs / DAY_MS);
    this.#forget(Math.floor(watermarkMs / DAY_MS));
    let index = this.#days.get(day);
    if (index === undefined) {
      index = new DedupIndex();
      this.#days.set(day, index);
    }
    const digest = report.entry.digest;
    const [key, content] = [digest.subarray(0, KEY_BYTES), digest.subarray(KEY_BYTES)];
    if (index.find(key, content) !== 'new') return false;
    index.add(key, content);
    return true;
  }

  #forget(newestDay: number): void {
    if (newestDay <= this.#newestDay) return;
    this.#newestDay = newestDay;
    for (const day of this.#days.keys()) if ((newestDay - day - 1) * DAY_MS > DEDUP_HORIZON_MS) this.#days.delete(day);
  }
}

function asidesByMessage({ asideMessage, asideLine }: MessageBatch): ReadonlyMap<number, ReadonlySet<number>> {
  const lines = new Map<number, Set<number>>();
  asideMessage.forEach((message, i) => {
    const present = lines.get(message);
    if (present === undefined) lines.set(message, new Set([asideLine[i]!]));
    else present.add(asideLine[i]!);
  });
  return lines;
}
