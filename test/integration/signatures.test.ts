import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { StateName } from '../../core/booking.ts';
import { attemptKey, type BookingId, ulid } from '../../core/ids.ts';
import { jobSpec } from '../../core/job.ts';
import { ALLOW_ALL, type PolicyRules } from '../../peers/sentinelnet/rules.ts';
import { ProviderError } from '../../providers/provider.ts';
import { type Booking, loadBooking } from '../../scheduler/apply/booking-store.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import { arrayTasks, createBookings } from '../../scheduler/apply/create-booking.ts';
import { commitMoves } from '../../scheduler/apply/moves.ts';
import type { Proposal } from '../../scheduler/signatures/proposal.ts';
import { approvalsOf, standingPolicy } from '../../scheduler/signatures/proposals.sql.ts';
import { proposeRevoke } from '../../scheduler/signatures/revoke.ts';
import { signProposal } from '../../scheduler/signatures/sign.ts';
import { POOL, TENANT } from '../support/saga-world.ts';
import {
  allocator,
  ann,
  asTenant,
  ben,
  by,
  cid,
  declare,
  dot,
  ended,
  POLICY,
  proposed,
  sign,
  startAllocator,
  stateOf,
  world,
} from '../support/signature-scene.ts';
import { signingPolicy, testKey } from '../support/signers.ts';

const awaiting = ({ state }: Booking) => state.state === 'awaiting_signatures';

/** A job that costs 2.00, which is large, up to where people have to sign it. */
async function large(over: object = {}): Promise<{ id: BookingId; proposal: Proposal }> {
  const id = await world.book({ lease: '2h', ...over });
  await world.until(id, awaiting);
  return { id, proposal: await proposed(id) };
}

/** Tasks of 0.50 each, all up to where people have to sign them. */
async function array(count: number, until: StateName = 'awaiting_signatures'): Promise<readonly BookingId[]> {
  const file = { name: 'train', division: 'vision', resources: { cpus: 1 }, pools: [POOL], run: 'true', lease: '30m' };
  const spec = jobSpec({ ...file, array: { count } });
  const newId = () => ulid(Date.now(), randomBytes(10));
  const { tenant, actor, traceId, nowMs } = by();
  const input = { bookingId: newId(), tenant, division: 'vision', requester: 'ada', actor, traceId, nowMs, spec };
  const tasks = arrayTasks(input, newId);
  await asTenant((tx) => createBookings(tx, tasks));
  for (const { bookingId } of tasks) await world.until(bookingId, ({ state }) => state.state === until);
  return tasks.map(({ bookingId }) => bookingId);
}

