import { createRequire } from 'node:module';
import type { KafkaTopic } from './client.ts';
import type { KafkaJsAsk } from './kafkajs-topic.ts';

/**
 * What is used of kafkajs beneath its public API, which reads only as a member of a group that the broker gives partitions to: its cluster, whose
 * brokers fetch from any offset, and its filter of aborted records. The package has been at 2.2.4 since 2023 and is pinned; the tests of the event
 * log hold these.
 */
export interface KafkaJsBroker {
  fetch(request: {
    readonly maxWaitTime: number;
    readonly minBytes: number;
    readonly maxBytes: number;
    readonly isolationLevel: number;
    readonly topics: readonly {
      readonly topic: string;
      readonly partitions: readonly {
        readonly partition: number;
        readonly fetchOffset: string;
        readonly maxBytes: number;
      }[];
    }[];
  }): Promise<{ readonly responses: readonly { readonly partitions: readonly KafkaJsPartition[] }[] }>;
  listOffsets(request: {
    readonly isolationLevel: number;
    readonly topics: readonly {
      readonly topic: string;
      readonly partitions: readonly { readonly partition: number; readonly timestamp: number }[];
    }[];
  }): Promise<{
    readonly responses: readonly {
      readonly partitions: readonly { readonly partition: number; readonly offset: string }[];
    }[];
  }>;
  offsetCommit(request: {
    readonly groupId: string;
    readonly groupGenerationId: number;
    readonly memberId: string;
    readonly topics: readonly {
      readonly topic: string;
      readonly partitions: readonly {
        readonly partition: number;
        readonly offset: string;
        readonly metadata: string;
      }[];
    }[];
  }): Promise<unknown>;
}

export interface KafkaJsPartition {
  readonly partition: number;
  readonly lastStableOffset: string;
  /** The log's first offset, under this name. */
  readonly lastStartOffset: string;
  readonly abortedTransactions: readonly { readonly producerId: string; readonly firstOffset: string }[];
  readonly messages: readonly KafkaJsMessage[];
}

export interface KafkaJsMessage {
  readonly offset: string;
  readonly timestamp: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, Buffer | readonly Buffer[] | null | undefined>>;
  readonly batchContext: { readonly firstOffset: string; readonly lastOffsetDelta: number };
}

export interface KafkaJsCluster {
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  addTargetTopic(topic: string): Promise<void>;
  refreshMetadataIfNecessary(): Promise<void>;
  findLeaderForPartitions(topic: string, partitions: readonly number[]): Readonly<Record<string, readonly number[]>>;
  findBroker(which: { readonly nodeId: string }): Promise<KafkaJsBroker>;
  readonly brokerPool: {
    findConnectedBroker(): Promise<{
      readonly connectionPool: { send(ask: KafkaJsAsk): Promise<KafkaTopic | undefined> };
    }>;
  };
  findGroupCoordinator(which: { readonly groupId: string }): Promise<KafkaJsBroker>;
}

interface ClusterOptions {
  readonly brokers: readonly string[];
  readonly clientId: string;
  readonly ssl: object | undefined;
  readonly sasl: object | undefined;
  readonly connectionTimeout: number;
  readonly authenticationTimeout: number;
  readonly requestTimeout: number;
  readonly enforceRequestTimeout: boolean;
  readonly metadataMaxAge: number;
  readonly allowAutoTopicCreation: boolean;
  readonly retry: object;
}

const load = createRequire(import.meta.url);

export function newCluster(options: ClusterOptions): KafkaJsCluster {
  const Cluster = load('kafkajs/src/cluster') as new (options: object) => KafkaJsCluster;
  const { createLogger } = load('kafkajs/src/loggers') as { createLogger: (options: object) => object };
  const socketFactory = (load('kafkajs/src/network/socketFactory') as () => object)();
  const logger = createLogger({ level: 0, logCreator: () => () => {} });
  return new Cluster({ ...options, logger, socketFactory });
}

/** Without markers, what is of aborted transactions, and what lies before `offset`. */
export function committedOf(topic: string, offset: bigint, reply: KafkaJsPartition): readonly KafkaJsMessage[] {
  const Batch = load('kafkajs/src/consumer/batch') as new (
    topic: string,
    offset: string,
    reply: KafkaJsPartition,
  ) => { readonly messages: readonly KafkaJsMessage[] };
  const abortedTransactions = reply.abortedTransactions.toSorted((a, b) =>
    BigInt(a.firstOffset) < BigInt(b.firstOffset) ? -1 : 1,
  );
  return new Batch(topic, String(offset), { ...reply, abortedTransactions }).messages;
}
