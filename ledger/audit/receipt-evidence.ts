import { canonicalBytes, contentHash, type Json } from '../../core/canonical.ts';
import { parseRfc3339 } from '../../core/rfc3339.ts';
import type { Findings } from './findings.ts';
import { isHex64, isObject, type JsonObject } from './lines.ts';
import { type Receipt, type ReceiptEvent, stateOf } from './receipt-parts.ts';
import { checkSignature, type Roots } from './roots.ts';

/**
 * What events name by hash, against what it says. Peers' answers are kept as
 * {"format":"merit-evidence/1","peer":"sentinelnet"|"finance","request":…,"answer":…}; a signed decision as
 * {"record":…,"keyId":…,"signature":<base64, over the canonical form of record>}; a manifest as itself.
 */
export const EVIDENCE_FORMAT = 'merit-evidence/1';

/** Hashes an event names: every member `evidence`, a hash or a list of them, however deep. */
export function evidenceNames(data: Json): ReadonlySet<string> {
  const names = new Set<string>();
  const waiting: Json[] = [data];
  for (let value = waiting.pop(); value !== undefined; value = waiting.pop()) {
    if (Array.isArray(value)) waiting.push(...value);
    else if (isObject(value)) {
      for (const [name, member] of Object.entries(value)) {
        if (name === 'evidence') for (const hash of [member].flat()) if (isHex64(hash)) names.add(hash);
        waiting.push(member);
      }
    }
  }
  return names;
}

type Tell = (field: string, problem: string) => void;

export function checkEvidence(receipt: Receipt, roots: Roots, findings: Findings): void {
  const named = new Set<string>();
  for (const event of receipt.events) {
    for (const hash of evidenceNames(event.data)) {
      named.add(hash);
      if (!receipt.evidence.has(hash)) {
        findings.tampered(event.line, 'event.data.evidence', `names ${hash}, which is missing`, event.seq);
      }
    }
  }
  for (const [hash, { line }] of receipt.evidence) {
    if (!named.has(hash)) findings.tampered(line, 'hash', 'is named by no event');
  }
  let attempt: Attempt | undefined;
  for (const event of receipt.events) {
    const tell: Tell = (field, problem) => findings.tampered(event.line, `event.data.${field}`, problem, event.seq);
    const bodies = bodiesOf(receipt, event);
    if (event.type.startsWith('decision.')) checkDecision(event, bodies, roots, tell);
    for (const body of bodies) checkAnswer(receipt, body, tell);
    if (event.subject !== `booking/${receipt.booking}`) continue;
    if (event.type === 'artifact.manifest') checkManifest(receipt, event, bodies, tell);
    attempt = checkStep(receipt, event, bodies, attempt, tell);
  }
}

export function bodiesOf(receipt: Receipt, event: ReceiptEvent): readonly JsonObject[] {
  return [...evidenceNames(event.data)].flatMap((hash) => {
    const body = receipt.evidence.get(hash)?.body;
    return isObject(body) ? [body] : [];
  });
}

/** A promotion or demotion rests on a signed record of its own suite and model. */
function checkDecision(event: ReceiptEvent, bodies: readonly JsonObject[], roots: Roots, tell: Tell): void {
  const signed = bodies.filter((body) => isObject(body.record));
  if (signed.length === 0) {
    tell('evidence', 'names no signed decision');
    return;
  }
  for (const { record, keyId, signature } of signed) {
    if (!isObject(record) || typeof keyId !== 'string' || typeof signature !== 'string') {
      tell('evidence', 'names a decision without signature');
      continue;
    }
    const bytes = Buffer.from(signature, 'base64');
    const canonical = bytes.toString('base64') === signature;
    const atMs = parseRfc3339(event.at) ?? Number.NaN;
    const check = checkSignature(roots, keyId, atMs, canonicalBytes(record), bytes);
    if (!canonical || check !== 'ok') tell('evidence', `names a decision with ${canonical ? check : 'bad_signature'}`);
    if (event.data.model !== undefined && record.model !== event.data.model)
      tell('model', 'is not that of the decision');
    if (
      typeof record.suite === 'string' &&
      event.subject.startsWith('suite/') &&
      event.subject !== `suite/${record.suite}`
    ) {
      tell('evidence', 'names the decision of another suite');
    }
  }
}

