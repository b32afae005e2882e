import { isBlank } from '../../core/ndjson.ts';
import type { Appended, EventLog, LogMessage } from '../../platform/event-log.ts';
import type { Database } from '../../platform/postgres.ts';
import type { ArchivedLog } from '../archive/archived-log.ts';
import { loadAsides } from '../ingest/asides.sql.ts';
import { isWholeMessage, KEPT_FOR_REPLAYS, SET_ASIDE_THEN, WHOLE_LINE } from '../ingest/set-aside.ts';
import { placeIn, type Vector } from '../ingest/vector.ts';

const SPACE = 0x20;
const NEWLINE = 0x0a;
/** Of several partitions none is read further than this ahead of the others, in append time: as a consumer that keeps up reads them. */
const FRONT_STEP_MS = 15 * 60_000;

export interface ReplayLogOptions {
  readonly db: Database;
  readonly source: ArchivedLog;
  readonly topic: string;
  readonly tenant: string;
  /** That the topic had where the replay begins. */
  readonly partitions: number;
  /** It begins where the log began. */
  readonly whole: boolean;
  /** Called with lines that are about to be read; waits where they come too fast. */
  readonly pace: (lines: number) => Promise<void>;
}

/** What was set aside of a message. */
interface Asides {
  readonly lines: ReadonlySet<number>;
  /** Bytes of what stands there as its first line, or as all of it (isWholeMessage). */
  readonly firstSize: number;
}

const NO_LINES: ReadonlySet<number> = new Set();

/** The log as the consumer of a replay sees it: one tenant's messages, up to a cut. */
export class ReplayLog implements EventLog {
  readonly #options: ReplayLogOptions;
  #limit: Vector = new Map();
  /** Where the consumer was put at the last cut: it may be within a message. */
  #placed: Vector = new Map();
  /** Nothing is left of these before the limit. */
  readonly #ended = new Set<number>();
  #partitions: number;
  #frontMs = Number.NEGATIVE_INFINITY;
  /** Of the first messages that the front kept back. */
  readonly #waiting = new Map<number, number>();
  #appendedAtMs = 0;
  reports = 0;

