import { isIP } from 'node:net';
import type { Admin, Broker, Connection, ConnectionPool, Producer } from '@platformatic/kafka';
import {
  CONNECT_TIMEOUT_MS,
  type Ends,
  endsOf,
  type FaultKind,
  type Fetched,
  type FetchFrom,
  faultOf,
  type KafkaClient,
  type KafkaConnection,
  KafkaFault,
  type KafkaSasl,
  type KafkaTopic,
  kindOfProtocol,
  METADATA_AGE_MS,
  type NewTopic,
  PRODUCE_RETRIES,
  REQUEST_TIMEOUT_MS,
  RETRIES,
  retryDelayMs,
  type ToProduce,
} from './client.ts';
import { fetchApi, type PartitionReply, readFetched } from './platformatic-fetch.ts';
import { Polls } from './polls.ts';

type Library = typeof import('@platformatic/kafka');
type Metadata = Awaited<ReturnType<Library['metadataV12']['api']['async']>>;

const READ_COMMITTED = 1;
const ALL_REPLICAS = -1;
const TOPIC_RESOURCE = 2;
const LATEST = -1n;
const EARLIEST = -2n;
const GREATEST_TIME = -3n;
/** No fetch session: each fetch says all it wants, so that fetches may overlap. */
const NO_SESSION = [0, -1] as const;
const ANY_EPOCH = -1;

interface Leaders {
  readonly id: string;
  readonly partitions: readonly number[];
  /** Those that have one now. */
  readonly of: ReadonlyMap<number, Broker>;
  readonly atMs: number;
}

/** The contract by `@platformatic/kafka`: its producer and admin, and its fetch without its consumer, which would join a group. */
export async function openPlatformaticClient(connection: KafkaConnection): Promise<KafkaClient> {
  return new PlatformaticClient(await import('@platformatic/kafka'), connection);
}

class PlatformaticClient implements KafkaClient {
  readonly #library: Library;
  readonly #fetchApi: ReturnType<typeof fetchApi>;
  readonly #admin: Admin;
  readonly #producer: Producer<Buffer, Buffer, Buffer, Buffer>;
  readonly #reads: ConnectionPool;
  /** Connections of their own: a broker answers nothing else on one while a fetch waits there. */
  readonly #waits: ConnectionPool;
  readonly #polls = new Polls();
  readonly #bootstrap: readonly Broker[];
  /** As the cluster said last. */
  #brokers: readonly Broker[] = [];
  readonly #leaders = new Map<string, Leaders>();

