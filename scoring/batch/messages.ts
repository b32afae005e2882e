import type { LogMessage } from '../../platform/event-log.ts';
import type { AsidePlace } from '../ingest/asides.sql.ts';
import { isWholeMessage } from '../ingest/set-aside.ts';
import { RESOLUTIONS, type Resolution } from '../rules/pane.ts';
import type { PackedPanes } from './pane-deltas.ts';

/** What goes between a shard's loop and its thread. */

/** In place of a line. */
export const WHOLE = 0;

/** Messages of one tenant, in order, their bytes in one buffer. */
export interface MessageBatch {
  readonly bytes: Uint8Array;
  /** One entry a message: where its bytes end, and its append time. */
  readonly ends: Uint32Array;
  readonly appendedAtMs: Float64Array;
  /** Lines that were set aside: index of the message, and the line; WHOLE: all of them. */
  readonly asideMessage: Uint32Array;
  readonly asideLine: Uint32Array;
  readonly stretch: Stretch;
}

/** Where the messages of a batch lie, and as what they were read. */
export interface Stretch {
  readonly partition: number;
  /** That the log had when they were read: by their number a line's partition is known. */
  readonly partitions: number;
  /** Of the first message the lines up to this one are not of it; 0: all are. */
  readonly afterLine: number;
  /** Of the last message only the lines up to this one are; 0: all. */
  readonly untilLine: number;
  /**
   * They were read before the log had so many, and are only to be known: those that the shard's partition serves since. null: they are the shard's
   * own.
   */
  readonly servedSince: number | null;
}

/** Panes that start earlier are kept no more. */
export type KeptFrom = Readonly<Record<Resolution, number>>;

/** What a shard is of. */
export interface ShardRules {
  readonly tenant: string;
  readonly partition: number;
  readonly keptFrom: KeptFrom;
  /**
   * Of a log of several partitions: only what was observed at or after it is filled in, which was on time in whatever order they were read. null:
   * there is one, and its own order tells what was too late.
   */
  readonly onTimeFromMs: number | null;
}

export interface OpenTask extends ShardRules {
  readonly kind: 'open';
  /** The version's document. */
  readonly suite: unknown;
}

export interface TakeTask {
  readonly kind: 'take';
  readonly batch: MessageBatch;
  /** Only to know which reports and what time were seen: its panes are stored already. */
  readonly replay: boolean;
}

/** Gives what was taken since the last drain. */
export interface DrainTask {
  readonly kind: 'drain';
}

export type ShardTask = OpenTask | TakeTask | DrainTask;

/** Lines of the suite that the consumer had accepted. */
export interface ShardCounts {
  /** In the panes. */
  readonly counted: number;
  /** Too late for any score when they were read. */
  readonly late: number;
  readonly refused: number;
  /** Of panes that are kept no more, or before onTimeFromMs. */
  readonly outdated: number;
}

export interface Taken {
  /** Panes that a drain would give, before those kept no more are left out. */
  readonly panes: number;
}

export interface Drained {
  readonly panes: PackedPanes;
  readonly counts: ShardCounts;
}

export function packMessages(
  messages: readonly LogMessage[],
  asides: readonly AsidePlace[],
  stretch: Stretch,
): MessageBatch {
  const bytes = new Uint8Array(messages.reduce((total, { value }) => total + (value?.length ?? 0), 0));
  const ends = new Uint32Array(messages.length);
  const index = new Map<bigint, number>();
  let at = 0;
  messages.forEach(({ offset, value }, i) => {
    if (value !== null) bytes.set(value, at);
    at += value?.length ?? 0;
    ends[i] = at;
    index.set(offset, i);
  });
  const here = asides.filter(({ offset }) => index.has(offset));
  const isWhole = ({ offset, line, size }: AsidePlace) =>
    isWholeMessage(line, size, messages[index.get(offset)!]!.value);
  return {
    bytes,
    ends,
    appendedAtMs: Float64Array.from(messages, (message) => message.appendedAtMs),
    asideMessage: Uint32Array.from(here, ({ offset }) => index.get(offset)!),
    asideLine: Uint32Array.from(here, (aside) => (isWhole(aside) ? WHOLE : aside.line)),
    stretch,
  };
}

/** What is moved with it. */
export function buffersOfBatch(batch: MessageBatch): ArrayBuffer[] {
  const { bytes, ends, appendedAtMs, asideMessage, asideLine } = batch;
  return [bytes, ends, appendedAtMs, asideMessage, asideLine].map((part) => part.buffer as ArrayBuffer);
}

export function keptFromOf(of: (resolution: Resolution) => number): KeptFrom {
  return Object.fromEntries(RESOLUTIONS.map((resolution) => [resolution, of(resolution)])) as unknown as KeptFrom;
}
