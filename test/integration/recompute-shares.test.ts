import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { copySegments, neededOf } from '../../api/cli/sent-segments.ts';
import { sha256Hex } from '../../core/canonical.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import type { Database } from '../../platform/postgres.ts';
import { type ArchivedPartition, archivedPartitions } from '../../scoring/archive/archived-reports.ts';
import { countShare } from '../../scoring/batch/count-share.ts';
import { type HandedShard, parseHandedShards } from '../../scoring/batch/handed-shard.ts';
import { giveBackRollout, handOver } from '../../scoring/batch/handover.sql.ts';
import { hourOf } from '../../scoring/batch/hour-share.ts';
import { mergeShares, type ShareOfJob } from '../../scoring/batch/merge-shares.ts';
import { readPaneFile } from '../../scoring/batch/pane-file.ts';
import { claimShard, endShard } from '../../scoring/batch/recomputes.sql.ts';
import { runShard } from '../../scoring/batch/run-shard.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { getRollout, rollBack } from '../../scoring/registry/rollouts.ts';
import type { Requester } from '../../scoring/registry/suites.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { archiveAll } from './archive-support.ts';
import {
  judgedAfterMs,
  lines,
  MODELS,
  NEXT,
  OLD,
  recompute,
  recomputeContext,
  scoresAfter,
} from './scoring-batch-support.ts';
import { type Harness, harness, newTenant } from './scoring-online-support.ts';
import { beside, panesUnder, registerBoard } from './scoring-rollout-support.ts';

/** What is too late is so in whatever order several partitions are read. */
const sent = lines(600, 3, 10 * 86_400_000);
/** Where the new version starts, and where the history is filled in. */
const START = Math.floor(sent.length * 0.6);
const FILL = Math.floor(sent.length * 0.85);
const SHARES = 3;
const HOLD_MS = 60_000;
/** Merges, and finishes what is done, but reads no log. */
const NO_THREADS = { maxThreads: 0 };

let base: TestDatabase;
let h: Harness;
let root: string;
let store: ObjectStore;
let archive: readonly ArchivedPartition[];
const by: Record<string, Requester> = {};
const ctx = () => h.context({ epoch: -2n });

async function open(partitions: number, tenants: readonly string[]): Promise<void> {
  base = await testDatabase();
  h = await harness(base, partitions);
  root = await mkdtemp(join(tmpdir(), 'merit-shares-'));
  store = await openFileObjectStore({ root });
  for (const tenant of ['whole', ...tenants]) {
    by[tenant] = await newTenant(base, tenant);
    await registerBoard(base.db, by[tenant], OLD, MODELS);
  }
  await beside(base.db, by.whole!, NEXT);
  await read(['whole', ...tenants], 0, START);
  for (const tenant of tenants) await beside(base.db, by[tenant]!, NEXT);
  await read(['whole', ...tenants], START, FILL);
  await archiveAll(base.db, h, root, 20_000);
  archive = await archivedPartitions(store, REPORTS_TOPIC);
}

async function close(): Promise<void> {
  await h.log.close();
  await base.close();
  await rm(root, { recursive: true });
}

async function read(tenants: readonly string[], from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += 50)
    for (const tenant of tenants) await h.send(tenant, sent.slice(at, Math.min(to, at + 50)).join(''));
  await h.drain(ctx());
}

/** As a job is given it: through JSON. */
async function handed(tenant: string, claim: string): Promise<readonly HandedShard[]> {
  const asked = { tenant, suite: 'board', claim, holdMs: HOLD_MS, generation: archive[0]!.generation };
  const shards = await base.db.asEngine((tx) => handOver(tx, asked));
  return parseHandedShards(JSON.parse(JSON.stringify(shards)));
}

async function counted(shard: HandedShard, of = SHARES): Promise<ShareOfJob[]> {
  const shares: ShareOfJob[] = [];
  for (let index = 0; index < of; index++) {
    const bytes = await countShare(store, shard, { index, of }, archive);
    shares.push({ ...(await readPaneFile('shard.panes', bytes)), job: `job-${index}`, sha256: sha256Hex(bytes) });
  }
  return shares;
}

const merge = (tenant: string, { claim, partition }: HandedShard, shares: readonly ShareOfJob[]) =>
  mergeShares(base.db, by[tenant]!, { suite: 'board', claim, partition, shares });

/** Whose connection ends within its nth transaction, before that is committed. */
function breakingAt(nth: number): Database {
  let transactions = 0;
  const asEngine: Database['asEngine'] = (work) =>
    base.db.asEngine(async (tx) => {
      const result = await work(tx);
      transactions++;
      if (transactions === nth) await tx.query('select pg_terminate_backend(pg_backend_pid())');
      return result;
    });
  return { ...base.db, asEngine };
}

