import type { QuotaTree } from '../../pools/quota-tree.ts';
import { compareShares, type Share } from '../../pools/share.ts';
import type { TreeUsage } from '../../pools/tree-usage.ts';
import type { Nomination } from './nominate.ts';
import type { Member } from './shape.ts';
import { byQueueOrder } from './shape-queue.ts';

/** A head with what it was nominated for. */
export interface Entry {
  readonly member: Member;
  readonly nomination: Nomination;
  /** It was blocked in an earlier cycle: in its turn it only keeps what is its own. */
  readonly isFront?: boolean;
}

/** What a head would make of a node on its way up. */
interface Standing {
  readonly share: Share;
  /** The node would borrow on a cell that the head asks for. */
  readonly borrows: boolean;
}

interface Cached {
  readonly version: number;
  readonly byNode: ReadonlyMap<number, Standing>;
}

/**
 * The order in which heads are admitted: the borrowing level, the smaller first. Then, without fair sharing, priority and age. With it, a
 * tournament from the leaves: of a group's children the one that does not borrow on what its head asks for wins, then the lowest
 * share with that ask, then priority, then age. Shares are compared between children of one group only.
 */
export class Order {
  readonly #tree: QuotaTree;
  readonly #usage: TreeUsage;
  readonly #fair: boolean;
  readonly #left: Entry[];
  readonly #cache = new Map<Entry, Cached>();
  /** Counts changes of a node's usage. */
  readonly #versions: number[];

  constructor(tree: QuotaTree, usage: TreeUsage, fair: boolean, heads: readonly Entry[]) {
    this.#tree = tree;
    this.#usage = usage;
    this.#fair = fair;
    this.#versions = new Array<number>(tree.nodes.length).fill(0);
    this.#left = heads.toSorted((a, b) => levelOf(a) - levelOf(b) || byQueueOrder(a.member, b.member));
  }

  /** The usage below it changed. */
  touch(division: number): void {
    for (let node = division; node >= 0; node = this.#tree.nodes[node]!.parent)
      this.#versions[node] = this.#versions[node]! + 1;
  }

  next(): Entry | undefined {
    const first = this.#left[0];
    if (first === undefined || !this.#fair) return this.#left.shift();
    const level = levelOf(first);
    const now = this.#left.filter((entry) => levelOf(entry) === level);
    const winner = now.length === 1 ? first : this.#tournament(now);
    this.#left.splice(this.#left.indexOf(winner), 1);
    return winner;
  }

  /** Roots have nothing to do with each other: of their winners the first of the queue goes first. */
  #tournament(entries: readonly Entry[]): Entry {
    const byDivision = new Map<number, Entry>();
    // A division may have its blocked front here, and behind it its head.
    for (const entry of entries.toSorted((a, b) => byQueueOrder(b.member, a.member)))
      byDivision.set(entry.member.shape.division, entry);
    const involved = new Set<number>();
    for (const division of byDivision.keys())
      for (let node = division; node >= 0; node = this.#tree.nodes[node]!.parent) involved.add(node);
    const winners = [...involved]
      .filter((node) => this.#tree.nodes[node]!.parent < 0)
      .map((root) => this.#winner(root, byDivision, involved));
    return winners.reduce((a, b) => (byQueueOrder(a.member, b.member) <= 0 ? a : b));
  }

  #winner(node: number, byDivision: ReadonlyMap<number, Entry>, involved: ReadonlySet<number>): Entry {
    const own = byDivision.get(node);
    if (own !== undefined) return own;
    let best: { readonly entry: Entry; readonly standing: Standing } | undefined;
    for (const child of this.#tree.nodes[node]!.children) {
      if (!involved.has(child)) continue;
      const entry = this.#winner(child, byDivision, involved);
      const standing = this.#standings(entry).get(child)!;
      if (best === undefined || goesBefore(entry, standing, best.entry, best.standing)) best = { entry, standing };
    }
    return best!.entry;
  }

  #standings(entry: Entry): ReadonlyMap<number, Standing> {
    const { division } = entry.member.shape;
    const { nodes } = this.#tree;
    let version = 0;
    // The root's share is nobody's concern; without it heads of other groups keep what was worked out.
    for (let node = division; nodes[node]!.parent >= 0; node = nodes[node]!.parent) version += this.#versions[node]!;
    const cached = this.#cache.get(entry);
    if (cached?.version === version) return cached.byNode;
    const { demand } = entry.nomination.verdict.option;
    const byNode = new Map<number, Standing>();
    this.#usage.charge(division, demand);
    for (let node = division; nodes[node]!.parent >= 0; node = nodes[node]!.parent) {
      const borrows = demand.cells.some((cell) => this.#usage.isAboveNominal(node, cell));
      byNode.set(node, { share: this.#usage.share(node), borrows });
    }
    this.#usage.release(division, demand);
    this.#cache.set(entry, { version, byNode });
    return byNode;
  }
}

function levelOf({ nomination }: Entry): number {
  return nomination.verdict.level;
}

function goesBefore(a: Entry, x: Standing, b: Entry, y: Standing): boolean {
  if (x.borrows !== y.borrows) return !x.borrows;
  return (compareShares(x.share, y.share) || byQueueOrder(a.member, b.member)) < 0;
}
