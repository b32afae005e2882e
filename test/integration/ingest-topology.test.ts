import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EventLog } from '../../platform/event-log.ts';
import type { Database } from '../../platform/postgres.ts';
import { generationOf } from '../../scoring/archive/generation.ts';
import { type ConsumerContext, NO_METRICS } from '../../scoring/context.ts';
import { Consumer } from '../../scoring/ingest/consumer.ts';
import { ReaderThread } from '../../scoring/ingest/reader-thread.ts';
import { REPORTS_TOPIC, STRAY_HEADER } from '../../scoring/ingest/report-log.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { listQuarantine } from '../../scoring/read/quarantine.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { HANGS } from '../support/hanging-reader.worker.ts';
import {
  appendRouted,
  appendTo,
  drainAll,
  lineOf,
  partitionFor,
  Reader,
  raisePartitions,
  random,
  reportOf,
  suiteOf,
} from './ingest-readers.ts';
import {
  type Harness,
  harness,
  newTenant,
  referenceChecksum,
  register,
  type TestReport,
} from './scoring-online-support.ts';

const SUITE = suiteOf('shared');
const LEASE_MS = 300;

let base: TestDatabase;
let h: Harness;
let serial = 0;

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base);
  await raisePartitions(base.db, 4);
});
afterAll(async () => {
  await h.log.close();
  await base.close();
});

async function tenantWith(name: string) {
  const by = await newTenant(base, name);
  await register(base.db, by, SUITE, ['ranker-v1', 'ranker-v2']);
}

function someReports(count: number): TestReport[] {
  const next = random(++serial);
  return Array.from({ length: count }, (_, i) => ({ ...reportOf(SUITE.name, i, next), reportId: `r-${serial}-${i}` }));
}

const linesOf = (reports: readonly TestReport[]) => reports.map(lineOf).join('');
const checksum = (tenant: string) => base.db.asTenant(tenant, (tx) => suiteChecksum(tx, tenant, SUITE.name));
const finalOf = async (tenant: string) => {
  const rows = await base.db.asTenant(tenant, (tx) =>
    tx.query<{ watermark_ms: bigint }>('select watermark_ms from suite_states'),
  );
  return Number(rows[0]!.watermark_ms);
};
const accepted = async (tenant: string) => {
  const rows = await base.db.asTenant(tenant, (tx) =>
    tx.query<{ n: string | null }>('select sum(accepted)::text as n from input_counters'),
  );
  return Number(rows[0]!.n);
};
const owners = async () =>
  base.db.asEngine((tx) =>
    tx.query<{ member: string | null; n: bigint }>(
      'select member, count(*) as n from ingest_partitions where topic = $1 group by 1 order by 1',
      [REPORTS_TOPIC],
    ),
  );
/** All that a reader may change. */
const everything = () =>
  base.db.asEngine((tx) =>
    tx.query(`select (select jsonb_agg(c order by partition) from consumer_offsets c) as offsets, (select count(*) from panes) as panes,
                (select jsonb_agg(s order by tenant) from suite_states s) as suites, (select count(*) from scores) as scores,
                (select count(*) from dedup_blocks) as blocks, (select sum(accepted) from input_counters) as accepted`),
  );

/** A log of which a test changes what it says. */
function logWith(change: Partial<EventLog>): (ctx: ConsumerContext) => ConsumerContext {
  return (ctx) => ({ ...ctx, eventLog: { ...ctx.eventLog, ...change } });
}

