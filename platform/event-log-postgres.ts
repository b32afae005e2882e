import { createHash } from 'node:crypto';
import { assert } from '../core/assert.ts';
import { OperatingError } from '../core/operating-error.ts';
import { type Clock, systemClock } from './clock.ts';
import { copiedRows } from './copy-rows.ts';
import { type Appended, type EventLog, type LogMessage, MAX_MESSAGE_BYTES } from './event-log.ts';
import { listen } from './listener.ts';
import { byteaArray } from './pg-arrays.ts';
import { type CopyTx, type Database, escapeLiteral, type Tx } from './postgres.ts';

/** What an append says; the log adds partition, offset and time. */
export type NewMessage = Pick<LogMessage, 'tenant' | 'topic' | 'key' | 'value' | 'headers'>;

export interface PostgresEventLogOptions {
  readonly db: Database;
  /** A URL to LISTEN on (any role's); without it `wait` just waits. */
  readonly listenUrl?: string;
  /** `engine`: appends of all tenants share a transaction. `tenant`: each tenant's go in its own, under row-level security. */
  readonly appendAs: 'engine' | 'tenant';
  readonly clock?: Clock;
}

const CHANNEL = 'merit_log';
/** One transaction takes this much of what waits; a lone append goes at once. */
const MAX_BATCH_MESSAGES = 500;
const MAX_BATCH_BYTES = 8 * 1024 * 1024;
/** Appends beyond this wait for nobody: the caller is told to come again. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;

/** Which of `count` partitions a key belongs to: the first 4 bytes of its SHA-256, modulo. */
export function partitionOf(key: string, count: number): number {
  assert(count > 0, 'a topic has partitions');
  return createHash('sha256').update(key).digest().readUInt32BE(0) % count;
}

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

interface Waiting {
  readonly message: NewMessage;
  readonly resolve: (appended: Appended) => void;
  readonly reject: (error: unknown) => void;
}

/** Group commit: while one transaction of a lane is under way the next appends gather, and go together. */
class Lane {
  readonly #write: (messages: readonly NewMessage[]) => Promise<bigint>;
  readonly #partition: number;
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;

  constructor(partition: number, write: (messages: readonly NewMessage[]) => Promise<bigint>) {
    this.#partition = partition;
    this.#write = write;
  }

  append(message: NewMessage): Promise<Appended> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ message, resolve, reject });
      this.#running ??= this.#drain().finally(() => {
        this.#running = undefined;
      });
    });
  }

  async settled(): Promise<void> {
    await this.#running;
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#takeBatch();
      try {
        const first = await this.#write(batch.map((waiting) => waiting.message));
        batch.forEach((waiting, i) => {
          waiting.resolve({ partition: this.#partition, offset: first + BigInt(i) });
        });
      } catch (error) {
        for (const waiting of batch) waiting.reject(error);
      }
    }
  }

  #takeBatch(): Waiting[] {
    let count = 0;
    let bytes = 0;
    for (const { message } of this.#waiting) {
      bytes += message.value?.byteLength ?? 0;
      if (count === MAX_BATCH_MESSAGES || (count > 0 && bytes > MAX_BATCH_BYTES)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }
}

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
    const lane = new Lane(partition, (messages) => {
      const work = (tx: Tx) => appendInside(tx, message.topic, partition, messages);
      return appendAs === 'tenant' ? db.asTenant(message.tenant, work) : db.asEngine(work);
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
        return await laneOf(message, partition).append(message);
      } finally {
        waitingBytes -= bytes;
      }
    },
    partitions,
    read: (topic, partition, offset, maxMessages, maxBytes) =>
      db.asEngine((tx) => readMessages(tx, topic, partition, offset, maxMessages, maxBytes)),
    end: (topic, partition) => db.asEngine((tx) => readEnd(tx, topic, partition)),
    wait: wakes.wait,
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

async function readEnd(
  tx: Tx,
  topic: string,
  partition: number,
): Promise<{ readonly nextOffset: bigint; readonly appendedAtMs: number }> {
  const rows = await tx.query<{ next_offset: bigint | null; appended_ms: string | null }>(
    `select max(p.next_offset) filter (where p.partition = $2) as next_offset,
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
  return { nextOffset: row.next_offset, appendedAtMs: Number(row.appended_ms ?? 0) };
}

interface Wakes {
  wait(topic: string, timeoutMs: number, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/**
 * Wakes waiters when anything was appended. A waiter is known by its signal: what came between its last `wait` and this one
 * wakes it at once, so that nothing is slept through between a read and a wait.
 */
function openWakes(listenUrl: string | undefined, clock: Clock): Wakes {
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
