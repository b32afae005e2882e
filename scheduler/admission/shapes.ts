import type { PendingInput, PlannerConfig } from '../../pools/planner-input.ts';
import type { QuotaTree } from '../../pools/quota-tree.ts';
import type { WaitReason } from './decision.ts';
import { Shape, shapeKey } from './shape.ts';

/** The shapes of what waits, by what they ask for. */
export class Shapes {
  readonly #config: PlannerConfig;
  readonly #tree: QuotaTree;
  readonly #neverReasons: (shape: Shape) => readonly WaitReason[] | null;
  readonly #byKey = new Map<string, Shape>();
  readonly #divisions: ReadonlyMap<string, PlannerConfig['divisions'][number]>;

  constructor(config: PlannerConfig, tree: QuotaTree, neverReasons: (shape: Shape) => readonly WaitReason[] | null) {
    this.#config = config;
    this.#tree = tree;
    this.#neverReasons = neverReasons;
    this.#divisions = new Map(config.divisions.map((division) => [division.name, division]));
  }

  of(input: PendingInput): Shape {
    const key = shapeKey(input);
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const config = this.#divisions.get(input.division);
    const allowed = config?.flavours ?? [];
    const wanted = input.flavours?.filter((id) => allowed.includes(id)) ?? allowed;
    const flavours = wanted.flatMap((id) => this.#config.flavours.find((flavour) => flavour.id === id) ?? []);
    const shape = new Shape(key, this.#tree.division(input.division) ?? -1, config ?? NOBODY, flavours, input);
    shape.never = this.#neverReasons(shape);
    this.#byKey.set(key, shape);
    return shape;
  }

  /**
   * The same for those whose own past stood in their way: they left for the same, so that what is found out about one of them holds for all of
   * them, but not for others that ask for as much.
   */
  apart({ key, division, config, flavours, sample }: Shape, leftFor: readonly string[]): Shape {
    const apart = [key, ...leftFor].join('\u0000\u0000');
    const known = this.#byKey.get(apart);
    if (known !== undefined) return known;
    const shape = new Shape(apart, division, config, flavours, sample, true);
    this.#byKey.set(apart, shape);
    return shape;
  }

  forget(shape: Shape): void {
    if (this.#byKey.get(shape.key) === shape) this.#byKey.delete(shape.key);
  }
}

/** Stands for a division that is not configured: whatever asks in its name is infeasible. */
const NOBODY: PlannerConfig['divisions'][number] = {
  name: '',
  group: null,
  weightMilli: 1000,
  quota: [],
  flavours: [],
  preemption: { own: 'never', reclaim: 'never', borrow: null },
  fallback: { whenFull: 'next', prefer: 'borrow' },
  queueing: 'best-effort',
  userLimits: [],
  budgets: [],
};
