import { Heap } from './heap.ts';
import type { Shape } from './shape.ts';

interface Scope {
  readonly node: number;
  readonly shapes: Set<Shape>;
  /** Guards of what started below it since its shapes were looked at: the first of them ends then. */
  freshMs: number;
  /** Something started below it that nothing guards. */
  isOpen: boolean;
}

interface Fresh {
  readonly scope: Scope;
  readonly atMs: number;
}

/**
 * Parked shapes by the node below which they could take victims. What starts there is a victim that they have not seen: it is one from the end of
 * its guard on, once for all that started meanwhile. Without a guard it takes as much room as it offers, so that the next thing that is given
 * back decides.
 */
export class Scopes {
  readonly #byNode = new Map<number, Scope>();
  readonly #fresh = new Heap<Fresh>((a, b) => a.atMs - b.atMs);
  /** Nodes below which something started since the last look. */
  readonly #touched = new Set<Scope>();
  readonly #open = new Set<Scope>();

  add(node: number, shape: Shape): void {
    this.#of(node).shapes.add(shape);
  }

  remove(node: number, shape: Shape): void {
    this.#byNode.get(node)?.shapes.delete(shape);
  }

  shapesOf(node: number): Iterable<Shape> {
    return this.#byNode.get(node)?.shapes ?? [];
  }

  /** `guardedUntilMs`: of what started. */
  started(node: number, guardedUntilMs: number, nowMs: number): void {
    const scope = this.#of(node);
    this.#touched.add(scope);
    if (guardedUntilMs <= nowMs) {
      scope.isOpen = true;
      this.#open.add(scope);
    } else if (guardedUntilMs < scope.freshMs) {
      scope.freshMs = guardedUntilMs;
      if (Number.isFinite(guardedUntilMs)) this.#fresh.push({ scope, atMs: guardedUntilMs });
    }
  }

  /** Whoever may have more to take. `isGiven`: something was given back that a node may have. */
  *woken(nowMs: number, isGiven: (node: number) => boolean): Generator<Shape> {
    // Nobody was parked there: whoever is from now on is looked at with all that runs.
    for (const scope of this.#touched) if (scope.shapes.size === 0) this.#settle(scope);
    this.#touched.clear();
    for (let first = this.#first(); first !== undefined && first.atMs <= nowMs; first = this.#first()) {
      this.#settle(first.scope);
      yield* first.scope.shapes;
    }
    for (const scope of this.#open) {
      if (!isGiven(scope.node)) continue;
      this.#settle(scope);
      yield* scope.shapes;
    }
  }

  get nextMs(): number {
    return this.#first()?.atMs ?? Number.POSITIVE_INFINITY;
  }

  #settle(scope: Scope): void {
    scope.freshMs = Number.POSITIVE_INFINITY;
    scope.isOpen = false;
    this.#open.delete(scope);
  }

  #first(): Fresh | undefined {
    for (;;) {
      const first = this.#fresh.peek();
      if (first === undefined || (first.scope.freshMs === first.atMs && first.scope.shapes.size > 0)) return first;
      if (first.scope.shapes.size === 0) this.#settle(first.scope);
      this.#fresh.pop();
    }
  }

  #of(node: number): Scope {
    const known = this.#byNode.get(node);
    if (known !== undefined) return known;
    const scope: Scope = { node, shapes: new Set(), freshMs: Number.POSITIVE_INFINITY, isOpen: false };
    this.#byNode.set(node, scope);
    return scope;
  }
}
