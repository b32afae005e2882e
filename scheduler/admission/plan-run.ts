import type { PendingInput, RunningInput } from '../../pools/planner-input.ts';
import type { Admission, CycleResult, Explanation, Preempted, Waiting } from './decision.ts';
import { Planner } from './planner.ts';
import type { Scenario } from './scenario.ts';

/** Cycles of `--until-stable`, at most. */
export const MAX_CYCLES = 1000;

export interface Plan {
  readonly admitted: readonly Admission[];
  readonly preempted: readonly Preempted[];
  readonly waiting: readonly Waiting[];
  readonly cycles: number;
  /** After `from` cycles and again after `from + length` the same work ran and waited; null: it came to rest. */
  readonly cycle: { readonly from: number; readonly length: number } | null;
}

/** One cycle of a scenario, or as many as change something, with preempted work leaving in between. */
export function planScenario(scenario: Scenario, untilStable: boolean): Plan {
  return new Run(scenario).run(untilStable);
}

class Run {
  readonly #scenario: Scenario;
  readonly #planner: Planner;
  readonly #pending = new Map<string, PendingInput>();
  readonly #running = new Map<string, RunningInput>();
  readonly #admitted = new Map<string, Admission>();
  readonly #preempted: Preempted[] = [];
  readonly #infeasible = new Map<string, Waiting>();
  /** Told once the plan is made. */
  readonly #order: readonly string[];

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
    this.#planner = new Planner(scenario.config);
    for (const running of scenario.running) {
      this.#planner.addRunning(running);
      this.#running.set(running.id, running);
    }
    for (const pending of scenario.pending) {
      this.#planner.addPending(pending);
      this.#pending.set(pending.id, pending);
    }
    this.#order = [...scenario.pending]
      .sort((a, b) => b.priority - a.priority || a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1))
      .map(({ id }) => id);
  }

  run(untilStable: boolean): Plan {
    let cycles = 0;
    let cycle: Plan['cycle'] = null;
    const seen = new Map<string, number>([[this.#signature(), 0]]);
    while (cycles < MAX_CYCLES) {
      const result = this.#planner.cycle(this.#scenario.nowMs);
      cycles++;
      this.#note(result);
      if (!untilStable) break;
      const left = this.#letLeave();
      const moved = left || result.admitted.length > 0;
      if (!moved && !result.again) break;
      if (!moved) continue;
      const signature = this.#signature();
      const before = seen.get(signature);
      if (before !== undefined) {
        cycle = { from: before, length: cycles - before };
        break;
      }
      seen.set(signature, cycles);
    }
    return {
      admitted: [...this.#admitted.values()],
      preempted: untilStable ? this.#preempted : this.#leaving(),
      waiting: this.#waiting(),
      cycles,
      cycle,
    };
  }

  #note({ admitted, preempted, infeasible }: CycleResult): void {
    for (const admission of admitted) {
      const pending = this.#pending.get(admission.id)!;
      this.#pending.delete(admission.id);
      this.#admitted.set(admission.id, admission);
      this.#running.set(admission.id, asRunning(pending, admission, this.#scenario.nowMs));
    }
    for (const one of infeasible) {
      this.#infeasible.set(one.id, one);
      this.#pending.delete(one.id);
    }
    for (const one of preempted) {
      this.#preempted.push(one);
      const running = this.#running.get(one.id)!;
      this.#running.set(one.id, {
        ...running,
        draining: { for: one.for, untilMs: null, toReplicas: one.keptReplicas },
      });
    }
  }

  /** Victims that were draining from the start are listed beside the new ones. */
  #leaving(): readonly Preempted[] {
    const before = this.#scenario.running.flatMap(({ id, draining }): Preempted[] =>
      draining?.for != null && (this.#pending.has(draining.for) || this.#admitted.has(draining.for))
        ? [{ id, for: draining.for, how: 'evict', keptReplicas: 0 }]
        : [],
    );
    return [...before, ...this.#preempted];
  }

  /** Draining work leaves, and waits again with its own age. */
  #letLeave(): boolean {
    let left = false;
    for (const running of [...this.#running.values()]) {
      if (running.draining === null) continue;
      left = true;
      const kept = running.draining.toReplicas ?? 0;
      if (kept > 0) {
        const podSets = [{ ...running.podSets[0]!, count: kept, nodes: null }];
        const shrunk: RunningInput = { ...running, podSets, draining: null };
        this.#running.set(running.id, shrunk);
        this.#planner.updateRunning(shrunk);
        continue;
      }
      this.#running.delete(running.id);
      this.#admitted.delete(running.id);
      this.#planner.removeRunning(running.id);
      const pending = asPending(running);
      this.#pending.set(pending.id, pending);
      this.#planner.addPending(pending);
    }
    return left;
  }

  #waiting(): readonly Waiting[] {
    const told = new Set(this.#order);
    const requeued = [...this.#pending.keys()].filter((id) => !told.has(id)).sort();
    const ids = [...this.#order, ...requeued].filter((id) => this.#infeasible.has(id) || this.#pending.has(id));
    const explained = this.#planner.explainAll(
      ids.filter((id) => !this.#infeasible.has(id)),
      this.#scenario.nowMs,
    );
    const byId = new Map<string, Waiting | Explanation>(explained.map((one) => [one.id, one]));
    return ids.map((id) => this.#infeasible.get(id) ?? byId.get(id)!);
  }

  #signature(): string {
    const running = [...this.#running.values()].map(
      ({ id, podSets }) => `${id}=${podSets.map(({ flavour, count }) => `${flavour}*${count}`).join('+')}`,
    );
    return `${running.sort().join(' ')} | ${[...this.#pending.keys()].sort().join(' ')}`;
  }
}

function asRunning(pending: PendingInput, admission: Admission, nowMs: number): RunningInput {
  const { id, division, user, minReplicas, priority, createdAtMs } = pending;
  const podSets = admission.podSets.map((podSet, i) => ({ ...podSet, resources: pending.podSets[i]!.resources }));
  return {
    id,
    division,
    user,
    podSets,
    minReplicas,
    priority,
    createdAtMs,
    startedAtMs: nowMs,
    leaseEndsAtMs: admission.leaseEndsAtMs,
    checkpointedAtMs: null,
    draining: null,
    held: admission.held,
  };
}

function asPending(running: RunningInput): PendingInput {
  const { id, division, user, minReplicas, priority, createdAtMs, startedAtMs, leaseEndsAtMs } = running;
  return {
    id,
    division,
    user,
    podSets: running.podSets.map(({ count, resources }) => ({ count, resources })),
    minReplicas,
    flavours: null,
    priority,
    createdAtMs,
    notBeforeMs: 0,
    leaseMs: leaseEndsAtMs === null ? null : Math.max(0, leaseEndsAtMs - startedAtMs),
    maxCostMinor: null,
    preferPrice: false,
    startWithin: null,
  };
}
