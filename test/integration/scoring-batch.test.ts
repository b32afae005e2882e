import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import type { EventLog } from '../../platform/event-log.ts';
import type { Database } from '../../platform/postgres.ts';
import { runRecomputes } from '../../scoring/batch/recompute-worker.ts';
import { getRollout, promoteRollout, rollBack } from '../../scoring/registry/rollouts.ts';
import type { Requester } from '../../scoring/registry/suites.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import {
  dyingEngine,
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

const sent = lines(2_000);
/** Where the new version starts, and where the history is filled in. */
const START = Math.floor(sent.length * 0.75);
const FILL = Math.floor(sent.length * 0.85);
/** Of the tests that need not so many. */
const SHORT = lines(400, 7);
/** A commit every few messages. */
const small = { batchMessages: 8, stretchBytes: 1 } as const;

let base: TestDatabase;
let h: Harness;

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base);
  await beside(base.db, await tenantWith('short-whole'), NEXT);
  await read(['short-whole'], 0, SHORT.length, SHORT);
});
afterAll(() => base.close());

async function tenantWith(tenant: string): Promise<Requester> {
  const by = await newTenant(base, tenant);
  await registerBoard(base.db, by, OLD, MODELS);
  return by;
}

async function read(tenants: readonly string[], from: number, to = sent.length, of = sent, each = 100): Promise<void> {
  for (let at = from; at < to; at += each)
    for (const tenant of tenants) await h.send(tenant, of.slice(at, Math.min(to, at + each)).join(''));
  await h.drain(ctx());
}

/** The consumer leads the seat that it leads in a server. */
const ctx = () => h.context({ epoch: -2n });
const rollout = async (tenant: string) => (await base.db.asTenant(tenant, (tx) => getRollout(tx, tenant, 'board')))!;
const startOf = (tenant: string) => judgedAfterMs(base.db, tenant);

/** A tenant whose new version starts in the middle. */
async function halfRead(tenant: string): Promise<Requester> {
  const by = await tenantWith(tenant);
  await read([tenant], 0, 300, SHORT, 10);
  await beside(base.db, by, NEXT);
  await read([tenant], 300, 320, SHORT);
  return by;
}

async function expectWhole(tenant: string): Promise<void> {
  await read([tenant], 320, SHORT.length, SHORT);
  const start = await startOf(tenant);
  const scores = await scoresAfter(base.db, tenant, NEXT, start);
  expect(scores).toEqual(await scoresAfter(base.db, 'short-whole', NEXT, start));
  expect(scores).not.toEqual([]);
  expect(await panesUnder(base.db, tenant, NEXT)).toEqual(await panesUnder(base.db, 'short-whole', NEXT));
}

