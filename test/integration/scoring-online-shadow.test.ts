import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Suite } from '../../core/suite.ts';
import { NO_METRICS } from '../../scoring/context.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { listDecisions } from '../../scoring/read/promotions.ts';
import { listQuarantine } from '../../scoring/read/quarantine.ts';
import { leaderboard } from '../../scoring/read/scores.ts';
import { suiteDiff } from '../../scoring/read/suite-diff.ts';
import { getRollout, rollBack } from '../../scoring/registry/rollouts.ts';
import { applySuite, type Requester } from '../../scoring/registry/suites.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import {
  drainDying,
  dyingDatabase,
  type Harness,
  harness,
  lineOf,
  newTenant,
  referenceChecksum,
  shuffled,
  type TestReport,
} from './scoring-online-support.ts';
import {
  beside,
  boardReports,
  boardSuite,
  checksumUnder,
  evidenceUnder,
  livingConsumer,
  OLD,
  panesUnder,
  registerBoard,
  STRICT,
  scoresUnder,
  TICK_MS,
} from './scoring-rollout-support.ts';

const LEVELS = { good: 0.93, fair: 0.85, poor: 0.4 };
const MODELS = Object.keys(LEVELS);
/** In order but for a stretch that comes late and mixed, so that ticks are published again. */
const inOrder = boardReports(LEVELS, 60);
const reports = [...inOrder.slice(0, 30), ...shuffled(inOrder.slice(30, 120), 4), ...inOrder.slice(120)];

/** Where versions start in the middle: after half an hour. */
const CUT = 30;

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

async function tenantWith(name: string, suite: Suite): Promise<Requester> {
  const by = await newTenant(base, name);
  await registerBoard(base.db, by, suite, MODELS);
  return by;
}

async function read(tenant: string, some: readonly TestReport[]): Promise<void> {
  await h.send(tenant, some.map(lineOf).join(''));
  await drain();
}

const checksum = (tenant: string) => base.db.asTenant(tenant, (tx) => suiteChecksum(tx, tenant, 'board'));
const rollout = async (tenant: string) => (await base.db.asTenant(tenant, (tx) => getRollout(tx, tenant, 'board')))!;
const diff = async (tenant: string) => (await base.db.asTenant(tenant, (tx) => suiteDiff(tx, tenant, 'board')))!;
/** What was decided, without what differs from tenant to tenant. */
const decisions = async (tenant: string) =>
  (await base.db.asTenant(tenant, (tx) => listDecisions(tx, tenant))).map(({ signed: { record } }) => ({
    ...record,
    tenant: '',
    decidedAt: '',
    offsets: {},
    lines: {},
    policy: null,
  }));

beforeAll(async () => {
  await tenantWith('plain', OLD);
  await tenantWith('strict', STRICT);
  for (const tenant of ['plain', 'strict']) await read(tenant, reports);
});

