import { assert } from '../../../core/assert.ts';
import type { PendingInput, PlannerConfig } from '../../../pools/planner-input.ts';
import { Planner } from '../../../scheduler/admission/planner.ts';
import { aDivision, aFlavour, NO_SHARING } from './planner-scheduler.ts';

/**
 * A planner in which many heads wait for guards: each of `heads` divisions wants its own back, which 10 busy divisions borrow, and what those run is
 * younger than the minimum run time. A step ends one of theirs; another of theirs takes its place, as what is free is never enough for a head.
 */

const BUSY = 10;
const NOMINAL_MILLI = 4_000;
const FLAVOUR = 'od';
/** Virtual time of a step. */
const STEP_MS = 1_000;
/** Longer than any bench runs. */
const MIN_RUN_MS = 1e12;

export class GuardedLoad {
  readonly #planner: Planner;
  readonly #running: string[] = [];
  readonly #divisions = new Map<string, string>();
  readonly #heads: number;
  #made = 0;
  #nowMs = 0;
  cycles = 0;
  admitted = 0;

  constructor(heads: number) {
    this.#heads = heads;
    this.#planner = new Planner(configOf(heads));
    // Full first, with one more of each busy division, so that all others come to wait.
    const full = (heads * NOMINAL_MILLI) / 1000;
    for (let i = 0; i < full + BUSY; i++) this.#ask(`busy-${i % BUSY}`, 1000);
    this.#settle(false);
    assert(this.#running.length === full, 'busy divisions borrow all there is');
    for (let i = 0; i < heads; i++) this.#ask(`head-${i}`, NOMINAL_MILLI);
    this.#settle(false);
    assert(this.#running.length === full, 'guards hold every head back');
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
    assert(this.pending === this.#heads + BUSY, 'no head moves');
  }

  #settle(replace: boolean): void {
    for (;;) {
      const { admitted, preempted, again } = this.#planner.cycle(this.#nowMs);
      this.cycles++;
      this.admitted += admitted.length;
      assert(preempted.length === 0, 'all that runs is guarded');
      for (const { id } of admitted) {
        this.#running.push(id);
        const division = this.#divisions.get(id)!;
        this.#divisions.delete(id);
        if (replace) this.#ask(division, 1000);
      }
      if (admitted.length === 0 && !again) return;
    }
  }

  #ask(division: string, gpuMilli: number): void {
    const id = `b-${this.#made++}`;
    this.#divisions.set(id, division);
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
