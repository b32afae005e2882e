import { compareShares, isZeroShare, type Share } from '../../pools/share.ts';
import type { Work } from '../admission/world.ts';
import { byCandidateOrder, type Candidates, candidatesOf, isAbove, type Search, type Victim } from './candidates.ts';
import { outlookOf } from './outlook.ts';
import { Removals } from './removals.ts';

export type Strategy = 'final' | 'initial';

/**
 * The victims that let the asker in under fair sharing, or undefined. Each step goes from the root into the child with the highest
 * share, and takes of the division it comes to the first candidate that passes the strategy; shares hold the ask all along. The second
 * strategy looks only at what the first refused, at most once a division.
 */
export function searchFair(search: Search, strategies: readonly Strategy[]): readonly Victim[] | undefined {
  const candidates = candidatesOf(search);
  const victims = byShares(search, candidates, strategies);
  if (victims === undefined) search.notes.outlook = outlookOf(search, candidates, 'all');
  return victims;
}

function byShares(
  search: Search,
  { own, others }: Candidates,
  strategies: readonly Strategy[],
): readonly Victim[] | undefined {
  if (own.length + others.length === 0) return undefined;
  const { usage } = search.world;
  const { division, option } = search.asker;
  usage.charge(division, option.demand);
  const tournament = new FairRemoval(search);
  const [first = 'final', second] = strategies;
  let fits = tournament.run([...others, ...own], first, false);
  if (!fits && second !== undefined) fits = tournament.run(tournament.takeRefused(), second, true);
  usage.release(division, option.demand);
  const { removals } = tournament;
  if (fits) removals.minimal(() => search.world.fits(division, option));
  const victims = fits ? removals.victims() : undefined;
  removals.undo();
  return victims;
}

class FairRemoval {
  readonly removals: Removals;
  readonly #search: Search;
  readonly #ownPath = new Set<number>();
  readonly #skipsRule: boolean;
  #refused: Work[] = [];
  #left = new Map<number, Work[]>();
  #pruned = new Set<number>();

  constructor(search: Search) {
    this.#search = search;
    this.removals = new Removals(search.world);
    const { nodes } = search.world.tree;
    for (let node = search.asker.division; node >= 0; node = nodes[node]!.parent) this.#ownPath.add(node);
    this.#skipsRule = !isAbove(search.world, search.asker.division, search.short);
  }

  takeRefused(): readonly Work[] {
    const refused = this.#refused;
    this.#refused = [];
    return refused;
  }

  /** Removes until it fits. */
  run(candidates: readonly Work[], strategy: Strategy, oncePerDivision: boolean): boolean {
    const { asker, world } = this.#search;
    this.#left = Map.groupBy(candidates, (work) => work.division);
    this.#pruned = new Set();
    const { root } = world.tree.nodes[asker.division]!;
    while (!this.#pruned.has(root)) {
      const division = this.#next(root);
      if (division === undefined) continue;
      if (this.#takeFrom(division, strategy, oncePerDivision) && this.#fits()) return true;
      if (oncePerDivision && division !== asker.division) this.#pruned.add(division);
    }
    return false;
  }

  /** One step with the division's first candidate that passes; false: none did. */
  #takeFrom(division: number, strategy: Strategy, onlyFirst: boolean): boolean {
    const left = this.#left.get(division)!;
    for (;;) {
      const work = left[0];
      if (work === undefined) return false;
      const before = this.removals.keptOf(work);
      const passes = this.#passes(work, strategy);
      if (passes) {
        if (this.removals.isGone(work)) left.shift();
        return true;
      }
      this.removals.unstep(work, before);
      left.shift();
      this.#refused.push(work);
      this.#search.notes.refused = true;
      if (onlyFirst) return false;
    }
  }

  /** Takes the candidate's next step and judges it by the shares below the common ancestor. */
  #passes(work: Work, strategy: Strategy): boolean {
    const { asker, world } = this.#search;
    if (work.division === asker.division || this.#skipsRule) {
      this.removals.step(work);
      return true;
    }
    const common = world.tree.commonAncestor(asker.division, work.division)!;
    const askers = this.#sideOf(asker.division, common);
    const victims = this.#sideOf(work.division, common);
    const asIs = world.usage.share(victims);
    this.removals.step(work);
    const asked = world.usage.share(askers);
    return strategy === 'final'
      ? compareShares(asked, world.usage.share(victims)) <= 0
      : compareShares(asked, asIs) < 0;
  }

  /** The child of `common` that has the division below it. */
  #sideOf(division: number, common: number): number {
    const { nodes } = this.#search.world.tree;
    let node = division;
    while (nodes[node]!.parent !== common) node = nodes[node]!.parent;
    return node;
  }

  #fits(): boolean {
    const { asker, world } = this.#search;
    world.usage.release(asker.division, asker.option.demand);
    const fits = world.fits(asker.division, asker.option);
    world.usage.charge(asker.division, asker.option.demand);
    return fits;
  }

  /** The division to take from next; undefined: this look only found out what yields nothing any more. */
  #next(node: number): number | undefined {
    const { nodes } = this.#search.world.tree;
    let at = node;
    for (;;) {
      if (nodes[at]!.isDivision) {
        if ((this.#left.get(at)?.length ?? 0) > 0) return at;
        this.#pruned.add(at);
        return undefined;
      }
      const best = this.#highest(at);
      if (best === undefined) {
        this.#pruned.add(at);
        return undefined;
      }
      at = best;
    }
  }

  #highest(group: number): number | undefined {
    const { tree, usage } = this.#search.world;
    let best: number | undefined;
    let bestShare: Share | undefined;
    for (const child of tree.nodes[group]!.children) {
      if (this.#pruned.has(child)) continue;
      const share = usage.share(child);
      const isOwn = this.#ownPath.has(child);
      if ((!isOwn && this.#isProtected(child, share)) || this.#firstBelow(child) === undefined) {
        // Usage only falls while work is removed, so that it stays out.
        this.#pruned.add(child);
        continue;
      }
      const order = bestShare === undefined ? 1 : compareShares(share, bestShare);
      if (order < 0 || (order === 0 && !this.#goesBefore(child, best!))) continue;
      best = child;
      bestShare = share;
    }
    return best;
  }

  /** What does not borrow; and a division that borrows, but not what is short: it keeps its nominal. */
  #isProtected(node: number, share: Share): boolean {
    const { world, short } = this.#search;
    return isZeroShare(share) || (world.tree.nodes[node]!.isDivision && !isAbove(world, node, short));
  }

  /** Of equal shares: a group before a division, else the better first candidate. */
  #goesBefore(a: number, b: number): boolean {
    const { nodes } = this.#search.world.tree;
    if (nodes[a]!.isDivision !== nodes[b]!.isDivision) return !nodes[a]!.isDivision;
    const { division } = this.#search.asker;
    const first = this.#firstBelow(a)!;
    const other = this.#firstBelow(b)!;
    const own = Number(first.division === division) - Number(other.division === division);
    return (own || byCandidateOrder(first, other)) < 0;
  }

  #firstBelow(node: number): Work | undefined {
    const { nodes } = this.#search.world.tree;
    if (nodes[node]!.isDivision) return this.#left.get(node)?.[0];
    let first: Work | undefined;
    for (const child of nodes[node]!.children) {
      const work = this.#firstBelow(child);
      if (work !== undefined && (first === undefined || byCandidateOrder(work, first) < 0)) first = work;
    }
    return first;
  }
}