async function mergedOf(tenant: string) {
  const rows = await base.db.asEngine((tx) =>
    tx.query<{ hours: number }>('select cardinality(merged_hours) as hours from recomputes where tenant = $1', [
      tenant,
    ]),
  );
  return { hours: rows[0]!.hours, panes: await panesUnder(base.db, tenant, NEXT) };
}

const progress = async (tenant: string) =>
  (await base.db.asTenant(tenant, (tx) => getRollout(tx, tenant, 'board')))!.recompute;

async function finished(tenant: string) {
  await recompute(recomputeContext(ctx()), NO_THREADS);
  await h.drain(ctx());
  const startMs = await judgedAfterMs(base.db, tenant);
  return {
    panes: await panesUnder(base.db, tenant, NEXT),
    scores: await scoresAfter(base.db, tenant, NEXT, startMs),
    whole: await scoresAfter(base.db, 'whole', NEXT, startMs),
  };
}

describe.each([1, 2])('the history of a version, counted out of an archive of %i partitions by jobs', (partitions) => {
  beforeAll(() => open(partitions, ['jobs', 'workers', 'begun']), 180_000);
  afterAll(close);

  test('has the panes and scores that the workers give, and those of a version that was there from the first report on', async () => {
    // First, so that no worker finds the others'.
    const shards = await handed('jobs', 'jobs/1');
    const begun = await handed('begun', 'jobs/2');
    expect(shards).toHaveLength(partitions);
    await recompute(recomputeContext(ctx()), { batchMessages: 3 });
    for (const shard of [...shards, ...begun])
      expect(await merge(shard.tenant, shard, await counted(shard))).toMatchObject({ partition: shard.partition });
    const jobs = await finished('jobs');
    expect(jobs.scores).toEqual(jobs.whole);
    expect(new Set(jobs.scores.map((row) => row.tick_ms)).size).toBeGreaterThan(2);
    expect(jobs.panes).toEqual((await finished('workers')).panes);
    expect(await progress('jobs')).toEqual(await progress('workers'));
    expect(await progress('jobs')).toMatchObject({ state: 'done', failure: null });
    if (partitions === 1) expect(jobs.panes).toEqual(await panesUnder(base.db, 'whole', NEXT));
  });
});

