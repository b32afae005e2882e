import { assert } from '../../core/assert.ts';
import { contentHash } from '../../core/canonical.ts';
import type { Refusal } from '../../core/refusal.ts';
import { check, type Static, Type } from '../../core/schema.ts';
import { centsOf, Money, moneyOf } from '../money.ts';
import { Slug } from '../wire.ts';
import type { Hold, HoldPage, HoldRequest } from './wire.ts';

const Budget = Type.Object({ tenant: Slug, division: Slug, limit: Money }, { additionalProperties: false });

/** What each division may hold and spend in all. `otherwise` is for a (tenant, division, currency) that is not listed. */
export const Budgets = Type.Object(
  {
    format: Type.Literal('merit-budgets/1'),
    otherwise: Type.Union([Type.Literal('unlimited'), Type.Literal('refuse')]),
    budgets: Type.Array(Budget, { maxItems: 10_000 }),
  },
  { additionalProperties: false },
);
export type Budgets = Readonly<Static<typeof Budgets>>;

export const UNLIMITED: Budgets = { format: 'merit-budgets/1', otherwise: 'unlimited', budgets: [] };

export function budgetsRefusals(value: unknown): readonly Refusal[] {
  const refusals = [...check(Budgets, value)];
  if (refusals.length > 0) return refusals;
  for (const [i, { limit }] of (value as Budgets).budgets.entries()) {
    const cents = centsOf(`budgets.${i}.limit`, limit);
    if (typeof cents !== 'bigint') refusals.push(cents);
  }
  return refusals;
}

/** Holds a book keeps; a page looks at no more changes than MAX_SCAN. */
export const MAX_HOLDS = 1_000_000;
const MAX_SCAN = 10_000;

export type Command =
  | {
      readonly type: 'hold';
      readonly request: HoldRequest;
      readonly refusal?: { readonly code: string; readonly text: string } | undefined;
    }
  | { readonly type: 'confirm'; readonly holdId: string }
  | { readonly type: 'settle'; readonly holdId: string; readonly amount: Money }
  | { readonly type: 'reverse'; readonly holdId: string; readonly tenant: string };

export type Plan =
  /** To be written down, then committed. */
  | { readonly kind: 'change'; readonly hold: Hold }
  /** A repetition: answered with what is there. */
  | { readonly kind: 'as-before'; readonly hold: Hold }
  | {
      readonly kind: 'problem';
      readonly status: 404 | 409 | 422 | 503;
      readonly code: string;
      readonly detail: string;
    };

const problem = (status: 404 | 409 | 422 | 503, code: string, detail: string): Plan => ({
  kind: 'problem',
  status,
  code,
  detail,
});

/** Finance's book of holds. `plan` changes nothing; `commit` is called once the change is durable. No time, no I/O. */
export class Book {
  readonly #holds = new Map<string, { readonly hold: Hold; readonly seq: number }>();
  /** The hold changed by change number i + 1. */
  readonly #changes: string[] = [];
  readonly #used = new Map<string, bigint>();
  #limits: ReadonlyMap<string, bigint> = new Map();
  #otherwise: Budgets['otherwise'] = 'unlimited';

