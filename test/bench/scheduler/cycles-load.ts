import { assert } from '../../../core/assert.ts';
import type { PendingInput, PlannerConfig } from '../../../pools/planner-input.ts';
import { Planner } from '../../../scheduler/admission/planner.ts';
import { aDivision, aFlavour, NO_SHARING } from './planner-scheduler.ts';

/**
 * A planner under steady load: full, with `pending` bookings waiting, 20 sizes in each of 10 divisions. A step ends the booking that has run
 * longest, lets the planner decide until it has nothing more to say, and puts a new booking of the same division and size in the place of each that was admitted.
 */

const DIVISIONS = 10;
const SIZES = 20;
export const SHAPES = DIVISIONS * SIZES;
const NOMINAL_MILLI = 200_000;
const FLAVOUR = 'od';
/** Virtual time of a step. */
const STEP_MS = 1_000;

export class CycleLoad {
  readonly #planner = new Planner(configOf());
  readonly #running: string[] = [];
  readonly #asks = new Map<string, { readonly division: string; readonly gpuMilli: number }>();
  #made = 0;
  #nowMs = 0;
  cycles = 0;
  admitted = 0;

  constructor(pending: number) {
    // Full first, so that all others come to wait.
    for (let i = 0; i < pending + SHAPES; i++)
      this.#ask(`division-${i % DIVISIONS}`, 1000 * (1 + (Math.floor(i / DIVISIONS) % SIZES)));
    this.#settle(false);
    while (this.#made - this.admitted < pending)
      this.#ask(`division-${this.#made % DIVISIONS}`, 1000 * (1 + (Math.floor(this.#made / DIVISIONS) % SIZES)));
    assert(this.#running.length > 0, 'a full planner runs something');
  }

  get pending(): number {
    return this.#made - this.admitted;
  }

  step(): void {
    this.#nowMs += STEP_MS;
    const id = this.#running.shift();
    assert(id !== undefined, 'something runs');
    this.#planner.removeRunning(id);
    this.#settle(true);
  }

  #settle(replace: boolean): void {
    for (;;) {
      const { admitted, again } = this.#planner.cycle(this.#nowMs);
      this.cycles++;
      this.admitted += admitted.length;
      for (const { id } of admitted) {
        this.#running.push(id);
        const ask = this.#asks.get(id)!;
        this.#asks.delete(id);
        if (replace) this.#ask(ask.division, ask.gpuMilli);
      }
      if (admitted.length === 0 && !again) return;
    }
  }

  #ask(division: string, gpuMilli: number): void {
    const id = `b-${this.#made++}`;
    this.#asks.set(id, { division, gpuMilli });
    const pending: PendingInput = {
      id,
      division,
      user: null,
      podSets: [{ count: 1, resources: { gpu: gpuMilli } }],
      minReplicas: null,
      flavours: null,
      priority: 0,
      createdAtMs: this.#made,
      notBeforeMs: 0,
      leaseMs: null,
      maxCostMinor: null,
      preferPrice: false,
      startWithin: null,
    };
    this.#planner.addPending(pending);
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
