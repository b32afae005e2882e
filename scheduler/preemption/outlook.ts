import type { Work } from '../admission/world.ts';
import type { Candidates, Search, SearchNotes } from './candidates.ts';

/** What is needed of a cell. */
export interface Need {
  readonly cell: number;
  /** −∞: whatever is given back there may help. */
  readonly amount: number;
}

/**
 * What has to happen before a search that found no victims is worth another one. Each line is necessary for a change of its kind and none is
 * sufficient: whoever is woken looks again. What starts meanwhile takes as much room as it offers as a victim, so that only what is given
 * back, a guard that ends and a division that comes to be above its quota bring more.
 */
export interface Outlook {
  /** It may take other divisions' work. */
  readonly takes: boolean;
  /** More than all candidates is missing: rules are not what stops it. */
  readonly lacks: boolean;
  /** What must be available to it; one of them is enough to look again. */
  readonly rooms: readonly Need[];
  /** Nodes of its path that must have that much of their quota unused before it may take others' work. */
  readonly quotas: readonly (Need & { readonly node: number })[];
  /** When guards of enough candidates have ended; Infinity: never of enough. */
  readonly atMs: number;
}

/** Which other divisions' work an asker could take as it stands, were it not guarded; a rule: what passes it. */
export type Rights = 'all' | 'none' | ((work: Work) => boolean);

export function outlookOf(search: Search, { own, others }: Candidates, rights: Rights): Outlook {
  const { world, asker, short, notes } = search;
  const { division } = asker;
  const { demand } = asker.option;
  const may = (work: Work) => work.division === division || rights === 'all' || (rights !== 'none' && rights(work));
  const free = [...own, ...others.filter(may)];
  const guarded = notes.guarded.filter(({ work }) => may(work)).sort((a, b) => a.fromMs - b.fromMs);
  let most: Need | undefined;
  for (const cell of short) {
    const lack = amountOf(demand, cell) - sumOf(free, cell) - world.usage.available(division, cell);
    if (lack > 0 && (most === undefined || lack > most.amount)) most = { cell, amount: lack };
  }
  const quotas = rights !== 'all' && asker.policy.reclaim !== 'never' ? quotasOf(search, own, guarded) : [];
  const [part, partMs] = most === undefined ? [0, guarded[0]?.fromMs] : shareOf(guarded, most);
  return {
    takes: rights !== 'none',
    lacks: most !== undefined,
    rooms:
      most === undefined
        ? anything(demand.cells)
        : [{ cell: most.cell, amount: world.usage.available(division, most.cell) + part }],
    quotas: quotas.map(({ needs }) => needs),
    atMs: Math.min(partMs ?? Number.POSITIVE_INFINITY, ...quotas.map(({ atMs }) => atMs)),
  };
}

/**
 * What is missing comes from what is given back and from guards that end, in whatever mixture: one of them has to bring half of it. How much
 * must be given back, and when guards of so much have ended.
 */
function shareOf(guarded: SearchNotes['guarded'], { cell, amount }: Need): readonly [part: number, atMs: number] {
  let sum = 0;
  for (const { work, fromMs } of guarded) {
    sum += amountOf(work.demand, cell);
    if (2 * sum >= amount) return [amount / 2, fromMs];
  }
  return [amount - sum, Number.POSITIVE_INFINITY];
}

/** Its victims are more than a rate allows: without one preemption left only room helps, else whatever is given back may spare a victim. */
export function outlookOfRate({ world, asker, short, guards, nowMs }: Search, rateFromMs: number): Outlook {
  const { demand } = asker.option;
  const oneFromMs = guards.oneFromMs(short, nowMs);
  const lacking = short.filter((cell) => amountOf(demand, cell) > world.usage.available(asker.division, cell));
  const isAsleep = oneFromMs > nowMs && lacking.length > 0;
  return {
    takes: !isAsleep,
    lacks: isAsleep,
    rooms: isAsleep ? [{ cell: lacking[0]!, amount: amountOf(demand, lacking[0]!) }] : anything(demand.cells),
    quotas: [],
    atMs: isAsleep ? oneFromMs : rateFromMs,
  };
}

function anything(cells: readonly number[]): readonly Need[] {
  return cells.map((cell) => ({ cell, amount: Number.NEGATIVE_INFINITY }));
}

/** Of its division what own victims cannot free; of the groups above, below the root, what the ask would add. */
function quotasOf({ world, asker }: Search, own: readonly Work[], guarded: SearchNotes['guarded']) {
  const { tree, usage } = world;
  const { division } = asker;
  const { cells, amounts } = asker.option.demand;
  const ownGuarded = guarded.filter(({ work }) => work.division === division);
  const quotas: { readonly needs: Outlook['quotas'][number]; readonly atMs: number }[] = [];
  for (const [i, cell] of cells.entries()) {
    let keepsBelow = false;
    for (const { node, holds } of usage.holdsOnPath(division, cell, amounts[i]! - sumOf(own, cell))) {
      const at = tree.at(node, cell);
      const unused = tree.subtree[at]! - usage.usage(node, cell);
      if (!holds && tree.nodes[node]!.parent >= 0) {
        const lack = amounts[i]! - (node === division ? sumOf(own, cell) : 0) - unused;
        const [part, atMs] = shareOf(node === division ? ownGuarded : [], { cell, amount: lack });
        // What stays below a node that keeps some of its own would add less here once that is free.
        quotas.push({ needs: { node, cell, amount: keepsBelow ? Number.NEGATIVE_INFINITY : unused + part }, atMs });
      }
      keepsBelow ||= tree.local[at]! > 0;
    }
  }
  return quotas;
}

/** What works have of a cell together. */
export function sumOf(works: readonly Work[], cell: number): number {
  return works.reduce((sum, { demand }) => sum + amountOf(demand, cell), 0);
}

function amountOf({ cells, amounts }: Work['demand'], cell: number): number {
  const at = cells.indexOf(cell);
  return at < 0 ? 0 : amounts[at]!;
}
