import { APPROVAL_EVIDENCE_FORMAT, judgeSignature, SIGNATURE_FAULTS, Statement } from '../../core/approval.ts';
import { contentHash, type Json } from '../../core/canonical.ts';
import { currencyScale } from '../../core/currency.ts';
import { parseRfc3339 } from '../../core/rfc3339.ts';
import { check } from '../../core/schema.ts';
import {
  allocationRequirement,
  expiryMsOf,
  type Requirement,
  requirementOf,
  type Signed,
  type SigningPolicy,
  tally,
} from '../../core/signing-policy.ts';
import type { Findings } from './findings.ts';
import { isObject, type JsonObject } from './lines.ts';
import { bodiesOf, EVIDENCE_FORMAT } from './receipt-evidence.ts';
import type { Receipt, ReceiptEvent } from './receipt-parts.ts';
import { type Policies, policiesIn, policyOf } from './receipt-policies.ts';

/**
 * Who signed, checked by whoever has the receipt: every signature under a large allocation, a revoke and each signing policy, by the policy that its event names as
 * its cause, back to the first one, which an operator declared.
 */
export function checkApprovals(receipt: Receipt, findings: Findings): void {
  const policies = policiesIn(receipt, findings);
  const used = new Set<string>();
  let asked: Asked | undefined;
  for (const event of receipt.events) {
    const tell: Tell = (field, problem) => findings.tampered(event.line, `event.data.${field}`, problem, event.seq);
    const story: Told = { receipt, event, policies, tell };
    if (event.type === 'signing_policy.changed' || event.type === 'signing_policy.removed') checkChange(story);
    if (event.subject !== `booking/${receipt.booking}`) continue;
    if (event.type === 'booking.reserved') asked = askedIn(receipt, event);
    if (event.type === 'booking.applied') checkApplied(story, withRecheck(asked, mostAsked(receipt, event)), used);
    if (event.type === 'booking.extension_held' || event.type === 'booking.extended') checkLonger(story);
    if (event.type === 'booking.releasing' && event.data.outcome === 'revoked') checkRevoked(story);
    if (/^booking\.(signing|revoking)_(approved|rejected)$/.test(event.type)) checkOne(story);
    const { reason } = event.data;
    if (event.type === 'booking.rejected' && isObject(reason) && reason.code === 'signatures_refused') checkOne(story);
  }
}

type Tell = (field: string, problem: string) => void;

interface Told {
  readonly receipt: Receipt;
  readonly event: ReceiptEvent;
  readonly policies: Policies;
  readonly tell: Tell;
}

/** What SentinelNet allowed the attempt, and how many signatures it asked for. */
interface Asked {
  readonly content: JsonObject;
  readonly signatures: number;
}

function askedIn(receipt: Receipt, event: ReceiptEvent): Asked | undefined {
  const [first] = answersIn(receipt, event);
  if (first === undefined) return undefined;
  const { requestId: _, ...content } = first.request;
  return { content, signatures: mostAsked(receipt, event) };
}

/** The most signatures that an answer of SentinelNet asks for; what it says when it is asked again counts as what it said first. */
function mostAsked(receipt: Receipt, event: ReceiptEvent): number {
  return answersIn(receipt, event).reduce(
    (most, { answer: { signatures } }) => (typeof signatures === 'number' ? Math.max(most, signatures) : most),
    0,
  );
}

function withRecheck(asked: Asked | undefined, signatures: number): Asked | undefined {
  return asked === undefined ? undefined : { ...asked, signatures: Math.max(asked.signatures, signatures) };
}

function answersIn(
  receipt: Receipt,
  event: ReceiptEvent,
): readonly { readonly request: JsonObject; readonly answer: JsonObject }[] {
  return bodiesOf(receipt, event).flatMap(({ format, peer, request, answer }) =>
    format === EVIDENCE_FORMAT && peer === 'sentinelnet' && isObject(request) && isObject(answer)
      ? [{ request, answer }]
      : [],
  );
}

/** Nobody signs a longer lease: one that has to be signed is not granted. */
function checkLonger({ receipt, event, tell }: Told): void {
  const asked = mostAsked(receipt, event);
  if (asked > 0) tell('evidence', `names a policy answer by which ${asked} people had to sign the longer lease`);
}

interface Approvals {
  readonly statement: Statement;
  readonly content: JsonObject;
  readonly signatures: readonly (Signed & { readonly signature: Uint8Array })[];
  readonly policy: SigningPolicy;
}

