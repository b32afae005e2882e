import { describe, expect, test } from 'vitest';
import { attemptKey, type BookingId } from '../../core/ids.ts';
import type { SigningPolicy } from '../../core/signing-policy.ts';
import { ALLOW_ALL } from '../../peers/sentinelnet/rules.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import { proposeChange } from '../../scheduler/signatures/change-policy.ts';
import type { Proposal } from '../../scheduler/signatures/proposal.ts';
import {
  allocator,
  ann,
  asTenant,
  ben,
  by,
  cid,
  declare,
  ended,
  POLICY,
  proposed,
  sign,
  startAllocator,
  stateOf,
  world,
} from '../support/signature-scene.ts';

const awaiting = ({ state }: Booking) => state.state === 'awaiting_signatures';
const THREE = { ...POLICY, allocations: [{ ...POLICY.allocations![0]!, signatures: 3 }] };

/** A job that Ann has signed, of three people who have to; nobody looks at it. */
async function signedByAnn(): Promise<{ id: BookingId; proposal: Proposal }> {
  await declare(THREE);
  await allocator.stop();
  await startAllocator();
  const id = await world.book({ lease: '2h' });
  await world.until(id, awaiting);
  await allocator.stop();
  const proposal = await proposed(id);
  await sign(proposal, ann);
  return { id, proposal };
}

/** By those who may. */
async function changeTo(policy: SigningPolicy | null): Promise<void> {
  const change = await asTenant((tx) => proposeChange(tx, by(), policy, null));
  if (change.kind === 'refused') throw new Error(change.text);
  await sign(change.proposal, ann);
  expect(await sign(change.proposal, cid)).toMatchObject({ proposal: { state: 'done' } });
}

describe('an allocation that waits for people goes on at the next look, though nobody signs it', () => {
  test.each<[string, SigningPolicy | null, readonly string[], Proposal['state']]>([
    ['where there is no signing policy any more', null, [], 'void'],
    ['where its rule was taken away', { ...POLICY, allocations: [] }, ['ann'], 'void'],
    ['where its rule asks for no more than have signed it', POLICY, ['ann', 'ben'], 'done'],
  ])('%s', async (_, next, signedBy, end) => {
    const { id, proposal } = await signedByAnn();
    if (signedBy.includes('ben')) await sign(proposal, ben);
    expect(await stateOf(proposal.id)).toBe('open');
    await changeTo(next);
    expect((await world.get(id)).state.state).toBe('awaiting_signatures');
    await startAllocator();
    await world.until(id, ({ state }) => state.state === 'applied');
    world.provider.end(attemptKey(id, 1), 'succeeded');
    await world.until(id, ended);
    expect(await stateOf(proposal.id)).toBe(end);
    const told = await asTenant((tx) =>
      tx.query<{ event: object }>(
        "select convert_from(bytes, 'UTF8')::jsonb as event from audit_events where subject = $1 and type = 'booking.waiting'",
        [`booking/${id}`],
      ),
    );
    expect(told).toMatchObject([{ event: { actor: 'merit/allocator', data: { proposal: proposal.id, signedBy } } }]);
  });

  test.each<[string, SigningPolicy | null, number]>([
    ['where the rule that was lowered asks for more than have signed it', POLICY, 0],
    ['where SentinelNet asks for more, whatever the signing policy says', { ...POLICY, allocations: [] }, 2],
  ])('but not %s', async (_, next, bySentinelNet) => {
    if (bySentinelNet > 0)
      world.sentinel.setRules({ ...ALLOW_ALL, signatures: [{ division: 'vision', count: bySentinelNet }] });
    const { id, proposal } = await signedByAnn();
    await changeTo(next);
    await startAllocator();
    // It has been looked at once another one, which came later, has come as far.
    const other = await world.book({ lease: '2h', name: 'other' });
    await world.until(other, awaiting);
    expect((await world.get(id)).state.state).toBe('awaiting_signatures');
    expect(await stateOf(proposal.id)).toBe('open');
    for (const one of [id, other]) {
      await asTenant((tx) => cancelBooking(tx, one, 'ada', Date.now()));
      await world.until(one, ended);
    }
  });
});