describe('a shadow', () => {
  test('changes nothing of the active version: its scores, checksum, decisions and counts', async () => {
    await beside(base.db, await tenantWith('shadow', OLD), STRICT);
    await read('shadow', reports);
    expect(await checksum('shadow')).toBe(await checksum('plain'));
    expect(await checksum('shadow')).toBe(referenceChecksum(OLD, reports));
    expect(await scoresUnder(base.db, 'shadow', OLD)).toEqual(await scoresUnder(base.db, 'plain', OLD));
    expect(await decisions('shadow')).toEqual(await decisions('plain'));
    expect(await decisions('plain')).not.toEqual([]);
    expect(await evidenceUnder(base.db, 'shadow', OLD)).toEqual(await evidenceUnder(base.db, 'plain', OLD));
    const board = (tenant: string) => base.db.asTenant(tenant, (tx) => leaderboard(tx, tenant, 'board'));
    expect(await board('shadow')).toEqual(await board('plain'));
  });

  test('is scored to the bit as if it had been the active version, and publishes nothing', async () => {
    const shadow = await scoresUnder(base.db, 'shadow', STRICT);
    const alone = await scoresUnder(base.db, 'strict', STRICT);
    expect(shadow.map((row) => ({ ...row, published: true }))).toEqual(alone);
    expect(shadow.filter((row) => row.published)).toEqual([]);
    expect(alone.length).toBeGreaterThan(30);
    expect(await checksumUnder(base.db, 'shadow', STRICT)).toBe(referenceChecksum(STRICT, reports));
    expect(await panesUnder(base.db, 'shadow', STRICT)).toEqual(await panesUnder(base.db, 'strict', STRICT));
  });

  test('comes to the decisions it would have made, asks nobody and changes no seat', async () => {
    const asked = await base.db.asTenant('shadow', (tx) =>
      tx.query(`select 1 from policy_questions where request ->> 'suiteHash' = $1`, [STRICT.hash]),
    );
    expect(asked).toEqual([]);
    const first = (await decisions('strict')).at(-1)!;
    const { decisions: differing } = await diff('shadow');
    expect(differing.filter((one) => one.by === 'next')).toEqual([
      { tick: first.tick, model: first.model, action: 'promote', by: 'next', decision: null, incumbentBefore: null },
    ]);
  });

  test('is shown beside the active version at the last tick: scores, ranks, differences', async () => {
    const shown = await diff('shadow');
    const last = (await scoresUnder(base.db, 'plain', OLD)).at(-1)!;
    expect(shown).toMatchObject({
      active: OLD.hash,
      next: STRICT.hash,
      at: new Date(Number(last.tick_ms)).toISOString(),
    });
    expect(shown.rollout).toMatchObject({ state: 'running', share: 0, complete: true, completeFrom: null, refused: 0 });
    const of = async (suite: Suite, model: string) =>
      (await scoresUnder(base.db, 'shadow', suite, Number(last.tick_ms))).find((row) => row.model === model);
    for (const model of shown.models) {
      expect(model).toMatchObject({ decidedBy: 'active', active: pick(await of(OLD, model.model)) });
      expect(model.next).toEqual(pick(await of(STRICT, model.model)));
      const { active, next, difference } = model;
      expect(difference.composite).toBe(next!.composite! - active!.composite!);
      expect(difference.rank).toBe(next!.rank! - active!.rank!);
    }
    expect(shown.models.map(({ model }) => model)).toEqual(['fair', 'good', 'poor']);
  });

  test('that starts in the middle is what a version applied there would be, and complete from the tick it names on', async () => {
    const by = await tenantWith('middle', OLD);
    await read('middle', reports.slice(0, CUT));
    await beside(base.db, by, STRICT);
    await read('middle', reports.slice(CUT));
    const applied = await tenantWith('applied', OLD);
    await read('applied', reports.slice(0, CUT));
    await base.db.asTenant('applied', (tx) => applySuite(tx, applied, STRICT));
    await read('applied', reports.slice(CUT));
    const middle = await scoresUnder(base.db, 'middle', STRICT);
    expect(middle.map((row) => ({ ...row, published: true }))).toEqual(await scoresUnder(base.db, 'applied', STRICT));
    const { completeFrom, complete } = await rollout('middle');
    const fromMs = Date.parse(completeFrom!);
    expect(complete).toBe(true);
    const full = await scoresUnder(base.db, 'strict', STRICT, fromMs);
    expect(middle.filter((row) => row.tick_ms >= fromMs).map((row) => ({ ...row, published: true }))).toEqual(full);
    expect(full.length).toBeGreaterThan(3);
    // And not before: the promise is not a guess.
    const before = await scoresUnder(base.db, 'strict', STRICT, fromMs - TICK_MS);
    const had = middle.filter((row) => row.tick_ms >= fromMs - TICK_MS);
    expect(had.map((row) => ({ ...row, published: true }))).not.toEqual(before);
    expect(await checksum('middle')).toBe(await checksum('plain'));
  });

  test('may have ticks of another length', async () => {
    const some = inOrder.slice(0, 120);
    const fine = boardSuite({ tick: '5m', metric: { floor: 0.5 } });
    await tenantWith('fine', fine);
    await read('fine', some);
    await beside(base.db, await tenantWith('coarse', OLD), fine);
    await read('coarse', some);
    const shadow = await scoresUnder(base.db, 'coarse', fine);
    expect(shadow.map((row) => ({ ...row, published: true }))).toEqual(await scoresUnder(base.db, 'fine', fine));
    expect(await checksum('coarse')).toBe(referenceChecksum(OLD, some));
    expect(await decisions('coarse')).toEqual(
      (await decisions('plain')).map((one) => expect.objectContaining({ model: one.model })),
    );
  });
});

function pick(row: object | undefined): object {
  const { composite, lower, upper, rank, status } = row as Record<string, unknown>;
  return { composite, lower, upper, rank, status };
}

describe('a report that the versions judge differently', () => {
  const narrow = boardSuite({ metric: { floor: 0.5, valid: [-1, 0.95] } });
  const taken = inOrder.filter((one) => one.metrics.accuracy! <= 0.95);

  test('counts for the active version, is set aside for nobody, and is counted as refused by the new one', async () => {
    await beside(base.db, await tenantWith('refusing', OLD), narrow);
    const told: Record<string, number> = {};
    const metrics = {
      ...NO_METRICS,
      beside: (result: string, count: number) => {
        told[result] = (told[result] ?? 0) + count;
      },
    };
    await h.send('refusing', inOrder.map(lineOf).join(''));
    await drain(h.context({ metrics }));
    expect(await checksum('refusing')).toBe(referenceChecksum(OLD, inOrder));
    expect(await base.db.asTenant('refusing', (tx) => listQuarantine(tx, 'refusing'))).toEqual([]);
    expect(await rollout('refusing')).toMatchObject({ refused: inOrder.length - taken.length, missed: 0 });
    expect(told).toEqual({ counted: taken.length, refused: inOrder.length - taken.length });
    expect(taken.length).toBeLessThan(inOrder.length);
    await tenantWith('narrow', narrow);
    await read('narrow', taken);
    const shadow = await scoresUnder(base.db, 'refusing', narrow);
    expect(shadow.map((row) => ({ ...row, published: true }))).toEqual(await scoresUnder(base.db, 'narrow', narrow));
  });

  test('that only the active version refuses is set aside, and counted as missed by the new one', async () => {
    await beside(base.db, await tenantWith('missing', narrow), OLD);
    await read('missing', inOrder);
    expect(await rollout('missing')).toMatchObject({ refused: 0, missed: inOrder.length - taken.length });
    expect(await checksum('missing')).toBe(referenceChecksum(narrow, taken));
    expect(await base.db.asTenant('missing', (tx) => listQuarantine(tx, 'missing'))).toHaveLength(
      inOrder.length - taken.length,
    );
  });
});