describe('a partition’s shares', () => {
  const tenants = ['once', 'again', 'taken', 'handed', 'partly', 'late', 'ended', 'half', 'foreign', 'untrue'];
  beforeAll(() => open(1, tenants), 180_000);
  afterAll(close);

  test('are merged once, with an event that names the jobs and the hashes of what they left', async () => {
    const [shard] = await handed('once', 'jobs/once');
    const shares = await counted(shard!);
    const first = await merge('once', shard!, shares);
    expect(first!.counts.counted).toBeGreaterThan(100);
    const panes = await panesUnder(base.db, 'once', NEXT);
    expect(await merge('once', shard!, shares.toReversed())).toEqual(first);
    expect(await merge('once', shard!, [{ ...shares[0]!, job: 'job-9' }])).toBeUndefined();
    expect(await panesUnder(base.db, 'once', NEXT)).toEqual(panes);
    const events = await base.db.asTenant('once', (tx) =>
      tx.query<{ bytes: Buffer }>(`select bytes from audit_events where type = 'suite.recompute.merged'`),
    );
    expect(events.map(({ bytes }) => JSON.parse(String(bytes)).data)).toEqual([
      expect.objectContaining({
        ...first,
        jobs: shares.map(({ job, sha256 }) => ({ job, sha256 })),
      }),
    ]);
    expect((await finished('once')).scores).toEqual((await finished('once')).whole);
    await expect(handed('once', 'jobs/again')).rejects.toThrow('has no history that is not filled in');
  });

  test('whose merge broke off between two hours are gone on with by whoever merges again, by the workers, or by other jobs', async () => {
    const brokenOff = async (tenant: string) => {
      const [shard] = await handed(tenant, `jobs/${tenant}`);
      const shares = await counted(shard!);
      const before = await mergedOf(tenant);
      const asked = { suite: 'board', claim: shard!.claim, partition: 0, shares };
      await expect(mergeShares(breakingAt(4), by[tenant]!, asked, 10)).rejects.toThrow();
      const { hours, panes } = await mergedOf(tenant);
      expect(hours).toBeGreaterThan(1);
      expect(hours).toBeLessThan(new Set(shares.flatMap((share) => [...share.panes.startMs].map(hourOf))).size);
      expect(panes.length).toBeGreaterThan(before.panes.length);
      expect(await progress(tenant)).toMatchObject({ state: 'running', counted: 0 });
      return { shard: shard!, shares };
    };
    const again = await brokenOff('again');
    const [one, two] = await Promise.all([
      merge('again', again.shard, again.shares),
      merge('again', again.shard, again.shares),
    ]);
    expect(one!.counts.counted).toBeGreaterThan(100);
    expect(two).toEqual(one);
    const other = await brokenOff('handed');
    const [next] = await handed('handed', 'jobs/next');
    expect(await merge('handed', other.shard, other.shares)).toBeUndefined();
    expect(await merge('handed', next!, await counted(next!, 2))).toMatchObject({ counts: one!.counts });
    await brokenOff('taken');
    expect(await base.db.asEngine((tx) => giveBackRollout(tx, 'taken', 'board', 'jobs/taken'))).toBe(1);
    await base.db.asEngine((tx) =>
      tx.execute(`update recomputes set created_at = '2020-01-01' where tenant = 'taken'`),
    );
    const worker = await base.db.asEngine((tx) => claimShard(tx, 'worker', HOLD_MS));
    expect(worker).toMatchObject({ tenant: 'taken', nextOffset: 0n });
    const context = recomputeContext(ctx());
    await runShard(context, worker!, new AbortController().signal, { batchMessages: 3 });
    await base.db.asEngine((tx) => endShard(tx, worker!, 'done'));
    const { whole } = await finished('again');
    for (const tenant of ['again', 'handed', 'taken']) {
      const done = await finished(tenant);
      expect(done.scores).toEqual(whole);
      expect(done.panes).toEqual(await panesUnder(base.db, 'whole', NEXT));
      expect(await progress(tenant)).toMatchObject({ state: 'done', counted: one!.counts.counted });
    }
  });

  test('begin where a worker stood, and what it has under way then changes nothing', async () => {
    await base.db.asEngine((tx) =>
      tx.execute(`update recomputes set created_at = '2020-01-01' where tenant = 'partly'`),
    );
    const begun = await base.db.asEngine((tx) => claimShard(tx, 'worker', HOLD_MS));
    expect(begun).toMatchObject({ tenant: 'partly' });
    await base.db.asEngine((tx) =>
      tx.execute(`update recomputes set state = 'waiting', worker = null, lease_until = null where tenant = 'partly'`),
    );
    const [shard] = await handed('partly', 'jobs/partly');
    expect(await merge('partly', shard!, await counted(shard!, 1))).toBeDefined();
    const done = await finished('partly');
    expect(done.scores).toEqual(done.whole);
  });

  test('are refused where one is missing, twice, or of another hand-over', async () => {
    const [shard] = await handed('half', 'jobs/half');
    const shares = await counted(shard!);
    await expect(merge('half', shard!, shares.slice(1))).rejects.toThrow('2 of 3 shares');
    await expect(merge('half', shard!, [...shares.slice(1), shares[1]!])).rejects.toThrow('a share twice');
    await expect(merge('half', shard!, [])).rejects.toThrow('are missing');
    const [again] = await handed('half', 'jobs/half-again');
    expect(await merge('half', shard!, shares)).toBeUndefined();
    const others = [...(await counted(again!)).slice(1), shares[0]!];
    await expect(merge('half', again!, others)).rejects.toThrow('job-0, which counted something else');
    expect(await progress('half')).toMatchObject({ state: 'running', counted: 0 });
    expect(await merge('foreign', again!, await counted(again!))).toBeUndefined();
  });

  test('are refused, and nothing is added, where they have panes that the history cannot give', async () => {
    const [shard] = await handed('untrue', 'jobs/untrue');
    const shares = await counted(shard!);
    const before = await panesUnder(base.db, 'untrue', NEXT);
    const changed = (change: (share: ShareOfJob) => object) =>
      merge('untrue', shard!, [{ ...shares[0]!, ...change(shares[0]!) }, ...shares.slice(1)]);
    const { panes, head } = shares[0]!;
    const later = panes.startMs.map((at) => at + 3_600_000 * SHARES * 24 * 365);
    await expect(changed(() => ({ panes: { ...panes, startMs: later } }))).rejects.toThrow(
      /job-0, whose file has a pane of \S+, after what the version began at/,
    );
    const stranger = panes.series.map((name) => name.replace(MODELS[0]!, 'stranger'));
    await expect(changed(() => ({ panes: { ...panes, series: stranger } }))).rejects.toThrow(
      'job-0, whose file has panes of stranger, which is not registered',
    );
    const other = { suite: 'other', claim: shard!.claim, partition: 0, shares };
    await expect(mergeShares(base.db, by.untrue!, other)).rejects.toThrow('is of suite board');
    const counts = { ...head.counts, counted: 0 };
    await expect(changed(() => ({ head: { ...head, counts } }))).rejects.toThrow('and says it counted 0');
    expect(await panesUnder(base.db, 'untrue', NEXT)).toEqual(before);
    expect(await merge('untrue', shard!, shares)).toBeDefined();
  });

  test('of a rollout that ended are not merged', async () => {
    const [shard] = await handed('ended', 'jobs/ended');
    const shares = await counted(shard!);
    await base.db.asTenant('ended', (tx) => rollBack(tx, by.ended!, 'board'));
    expect(await merge('ended', shard!, shares)).toBeUndefined();
    expect(await panesUnder(base.db, 'ended', NEXT)).not.toEqual([]);
  });

  test('are no longer counted where the archive lacks what counts, and it says what', async () => {
    const [shard] = await handed('foreign', 'jobs/foreign');
    const [{ segments, ...rest }] = archive as [ArchivedPartition];
    const count = (some: ArchivedPartition['segments']) =>
      countShare(store, shard!, { index: 0, of: 1 }, [{ ...rest, segments: some }]);
    await expect(count(segments.slice(0, 1))).rejects.toThrow(
      /archived up to offset \d+, and \d+ is what the version began at/,
    );
    await expect(count(segments.slice(1))).rejects.toThrow(/archived from offset \d+ on only/);
  });

  test('are not counted out of segments that were sent where other tenants’ messages are in them', async () => {
    const [shard] = await handed('foreign', 'jobs/sent');
    const place = join(root, 'sent');
    const needed = await neededOf(store, [shard!]);
    await expect(copySegments(store, needed, 'foreign', place)).rejects.toMatchObject({
      exitCode: 3,
      code: 'tenants',
      mend: expect.stringContaining('--files shared'),
    });
    expect(existsSync(place)).toBe(false);
    // Manifests alone name nobody.
    await copySegments(
      store,
      needed.map((segment) => ({ ...segment, size: 0 })),
      'foreign',
      place,
    );
    expect(existsSync(place)).toBe(true);
  });

  test('that were given back, or held for too long, are the workers’ again', async () => {
    const [shard] = await handed('late', 'jobs/late');
    expect(await base.db.asEngine((tx) => giveBackRollout(tx, 'half', 'board', 'jobs/late'))).toBe(0);
    expect(await base.db.asEngine((tx) => giveBackRollout(tx, 'late', 'other', 'jobs/late'))).toBe(0);
    expect(await base.db.asEngine((tx) => giveBackRollout(tx, 'late', 'board', 'jobs/late'))).toBe(1);
    const shares = await counted(shard!);
    await recompute(recomputeContext(ctx()));
    expect(await progress('late')).toMatchObject({ state: 'done' });
    expect(await merge('late', shard!, shares)).toBeUndefined();
    const done = await finished('late');
    expect(done.scores).toEqual(done.whole);
  });
});

