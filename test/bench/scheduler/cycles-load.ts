import { assert } from '../../../core/assert.ts';
import type { PlannerConfig } from '../../../pools/planner-input.ts';
import { PlannerLoad } from './planner-load.ts';
import { aDivision, aFlavour, NO_SHARING } from './planner-scheduler.ts';

/** A planner under steady load: full, with `pending` bookings waiting, 20 sizes in each of 10 divisions. */

const DIVISIONS = 10;
const SIZES = 20;
export const SHAPES = DIVISIONS * SIZES;
const NOMINAL_MILLI = 200_000;
const FLAVOUR = 'od';

export class CycleLoad extends PlannerLoad {
  constructor(pending: number) {
    super(configOf());
    // Full first, so that all others come to wait.
    for (let i = 0; i < pending + SHAPES; i++) this.#askNext();
    this.settle();
    while (this.pending < pending) this.#askNext();
    assert(this.running > 0, 'a full planner runs something');
  }

  #askNext(): void {
    const gpuMilli = 1000 * (1 + (Math.floor(this.made / DIVISIONS) % SIZES));
    this.ask({ division: `division-${this.made % DIVISIONS}`, gpuMilli });
  }
}

function configOf(): PlannerConfig {
  const quota = [
    { flavour: FLAVOUR, resource: 'gpu', nominalMilli: NOMINAL_MILLI, borrowMilli: null, lendMilli: null },
  ];
  return {
    fairSharing: { enabled: true, strategies: NO_SHARING.strategies },
    flavours: [aFlavour(FLAVOUR, { gpu: NOMINAL_MILLI * DIVISIONS })],
    nodes: [],
    groups: [{ name: 'all', parent: null, weightMilli: 1000, quota: [] }],
    divisions: Array.from({ length: DIVISIONS }, (_, i) =>
      aDivision(`division-${i}`, { group: 'all', flavours: [FLAVOUR], quota }),
    ),
    guards: [],
    reservations: [],
  };
}