/** A peer's answer is to the request it is kept with, and about this booking. */
function checkAnswer(receipt: Receipt, body: JsonObject, tell: Tell): void {
  if (body.format !== EVIDENCE_FORMAT) return;
  const { peer, request, answer } = body;
  if (!isObject(request) || !isObject(answer)) return;
  const spec = receipt.story[0]?.data ?? {};
  if (peer === 'sentinelnet') {
    if (answer.requestHash !== undefined && answer.requestHash !== contentHash(request)) {
      tell('evidence', 'names a policy answer to another request');
    }
    if (request.kind === 'allocation') {
      if (request.tenant !== receipt.tenant || request.division !== spec.division)
        tell('evidence', 'names a policy answer for others');
      if (request.contentHash !== spec.specHash) tell('evidence', 'names a policy answer about another spec');
      if (request.requester !== spec.requester) tell('evidence', 'names a policy answer for another requester');
    }
  }
  if (peer === 'finance') {
    const asked = request.bookingId === undefined ? answer.request : request;
    if (isObject(asked) && asked.bookingId !== receipt.booking) tell('evidence', 'names a hold of another booking');
    if (answer.holdId !== undefined && answer.holdId !== request.holdId)
      tell('evidence', 'names an answer about another hold');
  }
}

function checkManifest(receipt: Receipt, event: ReceiptEvent, bodies: readonly JsonObject[], tell: Tell): void {
  const names = evidenceNames(event.data);
  if (typeof event.data.sha256 !== 'string' || !names.has(event.data.sha256))
    tell('sha256', 'is not the manifest it names');
  const [manifest] = bodies;
  if (manifest === undefined) {
    tell('evidence', 'names no manifest');
    return;
  }
  if (manifest.booking !== receipt.booking) tell('evidence', 'names the manifest of another booking');
  if (manifest.attempt !== event.data.attempt) tell('attempt', 'is not the manifest’s');
  const files = Array.isArray(manifest.files) ? (manifest.files as readonly Json[]) : [];
  const bytes = files.reduce<number>((sum, file) => sum + (isObject(file) ? Number(file.size) : Number.NaN), 0);
  if (event.data.files !== undefined && Number(event.data.files) !== files.length)
    tell('files', 'is not the manifest’s');
  if (event.data.bytes !== undefined && Number(event.data.bytes) !== bytes) tell('bytes', 'is not the manifest’s');
}

/** What later events of an attempt are compared with. */
interface Attempt {
  readonly number: Json | undefined;
  readonly placement: JsonObject;
  readonly policyVersion: string | undefined;
  readonly holdId: Json | undefined;
  /** A longer lease that its money is held for. */
  readonly extension?: {
    readonly holdId: Json | undefined;
    readonly holdCents: Json | undefined;
    readonly policyVersion: string | undefined;
  };
  /** Of extensions that were granted; the placement counts their money. */
  readonly moreHoldIds: readonly Json[];
}

