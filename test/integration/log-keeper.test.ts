import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { sha256Hex } from '../../core/canonical.ts';
import { attemptKey, type BookingId, ulid } from '../../core/ids.ts';
import { jobSpec } from '../../core/job.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { ObjectStore, PutOptions } from '../../platform/object-store.ts';
import { StaleLeader } from '../../platform/postgres.ts';
import { ProviderError } from '../../providers/provider.ts';
import { postgresDesk } from '../../scheduler/apply/booking-desk.sql.ts';
import { type Booking, loadBooking } from '../../scheduler/apply/booking-store.ts';
import { createBooking } from '../../scheduler/apply/create-booking.ts';
import { logPrefix } from '../../scheduler/apply/log-book.ts';
import { LogKeeper, type LogLimits } from '../../scheduler/apply/log-keeper.ts';
import { verifyLogs } from '../../scheduler/apply/verify-logs.ts';
import { seeded } from '../bench/random.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { MemoryProvider } from '../support/memory-provider.ts';
import { readAll } from '../support/object-store-conformance.ts';

const TENANT = 'acme';
/** CI does more of them. */
const ROUNDS = process.env.MERIT_PROOFS === 'whole' ? 40 : 4;
const LIMITS: LogLimits = {
  chunkBytes: 1000,
  minChunkBytes: 100,
  everyMs: 0,
  maxBytes: 50_000,
  maxAtATime: 4,
  patienceMs: 1_000,
};

/** A provider whose log is a buffer; it says no, or knows nothing, when it is told to. */
class LogProvider extends MemoryProvider {
  log = Buffer.alloc(0);
  refuses: ProviderError | undefined;
  reads = 0;

  write(text: string | Buffer): void {
    this.log = Buffer.concat([this.log, Buffer.from(text)]);
  }

  override async logs(_key: string, fromByte: number, maxBytes: number): Promise<Uint8Array> {
    this.reads++;
    if (this.refuses !== undefined) throw this.refuses;
    return this.log.subarray(fromByte, fromByte + maxBytes);
  }
}

/** A store that dies before or after one of its steps, as a process would. */
class DyingStore implements ObjectStore {
  readonly #store: ObjectStore;
  dies: (step: string) => boolean = () => false;

  constructor(store: ObjectStore) {
    this.#store = store;
  }
  async put(key: string, body: Readable | Uint8Array, options?: PutOptions) {
    if (this.dies('before put')) throw new Error('died');
    const stored = await this.#store.put(key, body, options);
    if (this.dies('after put')) throw new Error('died');
    return stored;
  }
  get = (key: string) => this.#store.get(key);
  head = (key: string) => this.#store.head(key);
  list = (prefix: string) => this.#store.list(prefix);
  delete = async (key: string) => {
    if (this.dies('before delete')) throw new Error('died');
    await this.#store.delete(key);
  };
  sweepUnfinished = () => this.#store.sweepUnfinished();
}

let database: TestDatabase;
let folder: string;
let files: ObjectStore;
let epoch: bigint;
let booking: Booking;
let provider: LogProvider;
let nowMs = 0;

beforeAll(async () => {
  database = await testDatabase();
  folder = await mkdtemp(join(tmpdir(), 'merit-logs-'));
  files = await openFileObjectStore({ root: folder });
  epoch = await nextEpoch();
  await database.db.asEngine(async (tx) => {
    await tx.execute('insert into tenants (tenant) values ($1)', [TENANT]);
    await tx.execute("insert into divisions (tenant, division) values ($1, 'vision')", [TENANT]);
  });
});
afterAll(async () => {
  await database.close();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  provider = new LogProvider();
  nowMs = 0;
  booking = await bookingWithAttempt();
});

async function nextEpoch(): Promise<bigint> {
  return database.db.asEngine(async (tx) => {
    const [row] = await tx.query<{ epoch: bigint }>(
      "update leader_epochs set epoch = epoch + 1 where name = 'engine' returning epoch",
    );
    return row?.epoch ?? 0n;
  });
}

