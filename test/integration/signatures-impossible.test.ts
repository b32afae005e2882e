import { describe, expect, test } from 'vitest';
import { attemptKey, type BookingId } from '../../core/ids.ts';
import { ALLOW_ALL } from '../../peers/sentinelnet/rules.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import { Scene } from '../support/saga-stories.ts';
import { TENANT } from '../support/saga-world.ts';
import {
  allocator,
  ann,
  asTenant,
  ben,
  cid,
  declare,
  ended,
  POLICY,
  proposed,
  sign,
  startAllocator,
  world,
} from '../support/signature-scene.ts';
import { verifiedReceipt } from '../support/verified-receipt.ts';

/** Ann, Ben and Cid, who ask under the names of their provider; `keys`: when those of whom count. */
const people = (keys: Readonly<Record<string, object>> = {}) =>
  Object.entries({ ann, ben, cid }).map(([name, { publicKey }]) => ({
    name,
    principals: [`oidc:${name}`, ...(name === 'ann' ? ['ada'] : [])],
    keys: [{ publicKey, ...keys[name] }],
  }));
const asks = (count: number) => world.sentinel.setRules({ ...ALLOW_ALL, signatures: [{ division: 'vision', count }] });
const large = () => world.book({ lease: '2h' });
const ofProposals = (id: BookingId) =>
  asTenant((tx) => tx.query('select proposal_id from proposals where booking_id = $1', [id]));

describe('an allocation that too few people could ever sign is rejected at once', () => {
  test('and says how many it takes, who can sign, and what to change; nothing is held, and the receipt proves it', async () => {
    await declare({ ...POLICY, people: people() });
    asks(16);
    const id = await large();
    const { state } = await world.until(id, ended);
    expect(state).toMatchObject({
      state: 'rejected',
      reason: {
        code: 'quorum_impossible',
        text: expect.stringMatching(
          /^it takes the signatures of 16 people, and besides whoever asked only 2 of the SigningPolicy can sign before .*Z \(ben, cid\)$/,
        ),
        mend: expect.stringMatching(
          /^name more people in the SigningPolicy \(`merit proposals new`\), or have SentinelNet ask for fewer/,
        ),
      },
    });
    expect(await ofProposals(id)).toEqual([]);
    expect(world.finance.get(`h-${id}-1`)).toBeUndefined();
    expect(await world.eventTypes(id)).toEqual(['booking.created', 'booking.rejected']);
    expect((await verifiedReceipt(world.database.db, TENANT, id)).result).toMatchObject({ code: 0 });
  });

  test('where only whoever asked is missing, and says that somebody else has to ask', async () => {
    await declare({ ...POLICY, people: people().slice(0, 2) });
    expect((await world.until(await large(), ended)).state).toMatchObject({
      reason: {
        code: 'quorum_impossible',
        text: expect.stringMatching(/takes the signatures of 2 people, .* only 1 .*\(ben\)$/),
        mend: 'have it asked for by somebody who need not sign it',
      },
    });
  });

  test('where a role of the rule is nobody’s who may sign it', async () => {
    const holders = people().map((one) => (one.name === 'ann' ? { ...one, roles: ['finance'] } : one));
    const rule = { ...POLICY.allocations![0]!, roles: { finance: 1 } };
    await declare({ ...POLICY, people: holders, allocations: [rule] });
    await allocator.stop();
    await startAllocator();
    expect((await world.until(await large(), ended)).state).toMatchObject({
      reason: { code: 'quorum_impossible', text: expect.stringContaining('1 of the role finance among them') },
    });
  });

  test('where the keys of too many have ended', async () => {
    const rule = { ...POLICY.allocations![0]!, signatures: 3 };
    await declare({ ...POLICY, people: people({ ben: { validTo: '2026-01-01T00:00:00Z' } }), allocations: [rule] });
    await allocator.stop();
    await startAllocator();
    expect((await world.until(await large(), ended)).state).toMatchObject({
      reason: {
        code: 'quorum_impossible',
        text: expect.stringMatching(/takes the signatures of 3 people, .* only 1 .*\(cid\)$/),
        mend: expect.stringMatching(/^the keys of too many have ended/),
      },
    });
  });

  test('where nobody may sign at all; a policy that is declared counts from then on, before the engine has read it', async () => {
    await asTenant((tx) => tx.execute("delete from quota_documents where kind = 'SigningPolicy'"));
    await allocator.stop();
    await startAllocator();
    asks(2);
    expect((await world.until(await large(), ended)).state).toMatchObject({
      reason: {
        code: 'quorum_impossible',
        text: 'it takes the signatures of 2 people, and no SigningPolicy says who may sign',
        mend: 'declare who may sign (`merit apply -f` a SigningPolicy), and submit it again',
      },
    });
    await declare({ ...POLICY, allocations: [] });
    const id = await large();
    await world.until(id, ({ state }) => state.state === 'awaiting_signatures');
    await asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now()));
  });

  test('of money alone as of a job', async () => {
    asks(16);
    const scene = new Scene(world);
    await scene.ask('grant', '5.00');
    expect((await world.until(scene.cast.get('grant')!, ended)).state).toMatchObject({
      state: 'rejected',
      reason: { code: 'quorum_impossible' },
    });
  });
});

test('one that has become impossible while people sign it goes on waiting, and keeps what they signed: another policy makes it possible again', async () => {
  await declare({ ...POLICY, people: people() });
  const id = await large();
  await world.until(id, ({ state }) => state.state === 'awaiting_signatures');
  const proposal = await proposed(id);
  await sign(proposal, ben);
  await declare({ ...POLICY, people: people().slice(0, 2) });
  await allocator.stop();
  await startAllocator();
  expect((await world.get(id)).state.state).toBe('awaiting_signatures');
  await declare({ ...POLICY, people: people() });
  expect(await sign(proposal, cid)).toMatchObject({ kind: 'signed', proposal: { state: 'met' } });
  await world.until(id, ({ state }) => state.state === 'applied');
  world.provider.end(attemptKey(id, 1), 'succeeded');
  await world.until(id, ended);
});
