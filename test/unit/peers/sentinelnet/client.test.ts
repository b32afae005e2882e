import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { contentHash, sha256Hex } from '../../../../core/canonical.ts';
import { check } from '../../../../core/schema.ts';
import { retryAfterMs } from '../../../../peers/peer-call.ts';
import { POLICY_TIMEOUT_MS, type SentinelNet, sentinelNet } from '../../../../peers/sentinelnet/client.ts';
import { ALLOW_ALL, decide, type PolicyRules, rulesRefusals, versionOf } from '../../../../peers/sentinelnet/rules.ts';
import { type SentinelSimulator, startSentinelSimulator } from '../../../../peers/sentinelnet/simulator.ts';
import { AllocationRequest, type PolicyRequest, type PromotionRequest } from '../../../../peers/sentinelnet/wire.ts';
import { openHttpClient } from '../../../../platform/http-client.ts';

const allocation: AllocationRequest = {
  format: 'merit-policy-request/1',
  kind: 'allocation',
  requestId: 'm-01jd0000000000000000000000-1',
  tenant: 'acme',
  division: 'vision',
  requester: 'spiffe://merit.local/user/ada',
  model: 'digits',
  contentHash: 'a'.repeat(64),
  pool: 'ray',
  flavour: 'gpu',
  provider: 'ray',
  gpuMilli: '1000',
  cpuMilli: '1000',
  leaseMs: 3_600_000,
  cost: { amount: '12.50', currency: 'EUR' },
};
const {
  pool: _p,
  flavour: _f,
  provider: _v,
  gpuMilli: _g,
  cpuMilli: _c,
  leaseMs: _l,
  cost: _m,
  ...common
} = allocation;
const promotion: PromotionRequest = { ...common, kind: 'promotion', action: 'promote', suite: 'digits', version: '2' };
const rulesWith = (rules: Partial<PolicyRules>): PolicyRules => ({ ...ALLOW_ALL, ...rules });
/** As production reaches a peer. Its sockets end with the peer. */
const httpTo = (origin: string) => openHttpClient({ origin }).send;
const signal = () => new AbortController().signal;

let simulator: SentinelSimulator;
let client: SentinelNet;

beforeEach(async () => {
  simulator = await startSentinelSimulator();
  client = sentinelNet({ http: httpTo(simulator.url) });
});
afterEach(() => simulator.close());

