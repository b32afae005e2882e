import { isDeepStrictEqual } from 'node:util';
import { assert } from '../../core/assert.ts';
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

/**
 * Places looked at before the search gives up, which is told as such; nearly always the order of commits is the one. With four callers of ten
 * dead while they committed (seed 12169) there are 400,000 orders, but few places: each is gone on from once.
 */
const MAX_TRIES = 100_000;

/**
 * Is there an order of the transactions, one after the other and none before it began or after it ended, in which the model gives every
 * answer that was given, and ends with these balances? Source: Wing and Gong, Testing and verifying concurrent objects (1993), and Lowe's
 * memo of where the search has been (2017).
 */
export function hasOrder(
  start: LedgerModel,
  seen: readonly Seen[],
  balances: ReadonlyMap<string, ModelBalance>,
): boolean {
  const been = new Set<string>();
  const goOn = (model: LedgerModel, left: readonly Seen[]): boolean => {
    if (left.length === 0) return isDeepStrictEqual(modelBalances(model), balances);
    const place = `${left.map((one) => seen.indexOf(one)).sort()} ${stateOf(model)}`;
    if (been.has(place)) return false;
    been.add(place);
    assert(been.size <= MAX_TRIES, 'orders are few enough to look at all of them');
    const firstEnd = Math.min(...left.map(({ until }) => until));
    for (const next of left.filter(({ from }) => from < firstEnd)) {
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

/** All that decides what a model answers; in which order its entries came does not. */
function stateOf({ limits, log, tree, debts }: LedgerModel): string {
  const parts = [[...limits], log, [...tree], debts].map((part) => part.map(plain).sort());
  return plain(parts);
}

function plain(value: unknown): string {
  return JSON.stringify(value, (_key, part) => (typeof part === 'bigint' ? `${part}n` : part));
}

/** What the model keeps is replaced, never changed, but for the limits. */
function copyOf(model: LedgerModel): LedgerModel {
  return { ...model, limits: new Map(model.limits) };
}
