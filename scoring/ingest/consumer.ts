import type { PartitionEnd } from '../../platform/event-log.ts';
import { type ConsumerContext, newId } from '../context.ts';
import { isInputFault, isSuperseded } from './fault.ts';
import { type Flushed, flush, type LogEnds, OutdatedReading, quarantineMessage } from './flush.ts';
import { dropSomeLeftovers, HOUSE_PARTITION, lookForLeftovers, takeUpChanges, unfinishedSuites } from './house.ts';
import { tellEffects } from './ingest-metrics.ts';
import { leaveMembers, MEMBER_LEASE_MS, type Member, StaleOwner } from './ownership.sql.ts';
import { asked, type PartitionFeed } from './partition-feed.ts';
import { loadPositions, START, StalePosition } from './positions.sql.ts';
import type { Segment } from './reader-tasks.ts';
import { ReaderStuck } from './reader-thread.ts';
import { REPORTS_TOPIC } from './report-log.ts';
import { unreadable } from './set-aside.ts';
import { Share } from './share.ts';
import { SuiteDesk } from './suite-desk.ts';
import { SuiteHeld } from './suite-state.sql.ts';

/** A flush takes at most this many lines; a tick that becomes final ends it earlier. */
export const MAX_FLUSH_LINES = 20_480;
/** A message whose handling throws, or does not end, this often is set aside. */
export const MAX_MESSAGE_TRIES = 3;
/** Between two looks at the topic and the other readers. */
const LOOK_MS = 1_000;
/** A decision of a suite is being signed elsewhere. */
const HELD_WAIT_MS = 50;

/** What a test may set to other values; production runs on the defaults. */
export interface ConsumerOptions {
  readonly maxFlushLines?: number;
  /** Names this reader among others; a new one each time where it is absent. */
  readonly member?: string;
  readonly leaseMs?: number;
  readonly lookMs?: number;
  /** A replay's: its log is what it says, and holds what was there; it neither ends nor begins anew. */
  readonly replays?: boolean;
}

/** A message that could not be handled, or one behind it: which of them is at fault is found by taking them one by one. */
export interface Failure {
  readonly offset: bigint;
  readonly tries: number;
  /** Behind the last message that may be at fault. */
  readonly until: bigint;
  /** It could not even be read, or its handling did not end: it is set aside whole. */
  readonly whole: boolean;
}

/** One reader's memory and one step of its loop. */
export class Consumer {
  readonly #ctx: ConsumerContext;
  readonly #member: Member;
  readonly #maxLines: number;
  readonly #replays: boolean;
  readonly #share: Share;
  readonly #desk: SuiteDesk;
  /** By partition. It outlives this memory: a message that fails must not be met anew each time. */
  readonly #failures: Map<number, Failure>;

  constructor(ctx: ConsumerContext, options: ConsumerOptions = {}, failures = new Map<number, Failure>()) {
    const { member = newId(ctx.clock), leaseMs = MEMBER_LEASE_MS, lookMs = LOOK_MS } = options;
    this.#ctx = ctx;
    this.#member = { topic: REPORTS_TOPIC, member, holder: ctx.holder, leaseMs, isGone: ctx.isGone ?? (() => false) };
    this.#maxLines = options.maxFlushLines ?? MAX_FLUSH_LINES;
    this.#replays = options.replays ?? false;
    this.#share = new Share(ctx, this.#member, { lookMs, maxLines: this.#maxLines });
    this.#desk = new SuiteDesk(ctx, () => this.#share.settler());
    this.#failures = failures;
  }

