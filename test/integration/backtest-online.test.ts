import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { backtestOf, contestReports, contestSuite } from '../support/backtest-cases.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { expectAsOnline, replayOnline } from './backtest-online-support.ts';
import { type Harness, harness } from './scoring-online-support.ts';

let base: TestDatabase;
let h: Harness;

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base);
});
afterAll(async () => {
  await h.log.close();
  await base.close();
});

describe('a backtest decides what the consumer decides on Postgres, from the same evidence, and gives the same scores', () => {
  test('with models that come and go, disorder, late data, a slow model, a bad one, and a night without reports', async () => {
    const reports = contestReports(1);
    await replayOnline(base, h, 'contest', contestSuite, reports);
    const result = await backtestOf(contestSuite, reports);
    await expectAsOnline(base, 'contest', contestSuite, result);
    const kinds = result.decisions.map(({ model, action, evidence, incumbentBefore, review }) => [
      model,
      'cause' in evidence ? evidence.cause : action,
      incumbentBefore,
      review === undefined ? 'stands' : 'flipped',
    ]);
    expect(kinds).toEqual([
      ['a', 'promote', null, 'flipped'],
      ['c', 'promote', 'a', 'stands'],
      ['c', 'guardrail', 'c', 'stands'],
      ['b', 'promote', null, 'stands'],
      ['b', 'below', 'b', 'stands'],
      ['d', 'promote', null, 'stands'],
    ]);
    expect(result.late).toBeGreaterThan(20);
    expect(Math.min(result.lateArchived, result.duplicates, result.conflicts)).toBeGreaterThan(3);
  });

  test('with somebody in the seat from the start', async () => {
    const reports = contestReports(3, 110);
    await replayOnline(base, h, 'seated', contestSuite, reports, 'b');
    const result = await backtestOf(contestSuite, reports, { incumbent: 'b' });
    await expectAsOnline(base, 'seated', contestSuite, result);
    expect(result.decisions).toMatchObject([{ action: 'promote', model: 'c', incumbentBefore: 'b' }]);
  });
});