async function bookingWithAttempt(): Promise<Booking> {
  const bookingId = ulid(Date.now(), randomBytes(10)) as BookingId;
  const spec = jobSpec({ name: 'train', division: 'vision', resources: { cpus: 1 }, pools: ['cpu'], run: 'true' });
  const by = {
    tenant: TENANT,
    division: 'vision',
    requester: 'ada',
    actor: 'test',
    traceId: '0af7651916cd43dd8448eb211c80319c',
  };
  await database.db.asTenant(TENANT, (tx) => createBooking(tx, { ...by, bookingId, spec, nowMs: Date.now() }));
  return database.db.asEngine(async (tx) => {
    await tx.execute(
      `insert into attempts (booking_id, attempt, tenant, pool, flavour, provider, key) values ($1, 1, $2, 'cpu', 'cpu', 'memory', $3)`,
      [bookingId, TENANT, attemptKey(bookingId, 1)],
    );
    return (await loadBooking(tx, bookingId))!;
  });
}

function keeper(over: { store?: ObjectStore; epoch?: bigint; limits?: Partial<LogLimits> } = {}): LogKeeper {
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const clock = { now: () => nowMs, sleep: async () => {} } as never;
  return new LogKeeper(
    { desk: postgresDesk(database.db, over.epoch ?? epoch), store: over.store ?? files, clock, log },
    { ...LIMITS, ...over.limits },
  );
}

/** As a look at the running job does; waits for the copying that it began. */
async function look(keeping: LogKeeper): Promise<void> {
  keeping.follow(booking, 1, provider);
  await keeping.settled();
}

const of = () => ({ tenant: TENANT, bookingId: booking.bookingId, attempt: 1 });
const kept = () => postgresDesk(database.db, epoch).logs.read(of());
const chunks = () => postgresDesk(database.db, epoch).logs.chunks(of(), 0, 10_000);

/** What is stored, put together; throws where a chunk is not where the last one ends, or not as its row says. */
async function stored(): Promise<Buffer> {
  const parts: Buffer[] = [];
  let at = 0;
  for (const chunk of await chunks()) {
    expect(chunk.fromByte).toBe(at);
    const bytes = (await readAll(files, chunk.objectKey)) ?? Buffer.alloc(0);
    expect(sha256Hex(bytes)).toBe(chunk.sha256);
    expect(bytes.length).toBe(chunk.size);
    parts.push(bytes);
    at += bytes.length;
  }
  expect((await kept()).bytes).toBe(at);
  return Buffer.concat(parts);
}

async function objects(): Promise<number> {
  let count = 0;
  for await (const _ of files.list(logPrefix(TENANT, booking.bookingId, 1))) count++;
  return count;
}

describe('while a job runs', () => {
  test('its log is copied as it grows, and another leader goes on at the byte that is kept', async () => {
    provider.write('x'.repeat(2500));
    await look(keeper());
    expect((await stored()).toString()).toBe('x'.repeat(2500));
    provider.write('y'.repeat(700));
    const before = provider.reads;
    epoch = await nextEpoch();
    await look(keeper());
    expect(provider.reads - before).toBeLessThanOrEqual(2);
    expect((await stored()).toString()).toBe('x'.repeat(2500) + 'y'.repeat(700));
  });

  test('a log that grows slowly makes few objects: a short last chunk is written anew', async () => {
    const keeping = keeper();
    for (let i = 0; i < 30; i++) {
      provider.write(`line ${i}\n`);
      await look(keeping);
    }
    expect((await stored()).equals(provider.log)).toBe(true);
    expect((await chunks()).length).toBeLessThanOrEqual(Math.ceil(provider.log.length / LIMITS.minChunkBytes));
    expect(await objects()).toBe((await chunks()).length);
  });

  test('it is not asked for again before its time, nor of more jobs at a time than may be', async () => {
    provider.write('x');
    const keeping = keeper({ limits: { everyMs: 1_000, maxAtATime: 1 } });
    await look(keeping);
    await look(keeping);
    expect(provider.reads).toBe(1);
    nowMs += 1_000;
    await look(keeping);
    expect(provider.reads).toBe(2);
  });

  test('a leader that was passed over keeps nothing', async () => {
    const old = epoch;
    epoch = await nextEpoch();
    provider.write('x'.repeat(500));
    await expect(keeper({ epoch: old }).complete(booking, 1, provider)).rejects.toThrow(StaleLeader);
    expect((await kept()).bytes).toBe(0);
  });
});

