import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { OperatingError } from '../../core/operating-error.ts';
import type { LogMessage } from '../../platform/event-log.ts';
import { createTopic, openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { type Database, StaleLeader } from '../../platform/postgres.ts';
import { archivedLog } from '../../scoring/archive/archived-log.ts';
import { Archiver } from '../../scoring/archive/archiver.ts';
import { type ArchiveContext, NO_ARCHIVE_METRICS } from '../../scoring/archive/context.ts';
import { deleteExpired } from '../../scoring/archive/expire.ts';
import { encodeSegment, pack } from '../../scoring/archive/segment-codec.ts';
import { trimArchived } from '../../scoring/archive/trim.ts';
import { unnamedSegments } from '../../scoring/archive/unnamed-segments.ts';
import { verifyArchive } from '../../scoring/archive/verify-archive.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { dueToday } from '../support/rotating.ts';
import { currentEpoch, random, TestClock } from './scoring-online-support.ts';

const PLACE = { topic: REPORTS_TOPIC, generation: 'embedded', partition: 0 };
const AGE_MS = 60_000;
const DAY_MS = 86_400_000;
const { signal } = new AbortController();

let t: TestDatabase;
let root: string;
let store: ObjectStore;
let log: ReturnType<typeof openPostgresEventLog>;
let clock: TestClock;
let epoch: bigint;
const quiet = { info: () => {}, warn: () => {}, error: () => {} };

beforeAll(async () => {
  t = await testDatabase();
  await t.db.asEngine((tx) => tx.execute("insert into tenants (tenant) values ('acme'), ('umbrella')"));
  epoch = await currentEpoch(t.db);
});
afterAll(() => t.close());
beforeEach(async () => {
  await asAdmin(
    t.urls.admin,
    `truncate archive_segments, log_messages, log_partitions, consumer_offsets, ingest_topics`,
  );
  await t.db.asEngine((tx) => createTopic(tx, REPORTS_TOPIC, 1));
  log = openPostgresEventLog({ db: t.db, appendAs: 'engine' });
  root = await mkdtemp(join(tmpdir(), 'merit-archive-'));
  store = await openFileObjectStore({ root });
  clock = new TestClock();
});
afterEach(async () => {
  await log.close();
  await rm(root, { recursive: true });
});

function context(more: Partial<ArchiveContext> = {}): ArchiveContext {
  const policy = { segmentAgeMs: AGE_MS, keepMs: null, logKeepMs: null };
  return { db: t.db, epoch, clock, eventLog: log, log: quiet, store, policy, metrics: NO_ARCHIVE_METRICS, ...more };
}

/** Messages of about `bytes`, half of them told apart by more than their text. */
async function append(count: number, bytes = 100, seed = 1): Promise<void> {
  const next = random(seed);
  await Promise.all(
    Array.from({ length: count }, (_, i) =>
      log.append({
        tenant: next() < 0.5 ? 'acme' : 'umbrella',
        topic: REPORTS_TOPIC,
        key: `k${i % 7}`,
        value: next() < 0.05 ? null : Buffer.from(`${'x'.repeat(Math.floor(next() * bytes))}\n${i}\n`),
        headers: next() < 0.5 ? { traceparent: `00-${i}` } : {},
      }),
    ),
  );
}

/** The consumer has got this far: `line` lines of the message at `offset` are done. */
async function consumed(offset: number, line = 0): Promise<void> {
  await asAdmin(
    t.urls.admin,
    `delete from consumer_offsets;
     insert into consumer_offsets (topic, partition, next_offset, next_line, appended_at_ms) values ('${REPORTS_TOPIC}', 0, ${offset}, ${line}, 0)`,
  );
}

async function archiveAll(ctx = context(), maxSegmentBytes = 1_000): Promise<void> {
  const archiver = new Archiver(ctx, { maxSegmentBytes });
  while (await archiver.archive(signal));
}

const keys = async () => {
  const found: string[] = [];
  for await (const { key } of store.list('archive/')) found.push(key);
  return found.sort();
};
const rows = () =>
  t.db.asEngine((tx) =>
    tx.query<{
      from_offset: bigint;
      next_offset: bigint;
      previous: string | null;
      manifest_sha256: string;
      manifest: Buffer;
    }>(
      'select from_offset, next_offset, previous, manifest_sha256, manifest from archive_segments order by from_offset',
    ),
  );
/** Everything that the archive alone gives. */
async function archived(): Promise<LogMessage[]> {
  const source = archivedLog({ db: t.db, store, eventLog: { ...log, read: async () => [] }, prefer: 'archive' });
  const messages: LogMessage[] = [];
  for (let at = 0n; ; at = messages.at(-1)!.offset + 1n) {
    const more = await source.read(REPORTS_TOPIC, 0, at, 100, 1e6);
    if (more.length === 0) return messages;
    messages.push(...more);
  }
}

describe('what was consumed', () => {
  test('is archived whole once it is old, in segments that are a chain, and what was not consumed is not', async () => {
    await append(100);
    await consumed(90, 1);
    await archiveAll();
    expect(await rows()).toHaveLength(4);
    clock.pass(AGE_MS + 1_000);
    await archiveAll();
    const messages = await log.read(REPORTS_TOPIC, 0, 0n, 200, 1e9);
    expect(await archived()).toEqual(messages.slice(0, 90));
    const chain = await rows();
    expect(chain[0]).toMatchObject({ from_offset: 0n, previous: null });
    for (const [i, row] of chain.slice(1).entries())
      expect(row).toMatchObject({ from_offset: chain[i]!.next_offset, previous: chain[i]!.manifest_sha256 });
    expect(chain.at(-1)!.next_offset).toBe(90n);
    // The same manifest lies beside the data.
    const objects = await keys();
    expect(objects).toHaveLength(3 * chain.length);
    const [manifest] = objects.filter((key) => key.endsWith('.json'));
    expect((await readFile(join(root, manifest!))).equals(chain[0]!.manifest)).toBe(true);
  });

  test('is left until a segment is full or its first message is old', async () => {
    await append(10);
    await consumed(10);
    await archiveAll(context(), 1e6);
    expect(await rows()).toEqual([]);
    clock.pass(AGE_MS + 1_000);
    await archiveAll(context(), 1e6);
    expect(await rows()).toHaveLength(1);
    await archiveAll(context(), 1e6);
    expect(await rows()).toHaveLength(1);
  });

  test('is not read again at each look until it may be full', async () => {
    await append(40);
    await consumed(20);
    let reads = 0;
    const read: typeof log.read = (...asked) => {
      if (asked[3] > 1) reads++;
      return log.read(...asked);
    };
    const archiver = new Archiver(context({ eventLog: { ...log, read } }), { maxSegmentBytes: 1_900 });
    for (let i = 0; i < 5; i++) expect(await archiver.archive(signal)).toBe(false);
    expect(reads).toBe(1);
    await consumed(40);
    expect(await archiver.archive(signal)).toBe(true);
  });

  test('of each of several partitions is not read again at each look', async () => {
    await append(40);
    await consumed(20);
    await asAdmin(
      t.urls.admin,
      `insert into consumer_offsets (topic, partition, next_offset, next_line, appended_at_ms) values ('${REPORTS_TOPIC}', 1, 20, 0, 0)`,
    );
    const reads = [0, 0];
    const read: typeof log.read = (topic, partition, ...asked) => {
      if (asked[1] > 1) reads[partition]!++;
      return log.read(topic, 0, ...asked);
    };
    const partitions = async () => [0, 1];
    const archiver = new Archiver(context({ eventLog: { ...log, partitions, read } }), { maxSegmentBytes: 1_900 });
    for (let i = 0; i < 5; i++) expect(await archiver.archive(signal)).toBe(false);
    expect(reads).toEqual([1, 1]);
  });

  test('is not archived while the positions are those of a topic that is there no more', async () => {
    await append(10);
    await consumed(10);
    clock.pass(AGE_MS + 1_000);
    const seen = (identity: string) =>
      asAdmin(
        t.urls.admin,
        `delete from ingest_topics; insert into ingest_topics (topic, identity, partitions) values ('${REPORTS_TOPIC}', '${identity}', 1)`,
      );
    await seen('an older one');
    await archiveAll();
    expect(await rows()).toEqual([]);
    await seen('embedded');
    await archiveAll();
    expect((await rows()).length).toBeGreaterThan(0);
  });

  test('is archived by the leader of the seat only', async () => {
    await append(50);
    await consumed(50);
    await expect(archiveAll(context({ epoch: epoch + 1_000n }))).rejects.toThrow(StaleLeader);
    expect(await rows()).toEqual([]);
    // What the other one stored meanwhile is taken up.
    await archiveAll();
    const chain = await rows();
    expect(await keys()).toHaveLength(3 * chain.length);
    expect((await archived()).length).toBe(Number(chain.at(-1)!.next_offset));
  });
});

/** A store, or a database, at which the process dies at the n-th change, before it or behind it. */
class Dying extends Error {}

function dying(ctx: ArchiveContext, at: number): ArchiveContext {
  let changes = 0;
  const change = async <T>(work: () => Promise<T>): Promise<T> => {
    const number = changes++;
    if (number === at) throw new Dying();
    const result = await work();
    if (number + 0.5 === at) throw new Dying();
    return result;
  };
  const asLeader: Database['asLeader'] = (leads, work) => change(() => ctx.db.asLeader(leads, work));
  return {
    ...ctx,
    db: { ...ctx.db, asLeader },
    store: {
      ...ctx.store,
      put: (...asked) => change(() => ctx.store.put(...asked)),
      delete: (key) => change(() => ctx.store.delete(key)),
    },
  };
}

describe('an archiver that dies', () => {
  // Four changes a segment: the segment, its marks, its manifest, its row.
  test('between any two steps leaves what the next one takes up: no segment twice, none lost, no object without a row', async () => {
    await append(60);
    for (const at of dueToday(Array.from({ length: 16 }, (_, i) => i / 2))) {
      await asAdmin(t.urls.admin, 'truncate archive_segments');
      await rm(join(root, 'archive'), { recursive: true, force: true });
      await consumed(40);
      await expect(archiveAll(dying(context(), at)), `dies at ${at}`).rejects.toThrow(Dying);
      // The next one finds more, and would have cut elsewhere.
      await consumed(60);
      await archiveAll(context(), 700 + 100 * at);
      clock.pass(AGE_MS + 1_000);
      await archiveAll(context(), 700 + 100 * at);
      expect(await archived(), `dies at ${at}`).toEqual(await log.read(REPORTS_TOPIC, 0, 0n, 200, 1e9));
      expect(await keys()).toHaveLength(3 * (await rows()).length);
    }
  });

  test('while it lets go of what is old deletes again, and never what is named', async () => {
    await append(60);
    await consumed(60);
    await archiveAll();
    clock.pass(30 * DAY_MS);
    const before = await rows();
    const policy = { segmentAgeMs: AGE_MS, keepMs: 20 * DAY_MS, logKeepMs: null };
    for (const at of [0.5, 1, 1.5, 2, 3.5, 4]) {
      await expect(deleteExpired(dying(context({ policy }), at)), `dies at ${at}`).rejects.toThrow(Dying);
    }
    while (await deleteExpired(context({ policy })));
    expect(await keys()).toEqual([]);
    expect((await rows()).length).toBe(before.length);
    // The chain goes on from what is gone.
    await append(60);
    await consumed(120);
    await archiveAll();
    const after = (await rows())[before.length]!;
    expect(after).toMatchObject({ from_offset: before.at(-1)!.next_offset, previous: before.at(-1)!.manifest_sha256 });
    expect((await verifyArchive(t.db, store, PLACE, { from: 0n, to: 120n }, signal)).fault).toBeNull();
  });
});

test('what is old lets go of the beginning of a partition only, also where clocks went back', async () => {
  await append(60);
  // The first messages say that they are younger than those behind them.
  await asAdmin(t.urls.admin, `update log_messages set appended_at = now() + interval '10 days' where log_offset < 5`);
  await consumed(60);
  clock.pass(11 * DAY_MS);
  await archiveAll();
  clock.pass(14 * DAY_MS);
  const policy = { segmentAgeMs: AGE_MS, keepMs: 20 * DAY_MS, logKeepMs: null };
  while (await deleteExpired(context({ policy })));
  expect(await keys()).toHaveLength(3 * (await rows()).length);
  clock.pass(10 * DAY_MS);
  while (await deleteExpired(context({ policy })));
  expect(await keys()).toEqual([]);
});

describe('two archivers', () => {
  test('at once never both have a stretch, wherever each would have cut it', async () => {
    await append(120);
    for (let round = 0; round < 6; round++) {
      await consumed(20 * (round + 1));
      clock.pass(AGE_MS + 1_000);
      const one = new Archiver(context(), { maxSegmentBytes: 600 });
      const other = new Archiver(context(), { maxSegmentBytes: 900 });
      await Promise.all([one.archive(signal), other.archive(signal)]);
    }
    clock.pass(AGE_MS + 1_000);
    await archiveAll();
    expect(await archived()).toEqual(await log.read(REPORTS_TOPIC, 0, 0n, 200, 1e9));
    expect(await keys()).toHaveLength(3 * (await rows()).length);
  });

  test('of two installations on one store do not share a stretch: the second says so and writes nothing', async () => {
    await append(10);
    await consumed(10);
    clock.pass(AGE_MS + 1_000);
    const [first] = await log.read(REPORTS_TOPIC, 0, 0n, 1, 1);
    const foreign = { ...PLACE, from: 0n, next: 1n, lostBefore: null, messages: [{ ...first!, key: 'another' }] };
    await store.put('archive/merit.reports/embedded/0/0000000000000000000.zst', await pack(encodeSegment(foreign)));
    const failed = archiveAll();
    await expect(failed).rejects.toThrow(OperatingError);
    await expect(failed).rejects.toMatchObject({ code: 'conflict' });
    expect(await rows()).toEqual([]);
    expect(await keys()).toHaveLength(1);
  });
});

describe('the embedded log', () => {
  test('loses what is archived and old, some at a time, and nothing else; the archive goes on giving it', async () => {
    await append(80);
    await consumed(70);
    await archiveAll();
    const all = await log.read(REPORTS_TOPIC, 0, 0n, 200, 1e9);
    const end = (await rows()).at(-1)!.next_offset;
    const policy = { segmentAgeMs: AGE_MS, keepMs: null, logKeepMs: DAY_MS };
    await trimArchived(context({ policy }));
    expect((await log.end(REPORTS_TOPIC, 0)).firstOffset).toBe(0n);
    clock.pass(2 * DAY_MS);
    await trimArchived(context({ policy }));
    const { firstOffset, nextOffset, appendedAtMs } = await log.end(REPORTS_TOPIC, 0);
    expect([firstOffset, nextOffset]).toEqual([end, 80n]);
    expect(appendedAtMs).toBe(all.at(-1)!.appendedAtMs);
    for (const prefer of ['archive', 'log'] as const) {
      const source = archivedLog({ db: t.db, store, eventLog: log, prefer });
      expect(await source.firstOffset(REPORTS_TOPIC, 0)).toBe(0n);
      const read: LogMessage[] = [];
      while (read.length < 80) read.push(...(await source.read(REPORTS_TOPIC, 0, BigInt(read.length), 7, 1e6)));
      expect(read).toEqual(all);
    }
  });

  test('keeps its last message, so that it goes on telling when that was appended', async () => {
    await append(20);
    await consumed(20);
    clock.pass(2 * DAY_MS);
    await archiveAll();
    const before = await log.end(REPORTS_TOPIC, 0);
    await trimArchived(context({ policy: { segmentAgeMs: AGE_MS, keepMs: null, logKeepMs: DAY_MS } }));
    expect(await log.end(REPORTS_TOPIC, 0)).toEqual({ ...before, firstOffset: 19n });
    await append(1);
    expect((await log.read(REPORTS_TOPIC, 0, 0n, 10, 1e6)).map(({ offset }) => offset)).toEqual([19n, 20n]);
  });
});

describe('verification', () => {
  const check = () => verifyArchive(t.db, store, PLACE, { from: 0n, to: 50n }, signal);
  const segmentKey = 'archive/merit.reports/embedded/0/0000000000000000000.zst';
  async function world(): Promise<readonly LogMessage[]> {
    await append(50);
    await consumed(50);
    clock.pass(AGE_MS + 1_000);
    await archiveAll();
    return archived();
  }
  /** The first segment as somebody who knows its form would leave it. */
  async function rewrite(change: (messages: LogMessage[]) => void): Promise<void> {
    const next = (await rows())[0]!.next_offset;
    const messages = (await archived()).filter(({ offset }) => offset < next);
    change(messages);
    await writeFile(
      join(root, segmentKey),
      await pack(encodeSegment({ ...PLACE, from: 0n, next, lostBefore: null, messages })),
    );
  }

  test('finds nothing where nothing was changed', async () => {
    await world();
    expect(await check()).toEqual({ segments: (await rows()).length, messages: 50, fault: null });
  });

  test('tells a report that was altered, to the line', async () => {
    const messages = await world();
    const offset = messages.findIndex(({ value }) => value !== null && value.length > 3);
    await rewrite((list) => {
      const value = Buffer.from(list[offset]!.value!);
      value[value.length - 2] = value[value.length - 2]! ^ 1;
      list[offset] = { ...list[offset]!, value };
    });
    expect((await check()).fault).toEqual({
      object: segmentKey,
      offset: BigInt(offset),
      line: 2,
      problem: 'the line was altered',
    });
  });

  test('tells a report that was taken out', async () => {
    await world();
    await rewrite((list) => list.splice(3, 1));
    expect((await check()).fault).toMatchObject({ object: segmentKey, offset: 3n, line: null });
  });

  test('tells a segment that was deleted, one that is rubbish, and what lies beside it', async () => {
    await world();
    const [marks, manifest] = [segmentKey.replace('.zst', '.marks'), segmentKey.replace('.zst', '.json')];
    for (const [key, offset] of [
      [manifest, null],
      [marks, null],
      [segmentKey, 0n],
    ] as const) {
      const bytes = await readFile(join(root, key));
      await writeFile(join(root, key), Buffer.concat([bytes, Buffer.from('x')]));
      expect((await check()).fault, key).toMatchObject({ object: key });
      await rm(join(root, key));
      expect((await check()).fault, key).toMatchObject({
        object: key,
        offset,
        problem: expect.stringContaining('missing'),
      });
      await writeFile(join(root, key), bytes);
    }
    expect((await check()).fault).toBeNull();
  });

  test('tells a segment that is in neither place any more, by the chain', async () => {
    await world();
    const [, second] = await rows();
    await asAdmin(
      t.urls.admin,
      `alter table archive_segments disable trigger all; delete from archive_segments where from_offset = ${second!.from_offset};
       alter table archive_segments enable trigger all`,
    );
    expect((await check()).fault).toMatchObject({
      offset: second!.from_offset,
      problem: 'the segment before it is missing',
    });
  });

  test('a row cannot be altered, only marked as expired', async () => {
    await world();
    const change = (sql: string) => t.db.asEngine((tx) => tx.execute(sql));
    await expect(change(`update archive_segments set sha256 = repeat('0', 64)`)).rejects.toMatchObject({
      code: '42501',
    });
    await expect(change('delete from archive_segments')).rejects.toMatchObject({ code: '42501' });
    await change('update archive_segments set expired_at = now()');
    await expect(change('update archive_segments set expired_at = null')).rejects.toMatchObject({ code: 'MR001' });
  });
});

test('a collection deletes what an archiver wrote that woke up long after, and nothing that may still be taken up', async () => {
  await append(40);
  await consumed(30);
  await archiveAll();
  const chain = await rows();
  const named = await keys();
  const key = (from: bigint) => `archive/merit.reports/embedded/0/${String(from).padStart(19, '0')}.zst`;
  // At the end of the chain: the next archiver's.
  await store.put(key(chain.at(-1)!.next_offset), Buffer.from('a'));
  await store.put(key(1n), Buffer.from('b'));
  await store.put('archive/merit.reports/another/0/0000000000000000001.zst', Buffer.from('c'));
  const found = async (dryRun: boolean, graceMs = -1_000) => {
    const list: string[] = [];
    const asks = { nowMs: Date.now(), graceMs, dryRun, signal };
    for await (const one of unnamedSegments(store, (work) => t.db.asEngine(work), asks)) list.push(one.key);
    return list;
  };
  expect(await found(true, 3_600_000)).toEqual([]);
  expect(await found(true)).toEqual([key(1n)]);
  expect(await found(false)).toEqual([key(1n)]);
  expect(await keys()).toEqual(
    [...named, key(chain.at(-1)!.next_offset), 'archive/merit.reports/another/0/0000000000000000001.zst'].sort(),
  );
});