  constructor(library: Library, connection: KafkaConnection) {
    this.#library = library;
    this.#fetchApi = fetchApi(library);
    const { clientId, brokers, tls, sasl } = connection;
    this.#bootstrap = brokers.map((broker) => ({ host: hostOf(broker), port: Number(/[0-9]+$/.exec(broker)?.[0]) }));
    const options = {
      connectTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      // TLS names a host to the broker, never an address.
      ...(tls === undefined ? {} : { tls, tlsServerName: !brokers.some((broker) => isIP(hostOf(broker)) !== 0) }),
      ...(sasl === undefined ? {} : { sasl: saslOptions(sasl) }),
    };
    const base = {
      ...options,
      clientId,
      bootstrapBrokers: [...brokers],
      retryDelay: (_owner: object, _operation: string, attempt: number) => retryDelayMs(attempt),
      metadataMaxAge: METADATA_AGE_MS,
      timeout: REQUEST_TIMEOUT_MS,
    };
    this.#admin = new library.Admin({ ...base, retries: RETRIES });
    this.#producer = new library.Producer({ ...base, idempotent: true, retries: PRODUCE_RETRIES });
    this.#reads = new library.ConnectionPool(clientId, options);
    this.#waits = new library.ConnectionPool(clientId, options);
    // An 'error' that nobody hears would end the process; each call hears of its own.
    for (const pool of [this.#admin.connections, this.#producer.connections, this.#reads, this.#waits])
      pool.on('connecting', ({ connection: opening }: { connection: Connection }) => opening.on('error', () => {}));
  }

  async topic(name: string): Promise<KafkaTopic | undefined> {
    try {
      const { id, partitions } = await this.#refresh(name);
      return { id, partitions };
    } catch (error) {
      if (error instanceof KafkaFault && error.kind === 'not-found') return undefined;
      throw error;
    }
  }

  async createTopic(name: string, { partitions, replicas, configs }: NewTopic): Promise<void> {
    const named = Object.entries(configs).map(([key, value]) => ({ name: key, value }));
    try {
      await this.#admin.createTopics({ topics: [name], partitions, replicas, configs: named });
    } catch (error) {
      if (this.#library.findErrorBy(error as Error, 'apiId', 'TOPIC_ALREADY_EXISTS') === null) throw fault(error);
    }
    this.#leaders.delete(name);
  }

  async raisePartitions(name: string, count: number): Promise<void> {
    // null: the broker chooses; the library's types know only a choice of one's own.
    const assignments = null as unknown as [];
    await heard(this.#admin.createPartitions({ topics: [{ name, count, assignments }] }));
    this.#leaders.delete(name);
  }

  async topicConfig(name: string): Promise<ReadonlyMap<string, string>> {
    const resources = [{ resourceType: TOPIC_RESOURCE, resourceName: name }] as const;
    const described = await heard(this.#admin.describeConfigs({ resources: [...resources] }));
    return new Map(described.flatMap(({ configs }) => configs.map((one) => [one.name, one.value ?? ''] as const)));
  }

  async fetch(
    topic: string,
    from: readonly FetchFrom[],
    limits: { readonly maxWaitMs: number; readonly maxBytes: number },
  ): Promise<readonly Fetched[]> {
    const leaders = await this.#leadersOf(topic);
    const starts = new Map<string, () => Promise<readonly Fetched[]>>();
    const led = byLeader(leaders, from);
    const only = from.length === 1 ? from[0] : undefined;
    if (only !== undefined && led.size === 0)
      throw new KafkaFault('away', `partition ${only.partition} has no leader now`);
    for (const [broker, wanted] of led)
      starts.set(`${topic} ${broker.host}:${broker.port}`, () =>
        this.#fetchFrom(broker, topic, leaders.id, wanted, limits),
      );
    if (limits.maxWaitMs > 0) return this.#polls.any(starts);
    return (await Promise.all([...starts.values()].map((start) => start()))).flat();
  }

  async #fetchFrom(
    broker: Broker,
    topic: string,
    topicId: string,
    from: readonly FetchFrom[],
    { maxWaitMs, maxBytes }: { readonly maxWaitMs: number; readonly maxBytes: number },
  ): Promise<readonly Fetched[]> {
    const partitions = from.map(({ partition, offset, maxBytes: partitionMaxBytes }) => ({
      partition,
      currentLeaderEpoch: ANY_EPOCH,
      fetchOffset: offset,
      lastFetchedEpoch: ANY_EPOCH,
      partitionMaxBytes,
    }));
    const wanted = [{ topicId, partitions }];
    const pool = maxWaitMs > 0 ? this.#waits : this.#reads;
    return this.#asked(topic, async () => {
      const connection = await pool.get(broker);
      const [id, epoch] = NO_SESSION;
      const send = this.#fetchApi.async;
      const reply = await send(connection, maxWaitMs, 1, maxBytes, READ_COMMITTED, id, epoch, wanted, [], '');
      this.#refuse(reply.errorCode);
      return reply.partitions.flatMap((one) => this.#read(one, from));
    });
  }

  #read(reply: PartitionReply, from: readonly FetchFrom[]): readonly Fetched[] {
    this.#refuse(reply.errorCode);
    const asked = from.find(({ partition }) => partition === reply.partition);
    if (asked === undefined) return [];
    const fetched = readFetched(this.#library, reply, asked.offset);
    return fetched.nextOffset === asked.offset ? [] : [fetched];
  }

  #refuse(errorCode: number): void {
    if (errorCode !== 0) throw new this.#library.ProtocolError(errorCode);
  }

  async ends(topic: string, partitions: readonly number[]): Promise<ReadonlyMap<number, Ends>> {
    const [first, end] = await Promise.all([
      this.#list(topic, partitions, EARLIEST),
      this.#list(topic, partitions, LATEST),
    ]);
    return endsOf(first, end);
  }

  async lastTimes(topic: string, ends: ReadonlyMap<number, Ends>): Promise<ReadonlyMap<number, number>> {
    const found = await this.#list(topic, [...ends.keys()], GREATEST_TIME);
    return new Map([...found].map(([partition, { timestamp }]) => [partition, Math.max(0, Number(timestamp))]));
  }

  async #list(topic: string, partitions: readonly number[], timestamp: bigint) {
    const leaders = await this.#leadersOf(topic);
    const found = new Map<number, { readonly offset: bigint; readonly timestamp: bigint }>();
    const wanted = partitions.map((partition) => ({ partition }));
    await Promise.all(
      [...byLeader(leaders, wanted)].map(async ([broker, asked]) => {
        const of = asked.map(({ partition }) => ({
          partitionIndex: partition,
          currentLeaderEpoch: ANY_EPOCH,
          timestamp,
        }));
        const reply = await this.#asked(topic, async () =>
          this.#library.listOffsetsV7.api.async(await this.#reads.get(broker), -1, READ_COMMITTED, [
            { name: topic, partitions: of },
          ]),
        );
        for (const one of reply.topics.flatMap((each) => each.partitions)) found.set(one.partitionIndex, one);
      }),
    );
    return found;
  }

  async produce(topic: string, messages: readonly ToProduce[]): Promise<ReadonlyMap<number, bigint>> {
    const written = await heard(
      this.#producer.send({
        acks: ALL_REPLICAS,
        messages: messages.map(({ partition, key, value, headers }) => ({
          topic,
          partition,
          key: viewOf(key),
          ...(value === null ? {} : { value: viewOf(value) }),
          headers: new Map(Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(text)])),
        })),
      }),
    );
    return new Map(written.offsets?.map(({ partition, offset }) => [partition, offset]));
  }

  async commit(group: string, topic: string, positions: ReadonlyMap<number, bigint>): Promise<void> {
    const partitionOffsets = [...positions].map(([partition, offset]) => ({ partition, offset }));
    const topics = [{ name: topic, partitionOffsets }];
    await heard(this.#admin.alterConsumerGroupOffsets({ groupId: group, topics }));
  }

  async close(): Promise<void> {
    const closing = [this.#producer.close(true), this.#admin.close(), this.#reads.close(), this.#waits.close()];
    await Promise.allSettled(closing);
  }

  async #leadersOf(topic: string): Promise<Leaders> {
    const known = this.#leaders.get(topic);
    return known !== undefined && Date.now() - known.atMs < METADATA_AGE_MS ? known : this.#refresh(topic);
  }

  async #refresh(topic: string): Promise<Leaders> {
    const { brokers, topics } = await this.#asked(topic, () => this.#metadata(topic));
    const found = topics[0];
    if (found === undefined) throw new KafkaFault('not-found', `there is no topic ${topic}`);
    const byId = new Map(brokers.map(({ nodeId, host, port }) => [nodeId, { host, port }]));
    this.#brokers = [...byId.values()];
    const of = new Map<number, Broker>();
    for (const { partitionIndex, leaderId } of found.partitions) {
      const broker = byId.get(leaderId);
      if (broker !== undefined) of.set(partitionIndex, broker);
    }
    const partitions = found.partitions.map(({ partitionIndex }) => partitionIndex).toSorted((x, y) => x - y);
    const leaders = { id: found.topicId, partitions, of, atMs: Date.now() };
    this.#leaders.set(topic, leaders);
    return leaders;
  }

  /** The library's own fails as a whole where one partition has no leader; the reply is there all the same. */
  async #metadata(topic: string): Promise<Metadata> {
    const connection = await this.#reads.getFirstAvailable([...this.#bootstrap, ...this.#brokers]);
    try {
      return await this.#library.metadataV12.api.async(connection, [topic], false, false);
    } catch (error) {
      const { response } = error as { readonly response?: Metadata };
      if (response?.topics[0]?.errorCode === 0) return response;
      throw error;
    }
  }

  /** Whoever led may lead no more after a fault. */
  async #asked<T>(topic: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.#leaders.delete(topic);
      throw fault(error);
    }
  }
}