test('whatever dies, and whoever copies beside it, no byte is lost that the provider has, and none is there twice', async () => {
  const random = seeded(20_261_126);
  const draw = (below: number) => Math.floor(random() * below);
  for (let round = 0; round < ROUNDS; round++) {
    booking = await bookingWithAttempt();
    provider = new LogProvider();
    let keepers = [0, 1].map(() => dying());
    for (let step = 0; step < 15; step++) {
      provider.write(randomBytes(draw(4) === 0 ? draw(2_500) : draw(80)));
      provider.refuses = draw(6) === 0 ? new ProviderError('transient', 'away') : undefined;
      await Promise.all(keepers.map(({ keeping }) => look(keeping)));
      if (draw(5) === 0) keepers = [0, 1].map(() => dying());
      const bytes = await stored();
      expect(bytes.equals(provider.log.subarray(0, bytes.length))).toBe(true);
    }
    provider.refuses = undefined;
    for (const { store } of keepers) store.dies = () => false;
    for (let tries = 0; (await kept()).ended === undefined && tries < 10; tries++)
      await keepers[0]!.keeping.complete(booking, 1, provider).catch(() => {});
    expect((await stored()).equals(provider.log)).toBe(true);
    expect((await kept()).ended).toBe('complete');
    function dying() {
      const store = new DyingStore(files);
      store.dies = () => draw(8) === 0;
      return { store, keeping: keeper({ store }) };
    }
  }
});

describe('when a job ended', () => {
  const ended = async () => {
    const [row] = await database.db.asEngine((tx) =>
      tx.query<{ ended: string; sha256: string | null }>('select ended, sha256 from job_logs where booking_id = $1', [
        booking.bookingId,
      ]),
    );
    return row;
  };

  test('the rest is copied, read back and sealed by its SHA-256; once', async () => {
    provider.write(randomBytes(3_333));
    const keeping = keeper();
    await look(keeping);
    provider.write(randomBytes(1_234));
    await keeping.complete(booking, 1, provider);
    expect((await stored()).equals(provider.log)).toBe(true);
    expect(await ended()).toEqual({ ended: 'complete', sha256: sha256Hex(provider.log) });
    provider.write('after the end');
    await keeping.complete(booking, 1, provider);
    await look(keeper());
    expect((await kept()).bytes).toBe(4_567);
  });

  test('a job that wrote nothing has an empty log that is complete', async () => {
    await keeper().complete(booking, 1, provider);
    expect(await ended()).toEqual({ ended: 'complete', sha256: sha256Hex('') });
  });

  test('a log longer than a log may be is cut, says so in its text, and in how it ended', async () => {
    provider.write(Buffer.alloc(60_000, 'x'));
    await keeper().complete(booking, 1, provider);
    const text = (await stored()).toString();
    expect(text.startsWith('x'.repeat(50_000))).toBe(true);
    expect(text.slice(50_000)).toBe('\n[the log was cut here: a log is kept up to 50000 bytes]\n');
    expect(await ended()).toEqual({ ended: 'truncated', sha256: sha256Hex(text) });
  });

  test('a provider that does not answer is asked again for a while; then what is kept is what there is', async () => {
    provider.write('kept');
    const keeping = keeper();
    await look(keeping);
    provider.write(' and lost');
    provider.refuses = new ProviderError('transient', 'away');
    await expect(keeping.complete(booking, 1, provider)).rejects.toThrow('away');
    nowMs += 500;
    await expect(keeping.complete(booking, 1, provider)).rejects.toThrow('away');
    expect((await ended())?.ended).toBeNull();
    nowMs += 600;
    await keeping.complete(booking, 1, provider);
    expect((await stored()).toString()).toBe('kept');
    expect(await ended()).toEqual({ ended: 'lost', sha256: sha256Hex('kept') });
  });

  test('a provider that knows the job no more is not waited for', async () => {
    provider.write('kept');
    const keeping = keeper();
    await look(keeping);
    provider.refuses = new ProviderError('not_found', 'there is no such job');
    await keeping.complete(booking, 1, provider);
    expect((await ended())?.ended).toBe('lost');
    await keeping.complete(booking, 1, provider, true);
    expect((await stored()).toString()).toBe('kept');
  });

  test.each(['changed', 'gone'])('a chunk that is %s when it is read back is copied once more', async (what) => {
    provider.write(randomBytes(3_500));
    const keeping = keeper();
    await look(keeping);
    const [, second] = await chunks();
    if (what === 'gone') await files.delete(second!.objectKey);
    else await files.put(second!.objectKey, randomBytes(1_000));
    await keeping.complete(booking, 1, provider);
    expect((await stored()).equals(provider.log)).toBe(true);
    expect(await ended()).toEqual({ ended: 'complete', sha256: sha256Hex(provider.log) });
  });
});

