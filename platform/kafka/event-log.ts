import { assert } from '../../core/assert.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { type Clock, systemClock } from '../clock.ts';
import {
  type Appended,
  type EventLog,
  type LogMessage,
  MAX_MESSAGE_BYTES,
  MAX_WAITING_BYTES,
  type NewMessage,
  partitionOf,
} from '../event-log.ts';
import { GroupCommit } from '../group-commit.ts';
import { type FaultKind, type KafkaClient, KafkaFault, type KafkaRecord, kafkaError } from './client.ts';
import { Positions } from './positions.ts';
import { TopicReader } from './topic-reader.ts';

export interface KafkaEventLogOptions {
  readonly client: KafkaClient;
  /** Before the name of every topic. */
  readonly prefix: string;
  /** Whose messages these topics hold, where nothing says another's. */
  readonly tenant: string;
  /** Whose they hold besides. */
  readonly tenants?: readonly string[];
  /** The group under which lag tools find the positions. */
  readonly group: string;
  /** What a record says, whatever envelope it came in. */
  readonly open: (record: KafkaRecord, tenants: ReadonlySet<string>) => OpenedRecord;
  readonly watch?: KafkaWatch;
  readonly clock?: Clock;
}

export interface OpenedRecord extends Pick<LogMessage, 'key' | 'value' | 'headers'> {
  /** One of those that the log holds; absent: the log's own. */
  readonly tenant?: string;
}

/** A record's tenant, where it is not the log's own. */
export const TENANT_HEADER = 'merit-tenant';

export interface KafkaWatch {
  fault(kind: FaultKind): void;
}

/** One write takes this much of what waits; a lone append goes at once. */
const MAX_BATCH_MESSAGES = 500;
const MAX_BATCH_BYTES = 8 * 1024 * 1024;
/** Of one partition: with what Kafka adds below the max.message.bytes that topic.ts asks for. */
const MAX_PARTITION_BATCH_BYTES = MAX_MESSAGE_BYTES;

/** An append that takes longer is told to its caller; it may be written all the same, and counts as waiting until that is known. */
const APPEND_LIMIT_MS = 20_000;

type Append = NewMessage & { readonly partition: number };

/**
 * The event log on Kafka. Topics are made by `ensureKafkaTopic`. It is a member of no group: who reads which partition is a matter of our own
 * seats, from where is what Postgres says, and what Kafka is told of it (`consumed`) is advice.
 */
