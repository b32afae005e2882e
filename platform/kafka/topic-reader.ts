import { OperatingError } from '../../core/operating-error.ts';
import type { PartitionEnd } from '../event-log.ts';
import {
  type Fetched,
  type KafkaClient,
  KafkaFault,
  type KafkaRecord,
  type KafkaTopic,
  MAX_FETCH_WAIT_MS,
} from './client.ts';
import { TopicEnds } from './ends.ts';
import { Feed } from './feed.ts';

/** Partitions, and whether the topic is still the same, are asked this often. */
const TOPIC_AGE_MS = 1_000;
/** Read ahead of all readers of a topic together; a fetch that is under way may go beyond by its own size. */
const READ_AHEAD_BYTES = 64 * 1024 * 1024;
/** Readers of one partition at different places; with more, the one that read longest ago fetches anew. */
const MAX_FEEDS = 4;
/** A reader that came no more is not waited for. */
const FEED_AGE_MS = 60_000;
/** Fetches of one read that find nothing but markers and aborted records; the next read goes on behind them. */
const MAX_LOOKS = 100;
/** What arrives while waiting is little, or read ahead of a reader that is about to come. */
const POLL_BYTES = 4 * 1024 * 1024;

/** Reading one topic: what was fetched ahead, where it ends, and whether it is still the same topic. */
export class TopicReader {
  readonly #client: KafkaClient;
  readonly #name: string;
  readonly #nowMs: () => number;
  readonly #feeds = new Map<number, Feed[]>();
  #ends: TopicEnds;
  #known: { readonly topic: KafkaTopic | undefined; readonly atMs: number } | undefined;
  #looking: Promise<KafkaTopic | undefined> | undefined;
  #arriving: Promise<boolean> | undefined;

  constructor(client: KafkaClient, name: string, nowMs: () => number) {
    this.#client = client;
    this.#name = name;
    this.#nowMs = nowMs;
    this.#ends = new TopicEnds(client, name, nowMs);
  }

  async topic(): Promise<KafkaTopic | undefined> {
    if (this.#known !== undefined && this.#nowMs() - this.#known.atMs < TOPIC_AGE_MS) return this.#known.topic;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(): Promise<KafkaTopic | undefined> {
    const before = this.#known?.topic;
    const topic = await this.#client.topic(this.#name);
    if (before !== undefined && before.id !== topic?.id) this.#forget();
    this.#known = { topic, atMs: this.#nowMs() };
    return topic;
  }

  /** It was deleted, or made anew: nothing of it holds any more. */
  #forget(): void {
    this.#feeds.clear();
    this.#ends = new TopicEnds(this.#client, this.#name, this.#nowMs);
    this.#known = undefined;
  }

  async partitions(): Promise<readonly number[]> {
    return (await this.topic())?.partitions ?? [];
  }

  async end(partition: number): Promise<PartitionEnd> {
    const partitions = await this.partitions();
    if (partitions.includes(partition)) return this.#ends.end(partitions, partition);
    throw new OperatingError('not-found', 'never', `looking at the end of ${this.#name}/${partition}`, {
      cause: 'there is no such topic or partition',
    });
  }

  appended(): void {
    this.#ends.appended();
  }

  async read(
    partition: number,
    offset: bigint,
    maxMessages: number,
    maxBytes: number,
  ): Promise<readonly KafkaRecord[]> {
    try {
      return await this.#read(partition, offset, maxMessages, maxBytes);
    } catch (error) {
      if (!(error instanceof KafkaFault)) throw error;
      if (error.kind === 'not-found') this.#forget();
      if (error.kind !== 'out-of-range') throw error;
      this.#feeds.delete(partition);
      const { firstOffset } = await this.#end(partition);
      // Below what is left the rest is read; above the end there is nothing.
      return offset < firstOffset ? this.#read(partition, firstOffset, maxMessages, maxBytes) : [];
    }
  }

