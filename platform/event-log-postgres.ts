import { assert } from '../core/assert.ts';
import { OperatingError } from '../core/operating-error.ts';
import { type Clock, systemClock } from './clock.ts';
import { copiedRows } from './copy-rows.ts';
import {
  type Appended,
  type EventLog,
  type LogMessage,
  MAX_MESSAGE_BYTES,
  MAX_WAITING_BYTES,
  type NewMessage,
  type PartitionEnd,
  partitionOf,
} from './event-log.ts';
import { GroupCommit } from './group-commit.ts';
import { listen } from './listener.ts';
import { byteaArray } from './pg-arrays.ts';
import type { DatabaseUrl } from './pg-login.ts';
import { type CopyTx, type Database, escapeLiteral, type Tx } from './postgres.ts';

export interface PostgresEventLogOptions {
  readonly db: Database;
  /** A URL to LISTEN on (any role's); without it `wait` just waits. */
  readonly listenUrl?: DatabaseUrl;
  /** `engine`: appends of all tenants share a transaction. `tenant`: each tenant's go in its own, under row-level security. */
  readonly appendAs: 'engine' | 'tenant';
  readonly clock?: Clock;
}

const CHANNEL = 'merit_log';
/** Topics are never removed here, and positions lie in the same database: they live and are restored together. */
const EMBEDDED_IDENTITY = 'embedded';
/** One transaction takes this much of what waits; a lone append goes at once. */
const MAX_BATCH_MESSAGES = 500;
const MAX_BATCH_BYTES = 8 * 1024 * 1024;

/** Makes a topic, or raises its partitions to `count`; never lowers them. Needs the engine's transaction. */
export async function createTopic(tx: Tx, topic: string, count: number): Promise<void> {
  await tx.execute(
    `insert into log_partitions (topic, partition) select $1, p from generate_series(0, $2::int - 1) p
     on conflict do nothing`,
    [topic, count],
  );
}

/**
 * Appends in the caller's transaction, in order, and returns the first offset: it is the caller's commit that makes them
 * durable and seen. The partition's row stays locked until then, which is what makes offsets dense and in commit order.
 */
export async function appendInside(
  tx: Tx,
  topic: string,
  partition: number,
  messages: readonly NewMessage[],
): Promise<bigint> {
  const rows = await tx.query<{ first: bigint }>(
    `update log_partitions set next_offset = next_offset + $3
     where topic = $1 and partition = $2 returning next_offset - $3 as first`,
    [topic, partition, messages.length],
  );
  const first = rows[0]?.first;
  if (first === undefined) {
    throw new OperatingError('not-found', 'never', `appending to ${topic}/${partition}`, {
      cause: 'there is no such topic or partition',
      mend: 'make the topic first',
    });
  }
  await tx.execute(
    `insert into log_messages (topic, partition, log_offset, tenant, key, value, headers)
     select $1, $2, $3::bigint + n - 1, tenant, key, value, headers
     from unnest($4::text[], $5::text[], $6::bytea[], $7::jsonb[]) with ordinality as m (tenant, key, value, headers, n)`,
    [
      topic,
      partition,
      first,
      messages.map((message) => message.tenant),
      messages.map((message) => message.key),
      byteaArray(messages.map((message) => message.value)),
      messages.map((message) => JSON.stringify(message.headers)),
    ],
  );
  await tx.query('select pg_notify($1, $2)', [CHANNEL, topic]);
  return first;
}

/** How many of those that wait go into one transaction. */
function takeBatch(waiting: Iterable<NewMessage>): number {
  let count = 0;
  let bytes = 0;
  for (const { value } of waiting) {
    bytes += value?.byteLength ?? 0;
    if (count === MAX_BATCH_MESSAGES || (count > 0 && bytes > MAX_BATCH_BYTES)) break;
    count++;
  }
  return count;
}

type Lane = GroupCommit<NewMessage, Appended>;