/** The approvals that an event names, each signature true by the policy that it names; undefined: there are none, or they are told as wrong. */
function approvalsIn({ receipt, event, policies, tell }: Told, askers: readonly string[]): Approvals | undefined {
  const body = bodiesOf(receipt, event).find(({ format }) => format === APPROVAL_EVIDENCE_FORMAT);
  if (body === undefined) {
    tell('evidence', 'names nothing that people signed');
    return undefined;
  }
  const policy = policyOf(event, policies);
  if (policy === undefined) {
    tell('causes', 'name no signing policy by which it counts');
    return undefined;
  }
  const { statement, content, signatures } = body;
  if (check(Statement, statement).length > 0 || !isObject(content) || !Array.isArray(signatures)) {
    tell('evidence', 'names a statement that is none');
    return undefined;
  }
  const said = statement as unknown as Statement;
  if (said.contentHash !== contentHash(content)) tell('evidence', 'names a statement about another content');
  if (said.tenant !== receipt.tenant) tell('evidence', 'names a statement of another tenant');
  if (event.data.proposal !== said.proposal) tell('proposal', 'is not the one that was signed');
  const atMs = parseRfc3339(event.at) ?? Number.NaN;
  if (!((parseRfc3339(said.expiresAt) ?? Number.NaN) > atMs)) tell('evidence', 'names a statement that had expired');
  const read = (signatures as readonly Json[]).flatMap((one) => signatureIn(one) ?? []);
  if (read.length < signatures.length) tell('evidence', 'names a signature that is none');
  const fromMs = proposedMs({ receipt, event, tell }, said, policy);
  for (const one of read) {
    if (!(one.atMs >= fromMs)) tell('evidence', 'names a signature that was made before it was proposed');
    if (!(one.atMs <= atMs)) tell('evidence', 'names a signature that was made later');
    const judged = judgeSignature(policy, said, one, askers);
    if (typeof judged === 'string')
      tell('evidence', `names the signature of ${one.keyId}: ${SIGNATURE_FAULTS[judged]}`);
  }
  return { statement: said, content, signatures: read, policy };
}

/**
 * When it was proposed: what a signature says of its own time is the word of whoever took it, and before this it can have been made by nobody. Of a change of the
 * policy the proposal is not in the receipt: all who signed it signed when it expires, and the policy says how long after its proposal that is.
 */
function proposedMs(
  { receipt, event, tell }: Pick<Told, 'receipt' | 'event' | 'tell'>,
  { subject, proposal, expiresAt }: Statement,
  policy: SigningPolicy,
): number {
  if (subject.kind === 'signing-policy') return (parseRfc3339(expiresAt) ?? Number.NaN) - expiryMsOf(policy);
  const [created] = receipt.story;
  const proposed = receipt.story.find(
    ({ type, seq, data }) =>
      (type === 'booking.awaiting_signatures' || type === 'booking.revoking_proposed') &&
      data.proposal === proposal &&
      seq < event.seq,
  );
  if (proposed === undefined) tell('proposal', 'was proposed by no event before it');
  const times = [created, proposed].flatMap((one) => (one === undefined ? [] : (parseRfc3339(one.at) ?? Number.NaN)));
  return Math.max(...times);
}

function signatureIn(value: Json): (Signed & { readonly signature: Uint8Array }) | undefined {
  if (!isObject(value)) return undefined;
  const { keyId, signature, signedAt } = value;
  const atMs = typeof signedAt === 'string' ? parseRfc3339(signedAt) : undefined;
  if (typeof keyId !== 'string' || typeof signature !== 'string' || atMs === undefined) return undefined;
  const bytes = Buffer.from(signature, 'base64');
  return bytes.toString('base64') === signature ? { keyId, signature: bytes, atMs } : undefined;
}

function checkQuorum(
  { event, tell }: Told,
  { policy, signatures }: Approvals,
  needs: Requirement,
  askers: readonly string[],
): void {
  const counted = tally(policy, needs, signatures, askers);
  if (!counted.met)
    tell('evidence', `names the signatures of ${counted.people.length} people, and ${needs.signatures} have to sign`);
  const named = event.data.signedBy;
  if (named !== undefined && contentHash(named) !== contentHash(counted.people))
    tell('signedBy', 'are not those who signed');
}

/** Whoever asked for the job, as they were known; its `user` is a word of the job file. */
function askersOf({ receipt }: Told): readonly string[] {
  const { requester } = receipt.story[0]?.data ?? {};
  return typeof requester === 'string' ? [requester] : [];
}