describe('a file of panes that no job of ours leaves is refused:', () => {
  let bytes: Buffer;
  beforeAll(async () => {
    await open(1, ['files']);
    const [shard] = await handed('files', 'jobs/files');
    bytes = await countShare(store, shard!, { index: 1, of: 2 }, archive);
  }, 180_000);
  afterAll(close);
  const head = () => JSON.parse(bytes.subarray(0, bytes.indexOf(10)).toString());
  const body = () => Buffer.from(bytes.subarray(bytes.indexOf(10) + 1));
  const headed = (change: object, rest = body()) =>
    Buffer.concat([Buffer.from(`${JSON.stringify({ ...head(), ...change })}\n`), rest]);
  const at = (offset: number, value: number) => {
    const changed = body();
    changed.writeDoubleLE(value, offset);
    return headed({}, changed);
  };

  test.each<[string, () => Buffer, string]>([
    ['nothing', () => Buffer.alloc(0), 'has no head'],
    ['a cut one', () => bytes.subarray(0, -1), 'is cut'],
    ['one with more', () => Buffer.concat([bytes, Buffer.alloc(1)]), 'is cut, or too long'],
    ['another format', () => headed({ format: 'merit-panes/9' }), 'has no head'],
    ['a member that is none', () => headed({ more: 1 }), 'has no head'],
    ['a share beyond all', () => headed({ share: { index: 2, of: 2 } }), 'is of a share that is none'],
    ['hours of another share', () => headed({ share: { index: 0, of: 2 } }), 'has an hour of another share'],
    ['a series too few', () => headed({ series: head().series.slice(0, -1) }), 'names a series that is not there'],
    ['a start between panes', () => at(0, 1), 'begins where no pane begins'],
    ['half a report', () => at(head().panes * 8, 0.5), 'counts no report'],
    [
      'a bucket count of none',
      () => Buffer.concat([headed({}).subarray(0, -head().panes - 4), Buffer.alloc(4), bytes.subarray(-head().panes)]),
      'buckets out of order, or empty',
    ],
    ['an extreme that is no number', () => at(head().panes * 64, Number.NaN), 'has an extreme beyond'],
  ])('%s', async (_, file, problem) => {
    await expect(readPaneFile('shard.panes', file())).rejects.toThrow(problem);
    await expect(readPaneFile('shard.panes', bytes)).resolves.toBeDefined();
  });
});