describe('partitions', () => {
  test('are shared evenly among the readers that are there, and handed over without a word of the others', async () => {
    const [one, two, three] = ['one', 'two', 'three'].map((name) => new Reader(h, name, {}, (ctx) => ctx));
    const turns = async (...readers: Reader[]) => {
      for (let i = 0; i < 3; i++) for (const reader of readers) await reader.step();
    };
    await turns(one!);
    expect(await owners()).toEqual([{ member: 'one', n: 4n }]);
    await turns(one!, two!);
    expect((await owners()).map((row) => row.n)).toEqual([2n, 2n]);
    await turns(one!, two!, three!);
    expect((await owners()).map((row) => row.n).sort()).toEqual([1n, 1n, 2n]);
    await two!.close();
    await turns(one!, three!);
    expect((await owners()).map((row) => row.n)).toEqual([2n, 2n]);
    await Promise.all([one!.close(), three!.close()]);
    expect(await owners()).toEqual([{ member: null, n: 4n }]);
  });

  test.each(['inside its transaction', 'before its transaction'])(
    'of a reader that is frozen %s are taken over within the lease, and it changes nothing when it wakes',
    async (when) => {
      const tenant = when.startsWith('inside') ? 'frozen-in' : 'frozen-out';
      await tenantWith(tenant);
      const reports = someReports(80);
      let wake = () => {};
      const asleep = new Promise<void>((resolve) => {
        wake = resolve;
      });
      let frozen = false;
      const freezing = (ctx: ConsumerContext): ConsumerContext => {
        const asFenced: Database['asFenced'] = async (fence, work) => {
          if (!frozen) return ctx.db.asFenced(fence, work);
          if (when.startsWith('before')) await asleep;
          return ctx.db.asFenced(fence, async (tx) => {
            const done = await work(tx);
            if (when.startsWith('inside')) await asleep;
            return done;
          });
        };
        return { ...ctx, db: { ...ctx.db, asFenced } };
      };
      const sleeper = new Reader(h, `${tenant}-sleeper`, { leaseMs: LEASE_MS }, freezing);
      const other = new Reader(h, `${tenant}-other`, { leaseMs: 30_000 }, (ctx) => ctx);
      await sleeper.step();
      await appendRouted(h.log, tenant, linesOf(reports));
      frozen = true;
      const sleeping = sleeper.step().catch((error: unknown) => error);
      await pause(LEASE_MS + 50);
      // At its first look: it does not wait for what the sleeper holds.
      await other.step();
      expect(await owners()).toEqual([{ member: `${tenant}-other`, n: 4n }]);
      await drainAll(h, [other]);
      expect(await accepted(tenant)).toBe(80);
      expect(await checksum(tenant)).toBe(referenceChecksum(SUITE, reports, await finalOf(tenant)));
      const before = await everything();
      frozen = false;
      wake();
      await sleeping;
      expect(await everything()).toEqual(before);
      await other.close();
      await drainAll(h, [sleeper]);
      expect(await accepted(tenant)).toBe(80);
      await sleeper.close();
    },
  );

  test('that are raised while reports come move their shards, and no report counts twice or not at all', async () => {
    await tenantWith('raised');
    const layouts: string[] = [];
    const metrics = { ...NO_METRICS, layoutChanged: (kind: string) => layouts.push(kind) };
    const reports = someReports(120);
    const readers = ['r-one', 'r-two'].map((name) => new Reader(h, name, {}, (ctx) => ({ ...ctx, metrics })));
    await appendRouted(h.log, 'raised', linesOf(reports.slice(0, 80)));
    for (const reader of readers) await reader.step();
    await raisePartitions(base.db, 7);
    // All of them once more, by the new routes.
    await appendRouted(h.log, 'raised', linesOf(reports));
    await drainAll(h, readers);
    expect(layouts).toEqual(['raised']);
    expect(await accepted('raised')).toBe(120);
    expect(await checksum('raised')).toBe(referenceChecksum(SUITE, reports, await finalOf('raised')));
    for (const reader of readers) await reader.close();
  });

  test('that hold lines which others serve send them on with their trace, once for each time that they were sent', async () => {
    await tenantWith('astray');
    const reports = someReports(40);
    const partitions = (await h.log.partitions(REPORTS_TOPIC)).length;
    let strays = 0;
    const metrics = {
      ...NO_METRICS,
      strays: (count: number) => {
        strays += count;
      },
    };
    const reader = new Reader(h, 's-one', {}, (ctx) => ({ ...ctx, metrics }));
    await appendTo(h.log, 'astray', 2, linesOf(reports));
    await drainAll(h, [reader]);
    expect(strays).toBe(reports.filter((report) => partitionFor('astray', report, partitions) !== 2).length);
    expect(await accepted('astray')).toBe(40);
    const rows = await base.db.asTenant('astray', (tx) =>
      tx.query<{ duplicates: string }>('select sum(duplicates)::text as duplicates from input_counters'),
    );
    expect(rows).toEqual([{ duplicates: '0' }]);
    await reader.close();
  });

  test('lose no line to a message that only says it was sent on, from a place far ahead', async () => {
    await tenantWith('forged');
    const reports = someReports(40);
    const partitions = (await h.log.partitions(REPORTS_TOPIC)).length;
    const marks = () =>
      base.db.asEngine((tx) =>
        tx.query<{ log_offset: bigint }>(
          'select log_offset from ingest_strays where source = 2 and log_offset > 1000000',
        ),
      );
    const reader = new Reader(h, 'f-one', {}, (ctx) => ctx);
    const forged = reports.slice(0, 20);
    for (const report of forged) {
      const partition = partitionFor('forged', report, partitions);
      const headers = { [STRAY_HEADER]: `2:999999999999999:1:1${report === forged[0] ? '' : `:${'0'.repeat(32)}`}` };
      const value = Buffer.from(lineOf(report));
      await h.log.append({ tenant: 'forged', topic: REPORTS_TOPIC, key: 'forged', value, headers, partition });
    }
    await drainAll(h, [reader]);
    expect(await marks()).toEqual([]);
    await appendTo(h.log, 'forged', 2, linesOf(reports.slice(20)));
    await drainAll(h, [reader]);
    expect(await accepted('forged')).toBe(40);
    await reader.close();
  });

  test('know by their own seal what was sent on twice, whichever reader sealed it', async () => {
    await tenantWith('resealed');
    const reports = someReports(40);
    const sent: Parameters<EventLog['append']>[0][] = [];
    const keeping = logWith({
      append: (message) => {
        sent.push(message);
        return h.log.append(message);
      },
    });
    const reader = new Reader(h, 'k-one', {}, keeping);
    await appendTo(h.log, 'resealed', 2, linesOf(reports));
    await drainAll(h, [reader]);
    await reader.close();
    expect(sent.length).toBeGreaterThan(1);
    for (const message of sent) await h.log.append(message);
    const other = new Reader(h, 'k-two', {}, (ctx) => ctx);
    await drainAll(h, [other]);
    await other.close();
    const rows = await base.db.asTenant('resealed', (tx) =>
      tx.query<object>('select sum(accepted)::int as accepted, sum(duplicates)::int as duplicates from input_counters'),
    );
    expect(rows).toEqual([{ accepted: 40, duplicates: 0 }]);
  });
});

