import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Suite } from '../../core/suite.ts';
import type { ConsumerContext, PromotionPolicy, PromotionQuestion } from '../../scoring/context.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { listDecisions } from '../../scoring/read/promotions.ts';
import { leaderboard, scoresOfModel } from '../../scoring/read/scores.ts';
import { suiteDiff } from '../../scoring/read/suite-diff.ts';
import { addVersion } from '../../scoring/registry/models.ts';
import { getRollout, promoteRollout, rollBack } from '../../scoring/registry/rollouts.ts';
import { applySuite, type Requester } from '../../scoring/registry/suites.ts';
import { inShare } from '../../scoring/rules/rollout.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import {
  ALLOW,
  drainDying,
  dyingDatabase,
  type Harness,
  harness,
  lineOf,
  newTenant,
  type TestReport,
} from './scoring-online-support.ts';
import {
  beside,
  boardReports,
  boardSuite,
  evidenceUnder,
  livingConsumer,
  OLD,
  registerBoard,
  STRICT,
  scoresUnder,
} from './scoring-rollout-support.ts';

/** Names by their place in the suite's shares. */
const names = Array.from({ length: 40 }, (_, i) => `m${i}`);
const placed = (from: number, to: number) =>
  names.filter((name) => inShare('board', name, to) && !inShare('board', name, from));
/** Two that a share of 40 takes in, one that only 70 does, one that it does not. */
const [IN, IN_TOO] = placed(0, 40) as [string, string];
const [LATER] = placed(40, 70) as [string];
const [OUT] = placed(70, 100) as [string];
const MODELS = [IN, IN_TOO, LATER, OUT];

let base: TestDatabase;
let h: Harness;
let drain: ReturnType<typeof livingConsumer>;

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base);
  drain = livingConsumer(h);
});
afterAll(async () => {
  await h.log.close();
  await base.close();
});

async function tenantWith(name: string, suite = OLD): Promise<Requester> {
  const by = await newTenant(base, name);
  await registerBoard(base.db, by, suite, MODELS);
  return by;
}

async function read(tenant: string, some: readonly TestReport[], ctx?: ConsumerContext): Promise<void> {
  await h.send(tenant, some.map(lineOf).join(''));
  await drain(ctx);
}

const board = async (tenant: string) => (await base.db.asTenant(tenant, (tx) => leaderboard(tx, tenant, 'board')))!;
const rollout = async (tenant: string) => (await base.db.asTenant(tenant, (tx) => getRollout(tx, tenant, 'board')))!;
/** Newest first. */
const records = async (tenant: string) =>
  (await base.db.asTenant(tenant, (tx) => listDecisions(tx, tenant))).map(({ signed }) => signed.record);
const valuesOf = (rows: readonly object[]) => rows.map((row) => ({ ...row, published: true }));
const publishedModels = async (tenant: string, suite = STRICT, fromMs = 0) =>
  [
    ...new Set(
      (await scoresUnder(base.db, tenant, suite, fromMs)).filter((row) => row.published).map((row) => row.model),
    ),
  ].sort();