describe('a version whose history was recomputed', () => {
  let atFill: Awaited<ReturnType<typeof scoresAfter>>[];
  beforeAll(async () => {
    await beside(base.db, await tenantWith('whole'), NEXT);
    const by = await tenantWith('filled');
    await read(['whole', 'filled'], 0, START);
    await beside(base.db, by, NEXT, 40);
    await read(['whole', 'filled'], START, FILL);
    expect(await rollout('filled')).toMatchObject({ complete: false, shareInForce: 0, recompute: null });
    await recompute(recomputeContext(ctx()), { batchMessages: 3, stretchBytes: 50_000 });
    await h.drain(ctx());
    atFill = await Promise.all(
      ['filled', 'whole'].map(async (tenant) => scoresAfter(base.db, tenant, NEXT, await startOf('filled'))),
    );
    await read(['whole', 'filled'], FILL);
  }, 120_000);

  test('has the panes and, at every tick, the scores of the same version beside the active one from the first report on', async () => {
    const start = await startOf('filled');
    const scores = await scoresAfter(base.db, 'filled', NEXT, start);
    expect(scores).toEqual(await scoresAfter(base.db, 'whole', NEXT, start));
    expect(new Set(scores.map((row) => row.tick_ms)).size).toBeGreaterThan(3);
    expect(await panesUnder(base.db, 'filled', NEXT)).toEqual(await panesUnder(base.db, 'whole', NEXT));
  });

  test('has had the ticks published again that it had scored with less, as soon as nothing is to be read', () => {
    const [filled, whole] = atFill;
    expect(filled).toEqual(whole);
    expect(new Set(filled!.map((row) => row.tick_ms)).size).toBeGreaterThan(1);
  });

  test('is complete at once, and its share in force', async () => {
    expect(await rollout('filled')).toMatchObject({ complete: true, completeFrom: null, shareInForce: 40 });
  });

  test('has counted each accepted report of the log before its start once', async () => {
    const { recompute: done, refused } = await rollout('filled');
    const whole = await rollout('whole');
    expect(done).toMatchObject({ state: 'done', messages: done!.ofMessages, failure: null });
    expect(refused + done!.refused).toBe(whole.refused);
    expect(done!.refused).toBeGreaterThan(20);
    expect(done!.late).toBeGreaterThan(10);
    const [counters] = await base.db.asTenant('filled', (tx) =>
      tx.query<Record<string, bigint>>('select * from input_counters where suite = $1', ['board']),
    );
    for (const what of ['accepted', 'quarantined', 'duplicates', 'conflicts', 'late_archived'])
      expect(counters![what]).toBeGreaterThan(10n);
    // An id that was given again after it was forgotten.
    const conflicts = await base.db.asTenant('filled', (tx) =>
      tx.query<{ raw: Buffer }>(`select raw from quarantine where reason = 'conflict'`),
    );
    const reused = sent.filter((line) => /"r-[0-6]"/.test(line));
    expect(reused.length).toBeGreaterThan(10);
    expect(conflicts.filter(({ raw }) => /"r-[0-6]"/.test(String(raw))).length).toBeLessThan(reused.length - 7);
  });
});

describe('workers that die', () => {
  test('on either side of their commits, one after the other: each stretch counts once', async () => {
    await halfRead('dying');
    const dying = dyingEngine(base.db);
    for (let round = 0; (await rollout('dying')).recompute?.state !== 'done'; round++) {
      expect(round).toBeLessThan(10);
      await recompute(recomputeContext(ctx(), dying.db), small);
    }
    expect(dying.deaths).toEqual({ before: 2, after: 2 });
    await expectWhole('dying');
  });

  test('without a word: another takes over when the lease has run out, and the first changes nothing any more', async () => {
    await halfRead('lost');
    const stopped = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    let reads = 0;
    const eventLog: EventLog = {
      ...h.log,
      read: async (...args) => {
        if (++reads === 6) {
          reached.resolve();
          await stopped.promise;
        }
        return h.log.read(...args);
      },
    };
    const frozen = recompute({ ...recomputeContext(ctx()), eventLog }, { ...small, leaseMs: 1 });
    await reached.promise;
    const before = (await rollout('lost')).recompute!;
    expect(before.messages).toBeGreaterThan(0);
    expect(before.messages).toBeLessThan(before.ofMessages);
    // Two at once: one of them takes it over.
    await Promise.all([recompute(recomputeContext(ctx()), small), recompute(recomputeContext(ctx()), small)]);
    const after = (await rollout('lost')).recompute!;
    expect(after.state).toBe('done');
    stopped.resolve();
    await frozen;
    expect((await rollout('lost')).recompute).toEqual(after);
    await expectWhole('lost');
  });
});