  async #end(partition: number): Promise<PartitionEnd> {
    this.#ends.appended();
    return this.end(partition);
  }

  async #read(
    partition: number,
    offset: bigint,
    maxMessages: number,
    maxBytes: number,
  ): Promise<readonly KafkaRecord[]> {
    const feed = this.#feedAt(partition, offset);
    for (let look = 0; look < MAX_LOOKS && feed.isEmpty; look++) {
      const before = feed.to;
      await this.#fill(feed, partition, maxBytes);
      // Another reader at the same place took meanwhile what this one waited for.
      if (feed.from !== offset) return this.#read(partition, offset, maxMessages, maxBytes);
      if (feed.to === before) break;
    }
    const records = feed.take(maxMessages, maxBytes);
    if (records.length === 0) this.#ends.quiet(partition, feed.from, feed.to);
    else if (feed.isEmpty && this.#ends.isBehind(partition, feed.to) && this.#bytes() < READ_AHEAD_BYTES)
      this.#fill(feed, partition, maxBytes).catch(() => {});
    return records;
  }

  #feedAt(partition: number, offset: bigint): Feed {
    const feeds = this.#feeds.get(partition) ?? [];
    const feed = feeds.find((one) => one.covers(offset)) ?? new Feed(offset);
    feed.skipTo(offset);
    feed.readAtMs = this.#nowMs();
    const others = feeds.filter((one) => one !== feed).slice(0, MAX_FEEDS - 1);
    this.#feeds.set(partition, [feed, ...others]);
    return feed;
  }

  #fill(feed: Feed, partition: number, maxBytes: number): Promise<void> {
    // A reply may come when the topic is another one by now.
    const ends = this.#ends;
    feed.fetching ??= this.#client
      .fetch(this.#name, [{ partition, offset: feed.to, maxBytes }], { maxWaitMs: 0, maxBytes })
      .then((replies) => {
        for (const fetched of replies) if (feed.add(fetched)) ends.fetched(fetched);
      })
      .finally(() => {
        feed.fetching = undefined;
      });
    return feed.fetching;
  }

  #bytes(): number {
    let bytes = 0;
    for (const feeds of this.#feeds.values()) for (const feed of feeds) bytes += feed.bytes;
    return bytes;
  }

  /** Waits for something new behind what was read last of each partition; true once it came. One wait serves all who wait at once. */
  arrival(timeoutMs: number): Promise<boolean> {
    this.#arriving ??= this.#arrive(timeoutMs).finally(() => {
      this.#arriving = undefined;
    });
    return this.#arriving;
  }

  async #arrive(timeoutMs: number): Promise<boolean> {
    const untilMs = this.#nowMs() + timeoutMs;
    for (;;) {
      const feeds = this.#waiting();
      const ends = this.#ends;
      const maxWaitMs = Math.min(untilMs - this.#nowMs(), MAX_FETCH_WAIT_MS);
      if (feeds.size === 0 || maxWaitMs <= 0) return false;
      const from = [...feeds].map(([partition, { to }]) => ({ partition, offset: to, maxBytes: POLL_BYTES }));
      const replies = await this.#client.fetch(this.#name, from, { maxWaitMs, maxBytes: POLL_BYTES });
      // Markers alone: on behind them. Nothing at all: the wait is over, or the reply was of no use and would be again.
      if (took(replies, feeds, ends)) return true;
      if (replies.length === 0) return false;
    }
  }

  /** Of each partition the place that was read last, where all before it was read. */
  #waiting(): ReadonlyMap<number, Feed> {
    const waiting = new Map<number, Feed>();
    const sinceMs = this.#nowMs() - FEED_AGE_MS;
    for (const [partition, [feed]] of this.#feeds) {
      if (feed === undefined || feed.readAtMs < sinceMs) this.#feeds.delete(partition);
      else if (feed.isEmpty && feed.fetching === undefined) waiting.set(partition, feed);
    }
    return waiting;
  }
}

function took(replies: readonly Fetched[], feeds: ReadonlyMap<number, Feed>, ends: TopicEnds): boolean {
  let came = false;
  for (const fetched of replies) {
    const feed = feeds.get(fetched.partition);
    if (feed === undefined || feed.fetching !== undefined || !feed.add(fetched)) continue;
    ends.fetched(fetched);
    if (feed.isEmpty) ends.quiet(fetched.partition, feed.from, feed.to);
    else came = true;
  }
  return came;
}
