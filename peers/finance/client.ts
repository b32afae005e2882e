import { assert } from '../../core/assert.ts';
import type { Reason } from '../../core/booking.ts';
import { contentHash, type Json } from '../../core/canonical.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { check } from '../../core/schema.ts';
import { moneyOf } from '../money.ts';
import { askPeer, type PeerAnswer, type PeerHttp } from '../peer-call.ts';
import type { Evidence } from '../wire.ts';
import { type Effectful, holdOutcome, pageOf, stepOutcome, texts, viewOf } from './answers.ts';
import { HOLDS_PATH, type Hold, HoldId, HoldRequest, type HoldStatus, holdRefusals, MAX_PAGE } from './wire.ts';

export const FINANCE_TIMEOUT_MS = 5_000;

/** Amounts count the currency's minor units, as decimal strings. */
export interface HoldAsk {
  /** Chosen by us, the attempt's key: the same again is the same hold. */
  readonly holdId: string;
  readonly tenant: string;
  readonly division: string;
  readonly bookingId: string;
  readonly attempt: number;
  readonly amountCents: string;
  readonly currency: string;
}

/** Finance took the call as asked, or answers as it did before. */
interface Done {
  readonly hold: HoldView;
  readonly evidence: Evidence;
}

/** A hold as Finance has it now. */
export interface HoldView {
  readonly holdId: string;
  readonly tenant: string;
  readonly status: HoldStatus;
  /** undefined: reversed before any request came. */
  readonly ask: HoldAsk | undefined;
  readonly settledCents: string | undefined;
}

/** What every call may also end as. */
export type Unhappy =
  /** Another request, or another amount, stands under this id, or its status forbids the call. Final. */
  | { readonly kind: 'conflict'; readonly code: string; readonly reason: Reason; readonly evidence: Evidence }
  /** Finance answered, but not this call: nothing may be applied on it, and whether it took effect is not known. */
  | { readonly kind: 'invalid'; readonly reason: Reason; readonly evidence: Evidence }
  /** The reply was lost or late. Look with `get`, then repeat the same call. */
  | { readonly kind: 'unknown'; readonly cause: OperatingError };

export type HoldOutcome =
  | ({ readonly kind: 'held' } & Done)
  /** Finance says no; nothing is held. Final for this hold id. */
  | { readonly kind: 'refused'; readonly reason: Reason; readonly evidence: Evidence }
  /** The id was reversed before: nothing is held, and nothing will be. */
  | ({ readonly kind: 'reversed' } & Done)
  | Unhappy;

export type StepOutcome =
  | ({ readonly kind: 'done' } & Done)
  /** Finance has no such hold. */
  | { readonly kind: 'absent'; readonly reason: Reason; readonly evidence: Evidence }
  | Unhappy;

/**
 * All calls may be repeated. They throw OperatingError only where nothing can have happened (Finance away, 401, 403, 429) or
 * the call was aborted before it was sent; whatever may have happened is returned as `unknown`.
 */
export interface Finance {
  hold(ask: HoldAsk, signal: AbortSignal): Promise<HoldOutcome>;
  confirm(holdId: string, signal: AbortSignal): Promise<StepOutcome>;
  /** Spends `amount` of the hold and frees the rest. */
  settle(
    holdId: string,
    amount: { readonly amountCents: string; readonly currency: string },
    signal: AbortSignal,
  ): Promise<StepOutcome>;
  /** Gives a hold back. Of an id that Finance never saw: it will not accept it later either. */
  reverse(holdId: string, tenant: string, signal: AbortSignal): Promise<StepOutcome>;
  /** What became of it; undefined: Finance never saw it. Throws OperatingError (`safe`) where it cannot tell. */
  get(holdId: string, signal: AbortSignal): Promise<HoldView | undefined>;
  /** Holds of a tenant changed since the cursor ('0': all), in order of change; `more`: another page is there already. */
  list(
    tenant: string,
    since: string,
    signal: AbortSignal,
    limit?: number,
  ): Promise<{ readonly holds: readonly HoldView[]; readonly cursor: string; readonly more: boolean }>;
}

