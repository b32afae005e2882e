import { createPublicKey, verify } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { canonicalBytes, sha256Hex } from '../../core/canonical.ts';
import { OperatingError } from '../../core/operating-error.ts';
import type { Signer } from '../../platform/signer.ts';
import { NO_METRICS, type PromotionPolicy } from '../../scoring/context.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { listDecisions } from '../../scoring/read/promotions.ts';
import { parseModel } from '../../scoring/registry/model-document.ts';
import { addVersion, getModel, registerModel, retireVersion } from '../../scoring/registry/models.ts';
import { getSuite } from '../../scoring/registry/suites.ts';
import { raiseDueRetrains } from '../../scoring/retrain/due-retrains.ts';
import { listRetrains, requestRetrain } from '../../scoring/retrain/request-retrain.ts';
import { FIRST_BACKOFF_MS, MAX_RETRAIN_ATTEMPTS, retrainRound } from '../../scoring/retrain/retrain-worker.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import {
  ALLOW,
  drainDying,
  dyingDatabase,
  EPOCH_MS,
  type Harness,
  harness,
  lineOf,
  newTenant,
  parseSuite,
  RETRAIN_JOB,
  random,
  referenceChecksum,
  register,
  type TestReport,
  TRACE,
} from './scoring-online-support.ts';

const suite = parseSuite({
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'digits',
  tick: '1m',
  windows: { '1h': 1 },
  minN: 5,
  shrinkage: { kappa: 0 },
  metrics: { accuracy: { direction: 'higher', kind: 'mean', floor: 0, ceil: 1, required: true } },
  promotion: { promoteAbove: 0.8, promoteTicks: 3, demoteBelow: 0.7, demoteTicks: 2, cooldown: '5m' },
});

/** One report a minute, in the middle of its minute, around `level`. */
function slices(model: string, from: number, count: number, level: number, producer = 'live'): TestReport[] {
  const next = random(from + 1);
  return Array.from({ length: count }, (_, i) => ({
    schemaVersion: 1,
    reportId: `${model}-${from + i}`,
    producer,
    model,
    suite: 'digits',
    observedAt: new Date(EPOCH_MS + (from + i) * 60_000 + 30_000).toISOString(),
    sampleSize: 64,
    metrics: { accuracy: level + (next() - 0.5) * 0.02, latency_ms: next() },
  }));
}

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

async function tenantWith(name: string) {
  const by = await newTenant(base, name);
  await register(base.db, by, suite, ['ranker-v1']);
  return by;
}

const decisions = (tenant: string) => base.db.asTenant(tenant, (tx) => listDecisions(tx, tenant));
const retrains = (tenant: string) => base.db.asTenant(tenant, (tx) => listRetrains(tx, tenant));
const seat = async (tenant: string) =>
  (await base.db.asTenant(tenant, (tx) => getSuite(tx, tenant, 'digits')))!.incumbent;

/** What was decided about the first version, without what differs from run to run. */
const facts = async (tenant: string) =>
  (await decisions(tenant))
    .map(({ signed: { record } }) => ({ ...record, tenant: '', decidedAt: '', offsets: {}, policy: null }))
    .filter((record) => record.model === 'ranker-v1');

/** A good model, live traffic that drifts from slice 45 on. */
const live = [...slices('ranker-v1', 0, 45, 0.93), ...slices('ranker-v1', 45, 45, 0.3)];