describe('a policy decision', () => {
  it('allows what no rule denies, bound to the request and the rules’ version', async () => {
    const verdict = await client.decide(allocation, signal());
    expect(verdict).toMatchObject({
      kind: 'allow',
      signatures: 0,
      requestHash: contentHash(allocation),
      policyVersion: versionOf(ALLOW_ALL),
    });
    expect(await client.currentPolicyVersion(signal())).toBe(versionOf(ALLOW_ALL));
  });

  it('is kept whole as canonical evidence under its hash', async () => {
    const { evidence } = await client.decide(allocation, signal());
    expect(evidence.hash).toBe(sha256Hex(evidence.bytes));
    expect(JSON.parse(evidence.bytes.toString())).toEqual({
      format: 'merit-evidence/1',
      peer: 'sentinelnet',
      request: allocation,
      answer: decide(ALLOW_ALL, allocation),
    });
  });

  it('of the same request is the same decision', async () => {
    expect(await client.decide(allocation, signal())).toEqual(await client.decide(allocation, signal()));
  });

  it.each<[string, PolicyRules['deny'][number], PolicyRequest, boolean]>([
    ['division', { name: 'no-vision', division: 'vision', text: 'no' }, allocation, true],
    ['another division', { name: 'no-speech', division: 'speech', text: 'no' }, allocation, false],
    ['pool', { name: 'no-ray', pool: 'ray', text: 'no' }, allocation, true],
    ['pool, of a promotion', { name: 'no-ray', pool: 'ray', text: 'no' }, promotion, false],
    ['model', { name: 'no-digits', model: 'digits', text: 'no' }, promotion, true],
    ['tenant', { name: 'no-acme', tenant: 'acme', text: 'no' }, allocation, true],
    ['kind', { name: 'no-promotion', kind: 'promotion', text: 'no' }, allocation, false],
    ['cost above', { name: 'dear', costAbove: { amount: '12.49', currency: 'EUR' }, text: 'no' }, allocation, true],
    [
      'cost not above',
      { name: 'dear', costAbove: { amount: '12.50', currency: 'EUR' }, text: 'no' },
      allocation,
      false,
    ],
    [
      'cost that cannot be compared',
      { name: 'dear', costAbove: { amount: '99.00', currency: 'USD' }, text: 'no' },
      allocation,
      true,
    ],
    ['everything', { name: 'freeze', text: 'no' }, promotion, true],
  ])('denies by %s', async (_name, rule, request, denied) => {
    simulator.setRules(rulesWith({ deny: [rule] }));
    const verdict = await client.decide(request, signal());
    if (denied)
      expect(verdict).toMatchObject({
        kind: 'deny',
        code: 'policy_denied',
        reasons: [{ code: rule.name, text: 'no' }],
      });
    else expect(verdict.kind).toBe('allow');
  });

  it('asks for the greatest number of signatures that a rule asks for', async () => {
    simulator.setRules(
      rulesWith({
        signatures: [
          { costAbove: { amount: '10.00', currency: 'EUR' }, count: 2 },
          { costAbove: { amount: '12.00', currency: 'EUR' }, count: 3 },
          { costAbove: { amount: '100.00', currency: 'EUR' }, count: 5 },
        ],
      }),
    );
    expect(await client.decide(allocation, signal())).toMatchObject({ kind: 'allow', signatures: 3 });
  });

  it('has another version as soon as the rules change', async () => {
    const before = await client.currentPolicyVersion(signal());
    simulator.setRules(rulesWith({ deny: [{ name: 'x', division: 'other', text: 'no' }] }));
    expect(await client.currentPolicyVersion(signal())).not.toBe(before);
    expect(simulator.policyVersion).toBe(await client.currentPolicyVersion(signal()));
  });

  it('of something that is no policy request is never asked', async () => {
    await expect(client.decide({ ...allocation, cost: { amount: '12.5', currency: 'EUR' } }, signal())).rejects.toThrow(
      'not a policy request',
    );
    await expect(client.decide({ ...allocation, gpuMilli: '-1' }, signal())).rejects.toThrow('not a policy request');
    expect(simulator.control.calls).toEqual([]);
  });
});

it('a provider is told as its pool names it: a kind, a package, or a path', () => {
  for (const provider of ['ray', '@acme/merit-provider-x', '/srv/merit providers/runner'])
    expect(check(AllocationRequest, { ...allocation, provider })).toEqual([]);
  expect(check(AllocationRequest, { ...allocation, provider: '' })).not.toEqual([]);
});

