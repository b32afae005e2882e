import type { QuotaTree } from '../../pools/quota-tree.ts';
import type { TreeUsage } from '../../pools/tree-usage.ts';
import type { Outlook } from '../preemption/outlook.ts';
import type { Nomination, Verdict } from './nominate.ts';
import { ParkingHeap } from './parking-heap.ts';
import { Scopes } from './scopes.ts';
import type { Shape } from './shape.ts';
import { demandOf } from './world.ts';

/** cell → node → shapes by what they need there. */
type Watches = Map<number, Map<number, ParkingHeap>>;

/**
 * Shapes that do not fit, under what they lack. A shape wakes when its smallest shortfall is free, when what it could preempt may have
 * changed (see Outlook), when a gate opens, or, where it only stands behind somebody, when anything leaves.
 */
export class Parking {
  readonly #tree: QuotaTree;
  /** Roots have more quota together than there is: what one gives back another may take. */
  readonly #isShared: boolean;
  /** By what must be available to a division, or to its root where that bounds it. */
  readonly #rooms: Watches = new Map();
  /** By what of its quota a node must not use. */
  readonly #quotas: Watches = new Map();
  readonly #timed = new ParkingHeap();
  /** Those that could take their own division's work, or all divisions' of their root. */
  readonly #scopes = new Scopes();
  /** By root: there are victims enough, but rules of shares and quotas refused them; whatever starts or ends there may change those. */
  readonly #ruled = new Map<number, Set<Shape>>();
  /** Some work was left out for what they themselves left for. */
  readonly #sparing = new Set<Shape>();
  readonly #behind = new Set<Shape>();
  /** By division: held back by limits of money or users. */
  readonly #gated = new Map<number, Set<Shape>>();
  // Since the last look:
  readonly #givenCells = new Set<number>();
  readonly #givenNodes = new Set<number>();
  /** root → cells of which somebody came to be above its quota. */
  readonly #crossed = new Map<number, Set<number>>();
  readonly #startedRoots = new Set<number>();

