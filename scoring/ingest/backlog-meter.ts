import type { BacklogLimits } from '../../platform/config-doors.ts';

/** One look at a partition: where its log ends, and where its reader stands. */
export interface PartitionLook {
  readonly partition: number;
  readonly nextOffset: bigint;
  readonly readTo: bigint;
}

export interface BacklogState {
  readonly messages: number;
  /** By the mean size of what this process appended lately; 0 while it has appended nothing. */
  readonly bytes: number;
  /** Since the oldest message that was not read yet was first seen here. */
  readonly ageMs: number;
  readonly drainedPerSecond: number;
}

export type BacklogReason = 'messages' | 'bytes' | 'age';

/** Why no more is taken now, and when to come again. */
export interface BacklogRefusal {
  readonly reason: BacklogReason;
  readonly retryAfterSeconds: number;
  readonly state: BacklogState;
}

/** The rate of draining is that of so long. */
const RATE_WINDOW_MS = 30_000;
/** Ends remembered of a partition; beyond it every other one goes, which tells ages a little too young. */
const MAX_ENDS = 1_024;
/** The door opens again somewhat below the limit, so that it does not flap. */
const REOPEN_AT = 0.9;
export const MIN_RETRY_AFTER_S = 1;
export const MAX_RETRY_AFTER_S = 60;
/** Where nothing is drained at all. */
const STANDSTILL_RETRY_AFTER_S = 30;
/** Of the mean size of a message, a new one counts for so much. */
const SIZE_WEIGHT = 0.05;

interface Partition {
  /** When the log was first seen to reach an offset, those that were read by now left out. */
  ends: { readonly atMs: number; readonly offset: bigint }[];
  nextOffset: bigint;
  readTo: bigint;
}

/** How far the consumer is behind, how old that is and how fast it gets less, from looks at the log and at the stored positions. */
export class BacklogMeter {
  readonly #limits: BacklogLimits;
  readonly #partitions = new Map<number, Partition>();
  #drained: { readonly atMs: number; readonly total: bigint }[] = [];
  #total = 0n;
  #messageBytes = 0;
  #appendedSince = 0;
  #refused: BacklogReason | undefined;

  constructor(limits: BacklogLimits) {
    this.#limits = limits;
  }

  look(looks: readonly PartitionLook[], nowMs: number): void {
    this.#appendedSince = 0;
    for (const { partition, nextOffset, readTo } of looks) {
      const known = this.#partitions.get(partition);
      // A topic that was made anew begins again: what was seen of the old one tells nothing.
      const at = known !== undefined && nextOffset >= known.nextOffset ? known : { ends: [], nextOffset: 0n, readTo };
      if (nextOffset > at.nextOffset) at.ends.push({ atMs: nowMs, offset: nextOffset });
      this.#total += readTo > at.readTo ? readTo - at.readTo : 0n;
      at.ends = at.ends.filter((end) => end.offset > readTo);
      if (at.ends.length > MAX_ENDS) at.ends = at.ends.filter((_end, i) => i % 2 === 0);
      at.nextOffset = nextOffset;
      at.readTo = readTo;
      this.#partitions.set(partition, at);
    }
    this.#drained.push({ atMs: nowMs, total: this.#total });
    this.#drained = this.#drained.filter(({ atMs }) => atMs >= nowMs - RATE_WINDOW_MS);
  }

  /** This process appended a message; until the next look it is taken as not read. */
  appended(bytes: number): void {
    this.#appendedSince++;
    this.#messageBytes += (bytes - this.#messageBytes) * (this.#messageBytes === 0 ? 1 : SIZE_WEIGHT);
  }

  /** Messages of a partition that are read before the one at `offset`, as of the last look. */
  before(partition: number, offset: bigint): number {
    const readTo = this.#partitions.get(partition)?.readTo ?? offset;
    return offset > readTo ? Number(offset - readTo) : 0;
  }

  state(nowMs: number): BacklogState {
    let messages = this.#appendedSince;
    let oldestMs = nowMs;
    for (const { ends, nextOffset, readTo } of this.#partitions.values()) {
      if (nextOffset > readTo) messages += Number(nextOffset - readTo);
      oldestMs = Math.min(oldestMs, ends[0]?.atMs ?? nowMs);
    }
    const first = this.#drained[0];
    const last = this.#drained.at(-1);
    const seconds = first === undefined || last === undefined ? 0 : (last.atMs - first.atMs) / 1000;
    const drainedPerSecond = seconds === 0 ? 0 : Number(last!.total - first!.total) / seconds;
    return { messages, bytes: Math.round(messages * this.#messageBytes), ageMs: nowMs - oldestMs, drainedPerSecond };
  }

  /** undefined: more may come. */
  refusal(nowMs: number): BacklogRefusal | undefined {
    const state = this.state(nowMs);
    const { messages, bytes, ageMs } = this.#limits;
    const full: Readonly<Record<BacklogReason, number>> = {
      messages: state.messages / messages,
      bytes: state.bytes / bytes,
      age: state.ageMs / ageMs,
    };
    const reason = (['messages', 'bytes', 'age'] as const).find(
      (one) => full[one] >= (this.#refused === one ? REOPEN_AT : 1),
    );
    this.#refused = reason;
    if (reason === undefined) return undefined;
    // What has to be read before it is below the limit again: that share of all that waits.
    const excess = state.messages * (1 - REOPEN_AT / full[reason]);
    return { reason, retryAfterSeconds: retryAfter(excess, state.drainedPerSecond), state };
  }
}

function retryAfter(excess: number, drainedPerSecond: number): number {
  if (drainedPerSecond === 0) return STANDSTILL_RETRY_AFTER_S;
  return Math.min(MAX_RETRY_AFTER_S, Math.max(MIN_RETRY_AFTER_S, Math.ceil(Math.round(excess) / drainedPerSecond)));
}
