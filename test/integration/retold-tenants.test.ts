import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withArchivedReports } from '../../api/cli/archive-reports.ts';
import { sha256Hex } from '../../core/canonical.ts';
import type { EventLog, LogMessage } from '../../platform/event-log.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import { archivedPartitions } from '../../scoring/archive/archived-reports.ts';
import { countShare } from '../../scoring/batch/count-share.ts';
import { parseHandedShards } from '../../scoring/batch/handed-shard.ts';
import { handOver } from '../../scoring/batch/handover.sql.ts';
import { mergeShares } from '../../scoring/batch/merge-shares.ts';
import { readPaneFile } from '../../scoring/batch/pane-file.ts';
import { expireQuarantine } from '../../scoring/ingest/expire-quarantine.ts';
import { reportMessage } from '../../scoring/ingest/pack-reports.ts';
import { REFUSED_HEADER, REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import type { Requester } from '../../scoring/registry/suites.ts';
import { ReplayLog } from '../../scoring/replay/replay-log.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { archiveAll } from './archive-support.ts';
import { lines, MODELS, NEXT, OLD, recompute, recomputeContext, scoresAfter } from './scoring-batch-support.ts';
import { currentEpoch, type Harness, harness, newTenant, TRACE } from './scoring-online-support.ts';
import { beside, panesUnder, registerBoard } from './scoring-rollout-support.ts';

/** A topic of several tenants tells whose a message is by the list that the server has now (openRecord): not by the one that it had when it was read first. */

const REFUSED = 'tenant:0:names a tenant whose reports this log does not hold';
const sent = lines(300, 3, 10 * 86_400_000);
/** Where the new version starts. */
const START = Math.floor(sent.length * 0.6);
const named = (prefix: string, seed: number) =>
  lines(60, seed).map((line) => line.replace('"reportId":"', `"reportId":"${prefix}`));
/** Counted for a tenant that was listed then. */
const OTHERS = named('other-', 5);
/** Set aside by the server’s own tenant, since nobody else was listed. */
const KEPT = named('kept-', 6);

let base: TestDatabase;
let h: Harness;
let root: string;
const by: Record<string, Requester> = {};
const ctx = () => h.context({ epoch: -2n });

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base);
  root = await mkdtemp(join(tmpdir(), 'merit-retold-'));
  for (const tenant of ['whole', 'workers', 'jobs', 'other', 'house']) {
    by[tenant] = await newTenant(base, tenant);
    await registerBoard(base.db, by[tenant], OLD, MODELS);
  }
  await beside(base.db, by.whole!, NEXT);
  await read(0, START / 2);
  await h.send('other', OTHERS.join(''));
  const source = { tenant: 'house', producer: undefined, traceparent: `00-${TRACE}-b7ad6b7169203331-01` };
  await h.log.append({ ...reportMessage(Buffer.from(KEPT.join('')), source), headers: { [REFUSED_HEADER]: REFUSED } });
  await read(START / 2, START);
  for (const tenant of ['workers', 'jobs']) await beside(base.db, by[tenant]!, NEXT);
  await read(START, sent.length);
  // Its time is over: that nothing of it was accepted stays known.
  const later = Date.now() + 365 * 86_400_000;
  await expireQuarantine(base.db, await currentEpoch(base.db), later);
}, 120_000);
afterAll(async () => {
  await h.log.close();
  await base.close();
  await rm(root, { recursive: true });
});

async function read(from: number, to: number): Promise<void> {
  for (let at = Math.ceil(from); at < to; at += 50)
    for (const tenant of ['whole', 'workers', 'jobs'])
      await h.send(tenant, sent.slice(at, Math.min(Math.ceil(to), at + 50)).join(''));
  await h.drain(ctx());
}