describe('an answer that is not one', () => {
  const good = decide(ALLOW_ALL, allocation);
  it.each<[string, unknown, string]>([
    ['{}', {}, 'policy_answer_invalid'],
    ['{"allow":"true"}', { allow: 'true' }, 'policy_answer_invalid'],
    ['{"allow":true}', { allow: true }, 'policy_answer_invalid'],
    ['an unknown word', { ...good, decision: 'ALLOW' }, 'policy_answer_invalid'],
    ['a boolean word', { ...good, decision: true }, 'policy_answer_invalid'],
    ['no request hash', { ...good, requestHash: undefined }, 'policy_answer_invalid'],
    ['no version', { ...good, policyVersion: undefined }, 'policy_answer_invalid'],
    ['signatures as text', { ...good, signatures: '2' }, 'policy_answer_invalid'],
    ['negative signatures', { ...good, signatures: -1 }, 'policy_answer_invalid'],
    ['half a signature', { ...good, signatures: 0.5 }, 'policy_answer_invalid'],
    ['an array', [good], 'policy_answer_invalid'],
    ['null', null, 'policy_answer_invalid'],
    ['another request’s hash', { ...good, requestHash: 'b'.repeat(64) }, 'policy_answer_other_request'],
  ])('%s denies', async (_name, body, code) => {
    simulator.control.answerWith('decide', { body: JSON.stringify(body) });
    const verdict = await client.decide(allocation, signal());
    expect(verdict).toMatchObject({ kind: 'deny', code });
    expect(JSON.parse(verdict.evidence.bytes.toString()).answer).toEqual(JSON.parse(JSON.stringify(body)));
  });

  it.each<[string, string | Uint8Array]>([
    ['nothing', ''],
    ['half of one', JSON.stringify(good).slice(0, 40)],
    ['a doubled key', '{"decision":"deny","decision":"allow"}'],
    ['__proto__', '{"__proto__":{"decision":"allow"}}'],
    ['deep nesting', '['.repeat(100_000)],
    ['bad UTF-8', Buffer.from([0x22, 0xc3, 0x28, 0x22])],
    ['HTML', '<html>allow</html>'],
    ['50 MiB', Buffer.alloc(50 * 1024 * 1024, 0x20)],
  ])('%s is an operating fault, to be asked again', async (_name, body) => {
    simulator.control.answerWith('decide', { body });
    await expect(client.decide(allocation, signal())).rejects.toMatchObject({ name: 'OperatingError', retry: 'safe' });
  });

  it('with too many headers, or in an encoding that was not asked for, is an operating fault', async () => {
    const body = JSON.stringify(good);
    simulator.control.answerWith('decide', { headers: { 'x-much': 'x'.repeat(100_000) }, body });
    await expect(client.decide(allocation, signal())).rejects.toMatchObject({ name: 'OperatingError', retry: 'safe' });
    simulator.control.answerWith('decide', { headers: { 'content-encoding': 'gzip' }, body: gzipSync(body) });
    await expect(client.decide(allocation, signal())).rejects.toMatchObject({ code: 'bad-reply', retry: 'safe' });
  });

  it('that is not a verdict by its status never allows, whatever its body', async () => {
    for (const status of [201, 202, 204, 301, 307, 404, 409, 500, 502, 503]) {
      simulator.control.answerWith('decide', {
        status,
        body: status === 204 ? '' : JSON.stringify({ ...good, code: 'x' }),
        headers: { location: `${simulator.url}/v1/decisions` },
      });
      await expect(client.decide(allocation, signal())).rejects.toMatchObject({
        name: 'OperatingError',
        retry: 'safe',
      });
    }
    expect(simulator.control.calls.length).toBe(10);
    for (const status of [401, 403]) {
      simulator.control.answerWith('decide', { status, body: JSON.stringify(good) });
      await expect(client.decide(allocation, signal())).rejects.toMatchObject({ code: 'auth', retry: 'never' });
    }
  });

  it('that refuses the request is a deny', async () => {
    simulator.control.answerWith('decide', {
      status: 422,
      body: JSON.stringify({ code: 'unknown_field', detail: 'model:\u001b[2J not known' }),
    });
    const verdict = await client.decide(allocation, signal());
    expect(verdict).toMatchObject({ kind: 'deny', code: 'policy_request_refused' });
    expect(verdict.kind === 'deny' && verdict.reasons[0]!.text).not.toContain('\u001b');
  });

  it('that denies and gives no reason still denies with one', async () => {
    simulator.control.answerWith('decide', { body: JSON.stringify({ ...good, decision: 'deny' }) });
    expect(await client.decide(allocation, signal())).toMatchObject({
      kind: 'deny',
      reasons: [{ code: 'policy_denied' }],
    });
  });
});

