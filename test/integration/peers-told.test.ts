import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { pushDueReports, type ReportWatch } from '../../api/roles/finance-report.ts';
import { statementHash } from '../../core/approval.ts';
import { isEnded } from '../../core/booking.ts';
import { sha256Hex } from '../../core/canonical.ts';
import { attemptKey, ulid } from '../../core/ids.ts';
import { moneySpec } from '../../core/money-request.ts';
import { awaitSealed } from '../../ledger/audit/sequencer.ts';
import { agentManager } from '../../peers/agent-manager/client.ts';
import { startAgentManagerSimulator } from '../../peers/agent-manager/simulator.ts';
import { type FinanceReports, financeReports } from '../../peers/finance/reports.ts';
import { kernel } from '../../peers/kernel/client.ts';
import { startKernelSimulator } from '../../peers/kernel/simulator.ts';
import { moneyOf } from '../../peers/money.ts';
import { reasoningGraph } from '../../peers/reasoning-graph/client.ts';
import { startReasoningGraphSimulator } from '../../peers/reasoning-graph/simulator.ts';
import { systemClock } from '../../platform/clock.ts';
import { openHttpClient } from '../../platform/http-client.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import { bookMoney } from '../../scheduler/apply/close-money.ts';
import {
  agentNotices,
  explanations,
  GIVE_UP_AFTER_MS,
  humanActions,
  runNotices,
  type Teller,
} from '../../scheduler/notices/push-trail.ts';
import { liveProposal } from '../../scheduler/signatures/proposals.sql.ts';
import { signProposal } from '../../scheduler/signatures/sign.ts';
import { ANN, furnish } from '../support/saga-stories.ts';
import { type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';

/** What peers are told of what happened: at least once, each by its id, and never in the way of what happens. */

let world: SagaWorld;
let manager: Awaited<ReturnType<typeof startAgentManagerSimulator>>;
let graph: Awaited<ReturnType<typeof startReasoningGraphSimulator>>;
const clients: { close(): Promise<void> }[] = [];
const outcomes: string[] = [];

const httpOf = (origin: string) => {
  const client = openHttpClient({ origin });
  clients.push(client);
  return (request: Parameters<typeof client.send>[0]) => client.send(request);
};

beforeAll(async () => {
  world = await sagaWorld();
  await furnish(world);
  manager = await startAgentManagerSimulator();
  graph = await startReasoningGraphSimulator();
});
afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await Promise.all([manager.close(), graph.close()]);
  await world.close();
});

function startNotices(teller: Teller, nowMs: () => number = Date.now) {
  const stop = new AbortController();
  const watch = {
    told: (peer: string, outcome: string) => void outcomes.push(`${peer} ${outcome}`),
    waiting: () => {},
  };
  const clock = {
    now: nowMs,
    sleep: (ms: number, signal?: AbortSignal) => systemClock.sleep(Math.min(ms, 20), signal),
  };
  const { epoch } = world.current();
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const running = runNotices({ db: world.database.db, epoch, clock, log, watch }, teller, stop.signal);
  return {
    stop: async () => {
      stop.abort();
      await running;
    },
  };
}

async function runOne(): Promise<string> {
  const allocator = await world.startAllocator();
  const id = await world.book();
  await world.until(id, ({ state }) => state.state === 'applied');
  world.provider.end(attemptKey(id, 1), 'succeeded');
  await world.until(id, ({ state }) => isEnded(state.state));
  await allocator.stop();
  await awaitSealed(world.database.db, systemClock, AbortSignal.timeout(60_000));
  return id;
}

test('Agent Manager is told of what becomes of an allocation, once each, also where its answers are lost; what was before it was there is not told', async () => {
  const before = await runOne();
  manager.control.dropReply('notice', 2);
  const loop = startNotices(
    agentNotices(world.database.db, agentManager({ http: httpOf(manager.url), timeoutMs: 1_000 })),
  );
  // It has begun where the trail ends now.
  await expect
    .poll(() => world.database.db.asEngine((tx) => tx.query("select 1 from publications where name = 'agent-manager'")))
    .toHaveLength(1);
  const id = await runOne();
  await expect.poll(() => manager.told.map(({ state }) => state)).toEqual(['applied', 'released']);
  await loop.stop();
  expect(manager.told.every(({ allocation }) => allocation === id && allocation !== before)).toBe(true);
  expect(manager.told[0]).toMatchObject({ tenant: TENANT, division: 'vision', attempt: 1, agent: null, money: null });
  expect(manager.control.calls.length).toBeGreaterThanOrEqual(4);
  expect(outcomes.filter((one) => one === 'agent-manager taken')).toHaveLength(2);
});

