import { assert } from '../../core/assert.ts';
import type { Reason } from '../../core/booking.ts';
import { contentHash, type Json } from '../../core/canonical.ts';
import { withoutHidden } from '../../core/hidden-characters.ts';
import type { OperatingError } from '../../core/operating-error.ts';
import { type Refusal, refusalText } from '../../core/refusal.ts';
import { check } from '../../core/schema.ts';
import { centsOf } from '../money.ts';
import type { PeerAnswer } from '../peer-call.ts';
import { type Evidence, evidenceOf, reasonOf } from '../wire.ts';
import type { HoldAsk, HoldOutcome, HoldView, StepOutcome, Unhappy } from './client.ts';
import { type Hold, HoldPage, type HoldRequest, holdRefusals } from './wire.ts';

/** What Finance's answers mean to us. Pure. */

export type Effectful = PeerAnswer | { readonly kind: 'unknown'; readonly cause: OperatingError };

export function texts(refusals: readonly Refusal[]): string {
  return withoutHidden(refusals.slice(0, 5).map(refusalText).join('; '));
}

function invalid(text: string, evidence: Evidence): Extract<Unhappy, { kind: 'invalid' }> {
  return {
    kind: 'invalid',
    reason: {
      code: 'finance_answer_invalid',
      text: `Finance’s answer is not one to this call: ${text}`,
      mend: 'ask whoever runs Finance',
    },
    evidence,
  };
}

function problemReason(answer: Extract<PeerAnswer, { kind: 'problem' }>): Reason {
  return {
    code: `finance_${answer.code}`,
    text: `Finance says: ${answer.detail === '' ? answer.code : answer.detail}`,
    mend: 'compare the booking with Finance’s record',
  };
}

export function holdOutcome(request: HoldRequest, answer: Effectful): HoldOutcome {
  if (answer.kind === 'unknown') return answer;
  const evidence = evidenceOf('finance', request, answer.body);
  if (answer.kind === 'problem') {
    if (answer.status === 409) return { kind: 'conflict', code: answer.code, reason: problemReason(answer), evidence };
    // A 404 is not Finance's answer to a hold: something else stands at its address.
    if (answer.status === 404) return invalid(`404 ${answer.code}`, evidence);
    return { kind: 'refused', reason: problemReason(answer), evidence };
  }
  const refusals = holdRefusals(answer.body);
  if (refusals.length > 0) return invalid(texts(refusals), evidence);
  const hold = answer.body as unknown as Hold;
  if (hold.holdId !== request.holdId || hold.tenant !== request.tenant)
    return invalid('it is about another hold', evidence);
  if (hold.request === null) return { kind: 'reversed', hold: viewOf(hold), evidence };
  if (contentHash(hold.request) !== contentHash(request)) return invalid('it is about another request', evidence);
  switch (hold.status) {
    case 'held':
    case 'confirmed':
    case 'settled':
      return { kind: 'held', hold: viewOf(hold), evidence };
    case 'reversed':
      return { kind: 'reversed', hold: viewOf(hold), evidence };
    case 'refused': {
      assert(hold.reason !== null, 'a refused hold has its reason');
      return { kind: 'refused', reason: reasonOf(hold.reason, 'Finance'), evidence };
    }
  }
}

export function stepOutcome(
  call: { readonly holdId: string; readonly verb: string; readonly body: Json },
  answer: Effectful,
  expect: (hold: Hold) => string | undefined,
): StepOutcome {
  if (answer.kind === 'unknown') return answer;
  const evidence = evidenceOf('finance', call, answer.body);
  if (answer.kind === 'problem') {
    if (answer.status === 404 && answer.code === 'hold_unknown')
      return { kind: 'absent', reason: problemReason(answer), evidence };
    if (answer.status === 409) return { kind: 'conflict', code: answer.code, reason: problemReason(answer), evidence };
    return invalid(`${answer.status} ${answer.code}`, evidence);
  }
  const refusals = holdRefusals(answer.body);
  if (refusals.length > 0) return invalid(texts(refusals), evidence);
  const hold = answer.body as unknown as Hold;
  if (hold.holdId !== call.holdId) return invalid('it is about another hold', evidence);
  const problem = expect(hold);
  return problem === undefined
    ? { kind: 'done', hold: viewOf(hold), evidence }
    : invalid(`the hold ${problem}`, evidence);
}

/** Of a hold that `holdRefusals` passed. */
export function viewOf(hold: Hold): HoldView {
  const { holdId, tenant, status, request, settled } = hold;
  let ask: HoldAsk | undefined;
  if (request !== null) {
    const { division, bookingId, attempt, amount } = request;
    ask = {
      holdId,
      tenant,
      division,
      bookingId,
      attempt,
      amountCents: String(centsOf('amount', amount)),
      currency: amount.currency,
    };
  }
  return {
    holdId,
    tenant,
    status,
    ask,
    settledCents: settled === null ? undefined : String(centsOf('settled', settled)),
  };
}

export function pageOf(body: Json, tenant: string): HoldPage | string {
  const refusals = check(HoldPage, body);
  if (refusals.length > 0) return texts(refusals);
  const page = body as unknown as HoldPage;
  for (const hold of page.holds) {
    const wrong = holdRefusals(hold);
    if (wrong.length > 0) return texts(wrong);
    if (hold.tenant !== tenant) return 'it lists a hold of another tenant';
  }
  return page;
}
