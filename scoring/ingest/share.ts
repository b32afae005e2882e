import type { ConsumerContext } from '../context.ts';
import type { Settler } from '../promotion/settle-tick.ts';
import { ENTRY_BYTES } from './dedup-index.ts';
import type { Layout } from './layout.sql.ts';
import { countDedup, loadDedup } from './load-dedup.ts';
import { type Member, memberFence, type Owned, StaleOwner, takeShare } from './ownership.sql.ts';
import { type FeedContext, PartitionFeed } from './partition-feed.ts';
import { loadPositions, START } from './positions.sql.ts';
import type { TenantSuite } from './reader-tasks.ts';
import { shardsOf } from './shards.ts';
import { loadStrayKey } from './stray-marks.sql.ts';
import { StraySeal } from './stray-seal.ts';
import { loadActiveSuites, suiteKey } from './suite-state.sql.ts';
import { TopicWatch } from './topic-watch.ts';

/** What other readers pruned is forgotten here, too: it is asked this often how much is still stored. */
const COUNT_EVERY_MS = 600_000;

export interface ShareOptions {
  readonly lookMs: number;
  readonly maxLines: number;
}

/** The partitions that one reader has, and what its thread has to know for them. */
export class Share {
  readonly feeds = new Map<number, PartitionFeed>();
  readonly watch: TopicWatch;
  readonly #ctx: ConsumerContext;
  readonly #member: Member;
  readonly #options: ShareOptions;
  #feedContext: FeedContext | undefined;
  /** Hash of the version that the reader was told, by suite. */
  readonly #told = new Map<string, string>();
  #layout: Layout | undefined;
  #lookedMs = Number.NEGATIVE_INFINITY;
  /** Reports that the reader remembers, those forgotten meanwhile among them. */
  #known = 0;
  #countedMs: number;

  constructor(ctx: ConsumerContext, member: Member, options: ShareOptions) {
    this.#ctx = ctx;
    this.#member = member;
    this.#options = options;
    this.watch = new TopicWatch(ctx, member.topic);
    this.#countedMs = ctx.clock.now();
  }

  get partitions(): number {
    return this.#layout?.partitions ?? 0;
  }

  /** Whose work on suites this is. Throws StaleOwner before the first look. */
  settler(): Settler {
    if (this.#layout === undefined) throw new StaleOwner('no partition was claimed yet');
    const { member, topic } = this.#member;
    return { member, fence: memberFence({ topic, member, layout: this.#layout.layout }) };
  }

  /** Somebody else has gone on: what is ours is asked before the next line. */
  lookAgain(): void {
    this.#lookedMs = Number.NEGATIVE_INFINITY;
  }

  /** Where it is time: looks at the topic and at the other readers, and gives up and takes over partitions. True where some came. */
  async look(): Promise<boolean> {
    const now = performance.now();
    if (now - this.#lookedMs < this.#options.lookMs) return false;
    const layout = await this.watch.look();
    const owned = await this.#ctx.db.asEngine((tx) => takeShare(tx, this.#member));
    if (layout.layout !== this.#layout?.layout) await this.#begin(layout);
    const gone = [...this.feeds.values()].filter((feed) => owned.get(feed.owned.partition) !== feed.owned.epoch);
    for (const feed of gone) await this.#drop(feed.owned);
    const come = [...owned].filter(([partition]) => !this.feeds.has(partition) && partition < layout.partitions);
    for (const [partition, epoch] of come) await this.#adopt(partition, epoch, layout);
    if (gone.length + come.length > 0) this.#ctx.metrics.rebalanced();
    this.#ctx.metrics.ownedPartitions(this.feeds.size);
    this.#lookedMs = now;
    return come.length > 0;
  }

  /** The thread knows nothing any more; what is ours is loaded into it at the next look. */
  forgetAll(): void {
    this.#layout = undefined;
    this.feeds.clear();
    this.lookAgain();
  }

  /** Which shards a partition serves hangs on the layout: all are loaded by it. */
  async #begin(layout: Layout): Promise<void> {
    this.feeds.clear();
    this.#told.clear();
    this.#known = 0;
    this.#layout = undefined;
    const { db, eventLog, reader } = this.#ctx;
    const seal = new StraySeal(await db.asEngine((tx) => loadStrayKey(tx, this.#member.topic)));
    await reader.open(layout.partitions);
    const { maxLines } = this.#options;
    this.#feedContext = { eventLog, reader, seal, maxLines, changedSuites: () => this.#changedSuites() };
    this.#layout = layout;
  }

  async #drop({ partition }: Owned): Promise<void> {
    this.feeds.delete(partition);
    await this.#ctx.reader.drop(partition, shardsOf(partition, this.partitions));
    this.#ctx.metrics.ingestLag(partition, 0, 0);
    this.#ctx.metrics.oldestUnread(partition, 0);
    this.#ctx.log.info({ partition }, 'a partition went to another reader');
  }

  /** Behind the claim: nobody else adds to what is loaded. */
  async #adopt(partition: number, epoch: bigint, { layout, partitions }: Layout): Promise<void> {
    const { topic, member } = this.#member;
    const at = await this.#ctx.db.asEngine(async (tx) => {
      await this.#remember(tx, shardsOf(partition, partitions));
      return (await loadPositions(tx, topic)).get(partition) ?? START;
    });
    const owned = { topic, member, partition, epoch, layout };
    this.feeds.set(partition, new PartitionFeed(this.#feedContext!, owned, at));
    this.#ctx.log.info({ partition, epoch: String(epoch), offset: String(at.offset) }, 'reading a partition');
  }

  async #remember(tx: Parameters<typeof loadDedup>[0], shards: readonly number[]): Promise<void> {
    await loadDedup(tx, shards, async (blocks) => {
      this.#known += blocks.reduce((total, block) => total + block.length / ENTRY_BYTES, 0);
      await this.#ctx.reader.remember(blocks);
    });
  }

  /** Active versions that the reader was not told of yet. */
  async #changedSuites(): Promise<readonly TenantSuite[]> {
    const active = await this.#ctx.db.asEngine(loadActiveSuites);
    const changed = active.filter(({ tenant, suite }) => this.#told.get(suiteKey(tenant, suite.name)) !== suite.hash);
    for (const { tenant, suite } of changed) this.#told.set(suiteKey(tenant, suite.name), suite.hash);
    return changed;
  }

  /** A flush is stored. `forgot`: it removed what is past the horizon. */
  async flushed(accepted: number, forgot: boolean): Promise<void> {
    this.#known += accepted;
    const now = this.#ctx.clock.now();
    if (!forgot && now - this.#countedMs < COUNT_EVERY_MS) return;
    this.#countedMs = now;
    const shards = [...this.feeds.keys()].flatMap((partition) => shardsOf(partition, this.partitions));
    await this.#ctx.db.asEngine(async (tx) => {
      const stored = await countDedup(tx, shards);
      // What was removed leaves the index when it is read again; until then a duplicate is known for longer than it must.
      if (this.#known < 2 * stored || this.#known === 0) return;
      await this.#ctx.reader.forget(shards);
      this.#known = 0;
      await this.#remember(tx, shards);
    });
  }
}