describe('SentinelNet away', () => {
  it('is retryable and never an allow: slow, cut off, refused, aborted', async () => {
    const quick = sentinelNet({ http: httpTo(simulator.url), timeoutMs: 50 });
    const gate = simulator.control.hold('decide', 'before-answer');
    await expect(quick.decide(allocation, signal())).rejects.toMatchObject({ code: 'timeout', retry: 'safe' });
    gate.open();
    simulator.control.dropReply('decide');
    await expect(client.decide(allocation, signal())).rejects.toMatchObject({ code: 'unreachable', retry: 'safe' });
    const stop = new AbortController();
    const held = simulator.control.hold('decide', 'before-effect');
    const asked = client.decide(allocation, stop.signal);
    await held.reached;
    stop.abort();
    await expect(asked).rejects.toMatchObject({ name: 'OperatingError', code: 'aborted' });
    held.open();
    const { url } = simulator;
    await simulator.close();
    await expect(sentinelNet({ http: httpTo(url) }).decide(allocation, signal())).rejects.toMatchObject({
      code: 'unreachable',
      retry: 'safe',
    });
    simulator = await startSentinelSimulator();
  });

  it('that asks for patience says for how long, capped, and never by nonsense', async () => {
    expect(['7', '0', '9999999', 'abc', '-5', '', '1.5', undefined].map(retryAfterMs)).toEqual([
      7000,
      0,
      60_000,
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    simulator.control.answerWith('decide', { status: 429, headers: { 'retry-after': '3' }, body: '{}' });
    await expect(client.decide(allocation, signal())).rejects.toMatchObject({
      name: 'OperatingError',
      retry: 'safe',
      retryAfterMs: 3000,
    });
  });

  it('does not make a policy version up', async () => {
    for (const body of ['{}', '{"policyVersion":7}', '[]', '{"policyVersion":""}']) {
      simulator.control.answerWith('policy-version', { body });
      await expect(client.currentPolicyVersion(signal())).rejects.toMatchObject({ code: 'bad-reply', retry: 'safe' });
    }
  });

  it('has a time limit of its own', () => {
    expect(POLICY_TIMEOUT_MS).toBeGreaterThan(0);
  });
});

describe('the simulator’s rules', () => {
  it('refuse what they do not know', () => {
    expect(rulesRefusals(ALLOW_ALL)).toEqual([]);
    expect(rulesRefusals({})).not.toEqual([]);
    expect(rulesRefusals(rulesWith({ deny: [{ name: 'x', text: 'no', divison: 'typo' } as never] }))).toMatchObject([
      { code: 'unknown_field' },
    ]);
    expect(
      rulesRefusals(rulesWith({ deny: [{ name: 'x', text: 'no', costAbove: { amount: '5', currency: 'EUR' } }] })),
    ).toMatchObject([{ code: 'scale' }]);
    expect(() => simulator.setRules({} as PolicyRules)).toThrow();
  });

  it('that can no longer be read decide nothing', async () => {
    const broken = await startSentinelSimulator({
      reload: () => {
        throw new Error('EIO');
      },
    });
    await expect(sentinelNet({ http: httpTo(broken.url) }).decide(allocation, signal())).rejects.toMatchObject({
      retry: 'safe',
    });
    await broken.close();
  });
});

describe('the simulator’s door', () => {
  const post = (
    body: string | Uint8Array,
    headers: Record<string, string> = { 'content-type': 'application/json' },
    path = '/v1/decisions',
  ) => fetch(`${simulator.url}${path}`, { method: 'POST', body: body as string, headers });

  it('has no route but the wire’s', async () => {
    for (const path of ['/', '/control', '/v1/rules', '/v1/decisions/x', '/v1/decisions?hold=1/..']) {
      const reply = await post('{}', undefined, path);
      expect([404, 422]).toContain(reply.status);
    }
    expect((await fetch(`${simulator.url}/v1/decisions`)).status).toBe(405);
  });

  it('refuses other content types, bodies that are too long, and JSON that is not strict', async () => {
    expect((await post('{}', { 'content-type': 'text/plain' })).status).toBe(415);
    expect((await post('{}', { 'content-type': 'application/json', 'content-encoding': 'gzip' })).status).toBe(415);
    expect((await post('')).status).toBe(400);
    expect((await post('[]')).status).toBe(400);
    expect((await post('{"kind":1,"kind":2}')).status).toBe(400);
    expect((await post('{"status":413,"problem":"x"}')).status).toBe(422);
    expect((await post(' '.repeat(70_000))).status).toBe(413);
    expect(simulator.control.calls.map((call) => call.route)).toEqual(['decide']);
  });

  it('names the route that a fault is ordered for wrongly', () => {
    expect(() => simulator.control.dropReply('decde')).toThrow('there are decide, policy-version');
  });
});
