import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { rejectionOf, statementHash } from '../../core/approval.ts';
import { isEnded, type StateName } from '../../core/booking.ts';
import { attemptKey, type BookingId, ulid } from '../../core/ids.ts';
import { jobSpec } from '../../core/job.ts';
import type { SigningPolicy } from '../../core/signing-policy.ts';
import { ALLOW_ALL, type PolicyRules } from '../../peers/sentinelnet/rules.ts';
import type { Tx } from '../../platform/postgres.ts';
import { applyDocuments } from '../../pools/apply-documents.ts';
import { parseDocument } from '../../pools/documents.ts';
import { ProviderError } from '../../providers/provider.ts';
import { type Booking, loadBooking } from '../../scheduler/apply/booking-store.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import { arrayTasks, createBookings } from '../../scheduler/apply/create-booking.ts';
import { commitMoves } from '../../scheduler/apply/moves.ts';
import { proposeChange } from '../../scheduler/signatures/change-policy.ts';
import type { Proposal } from '../../scheduler/signatures/proposal.ts';
import {
  approvalsOf,
  expireProposals,
  liveProposal,
  loadProposal,
  standingPolicy,
} from '../../scheduler/signatures/proposals.sql.ts';
import { proposeRevoke } from '../../scheduler/signatures/revoke.ts';
import { type SignOutcome, signProposal } from '../../scheduler/signatures/sign.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { POOL, type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';
import { signingPolicy, type TestKey, testKey } from '../support/signers.ts';

let world: SagaWorld;
let allocator: { stop(): Promise<void> };
const [ann, ben, cid, dot] = [testKey(), testKey(), testKey(), testKey()];
const POLICY = signingPolicy(
  { ann, ben, cid },
  { allocations: [{ above: { amount: '1.00', currency: 'USD' }, signatures: 2 }] },
);

const by = (nowMs = Date.now()) => ({
  tenant: TENANT,
  actor: 'token:test',
  traceId: '0af7651916cd43dd8448eb211c80319c',
  nowMs,
  environment: 'merit-test',
});
const asTenant = <T>(work: (tx: Tx) => Promise<T>) => world.database.db.asTenant(TENANT, work);
const ended = ({ state }: Booking) => isEnded(state.state);

/** Puts a policy there whatever stood before, as an owner of the database could. */
async function declare(policy: SigningPolicy): Promise<void> {
  // In one transaction: an engine that looks in between would let through what is large.
  await asTenant(async (tx) => {
    await tx.execute("delete from quota_documents where kind = 'SigningPolicy'");
    await applyDocuments(tx, by(), [{ document: parseDocument(policy) }]);
  });
}

async function proposed(bookingId: string, action: Proposal['action'] = 'allocation.apply'): Promise<Proposal> {
  const found = await asTenant((tx) => liveProposal(tx, { tenant: TENANT, bookingId, action }));
  if (found === undefined) throw new Error('nothing is proposed');
  return found;
}

function sign(
  proposal: Proposal,
  key: TestKey,
  over: { verdict?: 'approve' | 'reject'; nowMs?: number; statement?: Proposal['statement'] } = {},
): Promise<SignOutcome | undefined> {
  const { verdict = 'approve' } = over;
  const shown = over.statement ?? proposal.statement;
  const statement = verdict === 'approve' ? shown : rejectionOf(shown);
  const given = { statementHash: statementHash(statement), keyId: key.keyId, signature: key.sign(statement) };
  return asTenant((tx) => signProposal(tx, by(over.nowMs), proposal.id, verdict, given));
}

const stateOf = async (id: string) => (await asTenant((tx) => loadProposal(tx, id)))?.state;
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

beforeAll(async () => {
  world = await sagaWorld();
});
afterAll(() => world.close());
beforeEach(async () => {
  await declare(POLICY);
  allocator = await world.startAllocator();
});
afterEach(async () => {
  world.sentinel.setRules(ALLOW_ALL);
  world.sentinel.control.clear();
  world.finance.control.clear();
  world.provider.beforeSubmit = undefined;
  await allocator.stop();
  expect(await ledgerLeaks(world.database.db)).toEqual([]);
});

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
    allocator = await world.startAllocator();
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
    allocator = await world.startAllocator();
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
    allocator = await world.startAllocator();
    const { id, proposal } = await large();
    await sign(proposal, ann);
    expect(await sign(proposal, ben, { nowMs: Date.now() + 60_000 })).toMatchObject({ code: 'proposal_expired' });
    await allocator.stop();
    allocator = await world.startAllocator({ clock: { ...world.context.clock, now: () => Date.now() + 61_000 } });
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
