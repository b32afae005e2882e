import type { SigningPolicy } from '../core/signing-policy.ts';
import type { Interval, PlannerConfig } from './planner-input.ts';

/** What of a tenant's pools a job's file may name, beside what the planner itself is given. */
export interface PoolFacts {
  readonly config: PlannerConfig;
  /** Flavour id → its GPU type, where its pool names one. */
  readonly gpuTypes: ReadonlyMap<string, string>;
  /** Pool → its off-peak windows, from a while ago to a while ahead. */
  readonly offPeak: ReadonlyMap<string, readonly Interval[]>;
  /** Pools that what runs there has to leave. */
  readonly draining: ReadonlySet<string>;
  /** Machines that what runs there has to leave, as `machineId` names them. */
  readonly drainingMachines: ReadonlySet<string>;
  /** Who may sign what is large. Absent: none is declared. */
  readonly signing?: SigningPolicy;
}

/** The planner's name of a pool's flavour. */
export function flavourId(pool: string, flavour: string): string {
  return `${pool}/${flavour}`;
}
