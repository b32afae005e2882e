import { mkdtemp, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RoomPorts } from '../../api/http/rooms/base.ts';
import { JobLogs } from '../../api/http/rooms/job-logs.ts';
import type { Caller } from '../../api/http/services.ts';
import { collectionLoop } from '../../api/roles/collection-loop.ts';
import { buildManifest } from '../../artifacts/manifest.ts';
import { artifactsPrefix, manifestKey, objectKey } from '../../artifacts/paths.ts';
import { recordManifest, writeManifest } from '../../artifacts/store.ts';
import { sha256Hex } from '../../core/canonical.ts';
import { systemClock } from '../../platform/clock.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { ProviderError } from '../../providers/provider.ts';
import { postgresDesk } from '../../scheduler/apply/booking-desk.sql.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { LOG_LIMITS, LogKeeper } from '../../scheduler/apply/log-keeper.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';
import { bookingWithAttempt } from '../support/log-jobs.ts';
import { MemoryProvider } from '../support/memory-provider.ts';

class LogProvider extends MemoryProvider {
  log = '';
  gone = false;
  override async logs(_key: string, fromByte: number, maxBytes: number): Promise<Uint8Array> {
    if (this.gone) throw new ProviderError('transient', 'connect ECONNREFUSED');
    return Buffer.from(this.log).subarray(fromByte, fromByte + maxBytes);
  }
}

const DAY_MS = 24 * 3_600_000;
const provider = new LogProvider();
let folder: string;
let store: ObjectStore;
let world: HttpWorld;
let keeper: LogKeeper;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'merit-job-logs-'));
  store = await openFileObjectStore({ root: folder });
  world = await httpWorld([], { store, running: provider });
  const epoch = await world.database.db.asEngine(async (tx) => {
    const rows = await tx.query<{ epoch: bigint }>(
      "update leader_epochs set epoch = epoch + 1 where name = 'engine' returning epoch",
    );
    return rows[0]?.epoch ?? 0n;
  });
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const desk = postgresDesk(world.database.db, epoch);
  const limits = { ...LOG_LIMITS, chunkBytes: 1_000, minChunkBytes: 100 };
  keeper = new LogKeeper({ desk, store, clock: systemClock, log }, limits);
});
afterAll(async () => {
  await world.close();
  await rm(folder, { recursive: true, force: true });
});

const logOf = async (booking: Booking, query = '') =>
  (await world.call('GET', `/v1/jobs/${booking.bookingId}/logs${query}`)).body;
const end = (booking: Booking) =>
  world.database.db.asEngine((tx) =>
    tx.execute(
      'update bookings set state = \'released\', data = data || \'{"state": "released"}\' where booking_id = $1',
      [booking.bookingId],
    ),
  );