function checkStep(
  receipt: Receipt,
  event: ReceiptEvent,
  bodies: readonly JsonObject[],
  attempt: Attempt | undefined,
  tell: Tell,
): Attempt | undefined {
  const state = stateOf(event.type);
  const of = (peer: string) => bodies.filter((body) => body.format === EVIDENCE_FORMAT && body.peer === peer);
  const { data } = event;
  if (state === 'reserved') {
    const placement = isObject(data.placement) ? data.placement : {};
    const policyVersion = checkAllowed(of('sentinelnet'), placement, tell);
    return { number: data.attempt, placement, policyVersion, holdId: undefined, moreHoldIds: [] };
  }
  if (attempt === undefined) return attempt;
  if (event.type === 'booking.extension_held') {
    const placement = withMore(attempt.placement, data.holdCents);
    const policyVersion = checkAllowed(of('sentinelnet'), placement, tell);
    return { ...attempt, extension: { holdId: data.holdId, holdCents: data.holdCents, policyVersion } };
  }
  if (event.type === 'booking.extended') return checkExtended(data, of, attempt, tell);
  if (state === undefined) return attempt;
  if (state === 'requesting') {
    const hold = of('finance').find((body) => member(body, 'request', 'holdId') === data.holdId);
    if (hold === undefined) tell('evidence', 'names no hold of the money');
    else checkHold(hold, attempt.number, attempt.placement, tell);
    return { ...attempt, holdId: data.holdId };
  }
  if (state === 'applied') {
    if (!isConfirmed(of('finance'), attempt.holdId)) tell('evidence', 'names no confirmation of the hold');
    const again = of('sentinelnet');
    const version = again.length === 0 ? attempt.policyVersion : checkAllowed(again, attempt.placement, tell);
    if (data.policyVersion !== version) tell('policyVersion', 'is not one that allowed it');
    return attempt;
  }
  const ends = state !== 'confirming' && state !== 'draining' && state !== 'releasing';
  if (!ends) return attempt;
  checkSettled(receipt, event, of('finance'), attempt, tell);
  return undefined;
}

/** A longer lease has all that a booking has: a policy that allows it whole, and its own money, held and confirmed. */
function checkExtended(
  data: JsonObject,
  of: (peer: string) => readonly JsonObject[],
  attempt: Attempt,
  tell: Tell,
): Attempt {
  const { extension, ...rest } = attempt;
  if (extension === undefined || extension.holdId === undefined || data.holdId !== extension.holdId) {
    tell('holdId', 'is of no extension that was held');
    return rest;
  }
  const placement = withMore(attempt.placement, extension.holdCents);
  const hold = of('finance').find((body) => member(body, 'request', 'holdId') === extension.holdId);
  if (hold === undefined) tell('evidence', 'names no hold of the money');
  else checkHold(hold, attempt.number, { ...placement, holdCents: extension.holdCents ?? null }, tell);
  if (!isConfirmed(of('finance'), extension.holdId)) tell('evidence', 'names no confirmation of the hold');
  const again = of('sentinelnet');
  const version = again.length === 0 ? extension.policyVersion : checkAllowed(again, placement, tell);
  if (data.policyVersion !== version) tell('policyVersion', 'is not one that allowed it');
  return { ...rest, placement, moreHoldIds: [...attempt.moreHoldIds, extension.holdId] };
}

function withMore(placement: JsonObject, more: Json | undefined): JsonObject {
  const cents = [placement.holdCents, more].map((one) =>
    typeof one === 'string' && CENTS.test(one) ? BigInt(one) : 0n,
  );
  return { ...placement, holdCents: String(cents[0]! + cents[1]!) };
}

const CENTS = /^(0|[1-9][0-9]{0,18})$/;

function isConfirmed(answers: readonly JsonObject[], holdId: Json | undefined): boolean {
  return answers.some(
    (body) =>
      member(body, 'answer', 'holdId') === holdId &&
      ['confirmed', 'settled'].includes(String(member(body, 'answer', 'status'))),
  );
}

function member(body: JsonObject, part: 'request' | 'answer', name: string): Json | undefined {
  const value = body[part];
  return isObject(value) ? value[name] : undefined;
}

/** The policy version of an answer that allows exactly this placement. */
function checkAllowed(answers: readonly JsonObject[], placement: JsonObject, tell: Tell): string | undefined {
  const allowed = answers.find((body) => member(body, 'answer', 'decision') === 'allow');
  if (allowed === undefined) {
    tell('evidence', 'names no policy answer that allows it');
    return undefined;
  }
  for (const name of ['pool', 'flavour', 'provider', 'gpuMilli', 'cpuMilli']) {
    const asked = member(allowed, 'request', name);
    if (asked !== placement[name]) tell(`placement.${name}`, 'is not what the policy was asked about');
  }
  if (!sameMoney(member(allowed, 'request', 'cost'), placement.holdCents, placement.currency)) {
    tell('placement.holdCents', 'is not what the policy was asked about');
  }
  const version = member(allowed, 'answer', 'policyVersion');
  return typeof version === 'string' ? version : undefined;
}

