import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { agentManager } from '../../../peers/agent-manager/client.ts';
import { startAgentManagerSimulator } from '../../../peers/agent-manager/simulator.ts';
import type { Notice } from '../../../peers/agent-manager/wire.ts';
import { finance } from '../../../peers/finance/client.ts';
import { financeReports } from '../../../peers/finance/reports.ts';
import { startFinanceSimulator } from '../../../peers/finance/simulator.ts';
import { kernel } from '../../../peers/kernel/client.ts';
import { startKernelSimulator } from '../../../peers/kernel/simulator.ts';
import type { HumanAction } from '../../../peers/kernel/wire.ts';
import { MAX_RETRY_AFTER_MS } from '../../../peers/peer-call.ts';
import { reasoningGraph } from '../../../peers/reasoning-graph/client.ts';
import { startReasoningGraphSimulator } from '../../../peers/reasoning-graph/simulator.ts';
import type { Explanation } from '../../../peers/reasoning-graph/wire.ts';
import { sentinelNet } from '../../../peers/sentinelnet/client.ts';
import { startSentinelSimulator } from '../../../peers/sentinelnet/simulator.ts';
import type { PeerServer } from '../../../peers/simulator-server.ts';
import { openHttpClient } from '../../../platform/http-client.ts';
import { badReplies } from '../../support/bad-replies.ts';

/** Every call of every peer, answered with what is no answer: none of them is taken for a yes, and nothing is called twice. */

const hash = 'a'.repeat(64);
const at = '2026-11-02T00:00:00.000Z';
const ask = {
  holdId: 'm-a-1',
  tenant: 'acme',
  division: 'vision',
  bookingId: 'a',
  attempt: 1,
  amountCents: '1250',
  currency: 'EUR',
} as const;
const amount = { amount: '12.50', currency: 'EUR' };
const hold = { holdId: ask.holdId, tenant: 'acme', status: 'held', seq: '1' };
const policyRequest = {
  format: 'merit-policy-request/1',
  kind: 'allocation',
  requestId: 'm-a-1',
  tenant: 'acme',
  division: 'vision',
  requester: 'ada',
  model: null,
  contentHash: hash,
  pool: 'ray',
  flavour: 'gpu',
  provider: 'ray',
  gpuMilli: '1000',
  cpuMilli: '1000',
  leaseMs: 3_600_000,
  cost: amount,
} as const;
const notice: Notice = {
  format: 'merit-notice/1',
  id: hash,
  event: 'e1',
  tenant: 'acme',
  division: 'vision',
  allocation: 'a',
  attempt: 1,
  state: 'applied',
  at,
  agent: null,
  model: null,
  money: null,
  reason: null,
};
const explanation: Explanation = {
  format: 'merit-explanation/1',
  id: hash,
  event: 'e1',
  tenant: 'acme',
  about: { kind: 'allocation', id: 'a', n: 1 },
  what: 'booking.applied',
  text: 'allocation a is applied',
  at,
  actor: 'merit',
  causes: [],
  evidence: [],
  trace: '',
};
const action: HumanAction = {
  format: 'merit-human-action/1',
  id: hash,
  event: 'e1',
  tenant: 'acme',
  person: 'oidc:ann',
  action: 'booking.created',
  subject: 'booking/a',
  n: 1,
  at,
  proposal: null,
  signer: null,
  reason: null,
  trace: '',
};
const signal = () => AbortSignal.timeout(60_000);
const http = (url: string) => openHttpClient({ origin: url }).send;
async function* month() {
  yield 'a line\n';
}

interface Call {
  readonly route: string;
  /** What the peer answers where it answers. */
  readonly good: object;
  run(url: string): Promise<unknown>;
}