describe('the log of a job', () => {
  test('is one text, whatever of it is kept and whatever the provider has still; it is there when the provider is gone', async () => {
    const booking = await bookingWithAttempt(world.database, 'acme');
    provider.gone = false;
    provider.log = Array.from({ length: 400 }, (_, i) => `line ${i}\n`).join('');
    keeper.follow(booking, 1, provider);
    await keeper.settled();
    const kept = provider.log.length;
    provider.log += 'and live\nat last';
    expect(await logOf(booking)).toBe(provider.log);
    expect(await logOf(booking, `?from=${kept - 5}`)).toBe(provider.log.slice(kept - 5));
    expect(await logOf(booking, `?from=${kept - 5}&limit=3`)).toBe(provider.log.slice(kept - 5, kept - 2));
    expect(await logOf(booking, '?tail=1')).toBe('at last');
    expect(await logOf(booking, '?tail=3')).toBe('line 399\nand live\nat last');
    expect(await logOf(booking, '?tail=350')).toBe(provider.log.split('\n').slice(-350).join('\n'));
    expect(await logOf(booking, '?tail=9999')).toBe(provider.log);
    await keeper.complete(booking, 1, provider);
    await end(booking);
    provider.gone = true;
    const reply = await world.call('GET', `/v1/jobs/${booking.bookingId}/logs`);
    expect([reply.body, reply.headers['merit-log-end']]).toEqual([provider.log, 'complete']);
    expect((await world.call('GET', `/v1/jobs/${booking.bookingId}/logs`, undefined, {}, 'rival')).statusCode).toBe(
      404,
    );
  });

  test('a provider that is away is told where its part begins, not before', async () => {
    const booking = await bookingWithAttempt(world.database, 'acme');
    provider.gone = false;
    provider.log = 'x'.repeat(500);
    keeper.follow(booking, 1, provider);
    await keeper.settled();
    provider.gone = true;
    expect(await logOf(booking, '?limit=500')).toBe(provider.log);
    const behind = await world.call('GET', `/v1/jobs/${booking.bookingId}/logs?from=500`);
    expect([behind.statusCode, behind.json().code]).toEqual([503, 'provider_away']);
  });

  test('a chunk that is not as it was stored is never told as the log', async () => {
    const booking = await bookingWithAttempt(world.database, 'acme', 'released');
    provider.gone = false;
    provider.log = 'y'.repeat(500);
    await keeper.complete(booking, 1, provider);
    for await (const { key } of store.list(`logs/acme/${booking.bookingId}/`))
      await store.put(key, Buffer.alloc(500, 'z'));
    expect((await world.call('GET', `/v1/jobs/${booking.bookingId}/logs`)).statusCode).toBe(503);
  });
});

test('who left while the provider was asked leaves no failure that nobody handles', async () => {
  const booking = await bookingWithAttempt(world.database, 'acme');
  provider.gone = true;
  const ports = { db: world.database.db, store, providers: { of: async () => provider } };
  const logs = new JobLogs(ports as unknown as RoomPorts);
  const caller = { identity: { tenant: 'acme' } } as Caller;
  const query = { attempt: undefined, fromByte: 0, maxBytes: 10 };
  const piece = await logs.piece(caller, booking.bookingId, query, AbortSignal.abort());
  expect(piece?.fault).toMatchObject({ code: 'aborted' });
});

