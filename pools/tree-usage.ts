import type { QuotaTree } from './quota-tree.ts';
import { compareRatios, NO_SHARE, type Share } from './share.ts';

/** Amounts by cell, each cell once, each amount > 0. */
export interface Demand {
  readonly cells: readonly number[];
  readonly amounts: readonly number[];
}

/** What holds a node back from having more. */
export interface Bound {
  readonly kind: 'quota' | 'borrow_limit' | 'capacity';
  /** The node whose quota is used up, or whose borrowing limit binds; the root where the pool's capacity does. */
  readonly node: number;
  readonly available: number;
}

/**
 * The usage of a quota tree, and of the capacity that its flavours declare. Usage of a node bubbles to its parent only past what the node
 * keeps for itself, so that it is a function of the leaves' usage, whatever came first. Charges take O(depth).
 */
export class TreeUsage {
  readonly tree: QuotaTree;
  readonly #usage: Float64Array;
  /** By cell, of all roots. */
  readonly #used: Float64Array;

  constructor(tree: QuotaTree) {
    this.tree = tree;
    this.#usage = new Float64Array(tree.nodes.length * tree.cells.length);
    this.#used = new Float64Array(tree.cells.length);
  }

  clone(): TreeUsage {
    const copy = new TreeUsage(this.tree);
    copy.copyFrom(this);
    return copy;
  }

  copyFrom(other: TreeUsage): void {
    this.#usage.set(other.#usage);
    this.#used.set(other.#used);
  }

  usage(node: number, cell: number): number {
    return this.#usage[this.tree.at(node, cell)]!;
  }

  /** Of a cell, by everybody. */
  used(cell: number): number {
    return this.#used[cell]!;
  }

  charge(division: number, { cells, amounts }: Demand): void {
    for (let i = 0; i < cells.length; i++) this.#add(division, cells[i]!, amounts[i]!);
  }

  release(division: number, { cells, amounts }: Demand): void {
    for (let i = 0; i < cells.length; i++) this.#remove(division, cells[i]!, amounts[i]!);
  }

  /** Takes an amount out of the capacity, and of nobody's quota; less than 0: gives it back. */
  withhold(cell: number, amount: number): void {
    this.#used[cell] = this.#used[cell]! + amount;
  }

  #add(division: number, cell: number, amount: number): void {
    const { tree } = this;
    this.#used[cell] = this.#used[cell]! + amount;
    let more = amount;
    for (let node = division; node >= 0 && more > 0; node = tree.nodes[node]!.parent) {
      const at = tree.at(node, cell);
      const kept = Math.max(0, tree.local[at]! - this.#usage[at]!);
      this.#usage[at] = this.#usage[at]! + more;
      more -= kept;
    }
  }

