import type { Admin, Producer } from 'kafkajs';
import {
  CONNECT_TIMEOUT_MS,
  type Ends,
  endsOf,
  type Fetched,
  type FetchFrom,
  type KafkaClient,
  type KafkaConnection,
  type KafkaRecord,
  type KafkaSasl,
  type KafkaTopic,
  METADATA_AGE_MS,
  type NewTopic,
  PRODUCE_RETRIES,
  REQUEST_TIMEOUT_MS,
  RETRIES,
  retryDelayMs,
  type ToProduce,
} from './client.ts';
import {
  committedOf,
  type KafkaJsCluster,
  type KafkaJsMessage,
  type KafkaJsPartition,
  newCluster,
} from './kafkajs-inside.ts';
import { byLeader } from './kafkajs-leaders.ts';
import { Reopened } from './kafkajs-reopened.ts';
import { askTopic } from './kafkajs-topic.ts';
import { Polls } from './polls.ts';

const READ_COMMITTED = 1;
const ALL_REPLICAS = -1;
const TOPIC_RESOURCE = 2;
const LATEST = -1;
const EARLIEST = -2;
/** Who commits without being a member says so. */
const NO_GENERATION = -1;

/** The contract by kafkajs. It checks no CRC, names topics by name when it fetches, and stops at an empty batch that compaction left. */
export async function openKafkaJsClient(connection: KafkaConnection): Promise<KafkaClient> {
  const { default: library } = await import('kafkajs');
  await registerCodecs(library);
  return new KafkaJsClient(library, connection);
}

/** kafkajs brings gzip only. */
async function registerCodecs({ CompressionCodecs, CompressionTypes }: typeof import('kafkajs')): Promise<void> {
  const { compressionsAlgorithms } = await import('@platformatic/kafka');
  const codecs = {
    Snappy: compressionsAlgorithms.snappy,
    LZ4: compressionsAlgorithms.lz4,
    ZSTD: compressionsAlgorithms.zstd,
  };
  for (const [name, { compressSync, decompressSync }] of Object.entries(codecs)) {
    CompressionCodecs[CompressionTypes[name as keyof typeof codecs]] = () => ({
      compress: async ({ buffer }: { buffer: Buffer }) => compressSync(buffer),
      decompress: async (bytes: Buffer) => decompressSync(bytes),
    });
  }
}

class KafkaJsClient implements KafkaClient {
  readonly #admin: Reopened<Admin>;
  readonly #producer: Reopened<Producer>;
  readonly #reads: Reopened<KafkaJsCluster>;
  /** Connections of their own: a broker answers nothing else on one while a fetch waits there. */
  readonly #waits: Reopened<KafkaJsCluster>;
  readonly #polls = new Polls();