describe('a canary', () => {
  const levels = { [IN]: 0.9, [IN_TOO]: 0.7, [LATER]: 0.85, [OUT]: 0.75 };
  const first = boardReports(levels, 15);
  const second = boardReports(levels, 15, 15);

  test('publishes for its share of the models, the active version for the others; both are stored for all', async () => {
    await beside(base.db, await tenantWith('share'), STRICT, 40);
    await read('share', first);
    await tenantWith('strict', STRICT);
    await read('strict', [...first, ...second]);
    expect(await publishedModels('share')).toEqual([IN, IN_TOO].sort());
    expect(await publishedModels('share', OLD)).toEqual([LATER, OUT].sort());
    const toMs = Date.parse((await board('share')).at!);
    const alone = (await scoresUnder(base.db, 'strict', STRICT)).filter((row) => row.tick_ms <= toMs);
    expect(valuesOf(await scoresUnder(base.db, 'share', STRICT))).toEqual(alone);
  });

  test('has its models on the one board: each with the score and the rank under the version that decides for it', async () => {
    const { at, models, suiteHash } = await board('share');
    expect(suiteHash).toBe(OLD.hash);
    expect(models.map(({ model }) => model).sort()).toEqual([...MODELS].sort());
    for (const { model, composite, rank, suiteHash: own = OLD.hash } of models) {
      const suite = inShare('board', model, 40) ? STRICT : OLD;
      expect(own).toBe(suite.hash);
      const row = (await scoresUnder(base.db, 'share', suite, Date.parse(at!))).find((one) => one.model === model);
      expect(row).toMatchObject({ composite, rank, published: true });
      const [shown] = await base.db.asTenant('share', (tx) => scoresOfModel(tx, 'share', model));
      expect(shown!.score).toMatchObject({ suiteHash: suite.hash, composite, rank });
    }
  });

  test('whose share grows keeps its models and takes in others; what was published stays as it was', async () => {
    const before = await scoresUnder(base.db, 'share', OLD);
    const by = { tenant: 'share', actor: 'tester', traceId: 'a'.repeat(32), nowMs: Date.now() };
    await beside(base.db, by, STRICT, 70);
    await read('share', second);
    expect((await scoresUnder(base.db, 'share', OLD)).slice(0, before.length)).toEqual(before);
    const fromMs = Number(before.at(-1)!.tick_ms) + 1;
    expect(await publishedModels('share', STRICT, fromMs)).toEqual([IN, IN_TOO, LATER].sort());
    expect(await publishedModels('share', OLD, fromMs)).toEqual([OUT]);
    const rows = [...(await scoresUnder(base.db, 'share', OLD)), ...(await scoresUnder(base.db, 'share', STRICT))];
    const published = rows.filter((row) => row.published).map((row) => `${row.model} ${row.tick_ms}`);
    expect(new Set(published).size).toBe(published.length);
    expect(published.length * 2).toBe(rows.length);
  });

  test('that is rolled back gives its models back at once, and the active version publishes from the next tick on', async () => {
    const by = { tenant: 'share', actor: 'tester', traceId: 'a'.repeat(32), nowMs: Date.now() };
    await base.db.asTenant('share', (tx) => rollBack(tx, by, 'board'));
    const { at, models } = await board('share');
    expect(models.map((one) => one.suiteHash)).toEqual(models.map(() => undefined));
    expect(models.map(({ model }) => model).sort()).toEqual([...MODELS].sort());
    await read('share', boardReports(levels, 10, 30));
    expect(await publishedModels('share', OLD, Date.parse(at!) + 1)).toEqual([...MODELS].sort());
    expect((await scoresUnder(base.db, 'share', STRICT)).every((row) => row.published)).toBe(true);
    expect(await rollout('share')).toMatchObject({ state: 'rolled_back', kept: false, changedBy: 'tester' });
  });

  test('waits as a shadow until its windows are full, unless it is forced', async () => {
    for (const forced of [false, true]) {
      const tenant = forced ? 'forced' : 'patient';
      const by = await tenantWith(tenant);
      await read(tenant, first);
      await beside(base.db, by, STRICT, 40, forced);
      await read(tenant, second);
      expect(await publishedModels(tenant)).toEqual(forced ? [IN, IN_TOO].sort() : []);
      expect(await rollout(tenant)).toMatchObject({ share: 40, shareInForce: forced ? 40 : 0, complete: false });
    }
    const { completeFrom } = await rollout('patient');
    await read('patient', boardReports(levels, 15, 30));
    expect(await publishedModels('patient', STRICT, Date.parse(completeFrom!) + 1)).toEqual([IN, IN_TOO].sort());
    expect(
      (await scoresUnder(base.db, 'patient', STRICT)).filter(
        (row) => row.published && Number(row.tick_ms) <= Date.parse(completeFrom!),
      ),
    ).toEqual([]);
  });
});

