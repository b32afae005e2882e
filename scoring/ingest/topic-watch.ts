import { OperatingError } from '../../core/operating-error.ts';
import type { PartitionEnd } from '../../platform/event-log.ts';
import type { ConsumerContext } from '../context.ts';
import {
  addAlert,
  changeLayout,
  differenceOf,
  type Layout,
  loadLayout,
  nameTopic,
  type SeenTopic,
} from './layout.sql.ts';
import { type Owned, partitionFence } from './ownership.sql.ts';
import { advancePosition, type StoredPosition } from './positions.sql.ts';

/** Looks in a row at which a partition's end lies below our position: an end that was told too early is not one of another topic. */
const LOOKS_BELOW = 3;

/**
 * Looks whether the topic is still what it was, and says where it is not: it has more partitions, it was made anew under its name, or it let
 * messages go that nobody had read. None of these is ever passed over in silence.
 */
export class TopicWatch {
  readonly #ctx: ConsumerContext;
  readonly #topic: string;
  /** Looks at which a partition ended below its position. */
  readonly #below = new Map<number, number>();
  #isAway = false;

  constructor(ctx: ConsumerContext, topic: string) {
    this.#ctx = ctx;
    this.#topic = topic;
  }

  /** The layout to work by, once it is what the log says. Where the log is away it is the stored one. */
  async look(): Promise<Layout> {
    const { db, log } = this.#ctx;
    let seen: SeenTopic | undefined;
    try {
      seen = await this.#seen();
      this.#isAway = false;
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      if (!this.#isAway) log.warn({ topic: this.#topic, error: error.message }, 'the event log does not answer');
      this.#isAway = true;
    }
    const stored = await db.asEngine((tx) => loadLayout(tx, this.#topic));
    if (seen === undefined || differenceOf(stored, seen) === undefined) {
      if (stored?.identity === null && seen !== undefined && seen.identity !== null)
        await db.asEngine((tx) => nameTopic(tx, this.#topic, seen.identity));
      if (stored !== undefined) return stored;
      throw new OperatingError('not-found', 'safe', `looking at the topic ${this.#topic}`, {
        mend: 'make the topic, or start the event log',
      });
    }
    await this.#change(seen, undefined);
    return this.look();
  }

  async #seen(): Promise<SeenTopic> {
    const { eventLog } = this.#ctx;
    const partitions = (await eventLog.partitions(this.#topic)).length;
    if (partitions === 0) {
      throw new OperatingError('not-found', 'safe', `looking at the topic ${this.#topic}`, { mend: 'make the topic' });
    }
    return { partitions, identity: await eventLog.identity(this.#topic) };
  }

  async #change(
    seen: SeenTopic,
    evidence: { readonly layout: bigint; readonly why: string } | undefined,
  ): Promise<void> {
    const { db, log, metrics } = this.#ctx;
    const changed = await db.asEngine((tx) => changeLayout(tx, this.#topic, seen, evidence));
    if (changed === undefined || changed.kind === 'new') return;
    metrics.layoutChanged(changed.kind);
    if (changed.kind === 'raised') {
      log.warn(
        { topic: this.#topic, from: changed.from, to: changed.to },
        'the topic has more partitions: shards move',
      );
      return;
    }
    log.error(
      { topic: this.#topic, generation: changed.generation, why: changed.why },
      'the topic was made anew: it is read from its start, and what the old one still held was lost',
    );
    if (changed.unarchived !== null)
      log.error({ topic: this.#topic, unarchived: changed.unarchived }, 'the archive has not all that was read of it');
  }

  /** Holds the end of a partition that is read against where it is read. True where the topic turned out to be another. */
  async isAnother(owned: Owned, at: StoredPosition, end: PartitionEnd): Promise<boolean> {
    if (end.nextOffset >= at.offset) {
      this.#below.delete(owned.partition);
      return false;
    }
    const looks = (this.#below.get(owned.partition) ?? 0) + 1;
    this.#below.set(owned.partition, looks);
    if (looks < LOOKS_BELOW) return false;
    this.#below.clear();
    const why = `partition ${owned.partition} ends at ${end.nextOffset}, and was read up to ${at.offset}`;
    await this.#change(await this.#seen(), { layout: owned.layout, why });
    return true;
  }

  /** Goes on from the oldest message that is left, and tells what was not read; undefined where nothing is missing. */
  async skipLost(owned: Owned, at: StoredPosition, end: PartitionEnd): Promise<StoredPosition | undefined> {
    if (end.firstOffset <= at.offset || end.firstOffset > end.nextOffset) return undefined;
    const { db, log, metrics } = this.#ctx;
    const { partition } = owned;
    const next = { offset: end.firstOffset, line: 0, appendedAtMs: at.appendedAtMs };
    const lost = { partition, from: at.offset, to: end.firstOffset };
    const detail = `messages ${lost.from} to ${lost.to - 1n} of partition ${partition} were removed before they were read`;
    await db.asFenced(partitionFence(owned), async (tx) => {
      await advancePosition(tx, this.#topic, partition, at, next);
      await tx.execute('update ingest_partitions set first_offset = $3 where topic = $1 and partition = $2', [
        this.#topic,
        partition,
        end.firstOffset,
      ]);
      await addAlert(tx, this.#topic, { kind: 'lost', detail, lost });
    });
    metrics.lost(Number(lost.to - lost.from));
    log.error(
      { topic: this.#topic, partition, from: String(lost.from), to: String(lost.to) },
      'the log let messages go before they were read: they are lost',
    );
    return next;
  }
}