describe('a large allocation', () => {
  test('in the pieces of an array is as large: each task waits, and is signed by itself', async () => {
    const [first, ...others] = (await array(3)) as [BookingId, ...BookingId[]];
    const proposal = await proposed(first);
    expect(proposal).toMatchObject({ content: { tasks: 3 }, statement: { amount: { minor: '50' } } });
    await sign(proposal, ann);
    expect(await sign(proposal, ben)).toMatchObject({ proposal: { state: 'met' } });
    await world.until(first, ({ state }) => state.state === 'applied');
    world.provider.end(attemptKey(first, 1), 'succeeded');
    await world.until(first, ended);
    for (const id of others) {
      expect((await world.get(id)).state.state).toBe('awaiting_signatures');
      await asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now()));
    }
  });

  test('is no array of which all tasks together cost no more than may go on unsigned', async () => {
    for (const id of await array(2, 'applied')) {
      world.provider.end(attemptKey(id, 1), 'succeeded');
      await world.until(id, ended);
    }
  });

  test('waits, holding nothing, until two people have signed it, is applied once on that, and is revoked by one', async () => {
    const { id, proposal } = await large();
    expect(proposal).toMatchObject({
      state: 'open',
      statement: { amount: { currency: 'USD', scale: 2, minor: '200' } },
    });
    expect(world.finance.get(`h-${id}-1`)).toBeUndefined();
    expect(await sign(proposal, ann)).toMatchObject({ kind: 'signed', person: 'ann', proposal: { state: 'open' } });
    expect(await sign(proposal, ann)).toMatchObject({ kind: 'already', person: 'ann' });
    expect((await world.get(id)).state.state).toBe('awaiting_signatures');
    expect(await sign(proposal, ben)).toMatchObject({ kind: 'signed', person: 'ben', proposal: { state: 'met' } });
    await world.until(id, ({ state }) => state.state === 'applied');
    expect(await stateOf(proposal.id)).toBe('done');

    const revoke = await asTenant((tx) => proposeRevoke(tx, by(), id, 'it mines coins'));
    expect(revoke).toMatchObject({ kind: 'proposed' });
    expect(await asTenant((tx) => proposeRevoke(tx, by(), id, 'again'))).toMatchObject({ kind: 'exists' });
    const revoking = await proposed(id, 'allocation.revoke');
    expect(await sign(revoking, cid)).toMatchObject({ kind: 'signed', proposal: { state: 'done' } });
    const last = await world.until(id, ended);
    expect(last.state).toMatchObject({
      state: 'revoked',
      reason: { code: 'revoked', text: 'revoked by cid: it mines coins' },
    });
    expect(world.provider.live).toEqual([]);
    expect(world.finance.get(`h-${id}-1`)?.status).toBe('settled');
    expect((await world.eventTypes(id)).filter((type) => type.startsWith('booking.'))).toEqual([
      'booking.created',
      'booking.awaiting_signatures',
      'booking.signing_approved',
      'booking.signing_approved',
      'booking.waiting',
      'booking.reserved',
      'booking.requesting',
      'booking.confirming',
      'booking.applied',
      'booking.revoking_proposed',
      'booking.revoking_approved',
      'booking.releasing',
      'booking.revoked',
    ]);
  });

  test('at or below the bound needs nobody', async () => {
    const id = await world.book({ lease: '1h' });
    await world.until(id, ({ state }) => state.state === 'applied');
    world.provider.end(attemptKey(id, 1), 'succeeded');
    await world.until(id, ended);
  });

  test('needs as many as SentinelNet asks for, where that is more', async () => {
    const rules: PolicyRules = { ...ALLOW_ALL, signatures: [{ division: 'vision', count: 3 }] };
    world.sentinel.setRules(rules);
    const { id, proposal } = await large();
    await sign(proposal, ann);
    expect(await sign(proposal, ben)).toMatchObject({ proposal: { state: 'open' } });
    expect(await sign(proposal, cid)).toMatchObject({ proposal: { state: 'met' } });
    await world.until(id, ({ state }) => state.state === 'applied');
    world.provider.end(attemptKey(id, 1), 'succeeded');
    await world.until(id, ended);
  });

  test('is signed by whomever its job file names as its user: a word of the file keeps nobody from signing', async () => {
    const { id, proposal } = await large({ user: 'ann' });
    expect(await sign(proposal, ann)).toMatchObject({ kind: 'signed', person: 'ann' });
    await asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now()));
    await world.until(id, ended);
  });

  test('that policy denies after enough people have signed it is rejected, and what they signed is void', async () => {
    const { id, proposal } = await large();
    await allocator.stop();
    for (const key of [ann, ben]) await sign(proposal, key);
    expect(await stateOf(proposal.id)).toBe('met');
    world.sentinel.setRules({ ...ALLOW_ALL, deny: [{ name: 'freeze', division: 'vision', text: 'frozen' }] });
    await startAllocator();
    expect((await world.until(id, ended)).state).toMatchObject({
      state: 'rejected',
      reason: { code: 'policy_denied' },
    });
    expect(await stateOf(proposal.id)).toBe('void');
  });

  test('is not signed by whoever asked for it, nor by a key that is not of the policy, nor twice by one person', async () => {
    await declare({
      ...POLICY,
      people: [
        { name: 'ann', principals: ['ada'], keys: [{ publicKey: ann.publicKey }] },
        { name: 'ben', keys: [{ publicKey: ben.publicKey }, { publicKey: cid.publicKey }] },
        { name: 'dan', keys: [{ publicKey: dot.publicKey }] },
      ],
    });
    const { id, proposal } = await large();
    expect(await sign(proposal, ann)).toMatchObject({ kind: 'refused', code: 'requester' });
    expect(await sign(proposal, testKey())).toMatchObject({ kind: 'refused', code: 'unknown_key' });
    await sign(proposal, ben);
    expect(await sign(proposal, cid)).toMatchObject({ kind: 'already', person: 'ben' });
    expect((await asTenant((tx) => approvalsOf(tx, [proposal.id]))).get(proposal.id)).toHaveLength(1);
    expect((await world.get(id)).state.state).toBe('awaiting_signatures');
    await asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now()));
    expect(await stateOf(proposal.id)).toBe('void');
  });

  test('is not signed by a statement that was changed, or is another one’s', async () => {
    const { id, proposal } = await large();
    const other = await large();
    for (const statement of [
      { ...proposal.statement, amount: { currency: 'USD', scale: 2, minor: '1' } },
      { ...proposal.statement, environment: 'elsewhere' },
      other.proposal.statement,
    ])
      expect(await sign(proposal, ann, { statement })).toMatchObject({ kind: 'refused', code: 'statement_changed' });
    const stolen = {
      statementHash: proposal.statementHash,
      keyId: ann.keyId,
      signature: ann.sign(other.proposal.statement),
    };
    expect(await asTenant((tx) => signProposal(tx, by(), proposal.id, 'approve', stolen))).toMatchObject({
      kind: 'refused',
      code: 'bad_signature',
    });
    for (const one of [id, other.id]) await asTenant((tx) => cancelBooking(tx, one, 'ada', Date.now()));
    expect(await sign(proposal, ann)).toMatchObject({ kind: 'refused', code: 'proposal_void' });
  });

  test('counts who signs again after their key was changed for another', async () => {
    const { id, proposal } = await large();
    await sign(proposal, ann);
    const next = testKey();
    await declare({ ...POLICY, people: signingPolicy({ ann: next, ben, cid }).people });
    expect(await sign(proposal, ben)).toMatchObject({ kind: 'signed', proposal: { state: 'open' } });
    expect(await sign(proposal, next)).toMatchObject({ kind: 'signed', person: 'ann', proposal: { state: 'met' } });
    await asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now()));
  });

  test('goes on when somebody who had signed asks again and a policy that changed asks for no more', async () => {
    await declare({ ...POLICY, allocations: [{ ...POLICY.allocations![0]!, signatures: 3 }] });
    await allocator.stop();
    await startAllocator();
    const { id, proposal } = await large();
    await sign(proposal, ann);
    expect(await sign(proposal, ben)).toMatchObject({ kind: 'signed', proposal: { state: 'open' } });
    await declare(POLICY);
    expect(await sign(proposal, ben)).toMatchObject({ kind: 'already', proposal: { state: 'met' } });
    await asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now()));
  });

  test('that one of them refuses is rejected, with the name of who did', async () => {
    const { id, proposal } = await large();
    await sign(proposal, ann);
    expect(await sign(proposal, ben, { verdict: 'reject' })).toMatchObject({ proposal: { state: 'rejected' } });
    expect((await world.get(id)).state).toMatchObject({ state: 'rejected', reason: { code: 'signatures_refused' } });
    expect(await sign(proposal, cid)).toMatchObject({ kind: 'refused', code: 'proposal_rejected' });
  });

  test('expires where not enough people sign in time, and takes no signature then', async () => {
    await declare({ ...POLICY, expireAfter: '1m' });
    await allocator.stop();
    await startAllocator();
    const { id, proposal } = await large();
    await sign(proposal, ann);
    expect(await sign(proposal, ben, { nowMs: Date.now() + 60_000 })).toMatchObject({ code: 'proposal_expired' });
    await allocator.stop();
    await startAllocator({ clock: { ...world.context.clock, now: () => Date.now() + 61_000 } });
    expect((await world.until(id, ended)).state).toMatchObject({
      state: 'expired',
      reason: { code: 'signatures_expired' },
    });
    expect(await stateOf(proposal.id)).toBe('expired');
  });

  test('is signed again where the policy changed after it was signed, and not applied on what was signed before', async () => {
    const { id, proposal } = await large();
    await sign(proposal, ann);
    const gate = world.finance.control.hold('confirm', 'before-effect');
    await sign(proposal, ben);
    await gate.reached;
    world.sentinel.setRules({ ...ALLOW_ALL, deny: [{ name: 'other', division: 'nlp', text: 'no' }] });
    gate.open();
    await world.until(id, (booking) => awaiting(booking) && booking.state.attempt === 2);
    expect(await stateOf(proposal.id)).toBe('void');
    const again = await proposed(id);
    expect(again.statement.policyVersion).not.toBe(proposal.statement.policyVersion);
    await asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now()));
  });

  test('is not applied where one who signed may sign no more when it comes to it', async () => {
    const { id, proposal } = await large();
    await sign(proposal, ann);
    const gate = world.finance.control.hold('confirm', 'before-effect');
    await sign(proposal, ben);
    await gate.reached;
    await declare({ ...POLICY, people: signingPolicy({ ann, cid, dot }).people });
    gate.open();
    await world.until(id, awaiting);
    expect(await stateOf(proposal.id)).toBe('void');
    expect(await stateOf((await proposed(id)).id)).toBe('open');
    await asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now()));
  });

  test('keeps its signatures where an attempt came to nothing, and uses them up with the apply', async () => {
    const { id, proposal } = await large();
    await sign(proposal, ann);
    world.provider.beforeSubmit = () => {
      world.provider.beforeSubmit = undefined;
      throw new ProviderError('transient', 'connect ECONNREFUSED', { effect: 'none' });
    };
    await sign(proposal, ben);
    await world.until(id, ({ state }) => state.state === 'applied');
    expect((await world.get(id)).state.attempt).toBe(2);
    expect((await world.eventTypes(id)).filter((type) => type === 'booking.awaiting_signatures')).toHaveLength(1);
    expect(await stateOf(proposal.id)).toBe('done');
    await expect(
      asTenant((tx) => tx.execute("update proposals set state = 'met' where proposal_id = $1", [proposal.id])),
    ).rejects.toThrow('stays so');
    world.provider.end(attemptKey(id, (await world.get(id)).state.attempt), 'succeeded');
    await world.until(id, ended);
  });
});

