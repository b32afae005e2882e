import { afterAll, beforeAll, expect, test } from 'vitest';
import { statementHash } from '../../core/approval.ts';
import { isEnded } from '../../core/booking.ts';
import { attemptKey } from '../../core/ids.ts';
import type { SigningPolicy } from '../../core/signing-policy.ts';
import type { Tx } from '../../platform/postgres.ts';
import { applyDocuments } from '../../pools/apply-documents.ts';
import { parseDocument } from '../../pools/documents.ts';
import { proposeChange } from '../../scheduler/signatures/change-policy.ts';
import type { Proposal } from '../../scheduler/signatures/proposal.ts';
import { liveProposal } from '../../scheduler/signatures/proposals.sql.ts';
import { proposeRevoke } from '../../scheduler/signatures/revoke.ts';
import { signProposal } from '../../scheduler/signatures/sign.ts';
import { forged, type Lie } from '../support/forged-receipt.ts';
import { type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';
import { signingPolicy, type TestKey, testKey } from '../support/signers.ts';
import { verifiedReceipt } from '../support/verified-receipt.ts';

/** The receipt of a job for which who may sign was changed, by those who may, while people were signing. */

let world: SagaWorld;
let allocator: { stop(): Promise<void> };
const [ann, annAnew, ben, cid] = [testKey(), testKey(), testKey(), testKey()];
const two = { allocations: [{ above: { amount: '1.00', currency: 'USD' }, signatures: 2 }], revoke: { signatures: 2 } };
const POLICY = signingPolicy({ ann, ben, cid }, two);
const withAnn = (over: object): SigningPolicy => ({
  ...POLICY,
  people: POLICY.people.map((one) => (one.name === 'ann' ? { ...one, ...over } : one)),
});

const by = () => ({
  tenant: TENANT,
  actor: 'token:test',
  traceId: '0af7651916cd43dd8448eb211c80319c',
  nowMs: Date.now(),
  environment: 'merit-test',
});
const asTenant = <T>(work: (tx: Tx) => Promise<T>) => world.database.db.asTenant(TENANT, work);

async function sign(proposal: Proposal, ...keys: readonly TestKey[]): Promise<void> {
  const { statement } = proposal;
  for (const key of keys) {
    const given = { statementHash: statementHash(statement), keyId: key.keyId, signature: key.sign(statement) };
    const outcome = await asTenant((tx) => signProposal(tx, by(), proposal.id, 'approve', given));
    expect(outcome).toMatchObject({ kind: 'signed' });
  }
}

/** Signed by Ben and Cid, who may always. */
async function changeTo(policy: SigningPolicy | null): Promise<void> {
  const change = await asTenant((tx) => proposeChange(tx, by(), policy, null));
  if (change.kind === 'refused') throw new Error(change.text);
  await sign(change.proposal, ben, cid);
}

const live = (bookingId: string, action: Proposal['action']) =>
  asTenant(async (tx) => (await liveProposal(tx, { tenant: TENANT, bookingId, action }))!);

beforeAll(async () => {
  world = await sagaWorld();
  await asTenant((tx) => applyDocuments(tx, by(), [{ document: parseDocument(POLICY) }]));
  allocator = await world.startAllocator();
});
afterAll(async () => {
  await allocator?.stop();
  await world?.close();
});

const [, ...withoutAnn] = POLICY.people;
const wasOver = () => [{ publicKey: ann.publicKey, validTo: new Date(Date.now() - 60_000).toISOString() }];

test.each<[string, () => SigningPolicy, readonly [TestKey, TestKey], readonly [string, string]]>([
  [
    'their key was changed, and they signed again with the new one',
    () => withAnn({ keys: [{ publicKey: annAnew.publicKey }] }),
    [ben, annAnew],
    ['ann', 'ben'],
  ],
  ['they were removed', () => ({ ...POLICY, people: withoutAnn }), [ben, cid], ['ben', 'cid']],
  ['the time of their key was made shorter', () => withAnn({ keys: wasOver() }), [ben, cid], ['ben', 'cid']],
  ['they turned out to be who asked', () => withAnn({ principals: ['ada', 'token:test'] }), [ben, cid], ['ben', 'cid']],
])(
  'of an allocation and its revoke holds where of those who had signed one counts no more: %s',
  async (_, next, signers, names) => {
    const changed = next();
    const id = await world.book({ lease: '2h' });
    await world.until(id, ({ state }) => state.state === 'awaiting_signatures');
    const proposal = await live(id, 'allocation.apply');
    await sign(proposal, ann);
    await changeTo(changed);
    await sign(proposal, ...signers);
    await world.until(id, ({ state }) => state.state === 'applied');

    await changeTo(POLICY);
    await asTenant((tx) => proposeRevoke(tx, by(), id, 'it mines coins'));
    const revoking = await live(id, 'allocation.revoke');
    await sign(revoking, ann);
    await changeTo(changed);
    await sign(revoking, ...signers);
    await world.until(id, ({ state }) => isEnded(state.state));
    await changeTo(POLICY);

    const { result } = await verifiedReceipt(world.database.db, TENANT, id);
    expect(result.findings).toEqual([]);
    expect(result).toMatchObject({ code: 0, summary: { state: 'revoked', signedBy: names } });
  },
);

test('of an allocation by a policy that was declared anew holds, back to those who signed that there be none', async () => {
  await changeTo(null);
  await asTenant((tx) => applyDocuments(tx, by(), [{ document: parseDocument({ ...POLICY, expireAfter: '2h' }) }]));
  await allocator.stop();
  allocator = await world.startAllocator();
  const id = await world.book({ lease: '2h' });
  await world.until(id, ({ state }) => state.state === 'awaiting_signatures');
  await sign(await live(id, 'allocation.apply'), ann, ben);
  await world.until(id, ({ state }) => state.state === 'applied');
  world.provider.end(attemptKey(id, 1), 'succeeded');
  await world.until(id, ({ state }) => isEnded(state.state));
  const { text, result } = await verifiedReceipt(world.database.db, TENANT, id);
  expect(result).toMatchObject({ code: 0, findings: [], summary: { signedBy: ['ann', 'ben'] } });
  expect(text).toContain('"type":"signing_policy.removed"');

  const unsaid: Lie = (event) => {
    const { causes: _, ...data } = event.data;
    return event.type === 'signing_policy.created' && event.n > 1 ? { ...event, data } : event;
  };
  const later: Lie = (event) =>
    event.type === 'signing_policy.created' && event.n > 1 ? { ...event, n: event.n + 1 } : event;
  const elsewhere: Lie = (event) =>
    event.subject === 'signing-policy/default' ? { ...event, subject: 'signing-policy/other' } : event;
  const unsigned: Lie = (event, evidence) => {
    if (event.type !== 'signing_policy.removed') return event;
    const [name] = event.data.evidence as [string];
    evidence.set(name, { ...(evidence.get(name) as object), signatures: [] });
    return event;
  };
  for (const [lie, problem] of [
    [unsaid, /name no removal of the signing policy that stood before/],
    [later, /name no removal of the signing policy that stood before/],
    [elsewhere, /is not the signing policy of the tenant/],
    [unsigned, /of 0 people, and 2 have to sign/],
  ] as const) {
    const told = await forged(text, lie);
    expect(told.findings.map((one) => one.problem).join('\n')).toMatch(problem);
    expect(told.code).toBe(10);
  }
});
