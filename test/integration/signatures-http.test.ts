import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rejectionOf, type Statement, statementHash } from '../../core/approval.ts';
import { advance } from '../../core/booking.ts';
import { awaitingAllocation, type Shown } from '../support/awaiting-allocation.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';
import { signingPolicy, type TestKey, testKey } from '../support/signers.ts';

let world: HttpWorld;
const call: HttpWorld['call'] = (...args) => world.call(...args);
const [ann, ben, cid] = [testKey(), testKey(), testKey()];
const POLICY = signingPolicy({ ann, ben, cid });

beforeAll(async () => {
  world = await httpWorld();
  const flavours = [{ name: 'small', resource: 'cpu', capacity: 9, price: { currency: 'USD', perUnitHour: '0.50' } }];
  const quotas = { vision: { small: 9 } };
  await call('PUT', '/v1/pools/cpus', {
    apiVersion: 'merit/v1',
    kind: 'Pool',
    name: 'cpus',
    provider: { kind: 'local' },
    flavours,
    quotas,
  });
  expect((await call('PUT', '/v1/signing-policy', POLICY)).statusCode).toBe(201);
});
afterAll(async () => {
  await world?.close();
});

const body = (statement: Statement, key: TestKey) => ({
  statementHash: statementHash(statement),
  keyId: key.keyId,
  signature: Buffer.from(key.sign(statement)).toString('base64'),
});

const waiting = () => awaitingAllocation(world, POLICY);

describe('an allocation that waits for signatures', () => {
  test('tells what is signed and what is missing, takes each person’s signature once, and goes on with the last', async () => {
    const { id, proposal } = await waiting();
    expect(proposal).toMatchObject({
      action: 'allocation.apply',
      state: 'open',
      needed: { signatures: 2, roles: {} },
      missing: { signatures: 2 },
      content: { division: 'vision', cost: { amount: '50.00', currency: 'USD' }, requester: 'token:acme' },
      maySign: [{ name: 'ann' }, { name: 'ben' }, { name: 'cid' }],
    });
    const path = `/v1/allocations/${id}:approve`;
    const once = { 'idempotency-key': 'ann-signs' };
    const first = await call('POST', path, body(proposal.statement, ann), once);
    expect([first.statusCode, first.json().already, first.json().missing.signatures]).toEqual([200, false, 1]);
    const repeated = await call('POST', path, body(proposal.statement, ann), once);
    expect(repeated.body).toBe(first.body);
    expect((await call('POST', path, body(proposal.statement, ann))).json()).toMatchObject({
      already: true,
      missing: { signatures: 1 },
    });
    expect((await call('GET', `/v1/jobs/${id}/why`)).json()).toMatchObject({ reasons: [{ code: 'signatures' }] });
    expect((await call('POST', path, body(proposal.statement, ben))).json()).toMatchObject({
      state: 'met',
      missing: { signatures: 0 },
    });
    expect((await call('GET', `/v1/allocations/${id}`)).json()).toMatchObject({ state: 'waiting' });
    const types = (await call('GET', `/v1/allocations/${id}/timeline`))
      .json()
      .items.map(({ type }: { type: string }) => type);
    expect(types).toEqual([
      'booking.created',
      'booking.awaiting_signatures',
      'booking.signing_approved',
      'booking.signing_approved',
      'booking.waiting',
    ]);
    expect((await call('POST', path, body(proposal.statement, cid))).json()).toMatchObject({ code: 'proposal_met' });
  });

  test('is another tenant’s business in no way', async () => {
    const { id, proposal } = await waiting();
    for (const url of [`/v1/allocations/${id}:approve`, `/v1/proposals/${proposal.id}:approve`])
      expect((await call('POST', url, body(proposal.statement, ann), {}, 'rival')).statusCode).toBe(404);
    expect((await call('GET', `/v1/proposals/${proposal.id}`, undefined, {}, 'rival')).statusCode).toBe(404);
    expect((await call('GET', '/v1/proposals', undefined, {}, 'rival')).json()).toEqual({ items: [] });
    expect((await call('GET', `/v1/proposals?allocation=${id}&state=open`)).json().items).toHaveLength(1);
  });

  test.each([
    ['whose key is of nobody who may sign', () => testKey(), {}, 422, 'unknown_key'],
    ['that is another key’s', () => ann, { keyId: ben.keyId }, 422, 'bad_signature'],
    ['of other bytes', () => ann, { signature: Buffer.alloc(64, 1).toString('base64') }, 422, 'bad_signature'],
    ['that is too short', () => ann, { signature: Buffer.alloc(63).toString('base64') }, 422, 'signature'],
    ['that is not base64', () => ann, { signature: 'x'.repeat(88) }, 422, 'signature'],
    ['under another hash', () => ann, { statementHash: '0'.repeat(64) }, 409, 'statement_changed'],
    ['with a hash that is none', () => ann, { statementHash: 'x' }, 422, 'charset'],
    ['with an unknown member', () => ann, { state: 'applied' }, 422, 'unknown_field'],
    ['of a no under a yes', () => ann, 'reject', 409, 'statement_changed'],
  ])('refuses a signature %s', async (_what, key, over, status, code) => {
    const { id, proposal } = await waiting();
    const given =
      over === 'reject'
        ? body(rejectionOf(proposal.statement), key())
        : { ...body(proposal.statement, key()), ...(over as object) };
    const refused = await call('POST', `/v1/allocations/${id}:approve`, given);
    expect([refused.statusCode, refused.json().code]).toEqual([status, code]);
    for (const reason of refused.json().reasons)
      expect(reason).toMatchObject({ problem: expect.any(String), mend: expect.any(String) });
    expect((await call('GET', `/v1/proposals/${proposal.id}`)).json()).toMatchObject({ state: 'open', signed: [] });
  });

  test('is signed by a caller only with a key of their own for the request, and to an end that one no brings', async () => {
    const { id, proposal } = await waiting();
    expect(
      (
        await call('POST', `/v1/proposals/${proposal.id}:reject`, body(rejectionOf(proposal.statement), cid), {
          'idempotency-key': '',
        })
      ).json().code,
    ).toBe('idempotency_key_required');
    const rejected = await call(
      'POST',
      `/v1/proposals/${proposal.id}:reject`,
      body(rejectionOf(proposal.statement), cid),
    );
    expect(rejected.json()).toMatchObject({ state: 'rejected' });
    expect((await call('GET', `/v1/allocations/${id}`)).json()).toMatchObject({
      state: 'rejected',
      reasons: [{ text: 'cid refused to sign it' }],
    });
  });
});