  get partitions(): readonly number[] {
    return [...this.#share.feeds.keys()];
  }

  /** One round over what is due and every partition of the share; false where there was nothing to do. */
  async step(signal: AbortSignal): Promise<boolean> {
    try {
      return await this.#step(signal);
    } catch (error) {
      if (!(error instanceof ReaderStuck) && !isSuperseded(error)) throw error;
      if (error instanceof ReaderStuck) this.#share.forgetAll();
      this.#share.lookAgain();
      this.#ctx.log.warn({ error: String(error) }, 'the report consumer looks again what is its share');
      return true;
    }
  }

  async #step(signal: AbortSignal): Promise<boolean> {
    if (await this.#share.look()) await this.#findUnfinished();
    const house = this.#share.feeds.get(HOUSE_PARTITION);
    let progressed = await this.#desk.finish(signal);
    const ends = await this.#readEnds();
    for (const feed of [...this.#share.feeds.values()]) {
      if (signal.aborted) return progressed;
      if (await this.#flushOne(feed, ends)) progressed = true;
      await this.#desk.finish(signal);
    }
    if (house === undefined || this.#share.feeds.get(HOUSE_PARTITION) !== house) return progressed;
    if (await dropSomeLeftovers(this.#ctx, house.owned, this.#desk)) progressed = true;
    return progressed || takeUpChanges(this.#ctx, house.owned, this.#desk, signal);
  }

  /** Whoever read a partition before may have left ticks to publish, and decisions to sign. */
  async #findUnfinished(): Promise<void> {
    this.#desk.markDue(await this.#ctx.db.asEngine(unfinishedSuites));
    await lookForLeftovers(this.#ctx, this.#desk);
  }

  /** Of every partition, whoever reads it: an idle one holds no watermark back. */
  async #readEnds(): Promise<LogEnds> {
    const nextOffset = new Map<number, bigint>();
    let logAppendMs = 0;
    const { feeds } = this.#share;
    for (let partition = 0; partition < this.#share.partitions; partition++) {
      const end = await asked(() => this.#ctx.eventLog.end(REPORTS_TOPIC, partition));
      logAppendMs = Math.max(logAppendMs, end.appendedAtMs);
      nextOffset.set(partition, end.nextOffset);
      const feed = feeds.get(partition);
      if (feed !== undefined) await this.#look(feed, end);
    }
    return { logAppendMs, nextOffset };
  }

  async #look(feed: PartitionFeed, end: PartitionEnd): Promise<void> {
    if (this.#replays) return;
    const { owned } = feed;
    if (await this.#share.watch.isAnother(owned, feed.at, end)) throw new StaleOwner('the topic was made anew');
    const next = await this.#share.watch.skipLost(owned, feed.at, end);
    if (next !== undefined) await feed.reset(next);
    const { at } = feed;
    const isBehind = at.offset < end.nextOffset;
    const seconds = isBehind && at.appendedAtMs > 0 ? (end.appendedAtMs - at.appendedAtMs) / 1000 : 0;
    const messages = isBehind ? Number(end.nextOffset - at.offset) : 0;
    this.#ctx.metrics.ingestLag(owned.partition, messages, Math.max(0, seconds));
    if (!isBehind) this.#ctx.metrics.oldestUnread(owned.partition, 0);
  }

  async #flushOne(feed: PartitionFeed, ends: LogEnds): Promise<boolean> {
    const { partition } = feed.owned;
    const failure = this.#failures.get(partition);
    const alone = failure !== undefined;
    if (failure?.whole === true && failure.tries >= MAX_MESSAGE_TRIES) return this.#giveUpWhole(feed, failure);
    const startedMs = performance.now();
    let segment: Segment | undefined;
    try {
      segment = await feed.segment(alone);
      if (segment.lines === 0) return false;
      this.#ctx.metrics.oldestUnread(partition, Math.max(0, this.#ctx.clock.now() - segment.oldestMs) / 1000);
      // After a failure one message at a time, so that only the one at fault is set aside.
      const lines = alone ? segment.ofFirst : segment.lines;
      const strays = await feed.sendOn(lines);
      if (strays > 0) this.#ctx.metrics.strays(strays);
      const { owned, at: from } = feed;
      const flushed = await flush(this.#ctx, { owned, from, segment, lines, ends, alone, reader: this.#ctx.reader });
      this.#passed(partition, flushed.next.offset);
      await this.#committed(feed, flushed);
      this.#ctx.metrics.processingLatency((performance.now() - startedMs) / 1000);
    } catch (error) {
      await this.#failed(feed, segment, error);
    }
    return true;
  }

  async #committed(feed: PartitionFeed, flushed: Flushed): Promise<void> {
    const { effects, next } = flushed;
    await feed.done(effects.lines, next);
    this.#ctx.eventLog.consumed(REPORTS_TOPIC, feed.owned.partition, next.offset);
    this.#desk.markDue(flushed.more);
    this.#desk.markUnsettled(flushed.unsettled);
    if (flushed.leftovers) this.#desk.leftovers = true;
    this.#desk.tellRolledBack(flushed.rolledBack);
    for (const { ref, error } of flushed.stuck) this.#desk.markStuck(ref, error);
    tellEffects(this.#ctx.metrics, effects);
    const accepted = effects.counters.reduce((total, { counts }) => total + counts.accepted, 0);
    await this.#share.flushed(accepted, flushed.forgotten > 0);
  }

  async #failed(feed: PartitionFeed, segment: Segment | undefined, error: unknown): Promise<void> {
    const { partition } = feed.owned;
    if (error instanceof ReaderStuck) {
      this.#note(feed, segment?.firstOffset ?? feed.loadedFrom, error, true);
      throw error;
    }
    if (error instanceof OutdatedReading) await feed.reset();
    else if (error instanceof SuiteHeld) await this.#ctx.clock.sleep(HELD_WAIT_MS, new AbortController().signal);
    else if (error instanceof StalePosition) await feed.reset(await this.#storedPosition(partition));
    else if (!isInputFault(error)) throw error;
    else if (segment === undefined) {
      this.#note(feed, feed.loadedFrom, error, true);
      await feed.reset();
    } else if (this.#note(feed, segment.firstOffset, error, false) >= MAX_MESSAGE_TRIES) await this.#giveUp(feed);
  }

  /** How often that message has failed now. */
  #note(feed: PartitionFeed, offset: bigint, error: unknown, whole: boolean): number {
    const { partition } = feed.owned;
    const before = this.#failures.get(partition);
    const tries = before?.offset === offset ? before.tries + 1 : 1;
    const until = before !== undefined && before.until > offset ? before.until : feed.loadedTo;
    this.#failures.set(partition, { offset, tries, until, whole });
    this.#ctx.log.error(
      { partition, offset: String(offset), tries, error: String(error) },
      'handling a report message failed',
    );
    return tries;
  }

  /** All before the offset is done. */
  #passed(partition: number, offset: bigint): void {
    const failure = this.#failures.get(partition);
    if (failure === undefined) return;
    if (offset >= failure.until) this.#failures.delete(partition);
    else if (offset > failure.offset) this.#failures.set(partition, { ...failure, offset, tries: 0 });
  }

  async #storedPosition(partition: number) {
    return (await this.#ctx.db.asEngine((tx) => loadPositions(tx, REPORTS_TOPIC))).get(partition) ?? START;
  }

  /** Sets the first message aside, line by line. */
  async #giveUp(feed: PartitionFeed): Promise<void> {
    const { owned, at: from } = feed;
    const problem = `failed ${MAX_MESSAGE_TRIES} times while being handled`;
    const givenUp = await this.#ctx.reader.giveUp(owned.partition, problem, this.#maxLines);
    const next = await quarantineMessage(this.#ctx, { owned, from }, givenUp);
    this.#passed(owned.partition, next.offset);
    feed.gaveUp(next, givenUp.segment);
    this.#tellGivenUp(givenUp.asides.length);
  }

  /** The same of a message that nobody is to look into again. */
  async #giveUpWhole(feed: PartitionFeed, { offset, tries }: Failure): Promise<boolean> {
    const { owned, at: from } = feed;
    const message = (await feed.read(1))[0];
    if (message?.offset !== offset) {
      this.#failures.delete(owned.partition);
      return false;
    }
    const asides = [unreadable(message, `could not be read, or did not end, ${tries} times`)];
    const appendedAtMs = Math.floor(message.appendedAtMs);
    const next = await quarantineMessage(
      this.#ctx,
      { owned, from },
      { asides, appendedAtMs, offset, tenant: message.tenant },
    );
    this.#passed(owned.partition, next.offset);
    feed.gaveUp(next, undefined);
    this.#tellGivenUp(1);
    return true;
  }

  #tellGivenUp(lines: number): void {
    this.#ctx.metrics.reports('quarantined', lines);
    this.#ctx.metrics.rejected('handler_failed', lines);
  }

  /** What it has is free at once. */
  async leave(): Promise<void> {
    await this.#ctx.db.asEngine((tx) => leaveMembers(tx, this.#member));
  }
}