describe('a topic', () => {
  const alerts = (kind: string) =>
    base.db.asEngine((tx) =>
      tx.query<{ partition: number | null; from_offset: bigint | null; to_offset: bigint | null }>(
        'select partition, from_offset, to_offset from ingest_alerts where kind = $1 order by alert_id',
        [kind],
      ),
    );

  test('that let messages go unread is read on from the oldest, and the loss is told with its range', async () => {
    await tenantWith('lost');
    const partition = 3;
    const { nextOffset } = await h.log.end(REPORTS_TOPIC, partition);
    const lost: number[] = [];
    const metrics = { ...NO_METRICS, lost: (offsets: number) => lost.push(offsets) };
    const mine = someReports(200).filter((report) => partitionFor('lost', report, 7) === partition);
    for (const report of mine) await appendTo(h.log, 'lost', partition, lineOf(report));
    const firstOffset = nextOffset + 5n;
    const shortened = logWith({
      end: async (topic, of) => {
        const end = await h.log.end(topic, of);
        return of === partition ? { ...end, firstOffset } : end;
      },
    });
    const reader = new Reader(h, 'l-one', {}, (ctx) => shortened({ ...ctx, metrics }));
    await drainAll(h, [reader]);
    expect(await accepted('lost')).toBe(mine.length - 5);
    expect(lost).toEqual([5]);
    expect(await alerts('lost')).toEqual([{ partition, from_offset: nextOffset, to_offset: firstOffset }]);
    await reader.close();
  });

  test.each(['another identity', 'an end below what was read'])(
    'that was made anew, as %s tells, is read from its start, and what was read of the old one is kept beside it',
    async (sign) => {
      const tenant = sign.startsWith('another') ? 'anew-one' : 'anew-two';
      await tenantWith(tenant);
      const reports = someReports(60);
      const changes: string[] = [];
      const metrics = { ...NO_METRICS, layoutChanged: (kind: string) => changes.push(kind) };
      const life = { now: sign.startsWith('another') ? 'first life' : null };
      const identity = logWith({ identity: async () => life.now });
      const reader = new Reader(h, `${tenant}-one`, {}, (ctx) => identity({ ...ctx, metrics }));
      if (sign.startsWith('an end')) await asAdmin(base.urls.admin, 'update ingest_topics set identity = null');
      else await asAdmin(base.urls.admin, `update ingest_topics set identity = 'first life'`);
      await appendRouted(h.log, tenant, linesOf(reports.slice(0, 40)));
      await drainAll(h, [reader]);
      const before = await base.db.asEngine((tx) =>
        tx.query('select partition, next_offset from consumer_offsets where topic = $1 order by 1', [REPORTS_TOPIC]),
      );
      const generations = (await alerts('recreated')).length;
      const archivedAs = () => generationOf(base.db, { ...h.log, identity: async () => life.now }, REPORTS_TOPIC);
      const archivedBefore = await archivedAs();
      await asAdmin(base.urls.admin, 'delete from log_messages; update log_partitions set next_offset = 0');
      if (life.now !== null) life.now = 'second life';
      // Some that are known, and those that are not.
      await appendRouted(h.log, tenant, linesOf(reports.slice(30)));
      await drainAll(h, [reader]);
      expect(await accepted(tenant)).toBe(60);
      expect(await checksum(tenant)).toBe(referenceChecksum(SUITE, reports, await finalOf(tenant)));
      expect(changes).toEqual(['recreated']);
      expect((await alerts('recreated')).length).toBe(generations + 1);
      // The archive of the new one is another's, also where the log cannot tell them apart; what was in none is told.
      expect(await archivedAs()).not.toBe(archivedBefore);
      const [told] = await base.db.asEngine((tx) =>
        tx.query<{ detail: string }>(
          `select detail from ingest_alerts where kind = 'unarchived' order by alert_id desc limit 1`,
        ),
      );
      expect(told!.detail).toMatch(`of ${REPORTS_TOPIC}.g${generations} messages were read that no archive has: 0 to `);
      const kept = await base.db.asEngine((tx) =>
        tx.query('select partition, next_offset from consumer_offsets where topic = $1 order by 1', [
          `${REPORTS_TOPIC}.g${generations}`,
        ]),
      );
      expect(kept).toEqual(before);
      await reader.close();
    },
  );
});