function checkHold(hold: JsonObject, attempt: Json | undefined, placement: JsonObject, tell: Tell): void {
  if (!['held', 'confirmed', 'settled'].includes(String(member(hold, 'answer', 'status')))) {
    tell('evidence', 'names a hold that was not granted');
  }
  if (member(hold, 'request', 'attempt') !== attempt) tell('evidence', 'names a hold of another attempt');
  const { holdCents, currency } = placement;
  if (!sameMoney(member(hold, 'request', 'amount'), holdCents, currency)) {
    tell('evidence', 'names a hold of another amount');
  }
}

function checkSettled(
  receipt: Receipt,
  event: ReceiptEvent,
  answers: readonly JsonObject[],
  attempt: Attempt,
  tell: Tell,
): void {
  const { cost } = event.data;
  if (attempt.holdId === undefined) return;
  const differing = new Set(holdsThatDiffer(event.data));
  let settled: bigint | undefined = 0n;
  for (const holdId of [attempt.holdId, ...attempt.moreHoldIds]) {
    const about = answers.filter((body) => member(body, 'request', 'holdId') === holdId);
    if (about.length === 0) {
      tell('evidence', `names no answer of Finance that ends the hold of ${receipt.booking}`);
      return;
    }
    if (differing.has(holdId)) {
      if (!about.some(isRefusal)) tell('financeDiffers', `names hold ${holdId}, of which Finance refused nothing`);
      settled = undefined;
      continue;
    }
    const isBack = about.some((body) => GIVEN_BACK.has(String(member(body, 'answer', 'status'))));
    if (!isObject(cost) && !isBack) tell('evidence', 'names a hold that was not given back');
    const end = about.find((body) => member(body, 'answer', 'status') === 'settled');
    const cents =
      isObject(cost) && end !== undefined ? centsOf(member(end, 'answer', 'settled'), cost.currency) : undefined;
    if (isObject(cost) && cents === undefined) tell('evidence', `names no settlement of hold ${holdId}`);
    settled = cents === undefined || settled === undefined ? undefined : settled + cents;
  }
  if (isObject(cost) && settled !== undefined && String(settled) !== String(cost.cents))
    tell('cost', 'is not what Finance settled');
}

/** Holds that Finance refused for good to end as the ledger has it, as the end of an attempt names them. */
export function holdsThatDiffer({ financeDiffers }: JsonObject): readonly Json[] {
  if (!Array.isArray(financeDiffers)) return [];
  return financeDiffers.flatMap((one: Json) => (isObject(one) && one.holdId !== undefined ? [one.holdId] : []));
}

const GIVEN_BACK: ReadonlySet<string> = new Set(['reversed', 'refused']);

/** A hold that was given back or not granted, or a problem: those have a code, and no hold. */
function isRefusal(body: JsonObject): boolean {
  if (GIVEN_BACK.has(String(member(body, 'answer', 'status')))) return true;
  return member(body, 'answer', 'holdId') === undefined && typeof member(body, 'answer', 'code') === 'string';
}

/** Money on the wire has exactly its currency's scale, so its digits are the minor units. */
function centsOf(money: Json | undefined, currency: Json | undefined): bigint | undefined {
  if (!isObject(money) || typeof money.amount !== 'string' || !/^[0-9]{1,19}(\.[0-9]{1,4})?$/.test(money.amount))
    return undefined;
  return money.currency === currency ? BigInt(money.amount.replace('.', '')) : undefined;
}

function sameMoney(money: Json | undefined, cents: Json | undefined, currency: Json | undefined): boolean {
  const is = centsOf(money, currency);
  return is !== undefined && String(is) === String(cents);
}