describe('a rollout that ends in the middle of its recompute', () => {
  async function recomputeUntil(reads: number, then: () => Promise<void>): Promise<void> {
    let seen = 0;
    const eventLog: EventLog = {
      ...h.log,
      read: async (...args) => {
        if (++seen === reads) await then();
        return h.log.read(...args);
      },
    };
    await recompute({ ...recomputeContext(ctx()), eventLog }, small);
  }

  test('rolled back, it leaves no pane behind', async () => {
    const by = await halfRead('back');
    await recomputeUntil(6, async () => {
      await base.db.asTenant('back', (tx) => rollBack(tx, by, 'board'));
      await h.drain(ctx());
    });
    await h.drain(ctx());
    expect((await rollout('back')).recompute).toMatchObject({ state: 'stopped' });
    expect((await rollout('back')).recompute!.messages).toBeGreaterThan(0);
    expect(await panesUnder(base.db, 'back', NEXT)).toEqual([]);
    expect(await panesUnder(base.db, 'short-whole', NEXT)).not.toEqual([]);
  });

  test('rolled back behind the back of a transaction that adds panes, it leaves none either', async () => {
    const by = await halfRead('behind');
    let draining: Promise<void> | undefined;
    const asEngine: Database['asEngine'] = (work) =>
      base.db.asEngine(async (tx) => {
        let adds = false;
        const execute: typeof tx.execute = (sql, values) => {
          adds ||= sql.includes('insert into panes');
          return tx.execute(sql, values);
        };
        const done = await work({ ...tx, execute });
        if (adds && draining === undefined) {
          await base.db.asTenant('behind', (own) => rollBack(own, by, 'board'));
          draining = h.drain(ctx());
          // Long enough for the consumer to remove what it sees, if it did not wait.
          await Promise.race([draining, new Promise((resolve) => setTimeout(resolve, 1_000))]);
        }
        return done;
      });
    await recompute(recomputeContext(ctx(), { ...base.db, asEngine }), small);
    expect(draining).toBeDefined();
    await draining;
    await h.drain(ctx());
    expect((await rollout('behind')).recompute).toMatchObject({ state: 'stopped' });
    expect(await panesUnder(base.db, 'behind', NEXT)).toEqual([]);
  });

  test('made the active version, it is filled in all the same', async () => {
    const by = await halfRead('adopted');
    await recomputeUntil(6, async () => {
      await base.db.asTenant('adopted', (tx) => promoteRollout(tx, by, 'board', true));
      await h.drain(ctx());
    });
    await h.drain(ctx());
    expect((await rollout('adopted')).recompute).toMatchObject({ state: 'done' });
    await expectWhole('adopted');
  });
});

describe('the loop', () => {
  test('gives back what it holds when it is told to end, and the next one goes on from there', async () => {
    await halfRead('loop');
    const stop = new AbortController();
    let reads = 0;
    const eventLog: EventLog = {
      ...h.log,
      read: (...args) => {
        if (++reads === 4) stop.abort();
        return h.log.read(...args);
      },
    };
    const timed = { ...recomputeContext(ctx()), clock: systemClock };
    await runRecomputes({ ...timed, eventLog }, stop.signal, small);
    const half = (await rollout('loop')).recompute!;
    expect(half).toMatchObject({ state: 'waiting', failure: null });
    expect(half.messages).toBeGreaterThan(0);
    const again = new AbortController();
    const running = runRecomputes(timed, again.signal, small);
    while ((await rollout('loop')).recompute!.state !== 'done') await new Promise((resolve) => setTimeout(resolve, 50));
    again.abort();
    await running;
    await expectWhole('loop');
  });
});

describe('a log that cannot be read any more', () => {
  test('fails the recompute with its reason, and the rollout stays as it would be without', async () => {
    await halfRead('trimmed');
    const before = await rollout('trimmed');
    const eventLog: EventLog = {
      ...h.log,
      read: async (topic, partition, offset, most, bytes) =>
        (await h.log.read(topic, partition, offset, most, bytes)).filter((message) => message.offset > 2n),
      end: async (topic, partition) => ({ ...(await h.log.end(topic, partition)), firstOffset: 3n }),
    };
    await recompute({ ...recomputeContext(ctx()), eventLog }, small);
    expect((await rollout('trimmed')).recompute).toMatchObject({
      state: 'failed',
      counted: 0,
      failure: 'the log merit.reports/0 holds message 0 no more: its history cannot be read',
    });
    const { recompute: _, ...same } = before;
    expect(await rollout('trimmed')).toMatchObject(same);
    expect(same.complete).toBe(false);
  });
});
