import { setTimeout as sleep } from 'node:timers/promises';
import { Producer } from '@platformatic/kafka';
import type { EventLog } from '../../platform/event-log.ts';
import type { KafkaClientName } from '../../platform/event-log-config.ts';
import type { KafkaClient, KafkaConnection } from '../../platform/kafka/client.ts';
import { type KafkaWatch, openKafkaEventLog } from '../../platform/kafka/event-log.ts';
import { openKafkaJsClient } from '../../platform/kafka/kafkajs.ts';
import { openPlatformaticClient } from '../../platform/kafka/platformatic.ts';
import { ensureKafkaTopic } from '../../platform/kafka/topic.ts';
import type { Database } from '../../platform/postgres.ts';
import { openRecord } from '../../scoring/ingest/open-record.ts';
import { loadPositions } from '../../scoring/ingest/positions.sql.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';

const OPEN: Readonly<Record<KafkaClientName, (connection: KafkaConnection) => Promise<KafkaClient>>> = {
  platformatic: openPlatformaticClient,
  kafkajs: openKafkaJsClient,
};

export function clientOf(name: KafkaClientName, broker: string, more: Partial<KafkaConnection> = {}) {
  return OPEN[name]({ clientId: `test-${name}`, brokers: [broker], tls: undefined, sasl: undefined, ...more });
}

export interface OpenedLog {
  readonly log: EventLog;
  readonly client: KafkaClient;
}

/** The log of the tenant `acme`, as a server opens it. */
export async function openLog(
  name: KafkaClientName,
  broker: string,
  more: Partial<KafkaConnection> & { readonly group?: string; readonly watch?: KafkaWatch } = {},
): Promise<OpenedLog> {
  const { group = 'merit', watch, ...connection } = more;
  const client = await clientOf(name, broker, connection);
  const options = { client, prefix: '', tenant: 'acme', group, open: openRecord };
  return { client, log: openKafkaEventLog(watch === undefined ? options : { ...options, watch }) };
}

const LED_EVERY_MS = 100;
const LED_TRIES = 300;

/** Makes the topic as a server does, or raises it. */
export async function makeTopic(broker: string, name: string, partitions: number): Promise<void> {
  const client = await clientOf('platformatic', broker);
  try {
    const topic = await client.topic(name);
    if (topic === undefined) await ensureKafkaTopic(client, { name, partitions, replicas: 1 });
    else if (topic.partitions.length < partitions) await client.raisePartitions(name, partitions);
    // A broker tells of partitions a moment before it leads them.
    const all = Array.from({ length: partitions }, (_, i) => i);
    for (let tries = 1; ; tries++) {
      const failure = await client.ends(name, all).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (failure === undefined) break;
      if (tries === LED_TRIES) throw failure;
      await sleep(LED_EVERY_MS);
    }
  } finally {
    await client.close();
  }
}

/** Whether the consumers have come to the end of every partition. */
export async function isReadToEnd(db: Database, log: EventLog): Promise<boolean> {
  const at = await db.asEngine((tx) => loadPositions(tx, REPORTS_TOPIC));
  for (const partition of await log.partitions(REPORTS_TOPIC)) {
    const { nextOffset } = await log.end(REPORTS_TOPIC, partition);
    if ((at.get(partition)?.offset ?? 0n) < nextOffset) return false;
  }
  return true;
}

export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd';

/** A producer as others have it, not this project's. */
export async function foreignProducer(broker: string, transactionalId?: string) {
  const producer = new Producer({
    clientId: 'foreign',
    bootstrapBrokers: [broker],
    idempotent: true,
    ...(transactionalId === undefined ? {} : { transactionalId }),
  });
  const messages = (topic: string, values: readonly string[], headers: Readonly<Record<string, string>> = {}) => {
    const named = Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(text)] as const);
    return values.map((value) => ({
      topic,
      partition: 0,
      key: Buffer.from('k'),
      value: Buffer.from(value),
      headers: new Map(named),
    }));
  };
  return {
    send: (
      topic: string,
      values: readonly string[],
      compression: Compression = 'none',
      headers: Readonly<Record<string, string>> = {},
    ) => producer.send({ messages: messages(topic, values, headers), compression }),
    /** One transaction, in so many batches. */
    transact: async (topic: string, batches: readonly (readonly string[])[], end: 'commit' | 'abort') => {
      const transaction = await onceLoaded(() => producer.beginTransaction());
      for (const values of batches) await transaction.send({ messages: messages(topic, values) });
      await transaction[end]();
    },
    close: () => producer.close(true),
  };
}

const COORDINATOR_RETRY_MS = 500;

/** A new transactional id is not known for a while: its coordinator is still loading on a busy broker. Ends by the test's own limit. */
async function onceLoaded<T>(begin: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await begin();
    } catch (error) {
      if (!/InitProducerId/.test(String(error))) throw error;
      await sleep(COORDINATOR_RETRY_MS);
    }
  }
}

export async function brokerConfig(broker: string, topic: string): Promise<ReadonlyMap<string, string>> {
  const client = await clientOf('platformatic', broker);
  try {
    return await client.topicConfig(topic);
  } finally {
    await client.close();
  }
}