describe('a message whose handling never ends', () => {
  test('is set aside when it was tried alone, its thread is made anew, and all others are read', async () => {
    await tenantWith('hung');
    const reports = someReports(60);
    const hangs: TestReport = { ...reports[7]!, reportId: 'hangs', producer: 'ci' };
    const sick = { ...hangs, labels: { why: HANGS } };
    const thread = new ReaderThread({
      worker: new URL('../support/hanging-reader.worker.ts', import.meta.url),
      answerLimitMs: 1_500,
      loneAnswerLimitMs: 1_000,
    });
    const consumer = new Consumer(h.context({ reader: thread }), { member: 'hung-one', lookMs: 0 });
    const partitions = (await h.log.partitions(REPORTS_TOPIC)).length;
    await appendRouted(h.log, 'hung', linesOf(reports.slice(0, 30)));
    await appendTo(h.log, 'hung', partitionFor('hung', hangs, partitions), lineOf(sick));
    await appendRouted(h.log, 'hung', linesOf(reports.slice(30)));
    const { signal } = new AbortController();
    for (let quiet = 0; quiet < 3; h.clock.pass(60_000)) quiet = (await consumer.step(signal)) ? 0 : quiet + 1;
    expect(await accepted('hung')).toBe(60);
    const rows = await base.db.asTenant('hung', (tx) => listQuarantine(tx, 'hung'));
    expect(rows.map((row) => row.reason)).toEqual(['handler_failed']);
    await consumer.leave();
    await thread.close();
  }, 60_000);
});