export function openKafkaEventLog(options: KafkaEventLogOptions): EventLog {
  const { client, prefix, tenant } = options;
  const tenants: ReadonlySet<string> = new Set([tenant, ...(options.tenants ?? [])]);
  const clock = options.clock ?? systemClock;
  const readers = new Map<string, TopicReader>();
  const lanes = new Map<string, GroupCommit<Append, Appended>>();
  const stop = new AbortController();
  let waitingBytes = 0;

  const told = async <T>(doing: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      if (error instanceof KafkaFault) options.watch?.fault(error.kind);
      throw kafkaError(error, doing);
    }
  };
  const readerOf = (topic: string): TopicReader => {
    const reader = readers.get(topic) ?? new TopicReader(client, `${prefix}${topic}`, () => clock.now());
    readers.set(topic, reader);
    return reader;
  };
  const positions = new Positions(
    (topic, at) =>
      told(`telling how far ${topic} is read`, () => client.commit(options.group, `${prefix}${topic}`, at)),
    clock,
  );
  const laneOf = (topic: string): GroupCommit<Append, Appended> => {
    const open = lanes.get(topic);
    if (open !== undefined) return open;
    const lane = new GroupCommit<Append, Appended>(takeBatch, (messages) =>
      told(`appending to ${topic}`, () => produce(client, `${prefix}${topic}`, messages)).finally(() =>
        readerOf(topic).appended(),
      ),
    );
    lanes.set(topic, lane);
    return lane;
  };

  return {
    append: async (message) => {
      assert(!stop.signal.aborted, 'the event log is open');
      const { topic } = message;
      const bytes = message.value?.byteLength ?? 0;
      assert(bytes <= MAX_MESSAGE_BYTES, `a message is at most ${MAX_MESSAGE_BYTES} bytes`);
      if (!tenants.has(message.tenant)) throw otherTenant(topic);
      const named = message.tenant === tenant ? {} : { [TENANT_HEADER]: message.tenant };
      const headers = { ...message.headers, ...named };
      if (waitingBytes + bytes > MAX_WAITING_BYTES) {
        throw new OperatingError('capacity', 'safe', `appending to ${topic}`, {
          cause: 'the log is behind',
          mend: 'send it again after a pause',
        });
      }
      waitingBytes += bytes;
      const appending = (async () => {
        const found = await told(`appending to ${topic}`, () => readerOf(topic).partitions());
        const partition = message.partition ?? found[found.length === 0 ? 0 : partitionOf(message.key, found.length)];
        if (partition === undefined || !found.includes(partition)) throw noSuchTopic(`appending to ${topic}`);
        return await laneOf(topic).add({ ...message, headers, partition });
      })().finally(() => {
        waitingBytes -= bytes;
      });
      return within(appending, clock, `appending to ${topic}`);
    },
    partitions: (topic) => told(`looking at ${topic}`, () => readerOf(topic).partitions()),
    read: async (topic, partition, offset, maxMessages, maxBytes) => {
      const doing = `reading ${topic}/${partition} from ${offset}`;
      const records = await told(doing, () => readerOf(topic).read(partition, offset, maxMessages, maxBytes));
      return records.map((record) => ({
        tenant,
        topic,
        partition,
        offset: record.offset,
        ...options.open(record, tenants),
        appendedAtMs: record.appendedAtMs,
      }));
    },
    end: (topic, partition) =>
      told(`looking at the end of ${topic}/${partition}`, () => readerOf(topic).end(partition)),
    identity: async (topic) => {
      const found = await told(`looking at ${topic}`, () => readerOf(topic).topic());
      if (found === undefined) throw noSuchTopic(`looking at ${topic}`);
      return found.id;
    },
    wait: async (topic, timeoutMs, signal) => {
      const ended = AbortSignal.any([signal, stop.signal]);
      const early = new AbortController();
      const wake = () => early.abort();
      ended.addEventListener('abort', wake, { once: true });
      if (ended.aborted) wake();
      // A fault is told by the read that follows.
      readerOf(topic)
        .arrival(timeoutMs)
        .then(
          (came) => came && wake(),
          () => {},
        );
      await clock.sleep(timeoutMs, early.signal);
      ended.removeEventListener('abort', wake);
    },
    consumed: (topic, partition, nextOffset) => positions.set(topic, partition, nextOffset),
    close: async () => {
      stop.abort();
      await Promise.all([...lanes.values()].map((lane) => lane.settled()));
      await positions.close();
      await client.close();
    },
  };
}

async function within(appending: Promise<Appended>, clock: Clock, doing: string): Promise<Appended> {
  const ended = new AbortController();
  const late = clock.sleep(APPEND_LIMIT_MS, ended.signal).then(() => {
    throw new OperatingError('timeout', 'safe', doing, {
      cause: `nothing was confirmed within ${APPEND_LIMIT_MS / 1_000} s`,
      mend: 'send it again: what was stored meanwhile is known by its id',
    });
  });
  late.catch(() => {});
  try {
    return await Promise.race([appending, late]);
  } finally {
    ended.abort();
    // Its outcome comes too late to be told.
    appending.catch(() => {});
  }
}

function takeBatch(waiting: Iterable<Append>): number {
  const byPartition = new Map<number, number>();
  let count = 0;
  let total = 0;
  for (const { partition, value } of waiting) {
    const bytes = value?.byteLength ?? 0;
    const ofPartition = (byPartition.get(partition) ?? 0) + bytes;
    total += bytes;
    const full = total > MAX_BATCH_BYTES || (byPartition.has(partition) && ofPartition > MAX_PARTITION_BATCH_BYTES);
    if (count === MAX_BATCH_MESSAGES || (count > 0 && full)) break;
    byPartition.set(partition, ofPartition);
    count++;
  }
  return count;
}

async function produce(client: KafkaClient, topic: string, messages: readonly Append[]): Promise<readonly Appended[]> {
  const firsts = await client.produce(
    topic,
    messages.map(({ partition, key, value, headers }) => ({ partition, key: Buffer.from(key), value, headers })),
  );
  const next = new Map(firsts);
  return messages.map(({ partition }) => {
    const offset = next.get(partition);
    if (offset === undefined) throw new KafkaFault('other', `the broker told no offset in partition ${partition}`);
    next.set(partition, offset + 1n);
    return { partition, offset };
  });
}

function otherTenant(topic: string): OperatingError {
  return new OperatingError('conflict', 'never', `appending to ${topic}`, {
    cause: 'this log is another tenant’s',
    mend: 'name the tenant in eventLog.kafka.tenants, or give it a server of its own',
  });
}

function noSuchTopic(doing: string): OperatingError {
  return new OperatingError('not-found', 'never', doing, {
    cause: 'there is no such topic or partition',
    mend: 'make the topic first',
  });
}
