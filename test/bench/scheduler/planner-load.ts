import { assert } from '../../../core/assert.ts';
import type { PlannerConfig } from '../../../pools/planner-input.ts';
import { Planner } from '../../../scheduler/admission/planner.ts';

/** Virtual time of a step. */
const STEP_MS = 1_000;

interface Ask {
  readonly division: string;
  readonly gpuMilli: number;
}

/** A planner under load, in which nothing is preempted. */
export class PlannerLoad {
  readonly #planner: Planner;
  /** What runs, the longest first. */
  readonly #running: string[] = [];
  readonly #asks = new Map<string, Ask>();
  #made = 0;
  #nowMs = 0;
  cycles = 0;
  admitted = 0;

  constructor(config: PlannerConfig) {
    this.#planner = new Planner(config);
  }

  get made(): number {
    return this.#made;
  }

  get pending(): number {
    return this.#made - this.admitted;
  }

  get running(): number {
    return this.#running.length;
  }

  /** Ends what has run longest, and puts a new ask of the same division and size in the place of each that is admitted then. */
  step(): void {
    this.#nowMs += STEP_MS;
    const id = this.#running.shift();
    assert(id !== undefined, 'something runs');
    this.#planner.removeRunning(id);
    this.settle((ask) => this.ask(ask));
  }

  /** Lets the planner decide until it has nothing more to say. */
  settle(onAdmitted: (ask: Ask) => void = () => {}): void {
    for (;;) {
      const { admitted, preempted, again } = this.#planner.cycle(this.#nowMs);
      this.cycles++;
      this.admitted += admitted.length;
      assert(preempted.length === 0, 'nothing is preempted');
      for (const { id } of admitted) {
        this.#running.push(id);
        const ask = this.#asks.get(id)!;
        this.#asks.delete(id);
        onAdmitted(ask);
      }
      if (admitted.length === 0 && !again) return;
    }
  }

  ask({ division, gpuMilli }: Ask): void {
    const id = `b-${this.#made++}`;
    this.#asks.set(id, { division, gpuMilli });
    this.#planner.addPending({
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
    });
  }
}
