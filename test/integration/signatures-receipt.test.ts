import { afterAll, beforeAll, expect, test } from 'vitest';
import { rejectionOf, type Statement, statementHash } from '../../core/approval.ts';
import type { AuditEvent } from '../../core/audit-event.ts';
import { isEnded } from '../../core/booking.ts';
import { canonicalBytes, type Json } from '../../core/canonical.ts';
import { newFindings } from '../../ledger/audit/findings.ts';
import { checkApprovals } from '../../ledger/audit/receipt-approvals.ts';
import type { Receipt, ReceiptEvent } from '../../ledger/audit/receipt-parts.ts';
import type { Tx } from '../../platform/postgres.ts';
import { applyDocuments } from '../../pools/apply-documents.ts';
import { parseDocument } from '../../pools/documents.ts';
import { proposeChange } from '../../scheduler/signatures/change-policy.ts';
import type { Proposal } from '../../scheduler/signatures/proposal.ts';
import { liveProposal } from '../../scheduler/signatures/proposals.sql.ts';
import { proposeRevoke } from '../../scheduler/signatures/revoke.ts';
import { signProposal } from '../../scheduler/signatures/sign.ts';
import { forged, type Lie, withEvidence } from '../support/forged-receipt.ts';
import { type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';
import { signingPolicy, type TestKey, testKey } from '../support/signers.ts';
import { verifiedReceipt } from '../support/verified-receipt.ts';

/** What a stranger finds in the receipt of a job that people signed, and of one that says they did. */

let world: SagaWorld;
let allocator: { stop(): Promise<void> };
let text: string;
const [ann, ben, cid, dot] = [testKey(), testKey(), testKey(), testKey()];
const large = [{ above: { amount: '1.00', currency: 'USD' }, signatures: 2 }];
const FIRST = signingPolicy({ ann, ben }, { allocations: large });
const NEXT = signingPolicy({ ann, cid, dot }, { allocations: large });

const by = (aheadMs = 0) => ({
  tenant: TENANT,
  actor: 'token:test',
  traceId: '0af7651916cd43dd8448eb211c80319c',
  nowMs: Date.now() + aheadMs,
  environment: 'merit-test',
});
const asTenant = <T>(work: (tx: Tx) => Promise<T>) => world.database.db.asTenant(TENANT, work);
/** `aheadMs`: how far the clock of the process that takes it is. */
const sign = async ({ id, statement }: Proposal, key: TestKey, aheadMs = 0) => {
  const given = { statementHash: statementHash(statement), keyId: key.keyId, signature: key.sign(statement) };
  const outcome = await asTenant((tx) => signProposal(tx, by(aheadMs), id, statement.verdict, given));
  expect(outcome).toMatchObject({ kind: 'signed' });
};
const live = (id: string, action: Proposal['action']) =>
  asTenant(async (tx) => (await liveProposal(tx, { tenant: TENANT, bookingId: id, action }))!);

beforeAll(async () => {
  world = await sagaWorld();
  await asTenant((tx) => applyDocuments(tx, by(), [{ document: parseDocument(FIRST) }]));
  const change = await asTenant((tx) => proposeChange(tx, by(), NEXT, 'ben left'));
  if (change.kind === 'refused') throw new Error(change.text);
  await sign(change.proposal, ann);
  await sign(change.proposal, ben);
  allocator = await world.startAllocator();
  const id = await world.book({ lease: '2h' });
  await world.until(id, ({ state }) => state.state === 'awaiting_signatures');
  const proposal = await live(id, 'allocation.apply');
  await sign(proposal, ann);
  await sign(proposal, cid);
  await world.until(id, ({ state }) => state.state === 'applied');
  await asTenant((tx) => proposeRevoke(tx, by(), id, 'it mines coins'));
  await sign(await live(id, 'allocation.revoke'), dot);
  await world.until(id, ({ state }) => isEnded(state.state));
  const { text: written, result } = await verifiedReceipt(world.database.db, TENANT, id);
  expect(result.findings).toEqual([]);
  expect(result).toMatchObject({ code: 0, summary: { state: 'revoked', signedBy: ['ann', 'cid', 'dot'] } });
  text = written;
});
afterAll(async () => {
  await allocator?.stop();
  await world?.close();
});

type Line = { type: string; event?: ReceiptEvent & { actor: string }; hash?: string; body?: Record<string, Json> };

/** The receipt with a lie in it, as if that had been sealed: what the approvals alone say about it. */
function findingsOf(
  lie: (event: ReceiptEvent, evidence: Map<string, Json>) => ReceiptEvent | undefined,
): readonly string[] {
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
  const [header] = lines as unknown as [{ tenant: string; booking: string; job: string }];
  const bodies = new Map(
    lines.flatMap(({ hash, body }) =>
      hash !== undefined && body !== undefined ? [[hash, body as Json] as const] : [],
    ),
  );
  const events = lines.flatMap(({ event, ...line }, i) => {
    const told =
      event === undefined
        ? undefined
        : lie({ ...event, line: i + 1, seq: (line as { seq?: number }).seq ?? 0 }, bodies);
    return told === undefined ? [] : [told];
  });
  const evidence = new Map([...bodies].map(([hash, body]) => [hash, { line: 1, body, bytes: canonicalBytes(body) }]));
  const receipt: Receipt = {
    ...header,
    events,
    story: events.filter(({ subject }) => subject === `booking/${header.booking}`),
    evidence,
    transfers: [],
  };
  const findings = newFindings();
  checkApprovals(receipt, findings);
  return findings.list.map(({ field, problem }) => `${field} ${problem}`);
}

const dataOf = (type: string, change: (data: Record<string, Json>) => Record<string, Json>) => (event: ReceiptEvent) =>
  event.type === type ? { ...event, data: change({ ...event.data }) } : event;

/** Changes the approvals that an event of this type names. */
function approvals(type: string, change: (body: Record<string, Json>) => Json) {
  return (event: ReceiptEvent, evidence: Map<string, Json>) => {
    if (event.type !== type) return event;
    const names = event.data.evidence as string[];
    const name = names.find(
      (hash) => (evidence.get(hash) as { format?: string }).format === 'merit-approval-evidence/1',
    )!;
    evidence.set(name, change(structuredClone(evidence.get(name)) as Record<string, Json>));
    return event;
  };
}

test('it names who signed, with the policies back to the first, and holds', () => {
  expect(findingsOf((event) => event)).toEqual([]);
  expect(text).toContain('"type":"signing_policy.created"');
  expect(text).toContain('"type":"signing_policy.changed"');
});

test.each<[string, Parameters<typeof findingsOf>[0], RegExp]>([
  [
    'one signature too few',
    approvals('booking.applied', (body) => ({ ...body, signatures: (body.signatures as Json[]).slice(0, 1) })),
    /2 have to sign/,
  ],
  [
    'one signature twice',
    approvals('booking.applied', (body) => ({
      ...body,
      signatures: [0, 0].map((i) => (body.signatures as Json[])[i]!),
    })),
    /2 have to sign/,
  ],
  [
    'a signature that was changed',
    approvals('booking.applied', (body) => ({
      ...body,
      signatures: (body.signatures as { signature: string }[]).map((one) => ({
        ...one,
        signature: Buffer.alloc(64, 3).toString('base64'),
      })),
    })),
    /not this key’s/,
  ],
  [
    'another amount',
    approvals('booking.applied', (body) => ({
      ...body,
      statement: { ...(body.statement as object), amount: { currency: 'USD', scale: 2, minor: '1' } },
    })),
    /another amount|not this key’s/,
  ],
  [
    'another content',
    approvals('booking.applied', (body) => ({ ...body, content: { ...(body.content as object), pool: 'other' } })),
    /another content/,
  ],
  [
    'a statement that says no',
    approvals('booking.applied', (body) => ({
      ...body,
      statement: rejectionOf(body.statement as unknown as Statement) as unknown as Json,
    })),
    /something else/,
  ],
  [
    'no approvals',
    dataOf('booking.applied', ({ evidence, ...data }) => ({ ...data, evidence: (evidence as Json[]).slice(0, 1) })),
    /nothing that people signed/,
  ],
  ['no policy', dataOf('booking.applied', ({ causes: _, ...data }) => data), /no signing policy/],
  [
    'another policy version of SentinelNet',
    dataOf('booking.applied', (data) => ({ ...data, policyVersion: 'v9' })),
    /not the one that was signed/,
  ],
  [
    'other people',
    dataOf('booking.applied', (data) => ({ ...data, signedBy: ['ann', 'dot'] })),
    /not those who signed/,
  ],
  [
    'another proposal',
    dataOf('booking.applied', (data) => ({ ...data, proposal: 'p' })),
    /not the one that was signed/,
  ],
  [
    'a signatory who asked for it',
    dataOf('booking.created', (data) => ({ ...data, requester: 'ann' })),
    /cannot sign it/,
  ],
  [
    'a revoke that nobody signed',
    approvals('booking.releasing', (body) => ({ ...body, signatures: [] })),
    /1 have to sign/,
  ],
  [
    'a revoke of another attempt',
    approvals('booking.releasing', (body) => ({
      ...body,
      statement: { ...(body.statement as object), subject: { kind: 'booking', id: 'x', version: '2' } },
    })),
    /something else/,
  ],
  [
    'a signing policy that was not signed',
    dataOf('signing_policy.changed', (data) => ({ ...data, file: { ...(data.file as object), expireAfter: '2h' } })),
    /not the policy that was signed/,
  ],
  [
    'a signing policy by too few',
    approvals('signing_policy.changed', (body) => ({ ...body, signatures: (body.signatures as Json[]).slice(1) })),
    /2 have to sign/,
  ],
  [
    'a signing policy from nowhere',
    (event) => (event.type === 'signing_policy.created' ? undefined : event),
    /no signing policy/,
  ],
  [
    'somebody else’s name under one signature',
    dataOf('booking.signing_approved', (data) => ({ ...data, person: 'dot' })),
    /not who signed/,
  ],
])('with %s it does not hold', (_what, lie, told) => {
  const found = findingsOf(lie);
  expect(found.length).toBeGreaterThan(0);
  expect(found.some((one) => told.test(one))).toBe(true);
});

test('where SentinelNet asked for signatures, an apply without any does not hold', () => {
  const asked = (event: ReceiptEvent, evidence: Map<string, Json>) => {
    if (event.type === 'booking.applied') {
      const { proposal: _, causes: __, signedBy: ___, ...data } = event.data;
      return { ...event, data };
    }
    if (event.type !== 'booking.reserved') return event;
    for (const hash of event.data.evidence as string[]) {
      const body = evidence.get(hash) as { peer?: string; answer?: object };
      if (body.peer === 'sentinelnet')
        evidence.set(hash, { ...body, answer: { ...body.answer, signatures: 2 } } as unknown as Json);
    }
    return event;
  };
  expect(findingsOf(asked)).toEqual(['event.data.proposal is missing: 2 people had to sign it']);
});

/** An answer of SentinelNet at the apply that asks for so many, kept with the question that was asked before. */
const askedAgain =
  (signatures: number, unsigned: boolean): Lie =>
  (event, evidence) => {
    if (event.type !== 'booking.applied') return event;
    const first = [...evidence.values()].find((body) => (body as { peer?: string }).peer === 'sentinelnet');
    const { answer, ...asked } = first as { answer: object };
    const again = { ...asked, answer: { ...answer, signatures } } as unknown as Json;
    const { proposal: _, signedBy: __, causes: ___, evidence: named, ...rest } = event.data;
    const alone = { ...rest, evidence: (named as string[]).filter((hash) => !isApproval(evidence.get(hash))) };
    return withEvidence(unsigned ? { ...event, data: alone } : event, evidence, again);
  };

const isApproval = (body: Json | undefined) => (body as { format?: string }).format === 'merit-approval-evidence/1';

/** One signature under an event of this type, as if it had been made long before. */
const madeEarlier =
  (type: string): Lie =>
  (event, evidence) => {
    if (event.type !== type) return event;
    const name = (event.data.evidence as string[]).find((hash) => isApproval(evidence.get(hash)))!;
    const body = structuredClone(evidence.get(name)) as { signatures: { signedAt: string }[] };
    body.signatures[0]!.signedAt = '2025-12-01T00:00:00.000Z';
    evidence.set(name, body as unknown as Json);
    return event;
  };

const changed =
  (type: string, change: (event: AuditEvent) => AuditEvent): Lie =>
  (event) =>
    event.type === type ? change(event) : event;

/** The second policy signed by those in itself, which is its own cause. */
const byItself: Lie = (event, evidence) => {
  if (event.type !== 'signing_policy.changed') return event;
  const [name] = event.data.evidence as [string];
  const body = evidence.get(name) as { statement: Json };
  const statement = body.statement as unknown as Statement;
  const signatures = [cid, dot]
    .map((key) => ({
      keyId: key.keyId,
      signature: Buffer.from(key.sign(statement)).toString('base64'),
      signedAt: event.at,
    }))
    .sort((a, b) => (a.keyId < b.keyId ? -1 : 1));
  evidence.set(name, { ...body, signatures } as unknown as Json);
  return { ...event, data: { ...event.data, causes: [event.id], signedBy: ['cid', 'dot'] } };
};

test('sealed by a server that lies about nothing it holds', async () => {
  expect(await forged(text, (event) => event)).toMatchObject({ code: 0, findings: [] });
});

test.each<[string, Lie, RegExp]>([
  ['SentinelNet asked again for more than have signed', askedAgain(3, false), /of 2 people, and 3 have to sign/],
  ['SentinelNet asked again for signatures, and nobody gave one', askedAgain(3, true), /missing: 3 people had to/],
  ['a signature was made before it was proposed', madeEarlier('booking.applied'), /made before it was proposed/],
  ['a yes was given before it was proposed', madeEarlier('booking.signing_approved'), /made before it was proposed/],
  ['a revoke was signed before it was proposed', madeEarlier('booking.releasing'), /made before it was proposed/],
  ['a policy was signed before it was proposed', madeEarlier('signing_policy.changed'), /made before it was proposed/],
  [
    'nobody proposed what was signed',
    changed('booking.awaiting_signatures', (event) => ({ ...event, data: { ...event.data, proposal: 'p' } })),
    /proposed by no event before it/,
  ],
  [
    'a policy was declared over the one that stood',
    changed('signing_policy.changed', ({ data: { file }, ...event }) => ({
      ...event,
      type: 'signing_policy.created',
      data: { file: file! },
    })),
    /name no removal of the signing policy that stood before/,
  ],
  ['a policy is its own cause', byItself, /name no signing policy by which it counts/],
])('sealed by a server that lies, it does not hold where %s', async (_what, lie, told) => {
  const { code, findings } = await forged(text, lie);
  expect(findings.map(({ problem }) => problem).join('\n')).toMatch(told);
  expect(code).toBe(10);
});

test('the receipt of a job holds whichever clock is behind: of those who take signatures, apply it, or revoke it', async () => {
  const id = await world.book({ lease: '2h' });
  await world.until(id, ({ state }) => state.state === 'awaiting_signatures');
  const proposal = await live(id, 'allocation.apply');
  const ahead = Date.now() + 30_000;
  await sign(proposal, ann, 30_000);
  await sign(proposal, cid);
  const { state } = await world.until(id, ({ state }) => state.state === 'applied');
  expect(state.state === 'applied' && state.appliedAtMs).toBeGreaterThanOrEqual(ahead);
  await asTenant((tx) => proposeRevoke(tx, by(60_000), id, 'it mines coins'));
  await sign(await live(id, 'allocation.revoke'), dot);
  await world.until(id, ({ state }) => isEnded(state.state));
  const { result } = await verifiedReceipt(world.database.db, TENANT, id);
  expect(result.findings).toEqual([]);
  expect(result).toMatchObject({ code: 0, summary: { state: 'revoked', signedBy: ['ann', 'cid', 'dot'] } });
});