  constructor({ Kafka, logLevel, Partitioners }: typeof import('kafkajs'), connection: KafkaConnection) {
    const { clientId, brokers, tls, sasl } = connection;
    const options = {
      clientId,
      brokers: [...brokers],
      ssl: tls,
      sasl: sasl === undefined ? undefined : saslOptions(sasl),
      connectionTimeout: CONNECT_TIMEOUT_MS,
      authenticationTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      enforceRequestTimeout: true,
      retry: { retries: RETRIES, initialRetryTime: retryDelayMs(1), maxRetryTime: retryDelayMs(PRODUCE_RETRIES) },
    };
    const { ssl, sasl: authentication, ...rest } = options;
    const kafka = new Kafka({
      ...rest,
      ...(ssl === undefined ? {} : { ssl: ssl as object }),
      ...(authentication === undefined ? {} : { sasl: authentication as never }),
      logLevel: logLevel.NOTHING,
    });
    this.#admin = new Reopened(
      async () => {
        const admin = kafka.admin();
        await admin.connect();
        return admin;
      },
      (admin) => admin.disconnect(),
    );
    this.#producer = new Reopened(
      async () => {
        const producer = kafka.producer({
          idempotent: true,
          maxInFlightRequests: 1,
          allowAutoTopicCreation: false,
          metadataMaxAge: METADATA_AGE_MS,
          createPartitioner: Partitioners.DefaultPartitioner,
          retry: { ...options.retry, retries: PRODUCE_RETRIES },
        });
        await producer.connect();
        return producer;
      },
      (producer) => producer.disconnect(),
    );
    const cluster = () =>
      new Reopened(
        async () => {
          const made = newCluster({ ...options, metadataMaxAge: METADATA_AGE_MS, allowAutoTopicCreation: false });
          await made.connect();
          return made;
        },
        (made) => made.disconnect(),
      );
    this.#reads = cluster();
    this.#waits = cluster();
  }

  async topic(name: string): Promise<KafkaTopic | undefined> {
    return this.#reads.use(async (cluster) => {
      const broker = await cluster.brokerPool.findConnectedBroker();
      return broker.connectionPool.send(askTopic(name));
    });
  }

  async createTopic(name: string, { partitions, replicas, configs }: NewTopic): Promise<void> {
    const configEntries = Object.entries(configs).map(([key, value]) => ({ name: key, value }));
    const topics = [{ topic: name, numPartitions: partitions, replicationFactor: replicas, configEntries }];
    await this.#admin.use((admin) => admin.createTopics({ topics }));
  }

  async raisePartitions(name: string, count: number): Promise<void> {
    await this.#admin.use((admin) => admin.createPartitions({ topicPartitions: [{ topic: name, count }] }));
  }

  async topicConfig(name: string): Promise<ReadonlyMap<string, string>> {
    const described = await this.#admin.use((admin) =>
      admin.describeConfigs({ resources: [{ type: TOPIC_RESOURCE, name }], includeSynonyms: false }),
    );
    const entries = described.resources.flatMap(({ configEntries }) => configEntries);
    return new Map(entries.map(({ configName, configValue }) => [configName, configValue]));
  }

  async fetch(
    topic: string,
    from: readonly FetchFrom[],
    limits: { readonly maxWaitMs: number; readonly maxBytes: number },
  ): Promise<readonly Fetched[]> {
    const start = () => this.#fetch(topic, from, limits);
    return limits.maxWaitMs > 0 ? this.#polls.any(new Map([[topic, start]])) : start();
  }

  /** Of all brokers together: one that waits holds up what the others have by at most the wait. */
  async #fetch(
    topic: string,
    from: readonly FetchFrom[],
    limits: { readonly maxWaitMs: number; readonly maxBytes: number },
  ): Promise<readonly Fetched[]> {
    const replies = await this.#replies(topic, from, limits);
    return replies.flatMap((reply) => {
      const asked = from.find(({ partition }) => partition === reply.partition);
      return asked === undefined ? [] : fetchedOf(topic, asked.offset, reply);
    });
  }

  #replies(
    topic: string,
    from: readonly FetchFrom[],
    { maxWaitMs, maxBytes }: { readonly maxWaitMs: number; readonly maxBytes: number },
  ): Promise<readonly KafkaJsPartition[]> {
    const connections = maxWaitMs > 0 ? this.#waits : this.#reads;
    return byLeader(connections, topic, from, async (broker, wanted) => {
      const partitions = wanted.map((one) => ({
        partition: one.partition,
        fetchOffset: String(one.offset),
        maxBytes: one.maxBytes,
      }));
      const reply = await broker.fetch({
        maxWaitTime: maxWaitMs,
        minBytes: 1,
        maxBytes,
        isolationLevel: READ_COMMITTED,
        topics: [{ topic, partitions }],
      });
      return reply.responses.flatMap((one) => one.partitions);
    });
  }

  async ends(topic: string, partitions: readonly number[]): Promise<ReadonlyMap<number, Ends>> {
    const [first, end] = await Promise.all([
      this.#list(topic, partitions, EARLIEST),
      this.#list(topic, partitions, LATEST),
    ]);
    return endsOf(first, end);
  }

  async #list(topic: string, partitions: readonly number[], timestamp: number) {
    const wanted = partitions.map((partition) => ({ partition }));
    const found = await byLeader(this.#reads, topic, wanted, async (broker, asked) => {
      const of = asked.map(({ partition }) => ({ partition, timestamp }));
      const topics = [{ topic, partitions: of }];
      const reply = await broker.listOffsets({ isolationLevel: READ_COMMITTED, topics });
      return reply.responses.flatMap((one) => one.partitions);
    });
    return new Map(found.map(({ partition, offset }) => [partition, { offset: BigInt(offset) }]));
  }

  /** By the last record: kafkajs' ListOffsets is too old to ask for the greatest time. It costs a batch for each partition. */
  async lastTimes(topic: string, ends: ReadonlyMap<number, Ends>): Promise<ReadonlyMap<number, number>> {
    const last = [...ends]
      .filter(([, { firstOffset, endOffset }]) => firstOffset < endOffset)
      .map(([partition, { endOffset }]) => ({ partition, offset: endOffset - 1n, maxBytes: 1 }));
    if (last.length === 0) return new Map();
    const replies = await this.#replies(topic, last, { maxWaitMs: 0, maxBytes: last.length });
    return new Map(
      replies.map(({ partition, messages }) => [partition, Number(messages.at(-1)?.timestamp ?? 0)] as const),
    );
  }

  async produce(topic: string, messages: readonly ToProduce[]): Promise<ReadonlyMap<number, bigint>> {
    const written = await this.#producer.use((producer) =>
      producer.send({
        topic,
        acks: ALL_REPLICAS,
        timeout: REQUEST_TIMEOUT_MS,
        messages: messages.map(({ partition, key, value, headers }) => ({
          partition,
          key: Buffer.from(key),
          value: value === null ? null : Buffer.from(value.buffer, value.byteOffset, value.byteLength),
          headers,
        })),
      }),
    );
    return new Map(written.map(({ partition, baseOffset }) => [partition, BigInt(baseOffset ?? '-1')]));
  }

  async commit(group: string, topic: string, positions: ReadonlyMap<number, bigint>): Promise<void> {
    const partitions = [...positions].map(([partition, offset]) => ({
      partition,
      offset: String(offset),
      metadata: '',
    }));
    await this.#reads.use(async (cluster) => {
      await cluster.addTargetTopic(topic);
      const broker = await cluster.findGroupCoordinator({ groupId: group });
      const topics = [{ topic, partitions }];
      await broker.offsetCommit({ groupId: group, groupGenerationId: NO_GENERATION, memberId: '', topics });
    });
  }

  async close(): Promise<void> {
    await Promise.all([this.#producer.close(), this.#admin.close(), this.#reads.close(), this.#waits.close()]);
  }
}

function fetchedOf(topic: string, offset: bigint, reply: KafkaJsPartition): readonly Fetched[] {
  const last = reply.messages.at(-1);
  if (last === undefined) return [];
  const { firstOffset, lastOffsetDelta } = last.batchContext;
  const nextOffset = BigInt(firstOffset) + BigInt(lastOffsetDelta) + 1n;
  if (nextOffset <= offset) return [];
  const records = committedOf(topic, offset, reply).map(recordOf);
  const ends = { firstOffset: BigInt(reply.lastStartOffset), endOffset: BigInt(reply.lastStableOffset) };
  return [{ partition: reply.partition, offset, records, nextOffset, ends }];
}

function recordOf({ offset, timestamp, key, value, headers }: KafkaJsMessage): KafkaRecord {
  const named = Object.entries(headers).flatMap(([name, values]) =>
    (Array.isArray(values) ? values : [values ?? null]).map((one) => [name, one] as [string, Buffer | null]),
  );
  return { offset: BigInt(offset), key, value, headers: named, appendedAtMs: Number(timestamp) };
}

/** kafkajs reads them when it authenticates. */
function saslOptions({ mechanism, username, secret }: KafkaSasl): object {
  const name = mechanism.toLowerCase();
  if (mechanism === 'OAUTHBEARER') return { mechanism: name, oauthBearerProvider: async () => ({ value: secret() }) };
  return {
    mechanism: name,
    username,
    get password() {
      return secret();
    },
  };
}