describe('the collection of what nothing names', () => {
  test('takes old objects of ended jobs that no manifest and no log names, and nothing else', async () => {
    const ended = await bookingWithAttempt(world.database, 'acme', 'released');
    const live = await bookingWithAttempt(world.database, 'acme');
    const prefix = artifactsPrefix('acme', ended.bookingId, 1);
    const files = [{ path: 'model.bin', size: 3, sha256: sha256Hex('abc') }];
    await store.put(objectKey(prefix, 'model.bin'), Readable.from([Buffer.from('abc')]));
    const head = {
      tenant: 'acme',
      booking: ended.bookingId,
      attempt: 1,
      job: 'train',
      model: null,
      provider: 'memory',
    };
    const manifest = buildManifest({ ...head, outputsUri: 'file:///x', createdAt: '2026-11-26T00:00:00.000Z' }, files);
    await writeManifest(store, prefix, manifest);
    await world.database.db.asEngine((tx) => recordManifest(tx, prefix, manifest));
    provider.gone = false;
    provider.log = 'kept\n';
    await keeper.complete(ended, 1, provider);
    const stray = [
      objectKey(prefix, 'stray.bin'),
      `${prefix}/progress/${'0'.repeat(64)}.json`,
      `artifacts/acme/${ended.bookingId}/2/files/half.bin`,
      `logs/acme/${ended.bookingId}/1/000000000005-0123456789abcdef`,
    ];
    const others = [
      objectKey(artifactsPrefix('acme', live.bookingId, 1), 'on-its-way.bin'),
      `artifacts/acme/${'0'.repeat(26)}/1/files/of-nobody.bin`,
      `artifacts/rival/${ended.bookingId}/1/files/of-another-tenant.bin`,
      'code/0123.zip',
    ];
    for (const key of [...stray, ...others]) await store.put(key, Buffer.from('x'));
    const young = objectKey(prefix, 'young.bin');
    for await (const { key } of store.list(''))
      await utimes(join(folder, key), new Date(), new Date(Date.now() - 8 * DAY_MS));
    await store.put(young, Buffer.from('x'));
    const keys = async () => {
      const found = new Set<string>();
      for await (const { key } of store.list('')) found.add(key);
      return found;
    };
    const before = await keys();
    const gc = async (body: object) => {
      const reply = await world.call('POST', '/v1/artifacts:collect', body);
      return reply.statusCode === 200
        ? reply.body
            .trimEnd()
            .split('\n')
            .map((line) => JSON.parse(line) as { object?: string; verdict?: string; summary?: object })
        : reply.json();
    };
    expect(await gc({ grace: '10m' })).toMatchObject({ status: 422 });
    const tried = await gc({ dryRun: true });
    expect(await keys()).toEqual(before);
    expect(
      tried
        .filter((row: { verdict?: string }) => row.verdict === 'unnamed')
        .map((row: { object: string }) => row.object)
        .sort(),
    ).toEqual(stray.toSorted());
    const done = await gc({});
    expect(done.at(-1)).toMatchObject({ summary: { unnamed: 4, deleted: 4, unknown: 1 } });
    expect(await keys()).toEqual(new Set([...before].filter((key) => !stray.includes(key))));
    expect(await store.head(manifestKey(prefix))).toBeDefined();
    expect((await gc({})).at(-1)).toMatchObject({ summary: { unnamed: 0, deleted: 0 } });
    // Told once, of those that were deleted.
    const [told, ...more] = await collections();
    expect(more).toEqual([]);
    expect(told).toMatchObject({ actor: 'token:acme', data: { bytes: '4' } });
    expect(told?.data.objects.toSorted()).toEqual(stray.toSorted());
  });

  test('runs by itself each time that its interval is over, counted from midnight and not from its start', async () => {
    const ended = await bookingWithAttempt(world.database, 'acme', 'released');
    const key = `artifacts/acme/${ended.bookingId}/1/files/left.bin`;
    await store.put(key, Buffer.from('x'));
    const stop = new AbortController();
    // What the other test left young is old enough by then, too. Tomorrow a second before midnight, then one minute later at each look.
    let nowMs = (Math.floor(Date.now() / DAY_MS) + 1) * DAY_MS - 1_000;
    const there: boolean[] = [];
    const clock = {
      now: () => nowMs,
      sleep: async () => {
        there.push((await store.head(key)) !== undefined);
        nowMs += 60_000;
        if (there.length === 3) stop.abort();
      },
    };
    const told: unknown[] = [];
    const log = {
      info: (fields: object) => told.push(fields),
      warn: (fields: object) => told.push(fields),
      error: () => {},
    };
    const policy = { everyMs: DAY_MS, graceMs: 1_000 };
    const loop = collectionLoop({ db: world.database.db, store, clock, log, policy });
    await loop.run(1n, stop.signal);
    expect(there).toEqual([true, false, false]);
    expect(told).toContainEqual(expect.objectContaining({ tenant: 'acme', deleted: 2, unnamed: 2 }));
    expect((await collections()).at(-1)).toMatchObject({
      actor: 'merit/collection',
      data: { objects: expect.arrayContaining([key]), bytes: '2' },
    });
  });

  async function collections() {
    const rows = await world.database.db.asEngine((tx) =>
      tx.query<{ bytes: Buffer }>(
        "select bytes from audit_events where type = 'artifacts.collected' order by recorded_no",
      ),
    );
    return rows.map(({ bytes }) => JSON.parse(bytes.toString()) as { actor: string; data: { objects: string[] } });
  }
});