/** The default event log: append-only tables in Postgres. Topics are made by `createTopic`. */
export function openPostgresEventLog(options: PostgresEventLogOptions): EventLog {
  const { db, appendAs } = options;
  const clock = options.clock ?? systemClock;
  const lanes = new Map<string, Lane>();
  /** Promises, so that appends that wait for the same look-up keep their order. */
  const known = new Map<string, Promise<readonly number[]>>();
  const wakes = openWakes(options.listenUrl, clock);
  let waitingBytes = 0;
  let closed = false;

  const partitions = (topic: string): Promise<readonly number[]> => {
    const look = db.asEngine(async (tx) => {
      const rows = await tx.query<{ partition: number }>(
        'select partition from log_partitions where topic = $1 order by 1',
        [topic],
      );
      if (rows.length === 0) known.delete(topic);
      return rows.map((row) => row.partition);
    });
    known.set(topic, look);
    look.catch(() => known.delete(topic));
    return look;
  };

  const laneOf = (message: NewMessage, partition: number): Lane => {
    const name = JSON.stringify([message.topic, partition, appendAs === 'tenant' ? message.tenant : '']);
    const open = lanes.get(name);
    if (open !== undefined) return open;
    const lane: Lane = new GroupCommit(takeBatch, async (messages) => {
      const work = (tx: Tx) => appendInside(tx, message.topic, partition, messages);
      const first = await (appendAs === 'tenant' ? db.asTenant(message.tenant, work) : db.asEngine(work));
      return messages.map((_, i) => ({ partition, offset: first + BigInt(i) }));
    });
    lanes.set(name, lane);
    return lane;
  };

  return {
    append: async (message) => {
      assert(!closed, 'the event log is open');
      const bytes = message.value?.byteLength ?? 0;
      assert(bytes <= MAX_MESSAGE_BYTES, `a message is at most ${MAX_MESSAGE_BYTES} bytes`);
      if (waitingBytes + bytes > MAX_WAITING_BYTES) {
        throw new OperatingError('capacity', 'safe', `appending to ${message.topic}`, {
          cause: 'the log is behind',
          mend: 'send it again after a pause',
        });
      }
      waitingBytes += bytes;
      try {
        const partition =
          message.partition ?? choosePartition(message, await (known.get(message.topic) ?? partitions(message.topic)));
        return await laneOf(message, partition).add(message);
      } finally {
        waitingBytes -= bytes;
      }
    },
    partitions,
    read: (topic, partition, offset, maxMessages, maxBytes) =>
      db.asEngine((tx) => readMessages(tx, topic, partition, offset, maxMessages, maxBytes)),
    end: (topic, partition) => db.asEngine((tx) => readEnd(tx, topic, partition)),
    identity: async (topic) => {
      if ((await partitions(topic)).length > 0) return EMBEDDED_IDENTITY;
      throw new OperatingError('not-found', 'never', `looking at ${topic}`, { cause: 'there is no such topic' });
    },
    wait: wakes.wait,
    consumed: () => {},
    close: async () => {
      closed = true;
      await Promise.all([...lanes.values()].map((lane) => lane.settled()));
      await wakes.close();
    },
  };
}

function choosePartition(message: NewMessage, partitions: readonly number[]): number {
  const partition = partitions[partitions.length === 0 ? 0 : partitionOf(message.key, partitions.length)];
  if (partition !== undefined) return partition;
  throw new OperatingError('not-found', 'never', `appending to ${message.topic}`, {
    cause: 'there is no such topic',
    mend: 'make the topic first',
  });
}

/** Of what readMessages asks for. */
const MESSAGE_FIELDS = 6;