  /** Budgets may change at any time; what is held already stays. */
  setBudgets(budgets: Budgets): void {
    this.#limits = new Map(
      budgets.budgets.map(({ tenant, division, limit }) => [budgetKey(tenant, division, limit.currency), cents(limit)]),
    );
    this.#otherwise = budgets.otherwise;
  }

  get(holdId: string): Hold | undefined {
    return this.#holds.get(holdId)?.hold;
  }

  get lastSeq(): number {
    return this.#changes.length;
  }

  /** Held, confirmed and settled of a division, in the currency's minor units. */
  used(tenant: string, division: string, currency: string): bigint {
    return this.#used.get(budgetKey(tenant, division, currency)) ?? 0n;
  }

  commit(hold: Hold): void {
    const before = this.#holds.get(hold.holdId)?.hold;
    if (hold.request !== null) {
      const { tenant, division, amount } = hold.request;
      const key = budgetKey(tenant, division, amount.currency);
      const used = (this.#used.get(key) ?? 0n) + usedBy(hold) - usedBy(before);
      assert(used >= 0n, 'a budget is used less than not at all');
      this.#used.set(key, used);
    }
    this.#changes.push(hold.holdId);
    this.#holds.set(hold.holdId, { hold, seq: this.#changes.length });
  }

  plan(command: Command): Plan {
    switch (command.type) {
      case 'hold':
        return this.#planHold(command.request, command.refusal);
      case 'confirm':
        return this.#planConfirm(command.holdId);
      case 'settle':
        return this.#planSettle(command.holdId, command.amount);
      case 'reverse':
        return this.#planReverse(command.holdId, command.tenant);
    }
  }

  #planHold(request: HoldRequest, forced: { readonly code: string; readonly text: string } | undefined): Plan {
    const existing = this.get(request.holdId);
    if (existing !== undefined) {
      // A reversal that came first wins, whatever the late request says.
      if (existing.request === null && existing.tenant === request.tenant) return { kind: 'as-before', hold: existing };
      const same = existing.request !== null && contentHash(existing.request) === contentHash(request);
      return same
        ? { kind: 'as-before', hold: existing }
        : problem(409, 'hold_differs', 'another request stands under this hold id');
    }
    if (this.#holds.size >= MAX_HOLDS) return problem(503, 'book_full', `this book keeps ${MAX_HOLDS} holds`);
    const asked = centsOf('amount', request.amount);
    if (typeof asked !== 'bigint') return problem(422, asked.code, `amount ${asked.problem}`);
    const reason =
      forced === undefined ? this.#shortfall(request, asked) : { ...forced, mend: 'ask whoever runs Finance' };
    const base = { holdId: request.holdId, tenant: request.tenant, request, settled: null };
    return {
      kind: 'change',
      hold: reason === null ? { ...base, status: 'held', reason: null } : { ...base, status: 'refused', reason },
    };
  }

  #shortfall(request: HoldRequest, asked: bigint): Hold['reason'] {
    const { tenant, division, amount } = request;
    const limit = this.#limits.get(budgetKey(tenant, division, amount.currency));
    if (limit === undefined) {
      if (this.#otherwise === 'unlimited') return null;
      return {
        code: 'no_budget',
        text: `division ${division} has no budget in ${amount.currency}`,
        mend: 'give the division a budget',
      };
    }
    const used = this.used(tenant, division, amount.currency);
    const free = limit > used ? limit - used : 0n;
    if (asked <= free) return null;
    const show = (value: bigint) => `${moneyOf(value, amount.currency).amount} ${amount.currency}`;
    return {
      code: 'insufficient_funds',
      text: `division ${division} asks for ${show(asked)} and has ${show(free)} of ${show(limit)} free`,
      mend: 'raise the budget, ask for a shorter lease, or wait until a hold is settled',
    };
  }

  #planConfirm(holdId: string): Plan {
    const hold = this.get(holdId);
    if (hold === undefined) return problem(404, 'hold_unknown', 'no hold has this id');
    switch (hold.status) {
      case 'held':
        return { kind: 'change', hold: { ...hold, status: 'confirmed' } };
      case 'confirmed':
      case 'settled':
        return { kind: 'as-before', hold };
      case 'reversed':
        return problem(409, 'already_reversed', 'the hold was reversed');
      case 'refused':
        return problem(409, 'hold_refused', 'the hold was refused');
    }
  }

  #planSettle(holdId: string, amount: Money): Plan {
    const hold = this.get(holdId);
    if (hold === undefined || hold.request === null) return problem(404, 'hold_unknown', 'no hold has this id');
    const actual = centsOf('amount', amount);
    if (typeof actual !== 'bigint') return problem(422, actual.code, `amount ${actual.problem}`);
    if (amount.currency !== hold.request.amount.currency)
      return problem(409, 'other_currency', `the hold is in ${hold.request.amount.currency}`);
    switch (hold.status) {
      case 'confirmed':
        if (actual > cents(hold.request.amount)) return problem(409, 'exceeds_hold', 'more than is held');
        return { kind: 'change', hold: { ...hold, status: 'settled', settled: amount } };
      case 'settled':
        if (hold.settled?.amount === amount.amount) return { kind: 'as-before', hold };
        return problem(409, 'already_settled', 'the hold was settled with another amount');
      case 'held':
        return problem(409, 'not_confirmed', 'the hold was never confirmed');
      case 'reversed':
        return problem(409, 'already_reversed', 'the hold was reversed');
      case 'refused':
        return problem(409, 'hold_refused', 'the hold was refused');
    }
  }

  #planReverse(holdId: string, tenant: string): Plan {
    const hold = this.get(holdId);
    if (hold === undefined) {
      return {
        kind: 'change',
        hold: { holdId, tenant, status: 'reversed', request: null, settled: null, reason: null },
      };
    }
    if (hold.tenant !== tenant) return problem(409, 'other_tenant', 'the hold is of another tenant');
    switch (hold.status) {
      case 'held':
      case 'confirmed':
        return { kind: 'change', hold: { ...hold, status: 'reversed' } };
      // Nothing is held, so nothing is left to reverse.
      case 'reversed':
      case 'refused':
        return { kind: 'as-before', hold };
      case 'settled':
        return problem(409, 'already_settled', 'the hold was settled');
    }
  }

  /** Holds of a tenant changed after `since`, each once at its latest; undefined where `since` is no cursor of ours. */
  page(tenant: string, since: string, limit: number): HoldPage | undefined {
    if (!/^(0|[1-9][0-9]{0,14})$/.test(since) || Number(since) > this.#changes.length) return undefined;
    const holds: Hold[] = [];
    let seq = Number(since);
    const end = Math.min(this.#changes.length, seq + MAX_SCAN);
    while (seq < end && holds.length < limit) {
      seq++;
      const at = this.#holds.get(this.#changes[seq - 1]!)!;
      if (at.seq === seq && at.hold.tenant === tenant) holds.push(at.hold);
    }
    return { holds, cursor: String(seq), more: seq < this.#changes.length };
  }
}

function budgetKey(tenant: string, division: string, currency: string): string {
  return `${tenant}/${division}/${currency}`;
}

function cents(money: Money): bigint {
  const value = centsOf('amount', money);
  assert(typeof value === 'bigint', 'money in the book has its currency’s scale');
  return value;
}

function usedBy(hold: Hold | undefined): bigint {
  if (hold === undefined || hold.request === null) return 0n;
  switch (hold.status) {
    case 'held':
    case 'confirmed':
      return cents(hold.request.amount);
    case 'settled':
      return hold.settled === null ? 0n : cents(hold.settled);
    case 'reversed':
    case 'refused':
      return 0n;
  }
}
