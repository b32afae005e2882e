import type { PartitionEnd } from '../event-log.ts';
import { type Ends, type Fetched, type KafkaClient, KafkaFault } from './client.ts';

/** What was looked up is used for so long; what fetches bring meanwhile is used at once. */
const ENDS_AGE_MS = 100;
/** Asking for the times of last records may cost a batch for each partition. */
const TIMES_AGE_MS = 1_000;

interface Known {
  readonly ends: Ends;
  /** The greatest time of a record that is known, and the end at which it was learnt. */
  readonly lastMs: number;
  readonly lastAt: bigint;
}

/** Where the partitions of one topic begin and end. Never behind what this process has read of it. */
export class TopicEnds {
  readonly #client: KafkaClient;
  readonly #topic: string;
  readonly #nowMs: () => number;
  readonly #known = new Map<number, Known>();
  /** Offsets behind the last message that hold none: transaction markers, or what was aborted. */
  readonly #quiet = new Map<number, { readonly from: bigint; readonly to: bigint }>();
  /** Fetched while a look was under way, whose answer may be older. */
  readonly #raised = new Set<number>();
  #looking: Promise<void> | undefined;
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  #timedAtMs = Number.NEGATIVE_INFINITY;

  constructor(client: KafkaClient, topic: string, nowMs: () => number) {
    this.#client = client;
    this.#topic = topic;
    this.#nowMs = nowMs;
  }

  async end(partitions: readonly number[], partition: number): Promise<PartitionEnd> {
    if (this.#nowMs() - this.#lookedAtMs >= ENDS_AGE_MS) await this.#lookOnce(partitions);
    // A look that was under way may not have asked for a partition that is new.
    if (!this.#known.has(partition)) await this.#lookOnce(partitions);
    const known = this.#known.get(partition);
    if (known === undefined) throw new KafkaFault('away', `partition ${partition} has no leader now`);
    const { firstOffset, endOffset } = known.ends;
    const quiet = this.#quiet.get(partition);
    const appendedAtMs = Math.max(0, ...[...this.#known.values()].map(({ lastMs }) => lastMs));
    return { firstOffset, nextOffset: quiet?.to === endOffset ? quiet.from : endOffset, appendedAtMs };
  }

  /** What was appended here is to be seen by the next look. */
  appended(): void {
    this.#lookedAtMs = Number.NEGATIVE_INFINITY;
    this.#timedAtMs = Number.NEGATIVE_INFINITY;
  }

  fetched({ partition, records, ends }: Fetched): void {
    const last = records.at(-1);
    const before = this.#known.get(partition);
    this.#raised.add(partition);
    this.#known.set(partition, {
      ends: before === undefined ? ends : laterOf(before.ends, ends),
      lastMs: Math.max(before?.lastMs ?? 0, last?.appendedAtMs ?? 0),
      lastAt: last === undefined ? (before?.lastAt ?? 0n) : last.offset + 1n,
    });
  }

  /** Nothing that can be read is in [from, to). */
  quiet(partition: number, from: bigint, to: bigint): void {
    if (from < to) this.#quiet.set(partition, { from, to });
  }

  /** Whether more than what lies below `offset` is known to be there. */
  isBehind(partition: number, offset: bigint): boolean {
    return (this.#known.get(partition)?.ends.endOffset ?? 0n) > offset;
  }

  #lookOnce(partitions: readonly number[]): Promise<void> {
    this.#looking ??= this.#look(partitions).finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(partitions: readonly number[]): Promise<void> {
    this.#raised.clear();
    const found = await this.#client.ends(this.#topic, partitions);
    this.#lookedAtMs = this.#nowMs();
    for (const [partition, looked] of found) {
      const before = this.#known.get(partition);
      const ends = before !== undefined && this.#raised.has(partition) ? laterOf(before.ends, looked) : looked;
      this.#known.set(partition, { ends, lastMs: before?.lastMs ?? 0, lastAt: before?.lastAt ?? 0n });
    }
    if (this.#nowMs() - this.#timedAtMs < TIMES_AGE_MS) return;
    const untimed = new Map([...found].filter(([one, { endOffset }]) => this.#known.get(one)!.lastAt < endOffset));
    const times = untimed.size === 0 ? new Map<number, number>() : await this.#client.lastTimes(this.#topic, untimed);
    this.#timedAtMs = this.#nowMs();
    for (const [partition, { ends, lastMs }] of this.#known) {
      const at = untimed.get(partition);
      if (at === undefined) continue;
      const greatest = Math.max(lastMs, times.get(partition) ?? 0);
      this.#known.set(partition, { ends, lastMs: greatest, lastAt: at.endOffset });
    }
  }
}

function laterOf(a: Ends, b: Ends): Ends {
  return {
    firstOffset: a.firstOffset > b.firstOffset ? a.firstOffset : b.firstOffset,
    endOffset: a.endOffset > b.endOffset ? a.endOffset : b.endOffset,
  };
}
