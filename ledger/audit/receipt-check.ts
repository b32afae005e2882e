import { isEnded } from '../../core/booking.ts';
import { canonicalBytes, type Json, sha256Hex } from '../../core/canonical.ts';
import { leafHash, verifyInclusion } from '../../core/merkle.ts';
import { eventProblem } from './bundle.ts';
import { type Checkpoint, verifyNote } from './checkpoint.ts';
import type { Findings } from './findings.ts';
import { hasMembers, isCount, isHex64, isObject, type JsonObject } from './lines.ts';
import { checkApprovals } from './receipt-approvals.ts';
import { checkAsked } from './receipt-asked.ts';
import { checkEvidence, evidenceNames, holdsThatDiffer } from './receipt-evidence.ts';
import { checkMoney } from './receipt-money.ts';
import {
  causesOf,
  evidenceMember,
  type Receipt,
  type ReceiptEvent,
  type ReceiptEvidence,
  type ReceiptTransfer,
  stateOf,
} from './receipt-parts.ts';
import { checkStory } from './receipt-story.ts';
import type { Roots } from './roots.ts';

export interface ReceiptSummary {
  readonly kind: 'receipt';
  readonly tenant: string;
  readonly booking: string;
  readonly job: string;
  readonly events: number;
  readonly evidence: number;
  readonly transfers: number;
  readonly treeSize: number;
  /** Of the checkpoint; undefined where it does not verify. */
  readonly sealedAtMs: number | undefined;
  readonly keyId: string | undefined;
  /** Where the booking is by its last event. */
  readonly state: string;
  readonly attempts: number;
  /** Decimal, in minor units, over all attempts. */
  readonly cost: readonly { readonly currency: string; readonly cents: string }[];
  /** Holds that Finance refused for good to end as the ledger has it: its book and this cost differ. */
  readonly financeDiffers: readonly string[];
  /** SHA-256 of each attempt's manifest. */
  readonly manifests: readonly string[];
  /** Names of those who signed what was applied, or its revoke. */
  readonly signedBy: readonly string[];
  /** Of each log that was kept, as the trail tells it: how it ended, and the SHA-256 of all its bytes, or null. */
  readonly logs: readonly JsonObject[];
}

interface Collected {
  checkpoint: Checkpoint | undefined;
  readonly evidence: Map<string, ReceiptEvidence>;
  readonly transfers: ReceiptTransfer[];
  readonly events: ReceiptEvent[];
  /** Lines that say they are events, readable or not. */
  eventLines: number;
  /** Kinds come in this order, each sorted within. */
  stage: number;
  lastKey: string | number;
}

const STAGES = ['checkpoint', 'evidence', 'transfer', 'event'] as const;

export function receiptChecker(header: JsonObject, roots: Roots, findings: Findings) {
  const collected: Collected = {
    checkpoint: undefined,
    evidence: new Map(),
    transfers: [],
    events: [],
    eventLines: 0,
    stage: -1,
    lastKey: '',
  };
  if (
    !hasMembers(header, 'type', 'format', 'tenant', 'booking', 'job', 'treeSize', 'events', 'evidence', 'transfers') ||
    ![header.tenant, header.booking, header.job].every((text) => typeof text === 'string') ||
    ![header.treeSize, header.events, header.evidence, header.transfers].every(isCount)
  ) {
    findings.tampered(1, '', 'has other members than a receipt’s header');
  }
  return {
    line: (number: number, line: JsonObject) => takeLine(collected, number, line, roots, findings),
    end: (): ReceiptSummary => finish(collected, header, roots, findings),
  };
}

function takeLine(c: Collected, number: number, line: JsonObject, roots: Roots, findings: Findings): void {
  const stage = STAGES.indexOf(line.type as (typeof STAGES)[number]);
  if (stage < 0) {
    findings.tampered(number, 'type', 'is not a line of a receipt');
    return;
  }
  if ((number === 2) !== (stage === 0)) findings.tampered(number, 'type', 'stands where it does not belong');
  else if (stage < c.stage) findings.tampered(number, 'type', 'is out of order');
  if (stage !== c.stage) c.lastKey = stage === 3 ? -1 : '';
  c.stage = stage;
  if (stage === 0) takeCheckpoint(c, number, line, roots, findings);
  else if (stage === 1) takeEvidence(c, number, line, findings);
  else if (stage === 2) takeTransfer(c, number, line, findings);
  else takeEvent(c, number, line, findings);
}

