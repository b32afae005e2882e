import { createReadStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { newTrace } from '../../platform/trace.ts';
import { appendReports } from '../../scoring/ingest/pack-reports.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { listDecisions } from '../../scoring/read/promotions.ts';
import { parseModel } from '../../scoring/registry/model-document.ts';
import { addVersion, registerModel } from '../../scoring/registry/models.ts';
import { applySuite, getSuite } from '../../scoring/registry/suites.ts';
import { retrainRound } from '../../scoring/retrain/retrain-worker.ts';
import { backtestOf } from '../support/backtest-cases.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { EXAMPLE, type Report, readReports, runTrainer } from '../support/digits-example.ts';
import { expectAsOnline, replayOnline } from './backtest-online-support.ts';
import { type Harness, harness, newTenant, parseSuite, referenceChecksum } from './scoring-online-support.ts';

const folder = mkdtempSync(join(tmpdir(), 'merit-digits-online-'));
const suite = parseSuite(parse(readFileSync(join(EXAMPLE, 'suite.yaml'), 'utf8')));
const entry = parse(readFileSync(join(EXAMPLE, 'model.yaml'), 'utf8'));
const incumbent = JSON.parse(readFileSync(join(EXAMPLE, 'incumbent.json'), 'utf8'));
const trainer = [process.execPath, 'train.mjs'];

let base: TestDatabase;
let h: Harness;
/** All that the loop measured. */
let reports: readonly Report[] = [];

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base);
});
afterAll(async () => {
  await h.log.close();
  await base.close();
  rmSync(folder, { recursive: true, force: true });
});

async function upload(out: string, producer: string): Promise<void> {
  const traceparent = `00-${newTrace().traceId}-b7ad6b7169203331-01`;
  await appendReports(h.log, createReadStream(join(out, 'reports.ndjson')), { tenant: 'demo', producer, traceparent });
  await h.drain();
}

describe('the digits example', () => {
  test('closes its loop by its own measured reports: promoted, demoted, retrained, promoted', async () => {
    const by = await newTenant(base, 'demo');
    // Without a working directory: what is booked is looked at, not run.
    const { workdir: _, ...retrain } = entry.retrain;
    await base.db.asTenant('demo', async (tx) => {
      await applySuite(tx, by, suite);
      await registerModel(tx, by, parseModel({ ...entry, retrain }));
      await addVersion(tx, by, { model: 'digits', version: 'digits-v1' });
    });
    const [first, second] = [join(folder, 'v1'), join(folder, 'v2')];
    await runTrainer(trainer, { ...incumbent, outputs: `file://${first}` });
    await upload(first, 'digits-live');
    await retrainRound(h.context());
    const bookings = await base.db.asTenant('demo', (tx) =>
      tx.query<{ booking_id: string; spec: { parameters: object } }>('select booking_id, spec from bookings'),
    );
    expect(bookings).toHaveLength(1);
    const [booking] = bookings;
    await runTrainer(trainer, { ...booking!.spec.parameters, outputs: `file://${second}` });
    await upload(second, `job-${booking!.booking_id}`);
    const decisions = await base.db.asTenant('demo', (tx) => listDecisions(tx, 'demo'));
    expect(decisions.map(({ signed: { record } }) => [record.action, record.model])).toEqual([
      ['promote', 'digits-v2'],
      ['demote', 'digits-v1'],
      ['promote', 'digits-v1'],
    ]);
    const state = await base.db.asTenant('demo', (tx) => getSuite(tx, 'demo', 'digits'));
    expect(state).toMatchObject({ incumbent: 'digits-v2', candidates: ['digits-v1'] });
    const online = await base.db.asTenant('demo', (tx) => suiteChecksum(tx, 'demo', 'digits'));
    reports = [...readReports(first), ...readReports(second)];
    expect(online).toBe(referenceChecksum(suite, reports));
  });

  test('decides the same in a backtest of its reports', async () => {
    await replayOnline(base, h, 'archive', suite, reports);
    const backtest = await backtestOf(suite, reports);
    await expectAsOnline(base, 'archive', suite, backtest);
    const looped = await base.db.asTenant('demo', async (tx) => ({
      checksum: await suiteChecksum(tx, 'demo', 'digits'),
      decisions: await listDecisions(tx, 'demo'),
    }));
    expect(backtest.checksum).toBe(looped.checksum);
    const made = looped.decisions.map(({ signed: { record } }) => [record.tick, record.action, record.model]);
    expect(backtest.decisions.map(({ tick, action, model }) => [tick, action, model])).toEqual(made.toReversed());
  });
});
