import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTopic } from '../../platform/event-log-postgres.ts';
import { handOver } from '../../scoring/batch/handover.sql.ts';
import { Consumer } from '../../scoring/ingest/consumer.ts';
import { reportMessage } from '../../scoring/ingest/pack-reports.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { getRollout } from '../../scoring/registry/rollouts.ts';
import type { Requester } from '../../scoring/registry/suites.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { isWhole } from '../support/rotating.ts';
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
import { type Harness, harness, newTenant, READER, TRACE } from './scoring-online-support.ts';
import { beside, registerBoard } from './scoring-rollout-support.ts';

/**
 * What is too late is so in whatever order the partitions are read, behind a burst and before it alike: two tenants that are read side by side
 * agree on it.
 */
const sent = lines(isWhole ? 500 : 300, 3, 11 * 86_400_000);
const CHUNK = 40;
/** Where the new version starts, and where the history is filled in. */
const START = CHUNK * Math.floor((sent.length * 0.75) / CHUNK);
const FILL = CHUNK * Math.floor((sent.length * 0.9) / CHUNK);
const small = { batchMessages: 8, stretchBytes: 20_000 } as const;

async function tenantWith(base: TestDatabase, tenant: string): Promise<Requester> {
  const by = await newTenant(base, tenant);
  await registerBoard(base.db, by, OLD, MODELS);
  return by;
}

const rollout = async (base: TestDatabase, tenant: string) =>
  (await base.db.asTenant(tenant, (tx) => getRollout(tx, tenant, 'board')))!;

async function expectScoresOfWhole({ db }: TestDatabase): Promise<void> {
  const startMs = await judgedAfterMs(db, 'filled');
  const scores = await scoresAfter(db, 'filled', NEXT, startMs);
  expect(new Set(scores.map((row) => row.tick_ms)).size).toBeGreaterThan(3);
  expect(await scoresAfter(db, 'filled', OLD, startMs)).toEqual(await scoresAfter(db, 'whole', OLD, startMs));
  expect(scores).toEqual(await scoresAfter(db, 'whole', NEXT, startMs));
}

describe.each(isWhole ? [1, 2, 7] : [2])('a log of %i partitions', (partitions) => {
  let base: TestDatabase;
  let h: Harness;
  let by: Requester;
  beforeAll(async () => {
    base = await testDatabase();
    h = await harness(base, partitions);
    await beside(base.db, await tenantWith(base, 'whole'), NEXT);
    by = await tenantWith(base, 'filled');
    await read(0, START);
    await beside(base.db, by, NEXT, 40);
    await read(START, FILL);
    await recompute(recomputeContext(h.context()), small);
    await read(FILL, sent.length);
  }, 60_000);
  afterAll(() => base.close());

  /** Each third chunk comes from somebody who knows nothing of shards. */
  async function read(from: number, to: number): Promise<void> {
    for (let at = from; at < to; at += CHUNK) {
      const text = sent.slice(at, Math.min(to, at + CHUNK)).join('');
      for (const tenant of ['whole', 'filled']) {
        if ((at / CHUNK) % 3 > 0) await h.send(tenant, text);
        else {
          const source = { tenant, producer: undefined, traceparent: `00-${TRACE}-b7ad6b7169203331-01` };
          await h.log.append({ ...reportMessage(Buffer.from(text), source), partition: (at / CHUNK) % partitions });
        }
      }
      if ((at / CHUNK) % 2 > 0) await h.drain();
    }
    await h.drain();
  }

  test('gives a version that is filled in from it the scores of one that was there from the first report on', async () => {
    const { complete, completeFrom, recompute: done, shareInForce } = await rollout(base, 'filled');
    expect(done).toMatchObject({ state: 'done', failure: null, messages: done!.ofMessages });
    expect({ complete, completeFrom, shareInForce }).toEqual({ complete: true, completeFrom: null, shareInForce: 40 });
    await expectScoresOfWhole(base);
    expect(done!.counted).toBeGreaterThan(100);
    // The order in which they were read decides what was late only where there is one.
    expect(done!.late > 0).toBe(partitions === 1);
  });
});

