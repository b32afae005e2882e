import type { Reason } from '../../core/booking.ts';
import type { HoldAsk, StepOutcome } from '../../peers/finance/client.ts';
import type { StepContext } from './context.ts';
import { PEER_TIMEOUT_MS } from './limits.ts';

/** What came of ending a hold at Finance. */
export type HoldEnd =
  | { readonly kind: 'ended'; readonly evidence: readonly object[] }
  /** Finance refuses, and has nothing of the hold open: Merit's ledger and Finance's book differ from here on. */
  | { readonly kind: 'refused'; readonly reason: Reason; readonly evidence: readonly object[] }
  /** Finance did not answer, or not to this. */
  | { readonly kind: 'again'; readonly why: string };

/**
 * Spends `cents` of a hold that Finance had confirmed. A Finance that was restored from a day before does not know it, or not that it was
 * confirmed: then it is asked for again as it was asked for before, by the same id, confirmed and settled. Each call may be repeated.
 */
export async function settleHold(ctx: StepContext, ask: HoldAsk, cents: bigint): Promise<HoldEnd> {
  const amount = { amountCents: String(cents), currency: ask.currency };
  const settle = () => ctx.finance.settle(ask.holdId, amount, soon());
  const settled = await settle();
  if (settled.kind !== 'absent' && settled.kind !== 'conflict') return endOf(ctx, ask.holdId, settled);
  const before = [settled.evidence];
  const held = await ctx.finance.hold(ask, soon());
  if (held.kind === 'reversed') return { kind: 'refused', reason: REVERSED, evidence: [...before, held.evidence] };
  if (held.kind !== 'held') return endOf(ctx, ask.holdId, held, before);
  before.push(held.evidence);
  const confirmed = await ctx.finance.confirm(ask.holdId, soon());
  if (confirmed.kind !== 'done') return endOf(ctx, ask.holdId, confirmed, before);
  return endOf(ctx, ask.holdId, await settle(), [...before, confirmed.evidence]);
}

/** Gives a hold back by its id, whether Finance granted it or never saw it. */
export async function reverseHold(ctx: StepContext, holdId: string, tenant: string): Promise<HoldEnd> {
  return endOf(ctx, holdId, await ctx.finance.reverse(holdId, tenant, soon()));
}

const REVERSED: Reason = {
  code: 'finance_reversed',
  text: 'Finance had reversed the hold',
  mend: 'compare the booking with Finance’s record',
};

function soon(): AbortSignal {
  return AbortSignal.timeout(PEER_TIMEOUT_MS);
}

type Outcome = StepOutcome | { readonly kind: 'refused'; readonly reason: Reason; readonly evidence: object };

async function endOf(
  ctx: StepContext,
  holdId: string,
  outcome: Outcome,
  before: readonly object[] = [],
): Promise<HoldEnd> {
  switch (outcome.kind) {
    case 'done':
      return { kind: 'ended', evidence: [...before, outcome.evidence] };
    case 'unknown':
      return { kind: 'again', why: outcome.cause.message };
    case 'refused':
    case 'conflict': {
      const now = await ctx.finance.get(holdId, soon());
      const isOpen = now?.status === 'held' || now?.status === 'confirmed';
      if (isOpen) return notTaken(holdId, outcome.reason);
      return { kind: 'refused', reason: outcome.reason, evidence: [...before, outcome.evidence] };
    }
    // Not an answer by the contract: a hold that was confirmed a moment ago is known, and one that is reversed need not have been.
    case 'absent':
    case 'invalid':
      return notTaken(holdId, outcome.reason);
  }
}

function notTaken(holdId: string, { text }: Reason): HoldEnd {
  return { kind: 'again', why: `Finance did not take the end of hold ${holdId}: ${text}` };
}
