import type { Suite } from '../../core/suite.ts';
import { DEDUP_HORIZON_MS, DedupIndex } from '../ingest/dedup-index.ts';
import { isFault, type LineReport } from '../ingest/line-report.ts';
import { type LogLine, readLines } from '../ingest/read-lines.ts';
import { PaneTable } from '../rules/pane-table.ts';
import { isTooLate, MAX_SKEW_MS } from '../rules/watermark.ts';
import type { MessageBatch, OpenTask, ShardCounts } from './messages.ts';
import { type PackedPanes, packPanes } from './pane-deltas.ts';

const DAY_MS = 86_400_000;
/** Of a SHA-256 these name the content, the next as many confirm it: DedupIndex's key and content. */
const KEY_BYTES = 16;

type Rules = Pick<OpenTask, 'keptFrom'> & { readonly suite: Suite };

/**
 * What the lines of one partition that the consumer accepted do to a version's panes. Which were accepted is the record's word: a
 * line that was read for a suite was accepted, set aside (it is in the quarantine: a conflict is too), or a duplicate, whose
 * content was accepted before. So content alone tells the first from its repeats, whenever the consumer forgot an id.
 */
export class ShardEffects {
  readonly #rules: Rules;
  readonly #known = new KnownContents();
  #watermarkMs: number | null = null;
  #panes: PaneTable;
  #counts = { counted: 0, late: 0, refused: 0, outdated: 0 };

  constructor(rules: Rules) {
    this.#rules = rules;
    this.#panes = new PaneTable(rules.suite.hash);
  }

  get panes(): number {
    return this.#panes.size;
  }

  /** `replay`: only what is known and the watermark move. */
  take(batch: MessageBatch, replay: boolean): void {
    const last = batch.ends.length - 1;
    const asides = asidesByMessage(batch);
    let from = 0;
    batch.ends.forEach((end, i) => {
      const value = batch.bytes.subarray(from, end);
      from = end;
      // Nothing of it is observed so late that a pane is kept, and no later report can be too late by it and not too old.
      if (batch.appendedAtMs[i]! + MAX_SKEW_MS < this.#rules.keptFrom['1h']) return;
      const aside = asides.get(i);
      for (const line of linesOf(value)) {
        if (i === last && batch.untilLine > 0 && line.line > batch.untilLine) break;
        if (line.reading.ok && aside?.has(line.line) !== true) this.#accepted(line.reading.report, replay);
      }
    });
  }

  #accepted(report: LineReport, replay: boolean): void {
    const { suite, keptFrom } = this.#rules;
    if (report.suite !== suite.name) return;
    const { observedAtMs } = report;
    const late = isTooLate(observedAtMs, this.#watermarkMs);
    // Its repeats are of the same instant.
    this.#watermarkMs = Math.max(this.#watermarkMs ?? observedAtMs, observedAtMs);
    const counts = replay ? NOWHERE : this.#counts;
    if (late) counts.late++;
    else if (observedAtMs < keptFrom['1h']) counts.outdated++;
    else if (this.#known.isNew(report, this.#watermarkMs)) this.#count(report, replay);
  }

  #count(report: LineReport, replay: boolean): void {
    if (replay) return;
    const counted = report.under(this.#rules.suite);
    if (isFault(counted)) this.#counts.refused++;
    else {
      this.#counts.counted++;
      if (counted.contribution !== undefined) this.#panes.add(counted.contribution);
    }
  }

  /** What was taken since the last drain. */
  drain(): { readonly panes: PackedPanes; readonly counts: ShardCounts } {
    const { keptFrom, suite } = this.#rules;
    const kept = this.#panes.rows().filter((pane) => pane.paneStartMs >= keptFrom[pane.resolution]);
    const drained = { panes: packPanes(kept), counts: this.#counts };
    this.#panes = new PaneTable(suite.hash);
    this.#counts = { counted: 0, late: 0, refused: 0, outdated: 0 };
    return drained;
  }
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

const NO_MESSAGE = { tenant: '', topic: '', partition: 0, offset: 0n, key: '', headers: {}, appendedAtMs: 0 };

/** As the consumer numbers them. Headers only say why a line is set aside, which the quarantine knows. */
function linesOf(value: Uint8Array): readonly LogLine[] {
  return readLines({ ...NO_MESSAGE, value }, 0, '');
}