describe('a log whose partitions are raised while reports come', () => {
  let base: TestDatabase;
  let h: Harness;
  let by: Requester;
  const FIRST = CHUNK * Math.floor((sent.length * 0.35) / CHUNK);
  const SECOND = CHUNK * Math.floor((sent.length * 0.55) / CHUNK);
  const tenants = ['whole', 'filled'];
  beforeAll(async () => {
    base = await testDatabase();
    h = await harness(base, 1);
    await beside(base.db, await tenantWith(base, 'whole'), NEXT);
    by = await tenantWith(base, 'filled');
  }, 60_000);
  afterAll(() => base.close());

  async function send(from: number, to: number): Promise<void> {
    for (const tenant of tenants) await h.send(tenant, sent.slice(from, to).join(''));
  }

  /** What is read when they become more ends within messages, and much is unread. */
  async function raiseTo(partitions: number): Promise<void> {
    const consumer = new Consumer(h.context(), { ...READER, maxFlushLines: 7 });
    for (let i = 0; i < 3 * partitions; i++) await consumer.step(new AbortController().signal);
    await base.db.asEngine((tx) => createTopic(tx, REPORTS_TOPIC, partitions));
    await h.drain();
  }

  test('gives a version that is filled in from it the scores of one that was there from the first report on', async () => {
    await send(0, FIRST);
    await raiseTo(2);
    // Some of them once more, where they are served now.
    await send(FIRST - CHUNK, SECOND);
    await raiseTo(5);
    await send(SECOND - 2 * CHUNK, START);
    await h.drain();
    await beside(base.db, by, NEXT, 40);
    await send(START, FILL);
    // Behind what the version has to read.
    await raiseTo(7);
    await recompute(recomputeContext(h.context()), small);
    await send(FILL, sent.length);
    await h.drain();
    const halves = await base.db.asEngine((tx) =>
      tx.query<{ partitions: number; lines: object }>(
        `select partitions, read_at -> 'lines' as lines from ingest_alerts where kind = 'raised' order by alert_id`,
      ),
    );
    expect(halves.map(({ partitions }) => partitions)).toEqual([1, 2, 5]);
    expect(halves.slice(0, 2).every(({ lines }) => Object.keys(lines).length > 0)).toBe(true);
    const { complete, recompute: done } = await rollout(base, 'filled');
    expect(done).toMatchObject({ state: 'done', failure: null, messages: done!.ofMessages });
    expect(complete).toBe(true);
    await expectScoresOfWhole(base);
    expect(done!.counted).toBeGreaterThan(100);
  });

  test('is handed to jobs where all that counts was read under one number of partitions', async () => {
    const latest = await tenantWith(base, 'latest');
    await h.send('latest', sent.slice(0, 40).join(''));
    await h.drain();
    await beside(base.db, latest, NEXT);
    await h.send('latest', sent.slice(40, 50).join(''));
    await h.drain();
    const asked = { tenant: 'latest', suite: 'board', claim: 'jobs/1', holdMs: 60_000, generation: 'first' };
    const hand = () => base.db.asEngine((tx) => handOver(tx, asked));
    await expect(hand()).rejects.toThrow('has a history that was read while the log had other numbers of partitions');
    await asAdmin(base.urls.admin, `update ingest_alerts set at = '2000-01-01'`);
    const legs = (await hand())!.flatMap((shard) => shard.legs);
    await asAdmin(base.urls.admin, 'update ingest_alerts set at = clock_timestamp()');
    expect(new Set(legs.map(({ partitions, servedSince }) => [partitions, servedSince].join()))).toEqual(
      new Set(['7,']),
    );
    expect(legs.some(({ from }) => from.offset !== '0')).toBe(true);
  });

  test('fails a recompute where nobody wrote down how far they had been read, and says what follows', async () => {
    await asAdmin(base.urls.admin, 'update ingest_alerts set read_at = null, partitions = null');
    const again = await tenantWith(base, 'older');
    await h.send('older', sent.slice(0, 40).join(''));
    await h.drain();
    await beside(base.db, again, NEXT);
    await h.send('older', sent.slice(40, 50).join(''));
    await h.drain();
    await recompute(recomputeContext(h.context()), small);
    const { recompute: failed, complete } = await rollout(base, 'older');
    expect(failed).toMatchObject({ state: 'failed', counted: 0 });
    expect(failed!.failure).toMatch(
      ': 5 partitions became 7; its history is read from then on only, and the version becomes complete by time',
    );
    expect(complete).toBe(false);
  });
});