  #remove(division: number, cell: number, amount: number): void {
    const { tree } = this;
    this.#used[cell] = this.#used[cell]! - amount;
    let less = amount;
    for (let node = division; node >= 0 && less > 0; node = tree.nodes[node]!.parent) {
      const at = tree.at(node, cell);
      const beyond = this.#usage[at]! - tree.local[at]!;
      this.#usage[at] = this.#usage[at]! - less;
      less = Math.min(less, Math.max(0, beyond));
    }
  }

  /** What the node can still have; negative where it has too much already. */
  available(node: number, cell: number): number {
    return Math.min(this.#inTree(node, cell), this.tree.capacity[cell]! - this.#used[cell]!);
  }

  #inTree(node: number, cell: number): number {
    const { tree } = this;
    const at = tree.at(node, cell);
    const usage = this.#usage[at]!;
    const { parent } = tree.nodes[node]!;
    if (parent < 0) return tree.subtree[at]! - usage;
    const local = tree.local[at]!;
    const lent = tree.subtree[at]! - local;
    const allowed = lent - Math.max(0, usage - local) + tree.borrow[at]!;
    return Math.max(0, local - usage) + Math.min(this.#inTree(parent, cell), allowed);
  }

  /** `available`, and which limit of which node makes it so: the lowest one where several do. */
  bound(division: number, cell: number): Bound {
    const { tree } = this;
    const free = tree.capacity[cell]! - this.#used[cell]!;
    const { root } = tree.nodes[division]!;
    const inTree = this.#inTree(division, cell);
    if (free < inTree) return { kind: 'capacity', node: root, available: free };
    let binds: Omit<Bound, 'available'> = { kind: 'quota', node: root };
    let above = Number.NaN;
    // From the root down: a node's own limit replaces what binds above it where it is the smaller one.
    for (const node of pathDown(tree, division)) {
      const at = tree.at(node, cell);
      const usage = this.#usage[at]!;
      if (tree.nodes[node]!.parent < 0) {
        above = tree.subtree[at]! - usage;
        continue;
      }
      const local = tree.local[at]!;
      const allowed = tree.subtree[at]! - local - Math.max(0, usage - local) + tree.borrow[at]!;
      if (allowed <= above) binds = { kind: 'borrow_limit', node };
      above = Math.max(0, local - usage) + Math.min(above, allowed);
    }
    return { ...binds, available: inTree };
  }

  fits(division: number, { cells, amounts }: Demand): boolean {
    for (let i = 0; i < cells.length; i++) if (amounts[i]! > this.available(division, cells[i]!)) return false;
    return true;
  }

  /** Would the division stay within its own quota, in every cell asked for? */
  withinNominal(division: number, { cells, amounts }: Demand): boolean {
    for (let i = 0; i < cells.length; i++) {
      const at = this.tree.at(division, cells[i]!);
      if (this.#usage[at]! + amounts[i]! > this.tree.subtree[at]!) return false;
    }
    return true;
  }

  isAboveNominal(node: number, cell: number): boolean {
    const at = this.tree.at(node, cell);
    return this.#usage[at]! > this.tree.subtree[at]!;
  }

  /** By cell of the demand: how many nodes of the path use more than their quota. */
  nodesAbove(division: number, { cells }: Demand): readonly number[] {
    const { nodes } = this.tree;
    return cells.map((cell) => {
      let above = 0;
      for (let node = division; node >= 0; node = nodes[node]!.parent) if (this.isAboveNominal(node, cell)) above++;
      return above;
    });
  }

  /** Usage plus what an ask of `amount` below it would add here is within the node's subtree quota, per node of the path upwards. */
  *holdsOnPath(
    division: number,
    cell: number,
    amount: number,
  ): Generator<{ readonly node: number; readonly holds: boolean }> {
    const { tree } = this;
    let more = amount;
    for (let node = division; node >= 0; node = tree.nodes[node]!.parent) {
      const at = tree.at(node, cell);
      yield { node, holds: this.#usage[at]! + more <= tree.subtree[at]! };
      more = Math.max(0, more - Math.max(0, tree.local[at]! - this.#usage[at]!));
    }
  }

  /** The height of the lowest ancestor whose subtree quota holds usage plus ask; the root's where none does. */
  borrowingLevel(division: number, { cells, amounts }: Demand): number {
    const { tree } = this;
    let level = 0;
    for (let i = 0; i < cells.length; i++) {
      let height = tree.nodes[tree.nodes[division]!.root]!.height;
      for (const { node, holds } of this.holdsOnPath(division, cells[i]!, amounts[i]!)) {
        if (!holds) continue;
        height = tree.nodes[node]!.height;
        break;
      }
      level = Math.max(level, height);
    }
    return level;
  }

  /** The dominant share of a node in its parent; a root has none. */
  share(node: number): Share {
    const { tree } = this;
    const { parent, weightMilli } = tree.nodes[node]!;
    if (parent < 0) return NO_SHARE;
    let dominant: Share = NO_SHARE;
    for (let resource = 0; resource < tree.resources.length; resource++) {
      let borrowed = 0;
      for (const cell of tree.cellsOfResource[resource]!) {
        const at = tree.at(node, cell);
        borrowed += Math.max(0, this.#usage[at]! - tree.subtree[at]!);
      }
      if (borrowed === 0) continue;
      const lendable = tree.lendable[parent * tree.resources.length + resource]!;
      if (dominant === NO_SHARE || compareRatios(borrowed, lendable, dominant.borrowed, dominant.lendable) > 0)
        dominant = { borrowed, lendable, weightMilli };
    }
    return dominant;
  }
}

function pathDown(tree: QuotaTree, division: number): readonly number[] {
  const path: number[] = [];
  for (let node = division; node >= 0; node = tree.nodes[node]!.parent) path.push(node);
  return path.reverse();
}
