import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { rejectionOf, statementHash } from '../../core/approval.ts';
import { isEnded } from '../../core/booking.ts';
import type { SigningPolicy } from '../../core/signing-policy.ts';
import { ALLOW_ALL } from '../../peers/sentinelnet/rules.ts';
import type { Tx } from '../../platform/postgres.ts';
import { applyDocuments } from '../../pools/apply-documents.ts';
import { parseDocument } from '../../pools/documents.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import type { Proposal } from '../../scheduler/signatures/proposal.ts';
import { liveProposal, loadProposal } from '../../scheduler/signatures/proposals.sql.ts';
import { type SignOutcome, signProposal } from '../../scheduler/signatures/sign.ts';
import { ledgerLeaks } from './ledger-leaks.ts';
import { type SagaWorld, sagaWorld, TENANT } from './saga-world.ts';
import { signingPolicy, type TestKey, testKey } from './signers.ts';

/** What each test of signatures has: a world in which an allocator runs under POLICY, and people who sign in it. */

export let world: SagaWorld;
export let allocator: Awaited<ReturnType<SagaWorld['startAllocator']>>;
export const [ann, ben, cid, dot] = [testKey(), testKey(), testKey(), testKey()];
export const POLICY = signingPolicy(
  { ann, ben, cid },
  { allocations: [{ above: { amount: '1.00', currency: 'USD' }, signatures: 2 }] },
);

beforeAll(async () => {
  world = await sagaWorld();
});
afterAll(() => world.close());
beforeEach(async () => {
  await declare(POLICY);
  await startAllocator();
});
afterEach(async () => {
  world.sentinel.setRules(ALLOW_ALL);
  world.sentinel.control.clear();
  world.finance.control.clear();
  world.provider.beforeSubmit = undefined;
  await allocator.stop();
  expect(await ledgerLeaks(world.database.db)).toEqual([]);
});

/** Another one, where the one before was stopped. */
export async function startAllocator(over: Parameters<SagaWorld['startAllocator']>[0] = {}): Promise<void> {
  allocator = await world.startAllocator(over);
}

export const by = (nowMs = Date.now()) => ({
  tenant: TENANT,
  actor: 'token:test',
  traceId: '0af7651916cd43dd8448eb211c80319c',
  nowMs,
  environment: 'merit-test',
});
export const asTenant = <T>(work: (tx: Tx) => Promise<T>) => world.database.db.asTenant(TENANT, work);
export const ended = ({ state }: Booking) => isEnded(state.state);

/** Puts a policy there whatever stood before, as an owner of the database could. */
export async function declare(policy: SigningPolicy): Promise<void> {
  // In one transaction: an engine that looks in between would let through what is large.
  await asTenant(async (tx) => {
    await tx.execute("delete from quota_documents where kind = 'SigningPolicy'");
    await applyDocuments(tx, by(), [{ document: parseDocument(policy) }]);
  });
}

export async function proposed(bookingId: string, action: Proposal['action'] = 'allocation.apply'): Promise<Proposal> {
  const found = await asTenant((tx) => liveProposal(tx, { tenant: TENANT, bookingId, action }));
  if (found === undefined) throw new Error('nothing is proposed');
  return found;
}

export function sign(
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

export const stateOf = async (id: string) => (await asTenant((tx) => loadProposal(tx, id)))?.state;
