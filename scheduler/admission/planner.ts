import type { BudgetInput, PendingInput, PlannerConfig, RunningInput } from '../../pools/planner-input.ts';
import { runCycle } from './cycle.ts';
import type { CycleResult, Explanation, Waiting } from './decision.ts';
import { Explainer } from './explain.ts';
import type { PlannerPort } from './planner-port.ts';
import { fateReasons } from './reasons.ts';
import { State } from './state.ts';

/** See PlannerPort. One a tenant; a cycle costs what has changed since the last one, not what waits. */
export class Planner implements PlannerPort {
  #state: State;
  /** division → the head it sent into the last cycle. */
  #lastHeads: ReadonlyMap<number, string> = new Map();

  constructor(config: PlannerConfig) {
    this.#state = new State(config);
  }

  setConfig(config: PlannerConfig): void {
    const before = this.#state;
    this.#state = new State(config);
    this.#state.takeOver(before);
    this.#lastHeads = new Map();
  }

  setBudget(division: string, budget: BudgetInput): void {
    this.#state.setBudget(division, budget);
  }

  addPending(pending: PendingInput): void {
    this.#state.addPending(pending);
  }

  removePending(id: string): void {
    this.#state.forgetPast(id);
    this.#state.removePending(id);
  }

  addRunning(running: RunningInput): void {
    this.#state.addRunning(running);
  }

  updateRunning(running: RunningInput): void {
    this.#state.updateRunning(running);
  }

  removeRunning(id: string): void {
    this.#state.removeRunning(id);
  }

  cycle(nowMs: number): CycleResult {
    const state = this.#state;
    const infeasible: Waiting[] = [];
    for (const { input, shape } of [...state.never]) {
      infeasible.push({ id: input.id, reasons: shape.never!, etaMs: null, smallestChange: null });
      state.removePending(input.id);
    }
    const { admitted, preempted, waiting, again, scene } = runCycle(state, nowMs);
    const heads = new Map(admitted.map(({ id, division }) => [state.tree.division(division)!, id]));
    for (const { shape, input } of waiting.keys()) heads.set(shape.division, input.id);
    this.#lastHeads = heads;
    return {
      admitted,
      preempted,
      infeasible: infeasible.sort((a, b) => (a.id < b.id ? -1 : 1)),
      waiting: [...waiting].map(([{ shape, input }, fate]) => ({
        id: input.id,
        reasons: fateReasons(state, scene, shape, input.id, fate),
        etaMs: null,
        smallestChange: null,
      })),
      again,
    };
  }

  explain(id: string, nowMs: number): Explanation {
    return new Explainer(this.#state, nowMs, this.#lastHeads).of(id);
  }

  /** As `explain` says it of each; what they have in common is worked out once. */
  explainAll(ids: readonly string[], nowMs: number): readonly Explanation[] {
    const explainer = new Explainer(this.#state, nowMs, this.#lastHeads);
    const byDivision = Map.groupBy(ids, (id) => this.#state.members.get(id)?.shape.division);
    const told = new Map([...byDivision.values()].flat().map((id) => [id, explainer.of(id)]));
    return ids.map((id) => told.get(id)!);
  }

  nextWakeMs(nowMs: number): number | null {
    const times = [this.#state.parking.nextMs(), this.#state.nextDelayedMs].filter((atMs) => atMs !== null);
    return times.length === 0 ? null : Math.max(nowMs, Math.min(...times));
  }
}