/** The log of a server of `tenant`’s: the one is not listed any more, and what was nobody’s is listed by now. */
function retold(tenant: string): EventLog {
  const retell = (message: LogMessage): LogMessage => {
    if (message.tenant === 'other') return { ...message, tenant, headers: { [REFUSED_HEADER]: REFUSED } };
    return message.tenant === 'house' ? { ...message, tenant, headers: {} } : message;
  };
  return { ...h.log, read: async (...args) => (await h.log.read(...args)).map(retell) };
}

async function expectAsWhole(tenant: string): Promise<void> {
  await h.drain(ctx());
  expect(await panesUnder(base.db, tenant, NEXT)).toEqual(await panesUnder(base.db, 'whole', NEXT));
  const scores = await scoresAfter(base.db, tenant, NEXT, 0);
  expect(scores).not.toEqual([]);
  const ticks = new Set(scores.map((row) => row.tick_ms));
  const whole = await scoresAfter(base.db, 'whole', NEXT, 0);
  expect(scores).toEqual(whole.filter((row) => ticks.has(row.tick_ms)));
}

describe('what a live server accepted for a tenant is all that is counted for it, whoever is listed by now', () => {
  test('by jobs, out of an archive', async () => {
    await archiveAll(base.db, { ...h, log: retold('jobs') }, root, 20_000);
    const store = await openFileObjectStore({ root });
    const archive = await archivedPartitions(store, REPORTS_TOPIC);
    const asked = { tenant: 'jobs', suite: 'board', claim: 'jobs/1', holdMs: 60_000 };
    const { generation } = archive[0]!;
    const shards = await base.db.asEngine((tx) => handOver(tx, { ...asked, generation }));
    const [shard] = parseHandedShards(JSON.parse(JSON.stringify(shards)));
    const bytes = await countShare(store, shard!, { index: 0, of: 1 }, archive);
    const share = { ...(await readPaneFile('shard.panes', bytes)), job: 'job-0', sha256: sha256Hex(bytes) };
    const { claim, partition } = shard!;
    const merging = { suite: 'board', claim, partition, shares: [share] };
    await mergeShares(base.db, by.jobs!, merging);
    await recompute(recomputeContext(ctx()), { maxThreads: 0 });
    await expectAsWhole('jobs');
  });

  test('by a backtest of an archive', async () => {
    const io = { cwd: root, note: () => {} };
    const options = { archive: root, tenant: 'jobs' };
    const { signal } = new AbortController();
    const all = await withArchivedReports({ io, options, args: [], signal } as never, async (files) =>
      (await Promise.all(files.map((file) => readFile(file, 'utf8')))).join(''),
    );
    expect(all).toContain('"reportId":"r-');
    expect(all).not.toContain('"reportId":"other-');
  });

  test('by the recompute workers, out of the log', async () => {
    await recompute({ ...recomputeContext(ctx()), eventLog: retold('workers') });
    await expectAsWhole('workers');
  });

  test('by a replay', async () => {
    const { nextOffset } = await h.log.end(REPORTS_TOPIC, 0);
    const of = { topic: REPORTS_TOPIC, tenant: 'workers', partitions: 1, whole: true };
    const source = { read: retold('workers').read, firstOffset: async () => 0n };
    const log = new ReplayLog({ db: base.db, source, ...of, pace: async () => {} });
    log.readTo(new Map([[0, { offset: nextOffset, line: 0 }]]), new Map());
    const messages: LogMessage[] = [];
    for (let at = 0n; ; at = messages.at(-1)!.offset + 1n) {
      const given = await log.read(REPORTS_TOPIC, 0, at, 100, 1024 * 1024);
      if (given.length === 0) break;
      messages.push(...given);
    }
    const texts = messages.map(({ value }) => String(value));
    expect(texts.some((text) => text.includes('"reportId":"r-'))).toBe(true);
    expect(texts.filter((text) => text.includes('"reportId":"kept-'))).toEqual([]);
    // The consumer sets it aside, as it is told to.
    for (const { headers } of messages.filter(({ value }) => String(value).includes('"reportId":"other-')))
      expect(headers[REFUSED_HEADER]).toBe(REFUSED);
  });
});
