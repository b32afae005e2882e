import { OperatingError } from '../../core/operating-error.ts';
import type { EventLog, LogMessage } from '../../platform/event-log.ts';
import type { Owned } from './ownership.sql.ts';
import { PackRoom, packMessages } from './packed-messages.ts';
import type { StoredPosition } from './positions.sql.ts';
import type { Segment, TenantSuite } from './reader-tasks.ts';
import type { ReaderThread } from './reader-thread.ts';
import type { StraySeal } from './stray-seal.ts';
import type { StrayMessage } from './strays.ts';

/**
 * Read ahead from a partition at once: what is held in memory of its messages, but for the last, which may reach beyond. Where little waits
 * little is read, and flushed at once.
 */
const MAX_READ_MESSAGES = 1_024;
const MAX_READ_BYTES = 10 * 1024 * 1024;

const NO_LINES: Segment = {
  lines: 0,
  firstOffset: 0n,
  ofFirst: 0,
  lastStray: 0,
  cameFromElsewhere: false,
  oldestMs: 0,
  suites: [],
  models: [],
};

/** The log does not give, or take, what is asked of it: nothing in memory is in doubt. */
export class LogAway extends Error {
  override name = 'LogAway';
}

export interface FeedContext {
  readonly eventLog: EventLog;
  readonly reader: ReaderThread;
  readonly seal: StraySeal;
  readonly maxLines: number;
  /** Versions that the reader was not told of yet. */
  readonly changedSuites: () => Promise<readonly TenantSuite[]>;
}

/** What one reader knows of one of its partitions: where it stands, and what was read ahead. */
export class PartitionFeed {
  readonly owned: Owned;
  at: StoredPosition;
  readonly #ctx: FeedContext;
  /** The first message that was read ahead last, and behind the last. */
  loadedFrom = 0n;
  loadedTo = 0n;
  #ahead: Segment | undefined;
  /** Of what was read ahead: nothing is read before it is done, or forgotten. */
  readonly #room = new PackRoom();
  /** Lines ahead whose strays are in their partitions. */
  #sentOn = 0;

  constructor(ctx: FeedContext, owned: Owned, at: StoredPosition) {
    this.#ctx = ctx;
    this.owned = owned;
    this.at = at;
  }

  /** Lines from the position on; reads further messages where none are left. `alone`: one message at a time. */
  async segment(alone: boolean): Promise<Segment> {
    if (this.#ahead !== undefined && this.#ahead.lines > 0) return this.#ahead;
    const messages = await this.read(alone ? 1 : MAX_READ_MESSAGES);
    const first = messages[0];
    if (first === undefined) return NO_LINES;
    const { maxLines, reader } = this.#ctx;
    const suites = await this.#ctx.changedSuites();
    const packed = packMessages(messages, first.offset === this.at.offset ? this.at.line : 0, this.#room);
    const { partition } = this.owned;
    this.#sentOn = 0;
    this.loadedFrom = first.offset;
    this.loadedTo = messages.at(-1)!.offset + 1n;
    this.#ahead = await reader.load({ partition, suites, packed, maxLines }, alone);
    return this.#ahead;
  }

  async read(maxMessages: number): Promise<readonly LogMessage[]> {
    const { topic, partition } = this.owned;
    const { eventLog, seal } = this.#ctx;
    const messages = await asked(() => eventLog.read(topic, partition, this.at.offset, maxMessages, MAX_READ_BYTES));
    return messages.map((message) => seal.open(message));
  }

  /**
   * Appends those of the first `lines` lines that belong elsewhere to their partitions; how many there were. They are durable there before
   * the flush that passes over them here: a crash between the two appends them again, which is known by where they came from. Those of one
   * partition go one after the other: their order is what tells a second time from the first.
   */
  async sendOn(lines: number): Promise<number> {
    const segment = this.#ahead;
    if (segment === undefined || Math.min(lines, segment.lastStray) <= this.#sentOn) return 0;
    const strays = await this.#ctx.reader.strays(this.owned.partition, this.#sentOn, lines);
    const byPartition = Map.groupBy(strays, ({ partition }) => partition);
    await Promise.all(Array.from(byPartition.values(), (list) => this.#append(list)));
    this.#sentOn = lines;
    return strays.reduce((total, stray) => total + stray.lines, 0);
  }

  async #append(strays: readonly StrayMessage[]): Promise<void> {
    const { eventLog, seal } = this.#ctx;
    for (const stray of strays) {
      await asked(() => eventLog.append({ ...seal.seal(stray), partition: stray.partition }));
    }
  }

  /** The first `lines` lines are stored. */
  async done(lines: number, next: StoredPosition): Promise<void> {
    this.at = next;
    this.#sentOn = Math.max(0, this.#sentOn - lines);
    this.#ahead = await this.#ctx.reader.done(this.owned.partition, this.#ctx.maxLines);
  }

  /** A message was set aside; `rest` is what the reader has left. */
  gaveUp(next: StoredPosition, rest: Segment | undefined): void {
    this.at = next;
    this.#sentOn = 0;
    this.#ahead = rest;
  }

  /** What was read ahead is forgotten; it is read again from `at`. */
  async reset(at = this.at): Promise<void> {
    this.at = at;
    this.#sentOn = 0;
    this.#ahead = undefined;
    await this.#ctx.reader.clear(this.owned.partition);
  }
}

/** Faults of the log that pass are told from all others. */
export async function asked<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof OperatingError) || cause.retry === 'never') throw cause;
    throw new LogAway(`the event log does not answer: ${cause.message}`, { cause });
  }
}