describe('a contest', () => {
  const rising = boardReports({ [IN]: 0.95, [OUT]: 0.9 }, 36);
  const asked: PromotionQuestion[] = [];
  const asking: PromotionPolicy = (question, signal) => {
    asked.push(question);
    return ALLOW(question, signal);
  };

  const compositeUnder = async (suite: Suite, model: string, tick: string) =>
    (await scoresUnder(base.db, 'contest', suite, Date.parse(tick))).find((row) => row.model === model)!.body.composite;

  test('is decided by the version of the challenger’s share: its numbers, its rule, SentinelNet asked in its name', async () => {
    await beside(base.db, await tenantWith('contest'), STRICT, 40);
    await read('contest', rising, h.context({ policy: asking }));
    // Both would be ready; the strict version needs one tick where the old one needs two.
    const record = (await records('contest')).at(-1)!;
    expect(record).toMatchObject({ action: 'promote', model: IN, suiteHash: STRICT.hash, incumbentBefore: null });
    expect(record.evidence).toMatchObject({ promoteTicks: 1 });
    expect(record.evidence.composite).toBe(await compositeUnder(STRICT, IN, record.tick));
    expect(asked.filter((one) => one.version === IN).every((one) => one.suiteHash === STRICT.hash)).toBe(true);
    expect(asked.filter((one) => one.version === OUT).every((one) => one.suiteHash === OLD.hash)).toBe(true);
  });

  test('against an incumbent of the other share is decided under the challenger’s version alone', async () => {
    const better = boardReports({ [IN]: 0.85, [OUT]: 0.97 }, 50, 36);
    await read('contest', better);
    const record = (await records('contest'))[0]!;
    expect(record).toMatchObject({ action: 'promote', model: OUT, suiteHash: OLD.hash, incumbentBefore: IN });
    expect(record.evidence.composite).toBe(await compositeUnder(OLD, OUT, record.tick));
  });

  test('that moves to another version counts its ticks anew, for SentinelNet was not asked; what it has seen stays', async () => {
    const slow = boardSuite({ promotion: { promoteTicks: 20 } });
    const eager = boardSuite({ metric: { floor: 0.5 }, promotion: { promoteTicks: 20 } });
    const by = await tenantWith('moving', slow);
    await beside(base.db, by, eager, 40);
    await read('moving', boardReports({ [IN]: 0.97, [OUT]: 0.97 }, 50));
    const runs = async () => {
      const rows = await base.db.asTenant('moving', (tx) =>
        tx.query<{ model: string; suite_hash: string; run: number }>(
          'select model, suite_hash, run from watches where closed_tick_ms is null and model = any($1::text[])',
          [[IN, OUT]],
        ),
      );
      return Object.fromEntries(
        rows.map((row) => [`${row.model} ${row.suite_hash === slow.hash ? 'old' : 'new'}`, row.run]),
      );
    };
    const before = await runs();
    expect(Object.values(before).every((run) => run >= 2)).toBe(true);
    await beside(base.db, by, eager, 100);
    const seen = await evidenceUnder(base.db, 'moving', eager);
    await drain();
    expect(await runs()).toEqual({ ...before, [`${OUT} old`]: 0, [`${OUT} new`]: 0 });
    const sums = (rows: readonly object[]) => rows.map((row) => ({ ...row, run: 0 }));
    expect(sums(await evidenceUnder(base.db, 'moving', eager))).toEqual(sums(seen));
  });

  test('over the seat: an incumbent is demoted by the version of its share', async () => {
    const falling = [...boardReports({ [IN]: 0.9 }, 40), ...boardReports({ [IN]: 0.7 }, 40, 40)];
    for (const [tenant, share] of [
      ['watched', 40],
      ['unwatched', 0],
    ] as const) {
      const by = await tenantWith(tenant);
      await base.db.asTenant(tenant, (tx) => addVersion(tx, by, { model: 'ranker', version: IN, seat: true }));
      await beside(base.db, by, STRICT, share);
      await read(tenant, falling);
    }
    // 0.7 is 0.4 under the strict version, below its 0.5.
    expect(await records('watched')).toMatchObject([{ action: 'demote', model: IN, suiteHash: STRICT.hash }]);
    expect(await records('unwatched')).toEqual([]);
    const diff = await base.db.asTenant('unwatched', (tx) => suiteDiff(tx, 'unwatched', 'board'));
    const [demotion] = await records('watched');
    expect(diff!.decisions).toEqual([
      { tick: demotion!.tick, model: IN, action: 'demote', by: 'next', decision: null, incumbentBefore: IN },
    ]);
  });
});