describe('deaths', () => {
  test('on either side of the consumer’s commits leave both versions whole', async () => {
    // A database of its own: a consumer that starts looks at every suite there is, and these die by every third transaction.
    const own = await testDatabase();
    try {
      const mortal = await harness(own);
      const by = await newTenant(own, 'dying');
      await registerBoard(own.db, by, OLD, MODELS);
      await beside(own.db, by, STRICT);
      await mortal.send('dying', reports.map(lineOf).join(''));
      const dying = dyingDatabase(own.db, 11);
      await drainDying(mortal, dying, { maxFlushLines: 17 });
      expect(dying.deaths.before).toBeGreaterThan(2);
      expect(dying.deaths.after).toBeGreaterThan(2);
      const published = await own.db.asTenant('dying', (tx) => suiteChecksum(tx, 'dying', 'board'));
      expect(published).toBe(referenceChecksum(OLD, reports));
      expect(await checksumUnder(own.db, 'dying', STRICT)).toBe(referenceChecksum(STRICT, reports));
      expect(await panesUnder(own.db, 'dying', STRICT)).toEqual(await panesUnder(base.db, 'strict', STRICT));
      await mortal.log.close();
    } finally {
      await own.close();
    }
  });
});

describe('faults', () => {
  test.each([['panes'], ['scores']])(
    'a new version whose %s cannot be written is rolled back and costs the active one nothing',
    async (table) => {
      const tenant = `faulty-${table}`;
      const by = await tenantWith(tenant, OLD);
      await beside(base.db, by, STRICT);
      await read(tenant, reports.slice(0, 90));
      const isNext =
        table === 'scores'
          ? `new.suite_hash = '${STRICT.hash}'`
          : `new.series_id in (select series_id from series where suite_hash = '${STRICT.hash}')`;
      await asAdmin(
        base.urls.admin,
        `create function fail_here() returns trigger language plpgsql as $$ begin
         if new.tenant = '${tenant}' and ${isNext} then raise exception 'the test refuses the new version'; end if; return new; end $$;
       create trigger fail_here before insert on ${table} for each row execute function fail_here();`,
      );
      try {
        await read(tenant, reports.slice(90));
      } finally {
        await asAdmin(base.urls.admin, `drop trigger fail_here on ${table}; drop function fail_here()`);
      }
      expect(await rollout(tenant)).toMatchObject({ state: 'rolled_back', kept: false, changedBy: 'merit/scoring' });
      expect((await rollout(tenant)).failure).toContain('the test refuses the new version');
      expect(await checksum(tenant)).toBe(await checksum('plain'));
      expect(await base.db.asTenant(tenant, (tx) => listQuarantine(tx, tenant))).toEqual([]);
      expect(await decisions(tenant)).toEqual(await decisions('plain'));
    },
  );
});

describe('a version that was rolled back', () => {
  test('leaves nothing, and starts anew as if it had never been there', async () => {
    const by = await tenantWith('again', OLD);
    await beside(base.db, by, STRICT);
    await read('again', reports.slice(0, CUT));
    expect(await panesUnder(base.db, 'again', STRICT)).not.toEqual([]);
    await base.db.asTenant('again', (tx) => rollBack(tx, by, 'board'));
    await drain();
    expect(await panesUnder(base.db, 'again', STRICT)).toEqual([]);
    expect(await scoresUnder(base.db, 'again', STRICT)).toEqual([]);
    expect(await base.db.asTenant('again', (tx) => suiteDiff(tx, 'again', 'board'))).toBeUndefined();
    await beside(base.db, by, STRICT);
    await read('again', reports.slice(CUT));
    expect(await scoresUnder(base.db, 'again', STRICT)).toEqual(await scoresUnder(base.db, 'middle', STRICT));
    expect(await checksum('again')).toBe(await checksum('plain'));
  });
});

// Last: it ends every rollout there is.
describe('a server without the feature', () => {
  test('rolls back what runs, and goes on as if nothing had been beside', async () => {
    await beside(base.db, await tenantWith('off', OLD), STRICT);
    await read('off', reports.slice(0, 90));
    await h.send('off', reports.slice(90).map(lineOf).join(''));
    await drain(h.context({ rollouts: false }));
    expect(await rollout('off')).toMatchObject({ state: 'rolled_back', failure: 'this server runs no rollouts' });
    expect(await checksum('off')).toBe(await checksum('plain'));
    expect(await scoresUnder(base.db, 'off', STRICT)).toEqual([]);
  });
});