describe('the loop', () => {
  test('a candidate is promoted by evidence, demoted when its scores fall, and its successor is booked and promoted', async () => {
    await tenantWith('loop');
    await h.send('loop', live.map(lineOf).join(''));
    await h.drain();
    const [demotion, promotion, ...more] = await decisions('loop');
    expect(more).toEqual([]);
    expect(promotion!.signed.record).toMatchObject({
      action: 'promote',
      model: 'ranker-v1',
      incumbentBefore: null,
      suiteHash: suite.hash,
    });
    expect(demotion!.signed.record).toMatchObject({
      action: 'demote',
      model: 'ranker-v1',
      incumbentBefore: 'ranker-v1',
      policy: null,
    });
    expect(demotion!.signed.record.evidence).toMatchObject({ cause: 'below', demoteBelow: 0.7, run: 2 });
    expect(Object.values(demotion!.signed.record.evidence.compositeByTick).every((composite) => composite < 0.7)).toBe(
      true,
    );
    expect(await seat('loop')).toBeNull();

    const requests = await retrains('loop');
    expect(requests).toHaveLength(1);
    const [request] = requests;
    expect(request).toMatchObject({
      state: 'open',
      cause: 'demotion',
      decision: demotion!.hash,
      version: 'ranker-v2',
      traceId: TRACE,
    });

    await retrainRound(h.context());
    await retrainRound(h.context());
    const booked = (await retrains('loop'))[0]!;
    expect(booked).toMatchObject({ state: 'booked', attempts: 1 });
    const bookings = await base.db.asTenant('loop', (tx) =>
      tx.query<{ trace_id: string; spec: { parameters: object } }>('select trace_id, spec from bookings'),
    );
    expect(bookings).toHaveLength(1);
    expect(bookings[0]!.trace_id).toBe(TRACE);
    expect(bookings[0]!.spec.parameters).toEqual({
      seed: 7,
      model: 'ranker-v2',
      suite: 'digits',
      producer: `job-${booked.bookingId}`,
      demotedAtTick: demotion!.signed.record.tick,
    });

    const retrained = slices('ranker-v2', 90, 44, 0.95, `job-${booked.bookingId}`);
    await h.send('loop', retrained.map(lineOf).join(''), `job-${booked.bookingId}`);
    await h.drain();
    const latest = (await decisions('loop'))[0]!;
    expect(latest.signed.record).toMatchObject({ action: 'promote', model: 'ranker-v2', incumbentBefore: null });
    expect(await seat('loop')).toBe('ranker-v2');
    const model = await base.db.asTenant('loop', (tx) => getModel(tx, 'loop', 'ranker'));
    expect(model).toMatchObject({ aliases: { champion: 'ranker-v2' } });
    expect(model!.versions.map((version) => [version.version, version.source, version.role])).toEqual([
      ['ranker-v1', 'manual', 'candidate'],
      ['ranker-v2', 'retrain', 'incumbent'],
    ]);
    expect(await base.db.asTenant('loop', (tx) => suiteChecksum(tx, 'loop', 'digits'))).toBe(
      referenceChecksum(suite, [...live, ...retrained]),
    );

    await asAdmin(base.urls.admin, `update bookings set state = 'released' where booking_id = '${booked.bookingId}'`);
    await retrainRound(h.context());
    expect((await retrains('loop'))[0]!.state).toBe('done');
  });

  test('a decision is signed over its record, is evidence by its hash, and is told in the audit trail and the outbox', async () => {
    for (const { hash, signed, auditEventId } of await decisions('loop')) {
      expect(sha256Hex(canonicalBytes(signed))).toBe(hash);
      const key = createPublicKey({
        key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), h.signer.publicKey]),
        format: 'der',
        type: 'spki',
      });
      expect(verify(null, canonicalBytes(signed.record), key, Buffer.from(signed.signature, 'base64'))).toBe(true);
      const rows = await base.db.asTenant('loop', (tx) =>
        tx.query<{ type: string; bytes: Buffer; evidence: bigint; outbox: bigint }>(
          `select e.type, e.bytes, (select count(*) from evidence where hash = $2) as evidence,
                  (select count(*) from outbox where body ->> 'decision' = $2) as outbox from audit_events e where e.event_id = $1`,
          [auditEventId, hash],
        ),
      );
      const event = JSON.parse(rows[0]!.bytes.toString('utf8'));
      expect(event).toMatchObject({ type: `decision.${signed.record.action}`, subject: 'suite/digits', trace: TRACE });
      expect(event.data).toMatchObject({
        model: signed.record.model,
        tick: signed.record.tick,
        decision: hash,
        incumbentBefore: signed.record.incumbentBefore,
      });
      expect(event.data.evidence).toContain(hash);
      expect(rows[0]).toMatchObject({ evidence: 1n, outbox: 1n });
    }
  });

  test('reports sent again decide nothing a second time', async () => {
    const before = await decisions('loop');
    await h.send('loop', live.map(lineOf).join(''));
    await h.drain();
    await retrainRound(h.context());
    expect(await decisions('loop')).toEqual(before);
    expect(await retrains('loop')).toHaveLength(1);
  });

  test('batch size decides nothing: one line a flush makes the same decisions at the same places of the log', async () => {
    await tenantWith('small');
    await h.send('small', live.map(lineOf).join(''));
    await h.drain(h.context(), { maxFlushLines: 1 });
    expect(await facts('small')).toEqual(await facts('loop'));
  });

  test('deaths of the consumer decide nothing: each decision is made once, in the same place, and raises one retrain', async () => {
    await tenantWith('mortal');
    await h.send('mortal', live.map(lineOf).join(''));
    const dying = dyingDatabase(base.db, 3);
    await drainDying(h, dying, {});
    expect(dying.deaths.before).toBeGreaterThan(5);
    expect(dying.deaths.after).toBeGreaterThan(5);
    expect(await facts('mortal')).toEqual(await facts('loop'));
    expect(await retrains('mortal')).toHaveLength(1);
  });

  test('late data that would have flipped a decision raises one review and changes no decision', async () => {
    const before = await decisions('small');
    const late = slices('ranker-v1', 0, 60, 1, 'late').map((report) => ({
      ...report,
      reportId: `late-${report.reportId}`,
      sampleSize: 2 ** 20,
    }));
    await h.send('small', late.map(lineOf).join(''));
    await h.drain();
    const after = await decisions('small');
    expect(after.map((one) => one.hash)).toEqual(before.map((one) => one.hash));
    const reviewed = after.filter((one) => one.review !== null);
    expect(reviewed.map((one) => one.signed.record.action)).toEqual(['demote']);
  });
});

