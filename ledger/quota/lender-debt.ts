import { assert } from '../../core/assert.ts';
import { type Balance, owedOf } from './account.ts';

/** A change of what a node of the quota tree owes its parent: an entry between the two. */
export interface DebtEntry {
  /** `borrow`: from the child's account to the parent's. `repay`: back. */
  readonly kind: 'borrow' | 'repay';
  readonly child: string;
  readonly parent: string;
  readonly amount: bigint;
}

export interface Spread {
  /** Those given, and each account above them that changed by it, children before parents. */
  readonly balances: ReadonlyMap<string, Balance>;
  readonly entries: readonly DebtEntry[];
}

/** Deeper trees are a mistake of whoever made them. */
const MAX_DEPTH = 64;

/**
 * What accounts that change do to those above them: usage bubbles up only past the local part (docs/scheduling.md, Quota tree). Each debt changes at
 * most once, also where two of the accounts have ancestors in common. Accounts in no tree cost nothing. `balances` has all ancestors.
 */
export function spreadUp(balances: ReadonlyMap<string, Balance>, changed: readonly Balance[]): Spread {
  const next = new Map(changed.map((balance) => [balance.id, balance]));
  const entries: DebtEntry[] = [];
  for (const id of upwards(balances, changed)) {
    const child = next.get(id);
    // Nothing that changed has come up to here.
    if (child?.parent === undefined) continue;
    const more = owedOf(child) - child.lenderDebt;
    if (more === 0n) continue;
    const parent = next.get(child.parent) ?? balances.get(child.parent);
    assert(parent !== undefined, 'the accounts above a changed one are locked with it');
    const moved = moveDebt(child, parent, more);
    next.set(child.id, moved.child).set(parent.id, moved.parent);
    entries.push({
      kind: more > 0n ? 'borrow' : 'repay',
      child: child.id,
      parent: parent.id,
      amount: more > 0n ? more : -more,
    });
  }
  return { balances: next, entries };
}

/** The child owes that much more, or less where it is negative: its use stays, its parent's changes. */
function moveDebt(
  child: Balance,
  parent: Balance,
  more: bigint,
): { readonly child: Balance; readonly parent: Balance } {
  const lenderDebt = child.lenderDebt + more;
  return more > 0n
    ? {
        child: { ...child, lenderDebt, debitsPosted: child.debitsPosted + more },
        parent: { ...parent, creditsPosted: parent.creditsPosted + more },
      }
    : {
        child: { ...child, lenderDebt, creditsPosted: child.creditsPosted - more },
        parent: { ...parent, debitsPosted: parent.debitsPosted - more },
      };
}

/** The paths of the accounts to their roots, children before parents, each account once. */
function upwards(balances: ReadonlyMap<string, Balance>, changed: readonly Balance[]): readonly string[] {
  let order: readonly string[] = [];
  for (const balance of changed) {
    if (balance.parent === undefined) continue;
    const path = pathOf(balances, balance);
    // What two paths share is the end of both.
    order = [...order.filter((id) => !path.includes(id)), ...path];
  }
  return order;
}

function pathOf(balances: ReadonlyMap<string, Balance>, from: Balance): readonly string[] {
  const path = [from.id];
  for (let parent = from.parent; parent !== undefined; parent = balances.get(parent)?.parent) {
    assert(path.length < MAX_DEPTH, `the quota tree is at most ${MAX_DEPTH} deep`);
    path.push(parent);
  }
  return path;
}

/** The id of an entry that a transfer caused: its n-th. */
export function debtId(transferId: string, n: number): string {
  return `${transferId}:debt:${n}`;
}