/** Without those that have no leader now: the others go on. */
function byLeader<Wanted extends { readonly partition: number }>(
  leaders: Leaders,
  wanted: readonly Wanted[],
): ReadonlyMap<Broker, readonly Wanted[]> {
  const found = new Map<Broker, Wanted[]>();
  for (const one of wanted) {
    const broker = leaders.of.get(one.partition);
    if (broker !== undefined) found.set(broker, [...(found.get(broker) ?? []), one]);
  }
  return found;
}

function saslOptions({ mechanism, username, secret }: KafkaSasl) {
  return mechanism === 'OAUTHBEARER' ? { mechanism, token: secret } : { mechanism, username, password: secret };
}

function hostOf(broker: string): string {
  return broker.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
}

function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

async function heard<T>(asked: Promise<T>): Promise<T> {
  try {
    return await asked;
  } catch (error) {
    throw fault(error);
  }
}

const KIND_BY_CODE: Readonly<Record<string, FaultKind>> = {
  PLT_KFK_AUTHENTICATION: 'auth',
  PLT_KFK_NETWORK: 'away',
  PLT_KFK_TIMEOUT: 'timeout',
};

function fault(error: unknown): KafkaFault {
  return faultOf(error, (one) => {
    const { code, apiId } = one as Error & { readonly code?: string; readonly apiId?: string };
    if (/^Unknown topic /.test(one.message)) return 'not-found';
    return kindOfProtocol(apiId) ?? (code === undefined ? undefined : KIND_BY_CODE[code]);
  });
}