test('an allocation is applied while whoever is told is away, and is told when they are back', async () => {
  const gate = graph.control.hold('explain', 'before-effect');
  const loop = startNotices(explanations(reasoningGraph({ http: httpOf(graph.url), timeoutMs: 500 })));
  await expect
    .poll(() =>
      world.database.db.asEngine((tx) => tx.query("select 1 from publications where name = 'reasoning-graph'")),
    )
    .toHaveLength(1);
  const id = await runOne();
  expect(graph.told).toEqual([]);
  gate.open();
  await expect
    .poll(() => graph.told.map(({ what }) => what))
    .toEqual([
      'booking.created',
      'booking.reserved',
      'booking.requesting',
      'booking.confirming',
      'booking.applied',
      'booking.releasing',
      'booking.released',
    ]);
  await loop.stop();
  const applied = graph.told.find(({ what }) => what === 'booking.applied');
  expect(applied).toMatchObject({ about: { kind: 'allocation', id }, text: `allocation ${id} is applied` });
  // Each names evidence that is stored, by its hash.
  const rows = await world.database.db.asEngine((tx) =>
    tx.query<{ hash: string }>('select hash from evidence where hash = any($1)', [applied?.evidence]),
  );
  expect(applied?.evidence.length).toBeGreaterThan(0);
  expect(new Set(rows.map(({ hash }) => hash))).toEqual(new Set(applied?.evidence));
});

test('what a peer refuses, or does not take for a day, is passed over and counted; after the end nothing more is told, and the next begins there', async () => {
  await runOne();
  const before: string[] = [];
  const stopped = Promise.withResolvers<void>();
  const short = startNotices({
    peer: 'reasoning-graph',
    tell: async ({ type }) => {
      before.push(type);
      stopped.resolve(short.stop());
      return { kind: 'taken' };
    },
  });
  await stopped.promise;
  expect(before).toEqual(['booking.created']);
  outcomes.length = 0;
  const refusal = { status: 422, body: JSON.stringify({ code: 'unknown_tenant', detail: 'no such tenant' }) };
  graph.control.answerWith('explain', refusal, 1);
  graph.control.answerWith('explain', { status: 500, body: '{}' }, 1);
  const teller = explanations(reasoningGraph({ http: httpOf(graph.url), timeoutMs: 1_000 }));
  const loop = startNotices(teller, () => Date.now() + GIVE_UP_AFTER_MS + 60_000);
  await expect.poll(() => outcomes).toHaveLength(6);
  await loop.stop();
  expect(outcomes).toEqual([
    'reasoning-graph refused',
    'reasoning-graph given_up',
    ...Array.from({ length: 4 }, () => 'reasoning-graph taken'),
  ]);
});