async function readMessages(
  tx: CopyTx,
  topic: string,
  partition: number,
  offset: bigint,
  maxMessages: number,
  maxBytes: number,
): Promise<readonly LogMessage[]> {
  // `before`: the bytes ahead of a message, so that the first one always comes, whatever its size. Sizes are read from the
  // row's header; only values that are returned are fetched. In binary: as text a value is twice its size, and is decoded.
  const copied = await tx.copyOut(
    `copy (
       select tenant, log_offset, key, value, headers::text, (extract(epoch from appended_at) * 1000)::float8
       from (select m.*, sum(coalesce(octet_length(value), 0)) over (order by log_offset) - coalesce(octet_length(value), 0) as before
             from (select * from log_messages
                   where topic = ${escapeLiteral(topic)} and partition = ${integer(partition)} and log_offset >= ${offset}
                   order by log_offset limit ${integer(maxMessages)}) m) sized
       where before < ${integer(Math.max(1, maxBytes))} order by log_offset) to stdout (format binary)`,
  );
  return Array.from(copiedRows(copied, MESSAGE_FIELDS), ([tenant, at, key, value, headers, appendedAt]) => ({
    tenant: tenant!.toString(),
    topic,
    partition,
    offset: at!.readBigInt64BE(),
    key: key!.toString(),
    value: value ?? null,
    headers: JSON.parse(headers!.toString()) as LogMessage['headers'],
    appendedAtMs: appendedAt!.readDoubleBE(),
  }));
}

/** As text of a statement, which only an integer may become. */
function integer(value: number): string {
  assert(Number.isSafeInteger(value), 'what is read of the log is told by integers');
  return String(value);
}

async function readEnd(tx: Tx, topic: string, partition: number): Promise<PartitionEnd> {
  const rows = await tx.query<{ first_offset: bigint | null; next_offset: bigint | null; appended_ms: string | null }>(
    `select (select min(m.log_offset) from log_messages m where m.topic = $1 and m.partition = $2) as first_offset,
            max(p.next_offset) filter (where p.partition = $2) as next_offset,
            max(extract(epoch from last.appended_at) * 1000) as appended_ms
     from log_partitions p left join lateral (
       select appended_at from log_messages m where m.topic = p.topic and m.partition = p.partition
       order by log_offset desc limit 1) last on true
     where p.topic = $1`,
    [topic, partition],
  );
  const row = rows[0];
  if (row === undefined || row.next_offset === null) {
    throw new OperatingError('not-found', 'never', `looking at the end of ${topic}/${partition}`, {
      cause: 'there is no such topic or partition',
    });
  }
  const nextOffset = row.next_offset;
  return { firstOffset: row.first_offset ?? nextOffset, nextOffset, appendedAtMs: Number(row.appended_ms ?? 0) };
}

interface Wakes {
  wait(topic: string, timeoutMs: number, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/**
 * Wakes waiters when anything was appended. A waiter is known by its signal: what came between its last `wait` and this one
 * wakes it at once, so that nothing is slept through between a read and a wait.
 */
function openWakes(listenUrl: DatabaseUrl | undefined, clock: Clock): Wakes {
  const stop = new AbortController();
  const sleepers = new Set<() => void>();
  const seen = new WeakMap<AbortSignal, number>();
  let appends = 0;
  let listening: Promise<void> | undefined;
  const onNotify = () => {
    appends++;
    for (const wake of sleepers) wake();
  };
  return {
    wait: async (_topic, timeoutMs, signal) => {
      if (listenUrl !== undefined) listening ??= listen(listenUrl, CHANNEL, clock, stop.signal, onNotify);
      const before = seen.get(signal);
      // The first time it cannot be known what was missed.
      if (before !== appends) {
        seen.set(signal, appends);
        return;
      }
      const early = new AbortController();
      const wake = () => early.abort();
      sleepers.add(wake);
      signal.addEventListener('abort', wake, { once: true });
      if (signal.aborted || stop.signal.aborted) wake();
      await clock.sleep(timeoutMs, early.signal);
      signal.removeEventListener('abort', wake);
      sleepers.delete(wake);
      seen.set(signal, appends);
    },
    close: async () => {
      stop.abort();
      for (const wake of sleepers) wake();
      await listening;
    },
  };
}