describe('a revoke', () => {
  test('is of what holds something only', async () => {
    const { id } = await waiting();
    const early = await call('POST', `/v1/allocations/${id}:revoke`, { reason: 'it mines coins' });
    expect([early.statusCode, early.json().code]).toEqual([409, 'not_applied']);
    expect((await call('POST', '/v1/allocations/00000000000000000000000000:revoke', { reason: 'x' })).statusCode).toBe(
      404,
    );
    expect((await call('POST', `/v1/allocations/${id}:revoke`, { reason: '' })).statusCode).toBe(422);
    expect(
      advance({ state: 'waiting', attempt: 1, reasons: [], notBeforeMs: 0 }, { type: 'quorum_met' }),
    ).toBeUndefined();
  });
});

describe('the signing policy', () => {
  const next = { ...POLICY, people: POLICY.people.slice(0, 2) };
  const propose = (document: unknown) =>
    call('POST', '/v1/proposals', { action: 'signing-policy.change', document, reason: 'cid left' });

  test('is replaced through a proposal that those in it sign, by no other door', async () => {
    for (const [method, url] of [
      ['PUT', '/v1/signing-policy'],
      ['DELETE', '/v1/signing-policy'],
    ] as const)
      expect((await call(method, url, method === 'PUT' ? next : undefined)).json().code).toBe('needs_signatures');
    expect((await call('POST', '/v1/apply', { documents: [next] })).json().code).toBe('needs_signatures');
    const proposed = await propose(next);
    expect([proposed.statusCode, proposed.headers.location]).toEqual([202, `/v1/proposals/${proposed.json().id}`]);
    const again = await propose(next);
    expect([again.statusCode, again.json().id]).toEqual([200, proposed.json().id]);
    const { id, statement } = proposed.json() as Shown;
    await call('POST', `/v1/proposals/${id}:approve`, body(statement, ann));
    expect((await call('POST', `/v1/proposals/${id}:approve`, body(statement, cid))).json()).toMatchObject({
      state: 'done',
    });
    expect((await call('GET', '/v1/signing-policy')).json()).toMatchObject({ file: next });
    const [changed] = (await call('GET', '/v1/audit/events?type=signing_policy.changed')).json().items;
    expect(changed.data).toMatchObject({ proposal: id, causes: [expect.any(String)], evidence: [expect.any(String)] });
  });

  test.each([
    ['with a threshold of nothing', { changes: { signatures: 0 } }, 'threshold', 'document.changes.signatures'],
    ['with a threshold of one', { changes: { signatures: 1 } }, 'threshold', 'document.changes.signatures'],
    ['with more signatures than people', { changes: { signatures: 9 } }, 'threshold', 'document.changes.signatures'],
    [
      'with one person twice',
      { people: [...POLICY.people, { name: 'dan', principals: ['ann'], keys: [{ publicKey: testKey().publicKey }] }] },
      'duplicate_principal',
      'document.people.3.principals.0',
    ],
    [
      'with a weak key',
      { people: [...POLICY.people, { name: 'dan', keys: [{ publicKey: `${'A'.repeat(43)}=` }] }] },
      'weak_key',
      'document.people.3.keys.0.publicKey',
    ],
  ])('is refused %s, with field, problem and mend', async (_what, over, code, field) => {
    const refused = await propose({ ...POLICY, ...over });
    expect(refused.statusCode).toBe(422);
    expect(refused.json().reasons).toContainEqual(expect.objectContaining({ code, field }));
  });

  test('that two people sign is proposed by neither of them: 409, with who could', async () => {
    const { people } = next;
    const principals = ['token:acme'];
    const asksAsAnn = { ...next, people: [{ ...people[0]!, principals }, people[1]!] };
    const { id, statement } = (await propose(asksAsAnn)).json() as Shown;
    for (const key of [ann, ben]) await call('POST', `/v1/proposals/${id}:approve`, body(statement, key));
    expect((await call('GET', '/v1/signing-policy')).json()).toMatchObject({ file: asksAsAnn });
    const refused = await propose(POLICY);
    expect([refused.statusCode, refused.json().code]).toEqual([409, 'quorum_impossible']);
    expect(refused.json().detail).toMatch(/takes the signatures of 2 people, .* only 1 .*\(ben\)/);
    expect((await call('GET', '/v1/proposals?state=open&action=signing-policy.change')).json().items).toEqual([]);
  });
});
