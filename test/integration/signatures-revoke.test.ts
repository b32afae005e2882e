import { describe, expect, test } from 'vitest';
import { attemptKey } from '../../core/ids.ts';
import { expireProposals } from '../../scheduler/signatures/proposals.sql.ts';
import { proposeRevoke } from '../../scheduler/signatures/revoke.ts';
import {
  ann,
  asTenant,
  ben,
  by,
  declare,
  ended,
  POLICY,
  proposed,
  sign,
  stateOf,
  world,
} from '../support/signature-scene.ts';

describe('a revoke', () => {
  test('is of what holds something, and of whoever asked for neither it nor the job', async () => {
    const id = await world.book({ lease: '1h' });
    await world.until(id, ({ state }) => state.state === 'applied');
    await declare({
      ...POLICY,
      people: POLICY.people.map((one) => (one.name === 'ann' ? { ...one, principals: ['ada'] } : one)),
    });
    await asTenant((tx) => proposeRevoke(tx, by(), id, 'it mines coins'));
    const revoking = await proposed(id, 'allocation.revoke');
    expect(await sign(revoking, ann)).toMatchObject({ code: 'requester' });
    expect(await sign(revoking, ann, { verdict: 'reject' })).toMatchObject({ code: 'requester' });
    world.provider.end(attemptKey(id, 1), 'succeeded');
    await world.until(id, ended);
    expect(await sign(revoking, ben)).toMatchObject({ code: 'booking_changed' });
    expect(await asTenant((tx) => proposeRevoke(tx, by(), id, 'too late'))).toMatchObject({ code: 'ended' });
    expect(await world.database.db.asEngine((tx) => expireProposals(tx, Date.now()))).toBe(1);
    expect(await stateOf(revoking.id)).toBe('void');
  });
});

test('a revoke that too few could sign is refused, and says what ends the allocation without', async () => {
  const id = await world.book({ lease: '1h' });
  await world.until(id, ({ state }) => state.state === 'applied');
  const people = [{ name: 'ann', principals: ['ada'], keys: [{ publicKey: ann.publicKey }] }];
  await declare({ ...POLICY, people: [...people, POLICY.people[1]!], allocations: [], revoke: { signatures: 2 } });
  expect(await asTenant((tx) => proposeRevoke(tx, by(), id, 'it mines coins'))).toMatchObject({
    code: 'quorum_impossible',
    text: expect.stringMatching(/only 1 .*\(ben\): cancel it/),
  });
  await declare(POLICY);
  expect(await asTenant((tx) => proposeRevoke(tx, by(), id, 'it mines coins'))).toMatchObject({ kind: 'proposed' });
  world.provider.end(attemptKey(id, 1), 'succeeded');
  await world.until(id, ended);
});

test('a revoke that nobody can bring about any more makes room for the next, which names it', async () => {
  const nowMs = Date.now();
  const id = await world.book({ lease: '1h' });
  await world.until(id, ({ state }) => state.state === 'applied');
  const validTo = new Date(nowMs + 3_600_000).toISOString();
  const people = [
    { name: 'ann', principals: ['oidc:ann'], keys: [{ publicKey: ann.publicKey }] },
    { name: 'ben', principals: ['oidc:ben'], keys: [{ publicKey: ben.publicKey, validTo }] },
  ];
  await declare({ ...POLICY, people, allocations: [], revoke: { signatures: 1 } });
  const propose = (atMs: number, actor = 'token:test') =>
    asTenant((tx) => proposeRevoke(tx, { ...by(atMs), actor }, id, 'it mines coins'));
  // By Ann, so that only Ben could sign it.
  const first = await propose(nowMs, 'oidc:ann');
  if (first?.kind !== 'proposed') throw new Error('it is not proposed');
  const later = nowMs + 2 * 3_600_000;
  const second = await propose(later);
  if (second?.kind !== 'proposed') throw new Error('it is not proposed');
  expect(await stateOf(first.proposal.id)).toBe('void');
  const told = await asTenant((tx) =>
    tx.query<{ data: object }>(
      "select convert_from(bytes, 'UTF8')::jsonb -> 'data' as data from audit_events where subject = $1 and type = 'booking.revoking_proposed' order by subject_seq",
      [`booking/${id}`],
    ),
  );
  expect(told.map(({ data }) => data)).toMatchObject([
    { proposal: first.proposal.id },
    { proposal: second.proposal.id, supersedes: first.proposal.id },
  ]);
  expect(told[0]?.data).not.toHaveProperty('supersedes');
  await declare(POLICY);
  world.provider.end(attemptKey(id, 1), 'succeeded');
  await world.until(id, ended);
});