describe('a log that has ended', () => {
  const verified = () =>
    verifyLogs(
      (work) => database.db.asTenant(TENANT, work),
      files,
      { tenant: TENANT, bookingId: booking.bookingId },
      new AbortController().signal,
    );
  const change = (sql: string) => asAdmin(database.urls.admin, `${sql} booking_id = '${booking.bookingId}'`);
  const told = async () => {
    const rows = await database.db.asTenant(TENANT, (tx) =>
      tx.query<{ bytes: Buffer }>(
        "select bytes from audit_events where subject = $1 and type = 'log.ended' order by subject_seq",
        [`booking/${booking.bookingId}`],
      ),
    );
    return rows.map(({ bytes }) => JSON.parse(bytes.toString('utf8')).data);
  };
  const changed = (bytes: Buffer) => Buffer.from(bytes.map((byte, i) => (i === 7 ? byte ^ 1 : byte)));
  beforeEach(async () => {
    provider.write(randomBytes(3_500));
    const keeping = keeper();
    await look(keeping);
    await keeping.complete(booking, 1, provider);
    await keeping.complete(booking, 1, provider);
  });

  test('is told to the audit trail with its SHA-256, once, and verifies against it', async () => {
    const log = { attempt: 1, ended: 'complete', sha256: sha256Hex(provider.log) };
    expect(await told()).toEqual([{ ...log, bytes: '3500' }]);
    const logs = [{ ...log, bytes: 3_500, audited: true }];
    expect(await verified()).toEqual({ logs, logBytesRead: 3_500, findings: [], findingsTotal: 0 });
  });

  test('has each chunk found that was altered or is gone, and the others are read all the same', async () => {
    const [first, second] = await chunks();
    await files.put(first!.objectKey, changed((await readAll(files, first!.objectKey))!));
    await files.delete(second!.objectKey);
    const { findings, logBytesRead } = await verified();
    expect(findings).toEqual([
      expect.objectContaining({ kind: 'changed_log_chunk', attempt: 1, fromByte: 0, key: first!.objectKey }),
      { kind: 'missing_log_chunk', attempt: 1, fromByte: 1_000, key: second!.objectKey },
    ]);
    expect(logBytesRead).toBe(2_500);
  });

  test('is told from one of which a chunk and all its rows were rewritten: the trail knows what ended', async () => {
    const [first, ...rest] = await chunks();
    const lie = changed((await readAll(files, first!.objectKey))!);
    await files.put(first!.objectKey, lie);
    const others = await Promise.all(rest.map(async ({ objectKey }) => (await readAll(files, objectKey))!));
    const whole = sha256Hex(Buffer.concat([lie, ...others]));
    await change(`update log_chunks set sha256 = '${sha256Hex(lie)}' where from_byte = 0 and`);
    const expected = { size: 3_500, sha256: sha256Hex(provider.log) };
    const actual = { size: 3_500, sha256: whole };
    expect((await verified()).findings).toEqual([{ kind: 'changed_log', attempt: 1, expected, actual }]);
    await change(`update job_logs set sha256 = '${whole}' where`);
    expect((await verified()).findings).toEqual([
      { kind: 'changed_log_record', attempt: 1, expected, actual },
      { kind: 'changed_log', attempt: 1, expected, actual },
    ]);
  });

  test('misses rows that were taken away, the last ones too', async () => {
    await change('delete from log_chunks where from_byte in (1000, 3000) and');
    expect((await verified()).findings).toEqual([
      { kind: 'missing_log_chunk', attempt: 1, fromByte: 1_000, key: null },
      { kind: 'missing_log_chunk', attempt: 1, fromByte: 3_000, key: null },
    ]);
  });
});
