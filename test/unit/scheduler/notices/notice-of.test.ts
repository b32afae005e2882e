import { describe, expect, test } from 'vitest';
import type { AuditEvent } from '../../../../core/audit-event.ts';
import { canonicalBytes, type Json, sha256Hex } from '../../../../core/canonical.ts';
import { moneySpec } from '../../../../core/money-request.ts';
import { agentManager } from '../../../../peers/agent-manager/client.ts';
import { startAgentManagerSimulator } from '../../../../peers/agent-manager/simulator.ts';
import { reasoningGraph } from '../../../../peers/reasoning-graph/client.ts';
import { startReasoningGraphSimulator } from '../../../../peers/reasoning-graph/simulator.ts';
import { openHttpClient } from '../../../../platform/http-client.ts';
import { explanationOf, noticeOf } from '../../../../scheduler/notices/notice-of.ts';

const eventOf = (subject: string, type: string, data: AuditEvent['data']): AuditEvent => ({
  v: 1,
  id: '01jd0000000000000000000000',
  tenant: 'acme',
  subject,
  n: 1,
  type,
  at: '2026-11-02T00:00:00.000Z',
  actor: 'engine',
  trace: '0af7651916cd43dd8448eb211c80319c',
  data,
});

test.each([
  ['promote', { incumbentBefore: 'a' }, 'b took the seat of suite s, where a was, by what was reported up to 7'],
  ['demote', {}, 'b left the seat of suite s, by what was reported up to 7'],
  ['review', { decision: 'h' }, 'decision h on b of suite s stands, and late data would have made it another'],
] as const)('decision.%s is explained as what it is', (action, data, text) => {
  const event = eventOf('suite/s', `decision.${action}`, { model: 'b', tick: '7', ...data });
  expect(explanationOf(event)).toMatchObject({ about: { kind: 'promotion', id: 's' }, text });
});

test.each([
  ['created', {}, 'allocation j is created'],
  ['awaiting_signatures', {}, 'allocation j is awaiting signatures'],
  ['rejected', { reason: { code: 'c', text: 'no', mend: 'm' } }, 'allocation j is rejected: no'],
  ['extension_asked', {}, 'allocation j: extension asked'],
  ['signing_approved', {}, 'allocation j: signing approved'],
] as const)('booking.%s is told as a state only where it is one', (step, data, text) => {
  expect(explanationOf(eventOf('booking/j', `booking.${step}`, data))?.text).toBe(text);
});

test.each([
  ['suite/s', 'suite.applied'],
  ['model/m', 'decision.promote'],
  ['pool/p', 'booking.applied'],
])('of %s %s nothing is explained', (subject, type) => {
  expect(explanationOf(eventOf(subject, type, {}))).toBeUndefined();
});

describe('an event that took another one’s place and id after a restore', () => {
  const lost = eventOf('booking/j', 'booking.applied', { attempt: 1 });
  const now = { ...lost, at: '2026-11-03T00:00:00.000Z' };
  const asked = { division: 'vision', amount: '5.00', currency: 'USD', purpose: 'labels', agent: 'labeller' };
  const noticed = (event: AuditEvent) => noticeOf(event, 'j', 'vision', moneySpec(asked));
  const hashOf = (event: AuditEvent) => sha256Hex(canonicalBytes(event as unknown as Json));
  const signal = AbortSignal.timeout(10_000);

  test('is another notice to Agent Manager, and the same event again is the same one', async () => {
    const manager = await startAgentManagerSimulator();
    const client = agentManager({ http: openHttpClient({ origin: manager.url }).send });
    for (const event of [lost, lost, now]) expect(await client.tell(noticed(event), signal)).toEqual({ kind: 'taken' });
    expect(manager.told.map(({ id, event }) => [id, event])).toEqual([lost, now].map((one) => [hashOf(one), one.id]));
    await manager.close();
  });

  test('is another explanation to Reasoning Graph, and the same event again is the same one', async () => {
    const graph = await startReasoningGraphSimulator();
    const client = reasoningGraph({ http: openHttpClient({ origin: graph.url }).send });
    for (const event of [lost, lost, now])
      expect(await client.explain(explanationOf(event)!, signal)).toEqual({ kind: 'taken' });
    expect(graph.told.map(({ id, event }) => [id, event])).toEqual([lost, now].map((one) => [hashOf(one), one.id]));
    await graph.close();
  });
});
