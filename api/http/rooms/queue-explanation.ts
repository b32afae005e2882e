import type { Reason } from '../../../core/booking.ts';
import type { Explanation, SmallestChange, WaitReason } from '../../../scheduler/admission/decision.ts';
import { reasonOf } from '../../../scheduler/apply/wait-reasons.ts';
import type { View } from '../services.ts';
import { moneyText, unitsText } from './base.ts';

/** A waiting booking's place in the queue as the API shows it: every reason with what is missing and who holds it, the start time, the least change. */

export interface QueueExplanation {
  readonly reasons: readonly View[];
  readonly position: number | null;
  readonly eta: string | null;
  readonly smallestChange: View | null;
}

export function queueExplanation(gates: readonly Reason[], planned: Explanation | undefined): QueueExplanation {
  return {
    reasons: [...gates.map((reason) => ({ ...reason })), ...(planned?.reasons ?? []).map(reasonView)],
    position: planned?.position ?? null,
    eta: planned === undefined || planned.etaMs === null ? null : new Date(planned.etaMs).toISOString(),
    smallestChange: planned?.smallestChange == null ? null : changeView(planned.smallestChange),
  };
}

export function reasonView(reason: WaitReason): View {
  return {
    ...reasonOf(reason),
    flavour: reason.flavour,
    resource: reason.resource,
    shortfall: amountText(reason.shortfall),
    holders: [...reason.holders],
  };
}

function changeView({ kind, flavour, resource, amount, node, text }: SmallestChange): View {
  const shown = kind === 'fewer_replicas' && amount !== null ? String(amount) : amountText(amount);
  return { kind, flavour, resource, amount: shown, node, text };
}

/** Milli-units as units, minor units of money as an amount. */
function amountText(amount: number | bigint | null): string | null {
  if (amount === null) return null;
  return typeof amount === 'bigint' ? moneyText(amount) : unitsText(BigInt(amount));
}