  constructor(tree: QuotaTree) {
    this.#tree = tree;
    const roots = tree.nodes.filter(({ parent }) => parent < 0);
    this.#isShared = tree.cells.some((_cell, cell) => {
      const quota = roots.reduce((sum, { index }) => sum + tree.subtree[tree.at(index, cell)]!, 0);
      return quota > tree.capacity[cell]!;
    });
  }

  park(shape: Shape, { tried }: Nomination): void {
    shape.state = 'parked';
    shape.parking++;
    let wakeAtMs = Number.POSITIVE_INFINITY;
    for (const { option, block } of tried) {
      if (block === null) continue;
      for (const { opensAtMs } of block.gates) wakeAtMs = Math.min(wakeAtMs, opensAtMs ?? wakeAtMs);
      if (block.gates.some(({ code }) => code === 'budget' || code === 'user_limit'))
        add(this.#gated, shape.division, shape);
      if (block.kept || block.pin !== null) this.#behind.add(shape);
      const outlook = block.notes?.outlook ?? null;
      if (outlook !== null) wakeAtMs = Math.min(wakeAtMs, this.#lookOut(shape, outlook, block));
      else if (block.short.length > 0) this.#watchRoom(shape, option.flavours, block);
    }
    if (Number.isFinite(wakeAtMs)) this.#timed.push(shape, wakeAtMs);
  }

  /** It fits once others have left. */
  parkBehind(shape: Shape): void {
    shape.state = 'parked';
    shape.parking++;
    this.#behind.add(shape);
  }

  /** It is not parked any more, or not there. */
  forget(shape: Shape): void {
    shape.parking++;
    const node = this.#tree.nodes[shape.division];
    // Of a division that is not configured: it was never parked.
    if (node === undefined) return;
    const { root } = node;
    this.#behind.delete(shape);
    this.#sparing.delete(shape);
    this.#ruled.get(root)?.delete(shape);
    this.#gated.get(shape.division)?.delete(shape);
    this.#scopes.remove(root, shape);
    this.#scopes.remove(shape.division, shape);
  }

  /** Capacity of a division was given back, or may be. */
  released(division: number, cells: readonly number[]): void {
    for (const cell of cells) this.#givenCells.add(cell);
    for (let node = division; node >= 0; node = this.#tree.nodes[node]!.parent) this.#givenNodes.add(node);
  }

  /**
   * Work started that is no victim before `guardedUntilMs`; `crossed`: cells of which a node came to be above its quota by it. Shapes to try
   * again.
   */
  started(division: number, crossed: readonly number[], guardedUntilMs: number, nowMs: number): readonly Shape[] {
    const { root } = this.#tree.nodes[division]!;
    this.#startedRoots.add(root);
    this.#scopes.started(root, guardedUntilMs, nowMs);
    if (root !== division) this.#scopes.started(division, guardedUntilMs, nowMs);
    const woken = [...(this.#ruled.get(root) ?? [])];
    if (crossed.length === 0) return woken;
    const cells = this.#crossed.get(root) ?? new Set<number>();
    this.#crossed.set(root, cells);
    for (const cell of crossed) cells.add(cell);
    for (const shape of this.#scopes.shapesOf(root)) if (this.#asksOf(shape, crossed)) woken.push(shape);
    return woken;
  }

  /** Work of a division may be taken that was guarded. */
  loosened(division: number): readonly Shape[] {
    const { root } = this.#tree.nodes[division]!;
    return [...this.#scopes.shapesOf(division), ...this.#scopes.shapesOf(root)];
  }

  /** Who left out somebody that it need not leave out any more. */
  sparing(): readonly Shape[] {
    return [...this.#sparing];
  }

  /** Shapes to try again since the last look. */
  woken(usage: TreeUsage, nowMs: number): ReadonlySet<Shape> {
    const given = this.#givenCells.size > 0;
    const woken = new Set<Shape>(this.#timed.upTo(nowMs));
    for (const shape of this.#scopes.woken(nowMs, (node) => this.#isGiven(node))) woken.add(shape);
    if (given) {
      for (const shape of this.#behind) woken.add(shape);
      for (const node of this.#givenNodes) for (const shape of this.#ruled.get(node) ?? []) woken.add(shape);
      for (const shape of this.#given(usage)) woken.add(shape);
    }
    this.#givenCells.clear();
    this.#givenNodes.clear();
    this.#crossed.clear();
    this.#startedRoots.clear();
    return woken;
  }

  /** Who stands behind a head that is gone. */
  behind(): readonly Shape[] {
    return [...this.#behind];
  }

  gated(division: number): readonly Shape[] {
    return [...(this.#gated.get(division) ?? [])];
  }

  nextMs(): number | null {
    const next = Math.min(this.#timed.leastKey, this.#scopes.nextMs);
    return Number.isFinite(next) ? next : null;
  }

  /** Was something given back below the node, or elsewhere of what it shares with others? */
  #isGiven(node: number): boolean {
    return this.#givenNodes.has(node) || (this.#isShared && this.#givenCells.size > 0);
  }

  *#given(usage: TreeUsage): Generator<Shape> {
    const { subtree } = this.#tree;
    for (const cell of this.#givenCells) {
      for (const [node, heap] of this.#rooms.get(cell) ?? [])
        yield* heap.upTo(usage.available(node, cell), ({ division }, need) => {
          return division === node || usage.available(division, cell) >= need;
        });
      const quotas = this.#quotas.get(cell);
      if (quotas === undefined) continue;
      for (const node of this.#givenNodes) {
        const heap = quotas.get(node);
        if (heap !== undefined) yield* heap.upTo(subtree[this.#tree.at(node, cell)]! - usage.usage(node, cell));
      }
    }
  }

  /** Until when it waits at the most. */
  #lookOut(shape: Shape, outlook: Outlook, { notes }: NonNullable<Verdict['block']>): number {
    const { root } = this.#tree.nodes[shape.division]!;
    const { own } = shape.config.preemption;
    for (const { cell, amount } of outlook.rooms)
      watch(this.#rooms, cell, this.#roomOf(shape.division, cell), shape, amount);
    for (const { cell, node, amount } of outlook.quotas) watch(this.#quotas, cell, node, shape, amount);
    if (outlook.takes) this.#scopes.add(root, shape);
    else if (own !== 'never') this.#scopes.add(shape.division, shape);
    const ruled = outlook.takes && !outlook.lacks;
    if (ruled) add(this.#ruled, root, shape);
    if (notes?.spared === true) this.#sparing.add(shape);
    // What this very cycle started before it was parked it was not looked at with.
    const isStale =
      (ruled && this.#startedRoots.has(root)) || (outlook.takes && this.#asksOf(shape, this.#crossed.get(root) ?? []));
    return isStale ? 0 : outlook.atMs;
  }

  /** A division that lends all it has, as all groups above it, can have no more than its root has: those wait under that together. */
  #roomOf(division: number, cell: number): number {
    const { nodes, local } = this.#tree;
    let node = division;
    for (; nodes[node]!.parent >= 0; node = nodes[node]!.parent)
      if (local[this.#tree.at(node, cell)]! > 0) return division;
    return node;
  }

  /** Does the shape ask for one of the cells on some flavour? */
  #asksOf(shape: Shape, cells: Iterable<number>): boolean {
    for (const cell of cells) {
      const { flavour } = this.#tree.cells[cell]!;
      if (shape.flavours.some(({ id }) => id === flavour)) return true;
    }
    return false;
  }

  #watchRoom(shape: Shape, flavours: readonly string[], { short, noRoom }: NonNullable<Verdict['block']>): void {
    const cell = short[0]!;
    const least = demandOf(this.#tree, shape.podSetsFor(shape.minReplicas).slice(0, flavours.length), flavours)!;
    // Machines are not looked at here: whatever leaves may make the room.
    const need = noRoom ? Number.NEGATIVE_INFINITY : (least.amounts[least.cells.indexOf(cell)] ?? 0);
    watch(this.#rooms, cell, this.#roomOf(shape.division, cell), shape, need);
  }
}

function watch(watches: Watches, cell: number, node: number, shape: Shape, need: number): void {
  const byNode = watches.get(cell) ?? new Map<number, ParkingHeap>();
  watches.set(cell, byNode);
  const heap = byNode.get(node) ?? new ParkingHeap();
  byNode.set(node, heap);
  heap.push(shape, need);
}

function add(sets: Map<number, Set<Shape>>, key: number, shape: Shape): void {
  const set = sets.get(key) ?? new Set<Shape>();
  sets.set(key, set.add(shape));
}
