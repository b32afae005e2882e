import type { LogMessage } from '../../platform/event-log.ts';
import { loadAsides } from '../ingest/asides.sql.ts';
import { holdsLines } from '../ingest/read-lines.ts';
import { MAX_SKEW_MS } from '../rules/watermark.ts';
import type { RecomputeContext } from './context.ts';
import { endOffsetOf } from './handed-shard.ts';
import { packMessages, type Taken } from './messages.ts';
import { unpackPanes } from './pane-deltas.ts';
import { commitStretch, renewLease, type Shard } from './recomputes.sql.ts';
import { countedFromMs } from './shard-effects.ts';
import { type Leg, legsOf } from './shard-legs.ts';
import { MAX_BATCHES_IN_FLIGHT, openShardThread, type ShardThread } from './shard-thread.ts';

/** One batch to the thread: below 512 KB its fixed cost shows, far above 1 MB nothing is gained. */
const MAX_BATCH_MESSAGES = 256;
const MAX_BATCH_BYTES = 1024 * 1024;
/** One transaction: what a crash repeats, and how long rows that the consumer may want stay locked. */
const MAX_STRETCH_BYTES = 16 * 1024 * 1024;
const MAX_STRETCH_PANES = 20_000;
/** A claim that is not renewed for so long may be taken over. */
export const LEASE_MS = 60_000;
/** Where nothing is committed (what a resumed shard reads again), the lease is renewed this often in its time. */
const RENEWALS_PER_LEASE = 3;

/** What a test may set to other values. */
export interface ShardOptions {
  readonly leaseMs?: number;
  readonly batchMessages?: number;
  readonly stretchBytes?: number;
}

/** The log cannot give what the shard needs, and never will. */
export class ShardFault extends Error {
  override name = 'ShardFault';
}

/**
 * Works a claimed shard off: reads the log from its start, adds what lies behind the shard's place in transactions, and ends when all of it is in,
 * or with `signal`. What lies before the place is read only to know it. Throws StaleShard, ShardFault.
 */
export async function runShard(
  ctx: RecomputeContext,
  shard: Shard,
  signal: AbortSignal,
  options: ShardOptions = {},
): Promise<'done' | 'aborted'> {
  if (shard.nextOffset >= endOffsetOf({ offset: shard.untilOffset, line: shard.untilLine })) return 'done';
  if (shard.changed !== null) throw new ShardFault(shard.changed);
  const { tenant, suite, partition, keptFrom, onTimeFromMs } = shard;
  const thread = await openShardThread({
    tenant,
    suite: suite.document,
    partition,
    keptFrom,
    onTimeFromMs,
  });
  try {
    return await new ShardRun(ctx, shard, thread, options).run(signal);
  } finally {
    await thread.end();
  }
}

class ShardRun {
  readonly #ctx: RecomputeContext;
  readonly #shard: Shard;
  readonly #thread: ShardThread;
  readonly #leaseMs: number;
  readonly #batchMessages: number;
  readonly #stretchBytes: number;
  readonly #inFlight: Promise<Taken>[] = [];
  /** Stored, or about to be. */
  #committed: bigint;
  /** Since then. */
  #bytes = 0;
  #panes = 0;
  #committing: Promise<void> = Promise.resolve();
  #renewedMs: number;

  constructor(ctx: RecomputeContext, shard: Shard, thread: ShardThread, options: ShardOptions) {
    this.#ctx = ctx;
    this.#shard = shard;
    this.#thread = thread;
    this.#leaseMs = options.leaseMs ?? LEASE_MS;
    this.#batchMessages = options.batchMessages ?? MAX_BATCH_MESSAGES;
    this.#stretchBytes = options.stretchBytes ?? MAX_STRETCH_BYTES;
    this.#committed = shard.nextOffset;
    this.#renewedMs = ctx.clock.now();
  }