function inOrder(c: Collected, number: number, field: string, key: string | number, findings: Findings): void {
  if (key <= c.lastKey) findings.tampered(number, field, 'is out of order or there twice');
  c.lastKey = key;
}

function takeCheckpoint(c: Collected, number: number, line: JsonObject, roots: Roots, findings: Findings): void {
  if (!hasMembers(line, 'type', 'note') || typeof line.note !== 'string') {
    findings.tampered(number, '', 'is not a checkpoint line');
    return;
  }
  const check = verifyNote(line.note, roots);
  if (check.ok) c.checkpoint = check.checkpoint;
  else findings.tampered(number, 'note', check.problem);
}

function takeEvidence(c: Collected, number: number, line: JsonObject, findings: Findings): void {
  const content = evidenceContent(line);
  if (content === undefined || !isHex64(line.hash)) {
    findings.tampered(number, '', 'is not an evidence line');
    return;
  }
  inOrder(c, number, 'hash', line.hash, findings);
  if (sha256Hex(content.bytes) !== line.hash) findings.tampered(number, 'hash', 'is not the hash of the content');
  c.evidence.set(line.hash, { line: number, ...content });
}

function evidenceContent(
  line: JsonObject,
): { readonly body: Json | undefined; readonly bytes: Uint8Array } | undefined {
  if (hasMembers(line, 'type', 'hash', 'body')) return { body: line.body, bytes: canonicalBytes(line.body) };
  if (!hasMembers(line, 'type', 'hash', 'base64') || typeof line.base64 !== 'string') return undefined;
  const bytes = Buffer.from(line.base64, 'base64');
  // One content has one line: what is canonical JSON is written as `body`.
  if (bytes.toString('base64') !== line.base64 || 'body' in evidenceMember(bytes)) return undefined;
  return { body: undefined, bytes };
}

function takeTransfer(c: Collected, number: number, line: JsonObject, findings: Findings): void {
  const { transfer } = line;
  if (!hasMembers(line, 'type', 'transfer') || !isObject(transfer) || typeof transfer.id !== 'string') {
    findings.tampered(number, '', 'is not a transfer line');
    return;
  }
  inOrder(c, number, 'transfer.id', transfer.id, findings);
  c.transfers.push({ line: number, transfer });
}

function takeEvent(c: Collected, number: number, line: JsonObject, findings: Findings): void {
  c.eventLines++;
  const { seq, event, proof } = line;
  if (
    !hasMembers(line, 'type', 'seq', 'event', 'proof') ||
    !isCount(seq) ||
    !isObject(event) ||
    !Array.isArray(proof)
  ) {
    findings.tampered(number, '', 'raw' in line ? 'holds bytes that are no event' : 'is not an event line');
    return;
  }
  inOrder(c, number, 'seq', seq, findings);
  const hashes = (proof as readonly Json[]).map((hash) => (isHex64(hash) ? Buffer.from(hash, 'hex') : undefined));
  const whole = hashes.filter((hash) => hash !== undefined);
  const { checkpoint } = c;
  if (whole.length < hashes.length) findings.tampered(number, 'proof', 'holds what is no hash', seq);
  else if (
    checkpoint !== undefined &&
    !verifyInclusion(leafHash(canonicalBytes(event)), seq, checkpoint.treeSize, whole, checkpoint.rootHash)
  ) {
    findings.tampered(number, 'event', 'is not in the tree that the checkpoint seals', seq);
  }
  const problem = eventProblem(event);
  if (problem !== undefined) {
    findings.tampered(number, `event.${problem.field}`, problem.problem, seq);
    return;
  }
  const { type, id, subject, tenant, n, at, trace, data } = event as unknown as ReceiptEvent;
  c.events.push({ line: number, seq, type, id, subject, tenant, n, at, trace, data });
}

function finish(c: Collected, header: JsonObject, roots: Roots, findings: Findings): ReceiptSummary {
  const booking = String(header.booking);
  const story = c.events.filter((event) => event.subject === `booking/${booking}`).sort((a, b) => a.n - b.n);
  const receipt: Receipt = {
    tenant: String(header.tenant),
    booking,
    job: String(header.job),
    story,
    events: c.events,
    evidence: c.evidence,
    transfers: c.transfers,
  };
  checkWhole(c, header, receipt, findings);
  if (!findings.has('incomplete')) {
    checkStory(receipt, findings);
    checkMoney(receipt, findings);
    checkEvidence(receipt, roots, findings);
    checkAsked(receipt, findings);
    checkApprovals(receipt, findings);
  }
  return summaryOf(c, receipt, header);
}

