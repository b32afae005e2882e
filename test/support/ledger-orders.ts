import { isDeepStrictEqual } from 'node:util';
import { type LedgerModel, type ModelBalance, modelDue, modelExpireOf } from '../../ledger/quota/model.ts';
import type { LedgerCase } from './ledger-cases.ts';
import { expectStep, modelBalances } from './ledger-step.ts';

/** A transaction as its caller saw it: it was in effect at some moment between `from` and `until`, by the order of what happened. */
export interface Seen {
  readonly step: LedgerCase;
  readonly from: number;
  readonly until: number;
  /** undefined: its caller died while it committed, so that it is in effect or not. */
  readonly got: readonly unknown[] | undefined;
}

/** Orders looked at before the search gives up; nearly always the order of commits is the one. */
const MAX_TRIES = 20_000;

/**
 * Is there an order of the transactions, one after the other and none before it began or after it ended, in which the model gives every
 * answer that was given, and ends with these balances? Source: Wing and Gong, Testing and verifying concurrent objects (1993).
 */
export function hasOrder(
  start: LedgerModel,
  seen: readonly Seen[],
  balances: ReadonlyMap<string, ModelBalance>,
): boolean {
  let tries = 0;
  const goOn = (model: LedgerModel, left: readonly Seen[]): boolean => {
    if (left.length === 0) return isDeepStrictEqual(modelBalances(model), balances);
    const firstEnd = Math.min(...left.map(({ until }) => until));
    for (const next of left.filter(({ from }) => from < firstEnd)) {
      if (++tries > MAX_TRIES) return false;
      const rest = left.filter((other) => other !== next);
      const after = copyOf(model);
      if (fits(after, next) && goOn(after, rest)) return true;
      if (next.got === undefined && goOn(model, rest)) return true;
    }
    return false;
  };
  return goOn(
    start,
    seen.toSorted((a, b) => a.until - b.until),
  );
}

/** Takes the step in the model; false: the model answers otherwise. */
function fits(model: LedgerModel, { step, got }: Seen): boolean {
  if (step.kind !== 'expire' || got === undefined) {
    const expected = expectStep(model, step);
    return got === undefined || isDeepStrictEqual(got, expected);
  }
  // A sweep leaves what others resolve while it looks: of what is due then it takes some.
  const due = modelDue(model, step.nowMs);
  const ids = got as readonly string[];
  modelExpireOf(model, ids);
  return ids.length <= step.limit && ids.every((id) => due.includes(id));
}

/** What the model keeps is replaced, never changed, but for the limits. */
function copyOf(model: LedgerModel): LedgerModel {
  return { ...model, limits: new Map(model.limits) };
}