describe('policy', () => {
  test('a denial keeps a candidate out of the seat', async () => {
    await tenantWith('denied');
    const deny: PromotionPolicy = async (question, signal) => ({ ...(await ALLOW(question, signal)), allow: false });
    await h.send('denied', live.slice(0, 45).map(lineOf).join(''));
    await h.drain(h.context({ policy: deny }));
    expect(await decisions('denied')).toEqual([]);
    expect(await seat('denied')).toBeNull();
  });

  test('while SentinelNet is away scores go on and the promotion waits; when it answers, the tick is decided in its turn', async () => {
    await tenantWith('waiting');
    let asked = 0;
    const away: PromotionPolicy = async () => {
      asked++;
      throw new OperatingError('unreachable', 'safe', 'asking SentinelNet');
    };
    await h.send('waiting', live.slice(0, 45).map(lineOf).join(''));
    await h.drain(h.context({ policy: away }));
    expect(asked).toBe(1);
    expect(await decisions('waiting')).toEqual([]);
    const scored = (await base.db.asTenant('waiting', (tx) => getSuite(tx, 'waiting', 'digits')))!.scoredTick;
    expect(scored).toBe(new Date(EPOCH_MS + 44 * 60_000).toISOString());
    h.clock.pass(60_000);
    await h.drain();
    const [promotion] = await decisions('waiting');
    const first = (await decisions('small')).at(-1)!;
    expect(promotion!.signed.record.tick).toBe(first.signed.record.tick);
    expect(promotion!.signed.record).toMatchObject({ action: 'promote', model: 'ranker-v1' });
    expect(promotion!.signed.record.policy).toMatchObject({ policyVersion: 'p1' });
  });

  test('a signer that is away leaves no trace of the decision and stops no scores; the same tick is decided later', async () => {
    await tenantWith('unsigned');
    await h.send('unsigned', live.slice(0, 45).map(lineOf).join(''));
    const broken: Signer = {
      ...h.signer,
      sign: async () => Promise.reject(new OperatingError('unreachable', 'safe', 'signing')),
    };
    await h.drain(h.context({ signer: broken }));
    expect(await decisions('unsigned')).toEqual([]);
    expect(await seat('unsigned')).toBeNull();
    const scored = (await base.db.asTenant('unsigned', (tx) => getSuite(tx, 'unsigned', 'digits')))!.scoredTick;
    expect(scored).toBe(new Date(EPOCH_MS + 44 * 60_000).toISOString());
    await h.drain();
    expect((await decisions('unsigned')).map((one) => one.signed.record.tick)).toEqual([
      (await decisions('small')).at(-1)!.signed.record.tick,
    ]);
  });
});