  async run(signal: AbortSignal): Promise<'done' | 'aborted'> {
    const legs = legsOf(this.#shard);
    try {
      for (const leg of legs) {
        if (!(await this.#take(leg, leg === legs.at(-1), signal))) return 'aborted';
      }
      await this.#committing;
      return 'done';
    } finally {
      // Whatever went wrong: nothing of ours is under way when the claim is given back.
      await Promise.allSettled([this.#committing, ...this.#inFlight]);
    }
  }

  /** A leg to its end; false where it was aborted. */
  async #take(leg: Leg, isLast: boolean, signal: AbortSignal): Promise<boolean> {
    const isOwn = leg.servedSince === null;
    const legEnd = endOffsetOf(leg.to);
    for (let at = leg.from.offset; at < legEnd; ) {
      if (signal.aborted) return false;
      const replay = !isOwn || at < this.#shard.nextOffset;
      const end = isOwn && replay && this.#shard.nextOffset < legEnd ? this.#shard.nextOffset : legEnd;
      const messages = await this.#read(leg.partition, at, end);
      await this.#send(messages, replay, leg);
      at = (messages.at(-1)?.offset ?? end - 1n) + 1n;
      // The rest of a message is the next leg's.
      const isWhole = isLast || at < legEnd || leg.to.line === 0;
      if (replay) await this.#renew();
      else if (isWhole && ((isLast && at === legEnd) || this.#isFull())) await this.#commit(at);
    }
    return true;
  }

  #isFull(): boolean {
    return this.#bytes >= this.#stretchBytes || this.#panes >= MAX_STRETCH_PANES;
  }

  /** Messages before `end`, from the first that there is; none where all up to `end` is let go and does not matter. */
  async #read(partition: number, from: bigint, end: bigint): Promise<readonly LogMessage[]> {
    const { topic } = this.#shard;
    const room = end - from;
    const most = room < BigInt(this.#batchMessages) ? Number(room) : this.#batchMessages;
    const messages = await this.#ctx.eventLog.read(topic, partition, from, most, MAX_BATCH_BYTES);
    if (messages[0]?.offset !== from) await this.#requireNothingLost(partition, from, messages[0]);
    return messages.filter(({ offset }) => offset < end);
  }

  /** Some offsets of Kafka are no messages; and what was let go may be older than all that counts, as what follows it is. */
  async #requireNothingLost(partition: number, from: bigint, next: LogMessage | undefined): Promise<void> {
    const { topic } = this.#shard;
    if (next !== undefined) {
      if (next.appendedAtMs + MAX_SKEW_MS < countedFromMs(this.#shard)) return;
      if ((await this.#ctx.eventLog.end(topic, partition)).firstOffset <= from) return;
    }
    throw new ShardFault(`the log ${topic}/${partition} holds message ${from} no more: its history cannot be read`);
  }

  async #send(messages: readonly LogMessage[], replay: boolean, leg: Leg): Promise<void> {
    const { tenant, topic } = this.#shard;
    const { partition, partitions, from, to, servedSince } = leg;
    const own = messages.filter((message) => message.tenant === tenant && holdsLines(message));
    this.#bytes += messages.reduce((total, { value }) => total + (value?.length ?? 0), 0);
    const [first, last] = [own[0], own.at(-1)];
    if (first === undefined || last === undefined) return;
    const asides = await this.#ctx.db.asEngine((tx) =>
      loadAsides(tx, { topic, partition, tenant }, first.offset, last.offset),
    );
    if (this.#inFlight.length >= MAX_BATCHES_IN_FLIGHT) await this.#answered();
    const afterLine = first.offset === from.offset ? from.line : 0;
    const untilLine = last.offset === to.offset ? to.line : 0;
    const batch = packMessages(own, asides, { partition, partitions, afterLine, untilLine, servedSince });
    const taken = this.#thread.take(batch, replay);
    // It is awaited when its turn comes.
    taken.catch(() => {});
    this.#inFlight.push(taken);
  }

  async #answered(): Promise<void> {
    const [oldest] = this.#inFlight;
    if (oldest === undefined) return;
    this.#panes = (await oldest).panes;
    this.#inFlight.shift();
  }

  /** Takes what the thread has, and stores it while the thread goes on. */
  async #commit(to: bigint): Promise<void> {
    while (this.#inFlight.length > 0) await this.#answered();
    const startedMs = performance.now();
    const drained = await this.#thread.drain();
    await this.#committing;
    const panes = unpackPanes(drained.panes, this.#shard.suite.hash);
    const from = this.#committed;
    this.#committed = to;
    this.#bytes = 0;
    this.#panes = 0;
    const { counts } = drained;
    this.#committing = this.#ctx.db
      .asEngine((tx) => commitStretch(tx, this.#shard, { from, to, panes, counts }, this.#leaseMs))
      .then(() => {
        const { metrics } = this.#ctx;
        metrics.stretch((performance.now() - startedMs) / 1000);
        for (const [result, count] of Object.entries(counts) as [keyof typeof counts, number][])
          if (count > 0) metrics.reports(result, count);
      });
    this.#renewedMs = this.#ctx.clock.now();
    // It is awaited later, or at the end.
    this.#committing.catch(() => {});
  }

  async #renew(): Promise<void> {
    const now = this.#ctx.clock.now();
    if (now - this.#renewedMs < this.#leaseMs / RENEWALS_PER_LEASE) return;
    this.#renewedMs = now;
    await this.#ctx.db.asEngine((tx) => renewLease(tx, this.#shard, this.#leaseMs));
  }
}