describe('a move that rests on signatures', () => {
  test('is refused in its transaction where they are too few, used, expired, or counted by another policy', async () => {
    const { id, proposal } = await large();
    await allocator.stop();
    await sign(proposal, ann);
    const standing = await asTenant((tx) => standingPolicy(tx, TENANT));
    const reason = { code: 'test', text: 'the test is over', mend: 'none' };
    const move = async (over: { signers?: bigint; nowMs?: number } = {}) => {
      const { signers = standing!.version, nowMs = Date.now() } = over;
      const booking = await world.get(id);
      const [result] = await world.database.db.asLeader(world.epoch, (tx) =>
        commitMoves(tx, [
          {
            booking,
            event: { type: 'cancel', reason },
            actor: 'test',
            nowMs,
            quorum: { proposal: proposal.id, signers },
          },
        ]),
      );
      return result?.kind;
    };
    expect(await move()).toBe('quorum_lost');
    await sign(proposal, ben);
    expect(await move({ signers: standing!.version + 1n })).toBe('quorum_lost');
    expect(await move({ nowMs: proposal.expiresAtMs })).toBe('quorum_lost');
    expect((await world.get(id)).state.state).toBe('waiting');
    expect(await move()).toBe('moved');
    expect(await stateOf(proposal.id)).toBe('void');
  });
});

