import type { Work } from '../admission/world.ts';
import { type Asker, type Candidates, candidatesOf, isAbove, type Search, type Victim } from './candidates.ts';
import { outlookOf, type Rights, sumOf } from './outlook.ts';
import { Removals } from './removals.ts';

/** What an asker may do to a candidate without fair sharing. */
type Right =
  /** Its own division's. */
  | 'own'
  /** Some node of the asker's path below their common ancestor holds the ask within its quota: it may end above its nominal. */
  | 'claim'
  /** Of low enough priority that the asker may end above its nominal. */
  | 'borrow'
  /** Only as far as the asker ends within its nominal. */
  | 'nominal';

interface Candidate {
  readonly work: Work;
  readonly right: Right;
  /** Nodes that must be above their quota when it is taken: of the victim's side, below the common ancestor. */
  readonly side: readonly number[];
}

/**
 * The victims that let the asker in, or undefined: a minimal set of the first of two searches that fits. {claims, own, borrow}
 * may end above nominal; {all candidates} ends within it. Claims come first, then other divisions' work, then the asker's own.
 */
export function searchClassic(search: Search): readonly Victim[] | undefined {
  const { world, asker } = search;
  const found = candidatesOf(search);
  const holder = lowestHolder(search);
  const candidates = ranked(search, found, holder);
  const { division, option } = asker;
  const fitsBorrowing = () => world.fits(division, option);
  const fitsNominal = () => world.usage.withinNominal(division, option.demand) && world.fits(division, option);
  const withBorrowing = () =>
    remove(
      search,
      candidates.filter(({ right }) => right !== 'nominal'),
      fitsBorrowing,
    );
  const withinNominal = () => {
    const victims = remove(search, candidates, fitsNominal);
    search.notes.endsWithin = victims !== undefined;
    return victims;
  };
  const nominalFirst =
    asker.policy.borrow === null &&
    search.short.every(
      (cell) => world.usage.usage(division, cell) < world.tree.subtree[world.tree.at(division, cell)]!,
    ) &&
    candidates.some(({ right }) => right === 'nominal') &&
    !candidates.some(({ right }) => right === 'claim');
  const victims = nominalFirst ? (withinNominal() ?? withBorrowing()) : (withBorrowing() ?? withinNominal());
  if (victims === undefined) search.notes.outlook = outlookOf(search, found, rightsOf(search, found, holder));
  return victims;
}

/** It ends within its nominal, or has claims; else only work of low enough priority counts. */
function rightsOf({ world, asker }: Search, { own }: Candidates, holder: number): Rights {
  const { tree, usage } = world;
  const { cells, amounts } = asker.option.demand;
  const { division } = asker;
  const endsWithin = cells.every(
    (cell, i) => usage.usage(division, cell) + amounts[i]! - sumOf(own, cell) <= tree.subtree[tree.at(division, cell)]!,
  );
  if (holder > 0 || endsWithin) return 'all';
  return asker.policy.borrow === null ? 'none' : (work) => mayBorrow(asker, work);
}

function remove(search: Search, candidates: readonly Candidate[], fits: () => boolean): readonly Victim[] | undefined {
  const { world, short } = search;
  const removals = new Removals(world);
  for (const { work, side } of candidates) {
    while (!removals.isGone(work) && side.every((node) => isAbove(world, node, short))) {
      removals.step(work);
      if (!fits()) continue;
      removals.minimal(fits);
      const victims = removals.victims();
      removals.undo();
      return victims;
    }
  }
  removals.undo();
  return undefined;
}

function ranked(search: Search, { own, others }: Candidates, holder: number): readonly Candidate[] {
  const { world, asker } = search;
  const sides = new Map<number, { readonly side: readonly number[]; readonly claim: boolean }>();
  const sideOf = (division: number) => {
    const side = sides.get(division) ?? sideBelow(search, division, holder);
    sides.set(division, side);
    return side;
  };
  const claims: Candidate[] = [];
  const rest: Candidate[] = [];
  for (const work of others) {
    const { side, claim } = sideOf(work.division);
    if (!side.every((node) => isAbove(world, node, search.short))) continue;
    if (claim) claims.push({ work, right: 'claim', side });
    else rest.push({ work, right: mayBorrow(asker, work) ? 'borrow' : 'nominal', side });
  }
  return [...claims, ...rest, ...own.map((work): Candidate => ({ work, right: 'own', side: [] }))];
}

function mayBorrow({ policy, priority }: Asker, { input }: Work): boolean {
  if (policy.borrow === null || input.priority >= priority) return false;
  return policy.borrow.maxPriority === null || input.priority <= policy.borrow.maxPriority;
}

/** The depth of the lowest node of the asker's path whose quota holds usage plus ask in every cell; −1: none. */
function lowestHolder({ world, asker }: Search): number {
  const { tree, usage } = world;
  const { cells, amounts } = asker.option.demand;
  const misses = new Map<number, boolean>();
  for (let i = 0; i < cells.length; i++) {
    for (const { node, holds } of usage.holdsOnPath(asker.division, cells[i]!, amounts[i]!))
      misses.set(node, (misses.get(node) ?? false) || !holds);
  }
  for (const [node, missed] of misses) if (!missed) return tree.nodes[node]!.depth;
  return -1;
}

function sideBelow({ world, asker }: Search, division: number, holderDepth: number) {
  const { tree } = world;
  const common = tree.commonAncestor(asker.division, division)!;
  const side: number[] = [];
  for (let node = division; node !== common; node = tree.nodes[node]!.parent) side.push(node);
  return { side, claim: holderDepth > tree.nodes[common]!.depth };
}
