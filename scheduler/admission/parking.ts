import type { QuotaTree } from '../../pools/quota-tree.ts';
import type { TreeUsage } from '../../pools/tree-usage.ts';
import { Heap } from './heap.ts';
import type { Nomination } from './nominate.ts';
import type { Shape } from './shape.ts';
import { demandOf } from './world.ts';

interface Watch {
  readonly shape: Shape;
  readonly parking: number;
  /** What its division must be able to have of the cell before another try is of use. */
  readonly need: number;
}

/**
 * Shapes that do not fit, under what they lack. A shape wakes when its smallest shortfall is free, when what it could preempt may have
 * changed, when a gate opens, or, where it only stands behind somebody, when anything leaves.
 */
export class Parking {
  readonly #tree: QuotaTree;
  /** cell → division → by need. */
  readonly #watches = new Map<number, Map<number, Heap<Watch>>>();
  /** By root: shapes that may preempt. */
  readonly #stirs = new Map<number, Set<Shape>>();
  /** Of those, the ones that a rule of fair shares refused: any start may change shares. */
  readonly #refused = new Set<Shape>();
  readonly #behind = new Set<Shape>();
  /** By division: held back by limits of money or users. */
  readonly #gated = new Map<number, Set<Shape>>();
  readonly #timed = new Map<Shape, number>();
  readonly #dirty = new Set<number>();

  constructor(tree: QuotaTree) {
    this.#tree = tree;
  }

  park(shape: Shape, { tried }: Nomination): void {
    shape.state = 'parked';
    shape.parking++;
    let wakeAtMs = Number.POSITIVE_INFINITY;
    for (const { option, block } of tried) {
      if (block === null) continue;
      for (const { opensAtMs } of block.gates) wakeAtMs = Math.min(wakeAtMs, opensAtMs ?? wakeAtMs);
      wakeAtMs = Math.min(wakeAtMs, block.notes?.guardedUntilMs ?? wakeAtMs, block.rateFromMs ?? wakeAtMs);
      if (block.gates.some(({ code }) => code === 'budget' || code === 'user_limit'))
        add(this.#gated, shape.division, shape);
      if (block.kept || block.pin !== null) this.#behind.add(shape);
      if (block.notes?.refused === true) this.#refused.add(shape);
      if (block.short.length > 0) this.#watch(shape, option.flavours, block.short[0]!, block.noRoom);
    }
    const { own, reclaim } = shape.config.preemption;
    if (own !== 'never' || reclaim !== 'never') add(this.#stirs, this.#tree.nodes[shape.division]!.root, shape);
    if (Number.isFinite(wakeAtMs)) this.#timed.set(shape, wakeAtMs);
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
    this.#behind.delete(shape);
    this.#refused.delete(shape);
    this.#timed.delete(shape);
    this.#gated.get(shape.division)?.delete(shape);
    this.#stirs.get(this.#tree.nodes[shape.division]!.root)?.delete(shape);
  }

  /** Capacity in these cells was given back, or may be. */
  released(cells: readonly number[]): void {
    for (const cell of cells) this.#dirty.add(cell);
  }

  /** Shapes to try again since the last look. */
  woken(usage: TreeUsage, nowMs: number): ReadonlySet<Shape> {
    const woken = new Set<Shape>();
    for (const [shape, atMs] of this.#timed) if (atMs <= nowMs) woken.add(shape);
    if (this.#dirty.size === 0) return woken;
    for (const shape of this.#behind) woken.add(shape);
    for (const shapes of this.#stirs.values()) {
      for (const shape of shapes) if (this.#couldTake(shape)) woken.add(shape);
    }
    for (const cell of this.#dirty) {
      for (const [division, heap] of this.#watches.get(cell) ?? []) {
        const available = usage.available(division, cell);
        for (let top = heap.peek(); top !== undefined; top = heap.peek()) {
          if (top.parking === top.shape.parking) {
            if (top.need > available) break;
            woken.add(top.shape);
          }
          heap.pop();
        }
      }
    }
    this.#dirty.clear();
    return woken;
  }

  /** Who might preempt now: somebody came to be above its quota, or a checkpoint was made. `started`: somebody started. */
  stirred(division: number, started: boolean): readonly Shape[] {
    const { root } = this.#tree.nodes[division]!;
    const shapes = [...(this.#stirs.get(root) ?? [])];
    return started ? shapes.filter((shape) => this.#refused.has(shape)) : shapes;
  }

  /** Who stands behind a head that is gone. */
  behind(): readonly Shape[] {
    return [...this.#behind];
  }

  gated(division: number): readonly Shape[] {
    return [...(this.#gated.get(division) ?? [])];
  }

  nextMs(): number | null {
    let next = Number.POSITIVE_INFINITY;
    for (const atMs of this.#timed.values()) next = Math.min(next, atMs);
    return Number.isFinite(next) ? next : null;
  }

  /** Is something free again that the shape asks for on some flavour? */
  #couldTake(shape: Shape): boolean {
    for (const cell of this.#dirty) {
      const { flavour } = this.#tree.cells[cell]!;
      if (shape.flavours.some(({ id }) => id === flavour)) return true;
    }
    return false;
  }

  #watch(shape: Shape, flavours: readonly string[], cell: number, noRoom: boolean): void {
    const least = demandOf(this.#tree, shape.podSetsFor(shape.minReplicas).slice(0, flavours.length), flavours)!;
    // Machines are not looked at here: whatever leaves may make the room.
    const need = noRoom ? Number.NEGATIVE_INFINITY : (least.amounts[least.cells.indexOf(cell)] ?? 0);
    const byDivision = this.#watches.get(cell) ?? new Map<number, Heap<Watch>>();
    this.#watches.set(cell, byDivision);
    const heap = byDivision.get(shape.division) ?? new Heap<Watch>((a, b) => a.need - b.need);
    byDivision.set(shape.division, heap);
    heap.push({ shape, parking: shape.parking, need });
  }
}

function add(sets: Map<number, Set<Shape>>, key: number, shape: Shape): void {
  const set = sets.get(key) ?? new Set<Shape>();
  sets.set(key, set.add(shape));
}
