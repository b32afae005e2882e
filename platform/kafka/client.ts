import { type OperatingCode, OperatingError, type RetryAdvice } from '../../core/operating-error.ts';

/** A record that is committed: no marker, and of no aborted transaction. */
export interface KafkaRecord {
  readonly offset: bigint;
  readonly key: Uint8Array | null;
  /** null: a tombstone. May be a view of the reply that it came in. */
  readonly value: Uint8Array | null;
  /** In order; a name may come twice. */
  readonly headers: readonly (readonly [name: string, value: Uint8Array | null])[];
  /** The record's time: the broker's, on a topic with LogAppendTime. */
  readonly appendedAtMs: number;
}

export interface FetchFrom {
  readonly partition: number;
  readonly offset: bigint;
  readonly maxBytes: number;
}

export interface Fetched {
  readonly partition: number;
  /** What was asked for. */
  readonly offset: bigint;
  readonly records: readonly KafkaRecord[];
  /** Behind all that was looked at, markers and aborted records among them: where the next fetch goes on. */
  readonly nextOffset: bigint;
  readonly ends: Ends;
}

export interface Ends {
  readonly firstOffset: bigint;
  /** The last stable offset: at or above it is what is not committed yet. */
  readonly endOffset: bigint;
}

type Listed = ReadonlyMap<number, { readonly offset: bigint }>;

/** Of partitions whose leaders told both. */
export function endsOf(first: Listed, end: Listed): ReadonlyMap<number, Ends> {
  return new Map(
    [...end].flatMap(([partition, { offset: endOffset }]) => {
      const firstOffset = first.get(partition)?.offset;
      return firstOffset === undefined ? [] : [[partition, { firstOffset, endOffset }] as const];
    }),
  );
}

export interface ToProduce {
  readonly partition: number;
  readonly key: Uint8Array;
  readonly value: Uint8Array | null;
  readonly headers: Readonly<Record<string, string>>;
}

export interface KafkaTopic {
  /** Another one where a topic was deleted and made anew under the same name. */
  readonly id: string;
  readonly partitions: readonly number[];
}

export interface NewTopic {
  readonly partitions: number;
  readonly replicas: number;
  readonly configs: Readonly<Record<string, string>>;
}

/**
 * What the event log needs of a Kafka client, nothing of its group protocol: partitions are given out by our own fenced seats, and positions
 * live in Postgres. Everything throws KafkaFault. A connection that broke is opened again by the next call.
 */
export interface KafkaClient {
  /** As the cluster says now; undefined where there is none. */
  topic(name: string): Promise<KafkaTopic | undefined>;
  /** One that is there already is left as it is. */
  createTopic(name: string, options: NewTopic): Promise<void>;
  /** Raises a topic to `count` partitions. */
  raisePartitions(name: string, count: number): Promise<void>;
  topicConfig(name: string): Promise<ReadonlyMap<string, string>>;
  /**
   * Committed records from these offsets on; a partition without any may be left out. Where there is none it waits up to `maxWaitMs`, holding up
   * no other call, and may answer what an earlier call waited for. An offset that is out of range is the fault `out-of-range`.
   */
  fetch(
    topic: string,
    from: readonly FetchFrom[],
    limits: { readonly maxWaitMs: number; readonly maxBytes: number },
  ): Promise<readonly Fetched[]>;
  /** Without partitions that have no leader now. */
  ends(topic: string, partitions: readonly number[]): Promise<ReadonlyMap<number, Ends>>;
  /** The greatest time of a record in each partition, ms; 0 where nothing tells. */
  lastTimes(topic: string, ends: ReadonlyMap<number, Ends>): Promise<ReadonlyMap<number, number>>;
  /** Durable on all in-sync replicas when it resolves; the offset of the first message of each partition. Idempotent within one call. */
  produce(topic: string, messages: readonly ToProduce[]): Promise<ReadonlyMap<number, bigint>>;
  /** Stores positions for a group without being a member of it. */
  commit(group: string, topic: string, positions: ReadonlyMap<number, bigint>): Promise<void>;
  close(): Promise<void>;
}

export interface KafkaConnection {
  readonly clientId: string;
  /** `host:port` */
  readonly brokers: readonly string[];
  /** Read anew by each connection, so that what was renewed is used: see credentials.ts. */
  readonly tls: { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer } | undefined;
  readonly sasl: KafkaSasl | undefined;
}

export const SASL_MECHANISMS = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512', 'OAUTHBEARER'] as const;
export type SaslMechanism = (typeof SASL_MECHANISMS)[number];

export interface KafkaSasl {
  readonly mechanism: SaslMechanism;
  /** '' with OAUTHBEARER. */
  readonly username: string;
  /** Asked by each connection: the password, or the bearer token. */
  readonly secret: () => string;
}

export const FAULTS = [
  'away',
  'timeout',
  'auth',
  'not-found',
  'out-of-range',
  'too-large',
  'corrupt',
  'other',
] as const;
export type FaultKind = (typeof FAULTS)[number];

/** What went wrong at a client or broker. `corrupt`: bytes that are not what was written. */
export class KafkaFault extends Error {
  override name = 'KafkaFault';
  readonly kind: FaultKind;

  constructor(kind: FaultKind, message: string, cause?: unknown) {
    super(message, { cause });
    this.kind = kind;
  }
}