  constructor(options: ReplayLogOptions) {
    this.#options = options;
    this.#partitions = options.partitions;
    if (this.#partitions === 1) this.#frontMs = Number.POSITIVE_INFINITY;
  }

  /** Nothing behind `limit` is read; the consumer stands at `placed`. */
  readTo(limit: Vector, placed: Vector): void {
    this.#limit = limit;
    this.#placed = placed;
    this.#ended.clear();
    this.#waiting.clear();
  }

  /** Lets the partitions read on together; false where all of them are at the limit. */
  moveFront(): boolean {
    if (this.#waiting.size === 0) return false;
    this.#frontMs = Math.min(...this.#waiting.values()) + FRONT_STEP_MS;
    this.#waiting.clear();
    this.#ended.clear();
    return true;
  }

  /** The topic had so many from here on, as the consumer finds at its next look. False where it has them already. */
  raiseTo(partitions: number): boolean {
    if (partitions === this.#partitions) return false;
    this.#partitions = partitions;
    this.#frontMs = Number.NEGATIVE_INFINITY;
    return true;
  }

  async partitions(): Promise<readonly number[]> {
    return Array.from({ length: this.#partitions }, (_, partition) => partition);
  }

  async read(
    topic: string,
    partition: number,
    offset: bigint,
    maxMessages: number,
    maxBytes: number,
  ): Promise<readonly LogMessage[]> {
    const limit = placeIn(this.#limit, partition);
    const end = limit.line > 0 ? limit.offset + 1n : limit.offset;
    const placed = placeIn(this.#placed, partition);
    // All of the limit's message that may be read is done.
    const isThere = limit.line > 0 && offset === limit.offset && placed.offset === offset && placed.line >= limit.line;
    for (let at = offset; at < end && !isThere && !this.#ended.has(partition); ) {
      const given = await this.#options.source.read(topic, partition, at, maxMessages, maxBytes);
      const within = given.filter((message) => message.offset < end);
      const late = within.findIndex(({ appendedAtMs }) => appendedAtMs > this.#frontMs);
      if (late !== -1) this.#waiting.set(partition, within[late]!.appendedAtMs);
      const readable = late === -1 ? within : within.slice(0, late);
      const messages = await this.#cleaned(readable, limit);
      if (messages.length > 0) return messages;
      if (late !== -1 || within.length < given.length || given.length === 0) break;
      at = given.at(-1)!.offset + 1n;
    }
    this.#ended.add(partition);
    return [];
  }

  /** The tenant's messages without the lines that were set aside then, and without those behind the limit. */
  async #cleaned(messages: readonly LogMessage[], limit: { offset: bigint; line: number }): Promise<LogMessage[]> {
    const own = messages.filter(({ tenant }) => tenant === this.#options.tenant);
    const [first, last] = [own[0], own.at(-1)];
    for (const { appendedAtMs } of messages) this.#appendedAtMs = Math.max(this.#appendedAtMs, appendedAtMs);
    if (first === undefined || last === undefined) return [];
    const asides = await this.#asides(first.partition, first.offset, last.offset);
    const cleaned: LogMessage[] = [];
    let lines = 0;
    for (const message of own) {
      const aside = asides.get(message.offset);
      const until = message.offset === limit.offset && limit.line > 0 ? limit.line : Number.POSITIVE_INFINITY;
      if (aside !== undefined && message.value !== null && isWholeMessage(WHOLE_LINE, aside.firstSize, message.value))
        continue;
      const value = message.value === null ? null : withoutLines(message.value, aside?.lines ?? NO_LINES, until);
      // One that holds nothing was set aside whole, and would be again.
      if (value !== null && value !== message.value && isEmpty(value)) continue;
      cleaned.push({ ...message, value });
      const placed = placeIn(this.#placed, message.partition);
      const done = message.offset === placed.offset ? placed.line : 0;
      lines += value === null ? 0 : Math.max(0, Math.min(countLines(value), until) - done);
    }
    this.reports += lines;
    await this.#options.pace(lines);
    return cleaned;
  }

  async #asides(partition: number, from: bigint, to: bigint): Promise<ReadonlyMap<bigint, Asides>> {
    const { db, topic, tenant, whole } = this.#options;
    const reasons = whole ? SET_ASIDE_THEN : KEPT_FOR_REPLAYS;
    const rows = await db.asEngine((tx) => loadAsides(tx, { topic, partition, tenant }, from, to, reasons));
    const asides = new Map<bigint, { readonly lines: Set<number>; firstSize: number }>();
    for (const { offset, line, size } of rows) {
      const aside = asides.get(offset) ?? { lines: new Set(), firstSize: 0 };
      asides.set(offset, aside);
      aside.lines.add(line);
      if (line === WHOLE_LINE) aside.firstSize = size;
    }
    return asides;
  }

  async end(
    _topic: string,
    partition: number,
  ): Promise<{ firstOffset: bigint; nextOffset: bigint; appendedAtMs: number }> {
    const { offset, line } = placeIn(this.#limit, partition);
    // A partition that is at its front does not lag: more of it was not appended yet.
    const nextOffset = this.#ended.has(partition) ? 0n : line > 0 ? offset + 1n : offset;
    return { firstOffset: 0n, nextOffset, appendedAtMs: this.#appendedAtMs };
  }

  async identity(): Promise<string | null> {
    return null;
  }

  /** What was sent again stands in the log already, at its place. */
  async append(): Promise<Appended> {
    return { partition: 0, offset: 0n };
  }

  async wait(): Promise<void> {}
  consumed(): void {}
  async close(): Promise<void> {}
}

/** The same value with these lines (1-based), and all behind `until`, made blank: numbers of lines stay what they are. */
function withoutLines(value: Uint8Array, blanked: ReadonlySet<number>, until: number): Uint8Array {
  if (blanked.size === 0 && until === Number.POSITIVE_INFINITY) return value;
  const copy = Uint8Array.from(value);
  let line = 1;
  for (let from = 0; from < copy.length; line++) {
    const at = copy.indexOf(NEWLINE, from);
    const end = at === -1 ? copy.length : at;
    if (line > until || blanked.has(line)) copy.fill(SPACE, from, end);
    from = end + 1;
  }
  return copy;
}

function isEmpty(value: Uint8Array): boolean {
  return isBlank(value.filter((byte) => byte !== NEWLINE));
}

function countLines(value: Uint8Array): number {
  let lines = 0;
  for (let at = value.indexOf(NEWLINE); at !== -1; at = value.indexOf(NEWLINE, at + 1)) lines++;
  return lines + (value.length > 0 && value.at(-1) !== NEWLINE ? 1 : 0);
}