describe('races', () => {
  test('of the last signature, a cancel and a refusal end in one of them, every time', async () => {
    for (let round = 0; round < 2; round++) {
      const { id, proposal } = await large();
      await sign(proposal, ann);
      const [signed, cancelled, refused] = await Promise.all([
        sign(proposal, ben),
        asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now())),
        sign(proposal, cid, { verdict: 'reject' }),
      ]);
      const { state } = (await asTenant((tx) => loadBooking(tx, id)))!;
      const wins = [signed?.kind === 'signed', refused?.kind === 'signed'];
      if (state.state === 'rejected') expect([wins, cancelled?.kind]).toEqual([[false, true], 'ended']);
      else expect(wins[1]).toBe(false);
      if (state.state !== 'cancelled' && state.state !== 'rejected')
        await asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now()));
      expect(['cancelled', 'rejected']).toContain((await world.until(id, ended)).state.state);
      expect(['void', 'rejected', 'done']).toContain(await stateOf(proposal.id));
    }
  });

  test('of many signatures by two people make one quorum, and of each person one signature', async () => {
    const { id, proposal } = await large();
    const all = await Promise.all(Array.from({ length: 10 }, (_, i) => sign(proposal, i % 2 === 0 ? ann : ben)));
    expect(all.filter((one) => one?.kind === 'signed')).toHaveLength(2);
    expect((await asTenant((tx) => approvalsOf(tx, [proposal.id]))).get(proposal.id)).toHaveLength(2);
    await world.until(id, ({ state }) => state.state === 'applied');
    expect((await world.eventTypes(id)).filter((type) => type === 'booking.waiting')).toHaveLength(1);
    world.provider.end(attemptKey(id, 1), 'succeeded');
    await world.until(id, ended);
  });
});
