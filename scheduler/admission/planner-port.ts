import type { BudgetInput, PendingInput, PlannerConfig, RunningInput } from '../../pools/planner-input.ts';
import type { CycleResult, Explanation } from './decision.ts';

/**
 * The planner of one tenant (`new Planner(config)` in planner.ts): deterministic, without I/O. Equal calls give equal answers, and
 * so do equal states however they came about.
 */
export interface PlannerPort {
  setConfig(config: PlannerConfig): void;
  /** Spent or allowed money changed. */
  setBudget(division: string, budget: BudgetInput): void;
  addPending(pending: PendingInput): void;
  removePending(id: string): void;
  addRunning(running: RunningInput): void;
  /** Takes the place of what was known by this id: lease, checkpoint, draining, shrunk replicas. */
  updateRunning(running: RunningInput): void;
  removeRunning(id: string): void;
  /** One cycle: one head a division. Call it again at once while `again`. */
  cycle(nowMs: number): CycleResult;
  /** Why it is where it is; changes nothing. */
  explain(id: string, nowMs: number): Explanation;
  /** When a cycle may decide something new though nothing was told; null: only after a change. */
  nextWakeMs(nowMs: number): number | null;
}
