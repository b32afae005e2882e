import { createHash } from 'node:crypto';
import { assert } from '../core/assert.ts';

/**
 * The event log port: an append-only sequence of messages per (topic, partition), read by offset. Adapters:
 * `event-log-postgres.ts` (the default), `kafka/event-log.ts`. At least once; the consumer's own transaction makes the effect exact.
 */
export interface LogMessage {
  readonly tenant: string;
  readonly topic: string;
  readonly partition: number;
  /** Rising in a partition, from 0, with gaps: see `read`. */
  readonly offset: bigint;
  readonly key: string;
  /** null: a tombstone. */
  readonly value: Uint8Array | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly appendedAtMs: number;
}

/** What an append says; the log adds partition, offset and time. */
export type NewMessage = Pick<LogMessage, 'tenant' | 'topic' | 'key' | 'value' | 'headers'>;

export interface Appended {
  readonly partition: number;
  readonly offset: bigint;
}

export interface PartitionEnd {
  /** The oldest that can still be read; `nextOffset` where nothing can. Above a reader's position: retention took what it had not read. */
  readonly firstOffset: bigint;
  /** Nothing that can be read is at or above it: behind the last message, or, with gaps at the end, between it and what the next append gets. */
  readonly nextOffset: bigint;
  /** The log's greatest append time over all partitions of the topic (ms; 0 if none). */
  readonly appendedAtMs: number;
}

export interface EventLog {
  /** Durable when it resolves. `value` is at most MAX_MESSAGE_BYTES. */
  append(message: NewMessage & { readonly partition?: number }): Promise<Appended>;
  partitions(topic: string): Promise<readonly number[]>;
  /**
   * Messages from `offset` on, at most `maxMessages` and about `maxBytes` (at least one where there is one). Their offsets may have gaps, also
   * before the first: Kafka gives some to transaction markers, to aborted messages, and to those that compaction or retention removed. So who
   * reads goes on behind the last message it was given, never at `offset` plus a count; that below `firstOffset` nothing is left is not told here.
   */
  read(
    topic: string,
    partition: number,
    offset: bigint,
    maxMessages: number,
    maxBytes: number,
  ): Promise<readonly LogMessage[]>;
  end(topic: string, partition: number): Promise<PartitionEnd>;
  /**
   * Another text once the topic was deleted and made anew, whose offsets are then other messages. null: this log cannot tell, and only what
   * stands at a known offset can. `not-found` where there is no such topic.
   */
  identity(topic: string): Promise<string | null>;
  /** Resolves early when something may have been appended; at the latest after `timeoutMs`. */
  wait(topic: string, timeoutMs: number, signal: AbortSignal): Promise<void>;
  /**
   * Every message of the partition below `nextOffset` is done. Advice for who watches the log from outside (lag tools, scaling): it may be told
   * late or never, nothing here reads it back, and where a reader stands is what its own transactions say.
   */
  consumed(topic: string, partition: number, nextOffset: bigint): void;
  close(): Promise<void>;
}

/** NDJSON is packed into messages of about this size by the door. */
export const PACK_MESSAGE_BYTES = 256 * 1024;
/** One line of 1 MiB must still fit into a message. */
export const MAX_MESSAGE_BYTES = 1024 * 1024 + PACK_MESSAGE_BYTES;
/** Appends beyond this wait for nobody: the caller is told to come again. */
export const MAX_WAITING_BYTES = 64 * 1024 * 1024;

/** Which of `count` partitions a key belongs to: the first 4 bytes of its SHA-256, modulo. */
export function partitionOf(key: string, count: number): number {
  assert(count > 0, 'a topic has partitions');
  return createHash('sha256').update(key).digest().readUInt32BE(0) % count;
}
