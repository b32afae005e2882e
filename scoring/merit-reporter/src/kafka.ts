import type { Pack, Target } from './target.ts';

export interface KafkaMessage {
  /** undefined: the client may choose. */
  readonly partition: number | undefined;
  readonly key: string;
  readonly value: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

export interface KafkaOptions {
  /**
   * Sends messages to Merit's topic through any client, with acks=all; resolves when they are durable. Once the signal is aborted nobody waits for
   * it any more: a client that can be told may end what is under way.
   */
  readonly send: (messages: readonly KafkaMessage[], signal: AbortSignal) => Promise<unknown>;
  /** Of the topic. A pack then goes to the partition that serves its shard, and Merit has nothing to sort. */
  readonly partitions?: number;
  /** Whose reports these are, where the topic holds those of several tenants; absent: those of the tenant that Merit's server is of. */
  readonly tenant?: string;
}

/** Through a Kafka client of the caller's own. A message holds lines of one shard. */
export function kafka({ send, partitions, tenant }: KafkaOptions): Target {
  return {
    byShard: true,
    deliver: (pack, signal) => unlessAborted(signal, () => send([messageOf(pack, partitions, tenant)], signal)),
  };
}

/** A client that never answers must not hold up who gives up. What is under way may arrive all the same. */
function unlessAborted(signal: AbortSignal, work: () => Promise<unknown>): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const end = () => reject(signal.reason as Error);
    signal.addEventListener('abort', end, { once: true });
    Promise.resolve()
      .then(work)
      .then(() => resolve(), reject)
      .finally(() => signal.removeEventListener('abort', end));
  });
}

function messageOf(
  { lines, shard, traceparent }: Pack,
  partitions: number | undefined,
  tenant: string | undefined,
): KafkaMessage {
  return {
    partition: partitions === undefined || shard === null ? undefined : shard % partitions,
    key: `shard-${shard ?? 0}`,
    value: Buffer.from(lines.buffer, lines.byteOffset, lines.byteLength),
    headers: {
      'content-type': 'application/x-ndjson',
      traceparent,
      ...(tenant === undefined ? {} : { 'merit-tenant': tenant }),
    },
  };
}