describe('promoting a version', () => {
  const levels = { [IN]: 0.9, [IN_TOO]: 0.7, [LATER]: 0.85, [OUT]: 0.75 };
  const first = boardReports(levels, 25);
  const second = boardReports(levels, 15, 25);

  test('goes on with its windows, ticks and evidence: nothing starts again', async () => {
    const by = await tenantWith('promoted');
    await beside(base.db, by, STRICT, 40);
    await read('promoted', first);
    const watches = () =>
      base.db.asTenant('promoted', (tx) =>
        tx.query<{ model: string; run: number }>(
          'select watch_id, model, start_ms, run from watches where suite_hash = $1 and closed_tick_ms is null order by model',
          [STRICT.hash],
        ),
      );
    const before = await watches();
    await base.db.asTenant('promoted', (tx) => promoteRollout(tx, by, 'board', false));
    await drain();
    const after = await watches();
    // What the old version decided for counted under an assumed allow: those runs begin anew, the evidence stays.
    expect(after).toEqual(before.map((watch) => (inShare('board', watch.model, 40) ? watch : { ...watch, run: 0 })));
    await read('promoted', second);
    expect(valuesOf(await scoresUnder(base.db, 'promoted', STRICT))).toEqual(
      valuesOf(await strictRows([...first, ...second])),
    );
    const lastMs = Date.parse((await board('promoted')).at!);
    expect((await board('promoted')).suiteHash).toBe(STRICT.hash);
    expect((await scoresUnder(base.db, 'promoted', STRICT, lastMs)).map((row) => row.published)).toEqual([
      true,
      true,
      true,
      true,
    ]);
    expect(await rollout('promoted')).toMatchObject({ state: 'promoted', kept: false });
    const open = await base.db.asTenant('promoted', (tx) =>
      tx.query('select distinct suite_hash from watches where closed_tick_ms is null'),
    );
    expect(open).toEqual([{ suite_hash: STRICT.hash }]);
  });

  test('and starting, sharing out and rolling back are events with who, from, to and share', async () => {
    const by = { ...(await newTenant(base, 'told')), actor: 'alice' };
    await registerBoard(base.db, by, OLD, MODELS);
    await beside(base.db, by, STRICT);
    await beside(base.db, { ...by, actor: 'bob' }, STRICT, 10);
    await base.db.asTenant('told', (tx) => rollBack(tx, by, 'board'));
    const events = await base.db.asTenant('told', (tx) =>
      tx.query<{ bytes: Buffer }>(
        `select bytes from audit_events where type like 'suite.rollout.%' order by subject_seq`,
      ),
    );
    const { rolloutId } = await rollout('told');
    const told = events.map(({ bytes }) => JSON.parse(bytes.toString('utf8')));
    const common = { suite: 'board', rollout: rolloutId };
    expect(told.map(({ type, actor, data }) => ({ type, actor, data }))).toEqual([
      {
        type: 'suite.rollout.started',
        actor: 'alice',
        data: { ...common, from: OLD.hash, to: STRICT.hash, share: 0, forced: false },
      },
      {
        type: 'suite.rollout.share',
        actor: 'bob',
        data: { ...common, from: OLD.hash, to: STRICT.hash, before: 0, share: 10, forced: false },
      },
      {
        type: 'suite.rollout.rolled_back',
        actor: 'alice',
        data: { ...common, from: STRICT.hash, to: OLD.hash, share: 10, complete: false },
      },
    ]);
  });

  test('by consumers that die on either side of their commits comes to the same', async () => {
    const ran = async (tenant: string, drained: (on: Harness) => Promise<void>) => {
      const own = await testDatabase();
      try {
        const on = await harness(own);
        const by = await newTenant(own, tenant);
        await registerBoard(own.db, by, OLD, MODELS);
        await beside(own.db, by, STRICT, 40);
        await on.send(tenant, first.map(lineOf).join(''));
        await drained(on);
        await own.db.asTenant(tenant, (tx) => promoteRollout(tx, by, 'board', false));
        await on.send(tenant, second.map(lineOf).join(''));
        await drained(on);
        await on.log.close();
        return await own.db.asTenant(tenant, (tx) => suiteChecksum(tx, tenant, 'board'));
      } finally {
        await own.close();
      }
    };
    let deaths = 0;
    const died = await ran('dying', async (on) => {
      const dying = dyingDatabase(on.context().db, 7);
      await drainDying(on, dying, { maxFlushLines: 23 });
      deaths += dying.deaths.before + dying.deaths.after;
    });
    expect(deaths).toBeGreaterThan(3);
    expect(died).toBe(await ran('living', (on) => on.drain()));
  });

  async function strictRows(reports: readonly TestReport[]) {
    await tenantWith('alone', STRICT);
    await read('alone', reports);
    return scoresUnder(base.db, 'alone', STRICT);
  }
});

describe('what is refused', () => {
  const codes = (work: Promise<unknown>) =>
    work.then(
      () => 'taken',
      (error: { refusals?: readonly { code: string }[] }) =>
        error.refusals?.map((one) => one.code).join() ?? String(error),
    );

  test('another version beside the one that runs, the active one changed under it, a canary of other ticks, an end too early', async () => {
    const by = await tenantWith('refused');
    const asBy = <T>(work: (tx: Parameters<Parameters<typeof base.db.asTenant>[1]>[0]) => Promise<T>) =>
      base.db.asTenant('refused', work);
    expect(await codes(beside(base.db, by, OLD))).toBe('active');
    expect(await codes(beside(base.db, by, boardSuite({ tick: '5m' }), 10))).toBe('tick');
    await read('refused', boardReports({ [IN]: 0.9 }, 10));
    await beside(base.db, by, STRICT, 10);
    expect(await codes(beside(base.db, by, boardSuite({ minN: 7 })))).toBe('rollout_runs');
    expect(await codes(asBy((tx) => applySuite(tx, by, boardSuite({ minN: 7 }))))).toBe('rollout_runs');
    expect(await codes(asBy((tx) => promoteRollout(tx, by, 'board', true)))).toBe('not_started');
    await drain();
    expect(await codes(asBy((tx) => promoteRollout(tx, by, 'board', false)))).toBe('incomplete');
    expect(await codes(asBy((tx) => promoteRollout(tx, by, 'board', true)))).toBe('taken');
    expect(await codes(asBy((tx) => rollBack(tx, by, 'board')))).toBe('taken');
    expect(await asBy((tx) => rollBack(tx, by, 'board'))).toBeUndefined();
  });
});