export function finance(options: { readonly http: PeerHttp; readonly timeoutMs?: number }): Finance {
  const { http, timeoutMs = FINANCE_TIMEOUT_MS } = options;
  const post = (path: string, body: Json, doing: string, signal: AbortSignal) =>
    effectful(askPeer({ http, method: 'POST', path, body, doing, timeoutMs, signal, pure: false }));
  const get = (path: string, doing: string, signal: AbortSignal) =>
    askPeer({ http, method: 'GET', path, doing, timeoutMs, signal, pure: true });
  const step = async (
    holdId: string,
    verb: string,
    body: Json,
    signal: AbortSignal,
    expect: (hold: Hold) => string | undefined,
  ): Promise<StepOutcome> => {
    assertHoldId(holdId);
    const answer = await post(`${HOLDS_PATH}/${holdId}/${verb}`, body, `asking Finance to ${verb} a hold`, signal);
    return stepOutcome({ holdId, verb, body }, answer, expect);
  };
  return {
    hold: async (ask, signal) => {
      const request = requestOf(ask);
      const answer = await post(HOLDS_PATH, request, 'asking Finance for a hold', signal);
      return holdOutcome(request, answer);
    },
    confirm: (holdId, signal) =>
      step(holdId, 'confirm', {}, signal, ({ status }) =>
        status === 'confirmed' || status === 'settled' ? undefined : `is ${status}, not confirmed`,
      ),
    settle: (holdId, { amountCents, currency }, signal) => {
      const amount = moneyOf(amountOf(amountCents), currency);
      return step(holdId, 'settle', { amount }, signal, (hold) => {
        if (hold.status !== 'settled') return `is ${hold.status}, not settled`;
        return contentHash(hold.settled) === contentHash(amount) ? undefined : 'is settled with another amount';
      });
    },
    reverse: (holdId, tenant, signal) =>
      step(holdId, 'reverse', { tenant }, signal, (hold) => {
        if (hold.tenant !== tenant) return 'is of another tenant';
        return hold.status === 'reversed' || hold.status === 'refused' ? undefined : `is ${hold.status}, not reversed`;
      }),
    get: async (holdId, signal) => {
      assertHoldId(holdId);
      const doing = 'looking for a hold at Finance';
      const answer = await get(`${HOLDS_PATH}/${holdId}`, doing, signal);
      if (answer.kind === 'problem') {
        // Any other 404 comes from something that is not Finance's door: it must not read as "never seen".
        if (answer.status === 404 && answer.code === 'hold_unknown') return undefined;
        throw new OperatingError('bad-reply', 'safe', doing, { cause: `it answered ${answer.status} ${answer.code}` });
      }
      const refusals = holdRefusals(answer.body);
      const problem =
        refusals.length > 0
          ? texts(refusals)
          : (answer.body as unknown as Hold).holdId === holdId
            ? undefined
            : 'it answered for another hold';
      if (problem !== undefined) throw new OperatingError('bad-reply', 'safe', doing, { cause: problem });
      return viewOf(answer.body as unknown as Hold);
    },
    list: async (tenant, since, signal, limit = MAX_PAGE) => {
      const doing = 'listing holds at Finance';
      const query = new URLSearchParams({ tenant, since, limit: String(limit) });
      const answer = await get(`${HOLDS_PATH}?${query}`, doing, signal);
      if (answer.kind === 'problem')
        throw new OperatingError('bad-reply', 'safe', doing, { cause: `it answered ${answer.status} ${answer.code}` });
      const page = pageOf(answer.body, tenant);
      if (typeof page === 'string') throw new OperatingError('bad-reply', 'safe', doing, { cause: page });
      return { holds: page.holds.map(viewOf), cursor: page.cursor, more: page.more };
    },
  };
}

/** What may have taken effect is an outcome, not a throw. */
async function effectful(call: Promise<PeerAnswer>): Promise<Effectful> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof OperatingError && error.retry === 'look-first') return { kind: 'unknown', cause: error };
    throw error;
  }
}

function requestOf(ask: HoldAsk): HoldRequest {
  const { holdId, tenant, division, bookingId, attempt, amountCents, currency } = ask;
  const request: HoldRequest = {
    holdId,
    tenant,
    division,
    bookingId,
    attempt,
    amount: moneyOf(amountOf(amountCents), currency),
  };
  const refusals = check(HoldRequest, request);
  assert(refusals.length === 0, `not a hold request: ${texts(refusals)}`);
  return request;
}

function amountOf(amountCents: string): bigint {
  assert(/^(0|[1-9][0-9]{0,17})$/.test(amountCents), 'amountCents is a decimal count of minor units');
  return BigInt(amountCents);
}

function assertHoldId(holdId: string): void {
  assert(
    check(HoldId, holdId).length === 0 && holdId !== '.' && holdId !== '..',
    'a hold id is 1 to 64 of A-Z a-z 0-9 . _ -',
  );
}