/** That nothing is missing: first the counts, then the numbers and names that events give each other. */
function checkWhole(c: Collected, header: JsonObject, receipt: Receipt, findings: Findings): void {
  if (c.stage < 0) {
    findings.incomplete(0, '', 'has no checkpoint and no event');
    return;
  }
  if (c.checkpoint !== undefined && c.checkpoint.treeSize !== header.treeSize) {
    findings.tampered(1, 'treeSize', 'is not that of the checkpoint');
  }
  for (const [i, event] of receipt.story.entries()) {
    const previous = receipt.story[i - 1];
    if (event.n !== i + 1 || (previous !== undefined && previous.seq >= event.seq)) {
      findings.tampered(event.line, 'event.n', `is ${event.n} where ${i + 1} must be`, event.seq);
      break;
    }
  }
  const ids = new Set(receipt.events.map((event) => event.id));
  for (const event of receipt.events) {
    for (const cause of causesOf(event.data)) {
      if (!ids.has(cause))
        findings.tampered(event.line, 'event.data.causes', `names ${cause}, which is missing`, event.seq);
    }
  }
  const events = Number(header.events);
  if (c.eventLines < events) {
    findings.incomplete(0, 'events', `are ${c.eventLines} of the ${events} in the header`);
    return;
  }
  if (c.eventLines > events) findings.tampered(1, 'events', `is not the ${c.eventLines} of the file`);
  if (events === 0) {
    findings.incomplete(1, 'events', 'is 0: the receipt is empty');
    return;
  }
  for (const [field, count] of [
    ['evidence', receipt.evidence.size],
    ['transfers', receipt.transfers.length],
  ] as const) {
    if (header[field] !== count) findings.tampered(1, field, `is not the ${count} of the file`);
  }
  const named = new Set([...receipt.events.flatMap((event) => [...causesOf(event.data)])]);
  for (const event of receipt.events) {
    const belongs = event.subject === `booking/${receipt.booking}` || named.has(event.id);
    if (!belongs) findings.tampered(event.line, 'event', 'has nothing to do with this booking', event.seq);
    if (event.tenant !== receipt.tenant)
      findings.tampered(event.line, 'event.tenant', 'is not the receipt’s', event.seq);
  }
  const ended = receipt.story.findLast((event) => stateOf(event.type) !== undefined);
  const state = ended === undefined ? undefined : stateOf(ended.type);
  if (state === undefined || !isEnded(state)) findings.incomplete(0, 'events', 'do not reach the end of the booking');
}

function summaryOf(c: Collected, receipt: Receipt, header: JsonObject): ReceiptSummary {
  const { tenant, booking, job, story } = receipt;
  const costs = new Map<string, bigint>();
  for (const { data } of story) {
    const { cost } = data;
    if (!isObject(cost) || typeof cost.currency !== 'string' || !/^[0-9]{1,18}$/.test(String(cost.cents))) continue;
    costs.set(cost.currency, (costs.get(cost.currency) ?? 0n) + BigInt(String(cost.cents)));
  }
  return {
    kind: 'receipt',
    tenant,
    booking,
    job,
    events: receipt.events.length,
    evidence: receipt.evidence.size,
    transfers: receipt.transfers.length,
    treeSize: Number(header.treeSize),
    sealedAtMs: c.checkpoint?.atMs,
    keyId: c.checkpoint?.keyId,
    state: story.map((event) => stateOf(event.type)).findLast((state) => state !== undefined) ?? 'unknown',
    attempts: story.filter((event) => event.type === 'booking.reserved').length,
    cost: [...costs].map(([currency, cents]) => ({ currency, cents: String(cents) })),
    financeDiffers: story.flatMap(({ data }) => holdsThatDiffer(data).map(String)),
    signedBy: [...new Set(story.flatMap(({ type, data }) => (SIGNED.has(type) ? namesIn(data.signedBy) : [])))].sort(),
    manifests: story.flatMap((event) => (event.type === 'artifact.manifest' ? [...evidenceNames(event.data)] : [])),
    logs: story.flatMap(({ type, data }) => (type === 'log.ended' ? [data] : [])),
  };
}

/** Their quorums were checked. */
const SIGNED: ReadonlySet<string> = new Set(['booking.applied', 'booking.releasing']);

function namesIn(value: Json | undefined): readonly string[] {
  return Array.isArray(value) ? (value as readonly Json[]).filter((one) => typeof one === 'string') : [];
}
