import { describe, expect, test } from 'vitest';
import type { SigningPolicy } from '../../core/signing-policy.ts';
import { applyDocuments } from '../../pools/apply-documents.ts';
import { parseDocument } from '../../pools/documents.ts';
import { proposeChange } from '../../scheduler/signatures/change-policy.ts';
import { liveProposal } from '../../scheduler/signatures/proposals.sql.ts';
import { TENANT } from '../support/saga-world.ts';
import { ann, asTenant, ben, by, cid, declare, dot, POLICY, sign, stateOf } from '../support/signature-scene.ts';
import { signingPolicy } from '../support/signers.ts';

describe('the signing policy', () => {
  const next: SigningPolicy = signingPolicy({ ann, ben, dot });

  test('that stands is changed by nobody alone', async () => {
    for (const document of [next, { ...POLICY, changes: { signatures: 3 } }])
      await expect(
        asTenant((tx) => applyDocuments(tx, by(), [{ document: parseDocument(document) }])),
      ).rejects.toMatchObject({ refusals: [{ code: 'needs_signatures' }] });
    await asTenant((tx) => applyDocuments(tx, by(), [{ document: parseDocument(POLICY) }]));
  });

  test('is changed when enough of those in it have signed the next one, which then decides who may', async () => {
    const asked = await asTenant((tx) => proposeChange(tx, by(), next, 'cid left'));
    expect(asked).toMatchObject({ kind: 'proposed' });
    if (asked.kind === 'refused') return;
    expect(await asTenant((tx) => proposeChange(tx, by(), next, 'again'))).toMatchObject({ kind: 'exists' });
    expect(await asTenant((tx) => proposeChange(tx, by(), null, 'none'))).toMatchObject({ code: 'proposal_open' });
    const { proposal } = asked;
    expect(await sign(proposal, dot)).toMatchObject({ code: 'unknown_key' });
    await sign(proposal, ann);
    expect(await sign(proposal, cid)).toMatchObject({ proposal: { state: 'done' } });
    expect(await asTenant((tx) => proposeChange(tx, by(), next, 'again'))).toMatchObject({ code: 'unchanged' });
    const off = await asTenant((tx) => proposeChange(tx, by(), null, 'no more of it'));
    if (off.kind === 'refused') throw new Error(off.text);
    expect(await sign(off.proposal, cid)).toMatchObject({ code: 'unknown_key' });
    await sign(off.proposal, ann);
    await sign(off.proposal, dot);
    expect(await asTenant((tx) => proposeChange(tx, by(), next, 'x'))).toMatchObject({ code: 'no_signing_policy' });
    const types = await asTenant((tx) =>
      tx.query<{ type: string }>(
        "select type from audit_events where subject = 'signing-policy/default' order by subject_seq desc limit 8",
      ),
    );
    expect(types.map(({ type }) => type).reverse()).toEqual([
      'signing_policy.change_proposed',
      'signing_policy.change_approved',
      'signing_policy.change_approved',
      'signing_policy.changed',
      'signing_policy.change_proposed',
      'signing_policy.change_approved',
      'signing_policy.change_approved',
      'signing_policy.removed',
    ]);
  });

  describe('of which one is proposed that can never be signed by enough people', () => {
    const asking = (nowMs = Date.now(), actor = 'token:test') => ({ ...by(nowMs), actor });
    const propose = (as: ReturnType<typeof asking>, document: SigningPolicy | null = next) =>
      asTenant((tx) => proposeChange(tx, as, document, null));
    /** Ann’s and Ben’s of three, two of whom have to sign. */
    const withKeys = (over: Readonly<Record<string, object>>): SigningPolicy => ({
      ...signingPolicy({ ann, ben, cid }),
      people: [ann, ben, cid].map(({ publicKey }, i) => {
        const name = ['ann', 'ben', 'cid'][i]!;
        return { name, principals: [`oidc:${name}`], keys: [{ publicKey, ...over[name] }] };
      }),
    });

    test('it is refused, and says who could sign and that somebody else has to propose it', async () => {
      const two = { ...withKeys({}), people: withKeys({}).people.slice(0, 2) };
      await declare(two);
      const refused = await propose(asking(Date.now(), 'oidc:ann'));
      expect(refused).toMatchObject({ kind: 'refused', code: 'quorum_impossible' });
      expect(refused).toMatchObject({
        text: expect.stringMatching(
          /takes the signatures of 2 people, and besides whoever asked only 1 .*\(ben\): have it proposed by somebody who need not sign it/,
        ),
      });
      expect(
        await asTenant((tx) => liveProposal(tx, { tenant: TENANT, bookingId: null, action: 'signing-policy.change' })),
      ).toBeUndefined();
      // By somebody who is not of them it is proposed, and signed by both.
      const asked = await propose(asking());
      if (asked.kind === 'refused') throw new Error(asked.text);
      await sign(asked.proposal, ann);
      expect(await sign(asked.proposal, ben)).toMatchObject({ proposal: { state: 'done' } });
    });

    test('a role that only whoever asks has is as impossible as a number', async () => {
      const base = withKeys({});
      const people = base.people.map((one) => (one.name === 'ann' ? { ...one, roles: ['finance'] } : one));
      await declare({ ...base, people, changes: { signatures: 2, roles: { finance: 1 } } });
      expect(await propose(asking(Date.now(), 'oidc:ann'))).toMatchObject({
        code: 'quorum_impossible',
        text: expect.stringContaining('1 of the role finance'),
      });
      const asked = await propose(asking(Date.now(), 'oidc:ben'));
      expect(asked.kind).toBe('proposed');
    });

    test('keys that have ended, or begin too late, count for nobody; where too few are left it says that no change can be signed', async () => {
      const nowMs = Date.now();
      const at = (hours: number) => new Date(nowMs + hours * 3_600_000).toISOString();
      const later = asking(nowMs + 2 * 3_600_000);
      await declare(withKeys({ ann: { validTo: at(1) }, cid: { validFrom: at(30 * 24) } }));
      expect(await propose(later)).toMatchObject({
        code: 'quorum_impossible',
        text: expect.stringMatching(/only 1 .*\(ben\): the keys of too many have ended/),
      });
      // A key that begins before the proposal expires counts.
      await declare(withKeys({ ann: { validTo: at(1) }, cid: { validFrom: at(3) } }));
      expect(await propose(later)).toMatchObject({ kind: 'proposed' });
    });

    test('one that has become impossible since makes room for the next at once, which names it; one that can still be signed does not', async () => {
      const nowMs = Date.now();
      await declare(withKeys({ ben: { validTo: new Date(nowMs + 3_600_000).toISOString() } }));
      const first = await propose(asking(nowMs, 'oidc:ann'));
      if (first.kind === 'refused') throw new Error(first.text);
      expect(await propose(asking(nowMs), null)).toMatchObject({ code: 'proposal_open' });
      // Ben’s key has ended and he did not sign: of Ben and Cid, who could, one is left.
      const later = nowMs + 2 * 3_600_000;
      expect(await propose(asking(later, 'oidc:ann'))).toMatchObject({ code: 'quorum_impossible' });
      expect(await stateOf(first.proposal.id)).toBe('open');
      const second = await propose(asking(later), null);
      expect(second).toMatchObject({ kind: 'proposed' });
      expect(await stateOf(first.proposal.id)).toBe('void');
      expect(await sign(first.proposal, cid, { nowMs: later })).toMatchObject({ code: 'proposal_void' });
      const [told] = await asTenant((tx) =>
        tx.query<{ data: { supersedes?: string } }>(
          "select convert_from(bytes, 'UTF8')::jsonb -> 'data' as data from audit_events where type = 'signing_policy.change_proposed' order by subject_seq desc limit 1",
        ),
      );
      expect(told?.data.supersedes).toBe(first.proposal.id);
    });

    test('what somebody signed before their key ended still counts, so that it stands in the way', async () => {
      const nowMs = Date.now();
      await declare(withKeys({ ben: { validTo: new Date(nowMs + 3_600_000).toISOString() } }));
      const first = await propose(asking(nowMs, 'oidc:ann'));
      if (first.kind === 'refused') throw new Error(first.text);
      await sign(first.proposal, ben, { nowMs: nowMs + 1_000 });
      const later = nowMs + 2 * 3_600_000;
      expect(await propose(asking(later), null)).toMatchObject({ code: 'proposal_open' });
      expect(await sign(first.proposal, cid, { nowMs: later })).toMatchObject({ proposal: { state: 'done' } });
    });

    test('one about a policy that does not stand any more makes room', async () => {
      await declare(withKeys({}));
      const first = await propose(asking());
      if (first.kind === 'refused') throw new Error(first.text);
      await declare({ ...withKeys({}), expireAfter: '2h' });
      await asTenant((tx) =>
        tx.execute("update quota_documents set version = version + 7 where kind = 'SigningPolicy'"),
      );
      expect(await propose(asking())).toMatchObject({ kind: 'proposed' });
      expect(await stateOf(first.proposal.id)).toBe('void');
    });
  });

  test('that is proposed is refused where it could not stand', async () => {
    await expect(
      asTenant((tx) => proposeChange(tx, by(), { ...next, changes: { signatures: 1 } }, null)),
    ).rejects.toMatchObject({
      refusals: [{ code: 'threshold', field: 'changes.signatures' }],
    });
  });
});