/** By the names of Kafka's protocol; what is not here is `other`. */
const KIND_OF: Readonly<Record<string, FaultKind>> = {
  OFFSET_OUT_OF_RANGE: 'out-of-range',
  UNKNOWN_TOPIC_OR_PARTITION: 'not-found',
  UNKNOWN_TOPIC_ID: 'not-found',
  INCONSISTENT_TOPIC_ID: 'not-found',
  TOPIC_AUTHORIZATION_FAILED: 'auth',
  GROUP_AUTHORIZATION_FAILED: 'auth',
  CLUSTER_AUTHORIZATION_FAILED: 'auth',
  SASL_AUTHENTICATION_FAILED: 'auth',
  UNSUPPORTED_SASL_MECHANISM: 'auth',
  ILLEGAL_SASL_STATE: 'auth',
  MESSAGE_TOO_LARGE: 'too-large',
  RECORD_LIST_TOO_LARGE: 'too-large',
  CORRUPT_MESSAGE: 'corrupt',
  REQUEST_TIMED_OUT: 'timeout',
  LEADER_NOT_AVAILABLE: 'away',
  NOT_LEADER_OR_FOLLOWER: 'away',
  NOT_LEADER_FOR_PARTITION: 'away',
  FENCED_LEADER_EPOCH: 'away',
  UNKNOWN_LEADER_EPOCH: 'away',
  REPLICA_NOT_AVAILABLE: 'away',
  BROKER_NOT_AVAILABLE: 'away',
  NOT_ENOUGH_REPLICAS: 'away',
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: 'away',
  NETWORK_EXCEPTION: 'away',
  COORDINATOR_LOAD_IN_PROGRESS: 'away',
  COORDINATOR_NOT_AVAILABLE: 'away',
  GROUP_COORDINATOR_NOT_AVAILABLE: 'away',
  GROUP_LOAD_IN_PROGRESS: 'away',
  NOT_COORDINATOR: 'away',
  NOT_COORDINATOR_FOR_GROUP: 'away',
  NOT_CONTROLLER: 'away',
  KAFKA_STORAGE_ERROR: 'away',
};

/** Of an error that a client threw: the kind of the first of it and its causes that tells one, and what all of them say. */
export function faultOf(error: unknown, kindOf: (one: Error) => FaultKind | undefined): KafkaFault {
  if (error instanceof KafkaFault) return error;
  const chain = causesOf(error, MAX_CAUSES);
  const kinds = chain.flatMap((one) => [kindOf(one), kindOfNode(one)].filter((kind) => kind !== undefined));
  const kind = FAULTS.find((known) => known === 'auth' && kinds.includes(known)) ?? kinds[0] ?? 'other';
  const said = [...new Set(chain.map((one) => one.message))];
  return new KafkaFault(kind, said.join(': ').slice(0, MAX_MESSAGE), error);
}

export function kindOfProtocol(name: string | undefined): FaultKind | undefined {
  return name === undefined ? undefined : KIND_OF[name];
}

/** Node's own errors of sockets and TLS. */
function kindOfNode(error: Error): FaultKind | undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code !== 'string') return undefined;
  if (/^(ERR_SSL|ERR_TLS|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO)/.test(code)) return 'auth';
  return /^(ECONN|EPIPE|EHOST|ENET|EAI_|ENOTFOUND|ETIMEDOUT)/.test(code) ? 'away' : undefined;
}

const MAX_CAUSES = 20;
const MAX_MESSAGE = 500;

function causesOf(error: unknown, atMost: number): readonly Error[] {
  if (!(error instanceof Error) || atMost === 0) return [];
  const below = error instanceof AggregateError ? error.errors : [];
  return [error, ...[...below, error.cause].flatMap((one) => causesOf(one, atMost - 1))].slice(0, atMost);
}

export const CONNECT_TIMEOUT_MS = 5_000;
/** Beyond the longest wait of a fetch. */
export const REQUEST_TIMEOUT_MS = 15_000;
/** Of one fetch: an idle reader asks this often. */
export const MAX_FETCH_WAIT_MS = 5_000;
/** A write is tried again for about 20 s: a broker that restarts is back by then. */
export const PRODUCE_RETRIES = 12;
/** Everything else is tried by who asked, after a pause. */
export const RETRIES = 2;
const RETRY_FIRST_MS = 100;
const RETRY_LONGEST_MS = 2_000;
/** What a leader or a partition count is trusted for. */
export const METADATA_AGE_MS = 5_000;

export function retryDelayMs(attempt: number): number {
  return Math.min(RETRY_LONGEST_MS, RETRY_FIRST_MS * 2 ** (attempt - 1));
}

const ADVICE: Readonly<Record<FaultKind, readonly [OperatingCode, RetryAdvice, string]>> = {
  away: ['unreachable', 'safe', 'start Kafka, or correct eventLog.kafka.brokers'],
  timeout: ['timeout', 'safe', 'look whether the broker is stopped or overloaded'],
  auth: ['auth', 'never', 'look at eventLog.kafka.tls and eventLog.kafka.sasl, and at the ACLs of that user'],
  'not-found': ['not-found', 'safe', 'make the topic again, or name another one'],
  'out-of-range': ['not-found', 'safe', 'the position is outside of what the partition holds'],
  'too-large': ['capacity', 'never', 'raise max.message.bytes of the topic'],
  corrupt: ['bad-reply', 'never', 'the partition stands still there: restore the segment from a replica'],
  other: ['bad-reply', 'safe', 'look at the broker’s log'],
};

/** As the rest of the program knows faults of the world. */
export function kafkaError(error: unknown, doing: string): unknown {
  if (!(error instanceof KafkaFault)) return error;
  const [code, retry, mend] = ADVICE[error.kind];
  return new OperatingError(code, retry, doing, { cause: error, mend });
}