const folder = mkdtempSync(join(tmpdir(), 'merit-bad-replies-'));
const decision = {
  decision: 'allow',
  decisionId: 'd',
  policyVersion: '1',
  requestHash: hash,
  signatures: 0,
  reasons: [],
};
const calls: Readonly<Record<string, readonly Call[]>> = {
  SentinelNet: [
    { route: 'decide', good: decision, run: (url) => sentinelNet({ http: http(url) }).decide(policyRequest, signal()) },
    {
      route: 'policy-version',
      good: { policyVersion: '1' },
      run: (url) => sentinelNet({ http: http(url) }).currentPolicyVersion(signal()),
    },
  ],
  Finance: [
    { route: 'hold', good: hold, run: (url) => finance({ http: http(url) }).hold(ask, signal()) },
    { route: 'confirm', good: hold, run: (url) => finance({ http: http(url) }).confirm(ask.holdId, signal()) },
    {
      route: 'settle',
      good: hold,
      run: (url) => finance({ http: http(url) }).settle(ask.holdId, { amountCents: '5', currency: 'EUR' }, signal()),
    },
    { route: 'reverse', good: hold, run: (url) => finance({ http: http(url) }).reverse(ask.holdId, 'acme', signal()) },
    { route: 'get', good: hold, run: (url) => finance({ http: http(url) }).get(ask.holdId, signal()) },
    {
      route: 'list',
      good: { holds: [], cursor: '0', more: false },
      run: (url) => finance({ http: http(url) }).list('acme', '0', signal()),
    },
    {
      route: 'report',
      good: { id: 'acme-2026-10' },
      run: (url) =>
        financeReports({ http: http(url) }).push({ tenant: 'acme', month: '2026-10', totals: [] }, month(), signal()),
    },
  ],
  'Agent Manager': [
    { route: 'notice', good: { id: hash }, run: (url) => agentManager({ http: http(url) }).tell(notice, signal()) },
  ],
  'Reasoning Graph': [
    {
      route: 'explain',
      good: { id: hash },
      run: (url) => reasoningGraph({ http: http(url) }).explain(explanation, signal()),
    },
  ],
  Kernel: [
    {
      route: 'roles',
      good: { tenant: 'acme', person: 'oidc:ann', roles: ['admin'] },
      run: (url) => kernel({ http: http(url), rolesTimeoutMs: 10_000 }).rolesOf('acme', 'oidc:ann', signal()),
    },
    { route: 'record', good: { id: hash }, run: (url) => kernel({ http: http(url) }).record(action, signal()) },
  ],
};
const start: Readonly<Record<string, () => Promise<PeerServer>>> = {
  SentinelNet: () => startSentinelSimulator(),
  Finance: () => startFinanceSimulator({ journalPath: join(folder, 'finance.ndjson') }),
  'Agent Manager': () => startAgentManagerSimulator(),
  'Reasoning Graph': () => startReasoningGraphSimulator(),
  Kernel: () => startKernelSimulator(),
};

/** What came of a call: a fault of the world, or, of calls that may have taken effect, that nobody knows whether they did. */
async function outcomeOf(call: Call, url: string): Promise<{ readonly retry: string; readonly retryAfterMs?: number }> {
  const found = await call.run(url).catch((error: unknown) => error);
  const unknown = (found as { readonly kind?: unknown; readonly cause?: unknown }).kind === 'unknown';
  const fault = unknown ? (found as { readonly cause: unknown }).cause : found;
  expect(fault).toMatchObject({ name: 'OperatingError' });
  return fault as { retry: string };
}

describe.each(Object.keys(calls))('%s', (peer) => {
  let server: PeerServer;
  beforeAll(async () => {
    server = await start[peer]!();
  });
  afterAll(() => server.close());

  describe.each(calls[peer]!.map((call) => [call.route, call] as const))('asked for %s', (route, call) => {
    test.each(badReplies(call.good))('that answers with %s has given no answer', async (_name, reply) => {
      const before = server.control.calls.length;
      server.control.answerWith(route, reply);
      const { retry, retryAfterMs = 0 } = await outcomeOf(call, server.url);
      if (reply.status === 401 || reply.status === 403) expect(retry).toBe('never');
      else expect(['safe', 'look-first']).toContain(retry);
      expect(retryAfterMs).toBeGreaterThanOrEqual(0);
      expect(retryAfterMs).toBeLessThanOrEqual(MAX_RETRY_AFTER_MS);
      expect(server.control.calls.slice(before).filter((one) => one.route === route)).toHaveLength(1);
      expect(Object.hasOwn(Object.prototype, 'decision')).toBe(false);
    });

    test('whose answer is lost has given none', async () => {
      server.control.dropReply(route);
      await outcomeOf(call, server.url);
    });
  });

  if (peer === 'SentinelNet' || peer === 'Finance') return;
  test.each(calls[peer]!.filter(({ route }) => route !== 'roles').map((call) => [call.route, call] as const))(
    'takes %s only by its own id: {}, null, a list and another id are no receipt',
    async (route, call) => {
      for (const body of [{}, null, [], ['e1'], 'e1', { id: 'e2' }, { id: 7 }, { id: '' }, { id: 'e1'.repeat(100) }]) {
        server.control.answerWith(route, { body: JSON.stringify(body) });
        expect((await outcomeOf(call, server.url)).retry).toBe('safe');
      }
    },
  );
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));