function checkApplied(told: Told, asked: Asked | undefined, used: Set<string>): void {
  const { event, receipt, tell } = told;
  if (event.data.proposal === undefined) {
    if (asked !== undefined && asked.signatures > 0)
      tell('proposal', `is missing: ${asked.signatures} people had to sign it`);
    return;
  }
  const askers = askersOf(told);
  const approvals = approvalsIn(told, askers);
  if (approvals === undefined) return;
  const { statement, content, policy } = approvals;
  const isOf = statement.subject.kind === 'booking' && statement.subject.id === receipt.booking;
  if (statement.verdict !== 'approve' || statement.action !== 'allocation.apply' || !isOf)
    tell('evidence', 'names a statement of something else');
  if (statement.policyVersion !== event.data.policyVersion) tell('policyVersion', 'is not the one that was signed');
  if (asked === undefined || contentHash(asked.content) !== statement.contentHash)
    tell('evidence', 'names a statement of another placement');
  const { cost, division, pool, tasks } = content;
  const amount = statement.amount;
  const minor = isObject(cost) && typeof cost.amount === 'string' ? cost.amount.replace('.', '') : '';
  const currency = isObject(cost) ? String(cost.currency) : '';
  if (
    amount === null ||
    !/^[0-9]+$/.test(minor) ||
    BigInt(minor) !== BigInt(amount.minor) ||
    amount.currency !== currency ||
    amount.scale !== currencyScale(currency)
  ) {
    tell('evidence', 'names a statement of another amount');
    return;
  }
  if (used.has(statement.proposal)) tell('proposal', 'was used up by an earlier attempt');
  used.add(statement.proposal);
  const count = Number.isSafeInteger(tasks) ? Number(tasks) : 1;
  const ask = { division: String(division), pool: String(pool), cents: BigInt(minor), currency, tasks: count };
  checkQuorum(told, approvals, allocationRequirement(policy, ask, asked?.signatures ?? 0), askers);
}

function checkRevoked(told: Told): void {
  const { event, receipt, tell } = told;
  const askers = [...askersOf(told), ...proposersOf(told)];
  const approvals = approvalsIn(told, askers);
  if (approvals === undefined) return;
  const { statement, policy } = approvals;
  const { kind, id, version } = statement.subject;
  const isOf = kind === 'booking' && id === receipt.booking && version === String(event.data.attempt);
  if (statement.verdict !== 'approve' || statement.action !== 'allocation.revoke' || !isOf)
    tell('evidence', 'names a statement of something else');
  checkQuorum(told, approvals, requirementOf(policy.revoke), askers);
}

function proposersOf({ receipt, event }: Told): readonly string[] {
  const proposed = receipt.story.filter(
    ({ type, data }) => type === 'booking.revoking_proposed' && data.proposal === event.data.proposal,
  );
  return proposed.flatMap(({ data }) => (typeof data.requester === 'string' ? [data.requester] : []));
}

/** One signature, a yes or a no. */
function checkOne(told: Told): void {
  const { event, tell } = told;
  const isRevoke = event.type.startsWith('booking.revoking_');
  const approvals = approvalsIn(told, [...askersOf(told), ...(isRevoke ? proposersOf(told) : [])]);
  if (approvals === undefined) return;
  const { statement, signatures, policy } = approvals;
  const isNo = event.type.endsWith('_rejected') || event.type === 'booking.rejected';
  if ((statement.verdict === 'reject') !== isNo) tell('evidence', 'names a statement that says the contrary');
  const { people } = tally(policy, { signatures: 1, roles: {} }, signatures, []);
  if (signatures.length !== 1 || event.data.person !== people[0]) tell('person', 'is not who signed');
}

/** Another signing policy rests on the signatures of those in the one before. */
function checkChange(told: Told): void {
  const { event, tell } = told;
  const askers = typeof event.data.requester === 'string' ? [event.data.requester] : [];
  const approvals = approvalsIn(told, askers);
  if (approvals === undefined) return;
  const { statement, content, policy } = approvals;
  if (statement.verdict !== 'approve' || statement.action !== 'signing-policy.change')
    tell('evidence', 'names a statement of something else');
  const next = event.type === 'signing_policy.removed' ? null : (event.data.file ?? null);
  if (contentHash(content.document ?? null) !== contentHash(next)) tell('file', 'is not the policy that was signed');
  checkQuorum(told, approvals, requirementOf(policy.changes), askers);
}