test('what people did is recorded with Kernel, each once by its event’s hash, however long it was away, and what the engine did is not', async () => {
  const { db } = world.database;
  const governor = await startKernelSimulator();
  // It takes nothing for more than a day.
  const days = () => Date.now() + GIVE_UP_AFTER_MS + 60_000;
  governor.control.answerWith('record', { status: 500, body: '{}' }, 3);
  governor.control.dropReply('record', 2);
  outcomes.length = 0;
  const loop = startNotices(humanActions(kernel({ http: httpOf(governor.url), timeoutMs: 1_000 })), days);
  try {
    await expect
      .poll(() => db.asEngine((tx) => tx.query("select 1 from publications where name = 'kernel'")))
      .toHaveLength(1);
    const by = (actor: string) => ({
      tenant: TENANT,
      actor,
      traceId: '0af7651916cd43dd8448eb211c80319c',
      nowMs: Date.now(),
    });
    const id = ulid(Date.now(), randomBytes(10));
    const spec = moneySpec({
      division: 'vision',
      amount: '500.00',
      currency: 'USD',
      purpose: 'labels',
      agent: 'labeller',
    });
    const who = { ...by('oidc:cid'), requester: 'oidc:cid' };
    await db.asTenant(TENANT, (tx) => bookMoney(tx, { bookingId: id, division: 'vision', spec, ...who }));
    const allocator = await world.startAllocator();
    await world.until(id, ({ state }) => state.state === 'awaiting_signatures');
    await db.asTenant(TENANT, async (tx) => {
      const proposal = await liveProposal(tx, { tenant: TENANT, bookingId: id, action: 'allocation.apply' });
      const { statement } = proposal!;
      const given = { statementHash: statementHash(statement), keyId: ANN.keyId, signature: ANN.sign(statement) };
      await signProposal(tx, by('oidc:dan'), proposal!.id, 'approve', given);
    });
    await db.asTenant(TENANT, (tx) => cancelBooking(tx, id, 'token:local', Date.now()));
    await world.until(id, ({ state }) => isEnded(state.state));
    await allocator.stop();
    await awaitSealed(db, systemClock, AbortSignal.timeout(60_000));
    await expect.poll(() => outcomes.filter((one) => one === 'kernel taken'), { timeout: 20_000 }).toHaveLength(3);
    expect(governor.recorded).toMatchObject([
      { action: 'booking.created', person: 'oidc:cid', subject: `booking/${id}`, n: 1, signer: null },
      { action: 'booking.signing_approved', person: 'oidc:dan', signer: 'ann', proposal: expect.any(String) },
      { action: 'booking.cancelled', person: 'token:local' },
    ]);
    expect(new Set(outcomes)).toEqual(new Set(['kernel failed', 'kernel taken']));
    // Each is found in the chain by the hash of its bytes.
    const rows = await db.asEngine((tx) =>
      tx.query<{ bytes: Buffer }>(
        "select bytes from audit_events where subject = $1 and convert_from(bytes, 'UTF8')::jsonb ->> 'actor' ~ '^(oidc|token):' order by seq",
        [`booking/${id}`],
      ),
    );
    expect(governor.recorded.map(({ id }) => id)).toEqual(rows.map(({ bytes }) => sha256Hex(bytes)));
  } finally {
    await loop.stop();
    await governor.close();
  }
});

test('Finance is told of a month once it has ended: the whole FOCUS file by its hash, equal to what it settled, and once', async () => {
  const { db } = world.database;
  const pushed: string[] = [];
  const watch: ReportWatch = { pushed: (outcome) => void pushed.push(outcome) };
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const reports = financeReports({ http: httpOf(world.finance.url) });
  const at = (nowMs: number) => ({ ...systemClock, now: () => nowMs });
  const look = (nowMs: number) =>
    pushDueReports({ db, clock: at(nowMs), log, reports, watch }, world.current().epoch, new AbortController().signal);
  const now = new Date();
  const month = now.toISOString().slice(0, 7);
  const next = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1);
  await look(Date.now());
  expect(pushed).toEqual([]);
  world.finance.control.dropReply('report', 1);
  await look(next + 120_000);
  await look(next + 120_000);
  await look(next + 600_000);
  expect(pushed).toEqual(['failed', 'taken']);
  const told = world.finance.report(`${TENANT}-${month}`);
  expect(told?.report).toMatchObject({ tenant: TENANT, month, sha256: sha256Hex(Buffer.from(told?.text ?? '')) });
  const settled = world.finance.used(TENANT, 'vision', 'USD');
  expect(told?.report.totals).toEqual([{ division: 'vision', settled: moneyOf(settled, 'USD') }]);
  expect(told?.text.match(/vision/g)?.length).toBeGreaterThanOrEqual(4);
});

test('a tenant whose month cannot be told keeps no other’s from Finance', async () => {
  const { db } = world.database;
  await db.asEngine((tx) => tx.execute("insert into tenants (tenant) values ('aaa')"));
  const told: string[] = [];
  const pushed: string[] = [];
  const reports: FinanceReports = {
    push: async ({ tenant }) => {
      if (tenant === 'aaa') throw new Error('it never can be');
      told.push(tenant);
      return { kind: 'taken' };
    },
  };
  const look = (nowMs: number) =>
    pushDueReports(
      {
        db,
        clock: { ...systemClock, now: () => nowMs },
        log: { info: () => {}, warn: () => {}, error: () => {} },
        reports,
        watch: { pushed: (outcome) => void pushed.push(outcome) },
      },
      world.current().epoch,
      new AbortController().signal,
    );
  const now = new Date();
  const month = (n: number) => Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + n, 1) + 120_000;
  await look(month(1));
  told.length = 0;
  pushed.length = 0;
  await look(month(2));
  expect(told).toEqual([TENANT]);
  expect(pushed).toEqual(['failed', 'taken']);
});
