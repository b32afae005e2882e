import { assert } from '../../../core/assert.ts';
import type { PlannerConfig } from '../../../pools/planner-input.ts';
import { PlannerLoad } from './planner-load.ts';
import { aDivision, aFlavour, NO_SHARING } from './planner-scheduler.ts';

/**
 * A planner in which many heads wait for guards: each of `heads` divisions wants its own back, which 10 busy divisions borrow, and what those run is
 * younger than the minimum run time. A step ends one of theirs; another of theirs takes its place, as what is free is never enough for a head.
 */

const BUSY = 10;
const NOMINAL_MILLI = 4_000;
const FLAVOUR = 'od';
/** Longer than any bench runs. */
const MIN_RUN_MS = 1e12;

export class GuardedLoad extends PlannerLoad {
  readonly #heads: number;

  constructor(heads: number) {
    super(configOf(heads));
    this.#heads = heads;
    // Full first, with one more of each busy division, so that all others come to wait.
    const full = (heads * NOMINAL_MILLI) / 1000;
    for (let i = 0; i < full + BUSY; i++) this.ask({ division: `busy-${i % BUSY}`, gpuMilli: 1000 });
    this.settle();
    assert(this.running === full, 'busy divisions borrow all there is');
    for (let i = 0; i < heads; i++) this.ask({ division: `head-${i}`, gpuMilli: NOMINAL_MILLI });
    this.settle();
    assert(this.running === full, 'guards hold every head back');
  }

  override step(): void {
    super.step();
    assert(this.pending === this.#heads + BUSY, 'no head moves');
  }
}

function configOf(heads: number): PlannerConfig {
  const quota = (nominalMilli: number) => [
    { flavour: FLAVOUR, resource: 'gpu', nominalMilli, borrowMilli: null, lendMilli: null },
  ];
  const waiting = Array.from({ length: heads }, (_, i) =>
    aDivision(`head-${i}`, {
      group: 'all',
      flavours: [FLAVOUR],
      quota: quota(NOMINAL_MILLI),
      preemption: { own: 'lower', reclaim: 'any', borrow: null },
    }),
  );
  const busy = Array.from({ length: BUSY }, (_, i) =>
    aDivision(`busy-${i}`, { group: 'all', flavours: [FLAVOUR], quota: quota(0) }),
  );
  return {
    fairSharing: NO_SHARING,
    flavours: [aFlavour(FLAVOUR, { gpu: NOMINAL_MILLI * heads })],
    nodes: [],
    groups: [{ name: 'all', parent: null, weightMilli: 1000, quota: [] }],
    divisions: [...busy, ...waiting],
    guards: [{ pool: null, minRunMs: MIN_RUN_MS, maxCheckpointAgeMs: null, rate: null, graceMs: 0 }],
    reservations: [],
  };
}
