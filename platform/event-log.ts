/**
 * The event log port: an append-only sequence of messages per (topic, partition), read by offset. Adapters:
 * `event-log-postgres.ts` (the default), Kafka later. At least once; the consumer's own transaction makes the effect exact.
 */
export interface LogMessage {
  readonly tenant: string;
  readonly topic: string;
  readonly partition: number;
  /** Dense per partition, from 0. */
  readonly offset: bigint;
  readonly key: string;
  /** null: a tombstone. */
  readonly value: Uint8Array | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly appendedAtMs: number;
}

export interface Appended {
  readonly partition: number;
  readonly offset: bigint;
}

export interface EventLog {
  /** Durable when it resolves. `value` is at most MAX_MESSAGE_BYTES. */
  append(
    message: Pick<LogMessage, 'tenant' | 'topic' | 'key' | 'value' | 'headers'> & { readonly partition?: number },
  ): Promise<Appended>;
  partitions(topic: string): Promise<readonly number[]>;
  /** Messages from `offset` on, at most `maxMessages` and about `maxBytes` (at least one where there is one). */
  read(
    topic: string,
    partition: number,
    offset: bigint,
    maxMessages: number,
    maxBytes: number,
  ): Promise<readonly LogMessage[]>;
  /** The offset the next append gets, and the log's greatest append time over all partitions of the topic (ms; 0 if none). */
  end(topic: string, partition: number): Promise<{ readonly nextOffset: bigint; readonly appendedAtMs: number }>;
  /** Resolves early when something may have been appended; at the latest after `timeoutMs`. */
  wait(topic: string, timeoutMs: number, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** NDJSON is packed into messages of about this size by the door. */
export const PACK_MESSAGE_BYTES = 256 * 1024;
/** One line of 1 MiB must still fit into a message. */
export const MAX_MESSAGE_BYTES = 1024 * 1024 + PACK_MESSAGE_BYTES;