describe('the registry', () => {
  test('a candidate that is retired leaves the contest', async () => {
    const by = await tenantWith('retired');
    await h.send('retired', live.slice(0, 20).map(lineOf).join(''));
    await h.drain();
    await base.db.asTenant('retired', (tx) => retireVersion(tx, by, 'ranker', 'ranker-v1'));
    await h.send('retired', live.slice(20, 45).map(lineOf).join(''));
    await h.drain();
    expect(await decisions('retired')).toEqual([]);
    expect((await base.db.asTenant('retired', (tx) => getSuite(tx, 'retired', 'digits')))!.candidates).toEqual([]);
    const open = await base.db.asTenant('retired', (tx) =>
      tx.query('select 1 from watches where closed_tick_ms is null'),
    );
    expect(open).toEqual([]);
  });

  test('a version seated by hand is the incumbent without a contest', async () => {
    const by = await tenantWith('byhand');
    await base.db.asTenant('byhand', (tx) => addVersion(tx, by, { model: 'ranker', version: 'chosen', seat: true }));
    await h.drain();
    expect(await seat('byhand')).toBe('chosen');
    expect((await base.db.asTenant('byhand', (tx) => getModel(tx, 'byhand', 'ranker')))!.aliases).toEqual({
      champion: 'chosen',
    });
  });

  test('a booking that fails is tried again with longer waits, and then the request has failed', async () => {
    const by = await tenantWith('failing');
    const raised = await base.db.asTenant('failing', (tx) => requestRetrain(tx, h.clock, by, 'ranker'));
    expect(raised.kind).toBe('raised');
    const again = await base.db.asTenant('failing', (tx) => requestRetrain(tx, h.clock, by, 'ranker'));
    expect(again.kind).toBe('exists');
    for (let attempt = 1; attempt <= MAX_RETRAIN_ATTEMPTS; attempt++) {
      await retrainRound(h.context());
      const [request] = await retrains('failing');
      expect(request).toMatchObject({ state: 'booked', attempts: attempt });
      await asAdmin(
        base.urls.admin,
        `update bookings set state = 'failed', data = '{"state":"failed","attempt":1,"reason":{"code":"job_failed","text":"exit 1","mend":"see the log"}}'
         where booking_id = '${request!.bookingId}'`,
      );
      await retrainRound(h.context());
      if (attempt < MAX_RETRAIN_ATTEMPTS) {
        expect((await retrains('failing'))[0]).toMatchObject({ state: 'open', failure: { code: 'job_failed' } });
        h.clock.pass(FIRST_BACKOFF_MS * 2 ** (attempt - 1) - 1);
        await retrainRound(h.context());
        expect((await retrains('failing'))[0]!.state).toBe('open');
        h.clock.pass(1);
      }
    }
    expect((await retrains('failing'))[0]).toMatchObject({
      state: 'failed',
      attempts: MAX_RETRAIN_ATTEMPTS,
      failure: { code: 'job_failed' },
    });
  });

  test('a model whose versions are too old is retrained by itself, once, and its request keeps wait and manifest', async () => {
    const by = await tenantWith('ageing');
    const entry = { apiVersion: 'merit/v1', kind: 'Model', name: 'ranker', division: 'vision', suite: 'digits' };
    const aged = parseModel({ ...entry, retrain: RETRAIN_JOB, retrainWhen: { staleAfter: '7d' } });
    await base.db.asTenant('ageing', (tx) => registerModel(tx, by, aged));
    await asAdmin(base.urls.admin, "update model_versions set created_at = to_timestamp(0) where tenant = 'ageing'");
    await raiseDueRetrains(h.context());
    await raiseDueRetrains(h.context());
    expect(await retrains('ageing')).toMatchObject([{ cause: 'stale', state: 'open', queueWaitMs: null }]);
    const told: number[] = [];
    await retrainRound(h.context());
    const [booked] = await retrains('ageing');
    await asAdmin(
      base.urls.admin,
      `insert into attempts (booking_id, attempt, tenant, pool, flavour, provider, key, started_at)
       select booking_id, 1, tenant, 'p', 'f', 'local', 'm-' || booking_id, created_at + interval '90 s' from bookings where booking_id = '${booked!.bookingId}';
       update bookings set state = 'released', data = '{"state":"released","attempt":1,"reason":{"code":"succeeded","text":"it ended well","mend":"nothing"}}'
       where booking_id = '${booked!.bookingId}'`,
    );
    await retrainRound(h.context({ metrics: { ...NO_METRICS, retrainWaited: (seconds) => void told.push(seconds) } }));
    expect((await retrains('ageing'))[0]).toMatchObject({ state: 'done', queueWaitMs: 90_000 });
    expect(told).toEqual([90]);
  });

  test('a tenant sees nothing of another one’s scores, models and decisions', async () => {
    const seen = await base.db.asTenant('denied', (tx) =>
      tx.query<{ n: bigint }>(
        `select (select count(*) from scores where tenant <> 'denied') + (select count(*) from decisions) + (select count(*) from models where tenant <> 'denied')
              + (select count(*) from quarantine) + (select count(*) from retrain_requests) as n`,
      ),
    );
    expect(seen[0]!.n).toBe(0n);
  });
});
