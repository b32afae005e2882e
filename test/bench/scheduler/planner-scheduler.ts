import { assert } from '../../../core/assert.ts';
import type {
  DivisionInput,
  FlavourInput,
  PendingInput,
  PlannerConfig,
  QuotaInput,
} from '../../../pools/planner-input.ts';
import type { CycleResult } from '../../../scheduler/admission/decision.ts';
import { Planner } from '../../../scheduler/admission/planner.ts';
import type { PlannerPort } from '../../../scheduler/admission/planner-port.ts';
import type { Decisions, Scheduler } from './simulate.ts';
import type { Work } from './work.ts';

/** Merit's planner where the simulator asks for a scheduler. A victim leaves at once: its drain takes no time. */
export class PlannerScheduler implements Scheduler {
  readonly name: string;
  cycles = 0;
  readonly #planner: PlannerPort;
  readonly #resource: string;
  readonly #works = new Map<string, Work>();

  constructor(config: PlannerConfig, resource: string, name = 'Merit') {
    this.name = name;
    this.#planner = new Planner(config);
    this.#resource = resource;
  }

  wait(work: Work): void {
    this.#works.set(work.id, work);
    this.#planner.addPending(pendingOf(work, this.#resource));
  }

  leave(work: Work): void {
    this.#planner.removeRunning(work.id);
  }

  decide(nowMs: number): Decisions {
    let result: CycleResult;
    do {
      result = this.#planner.cycle(nowMs);
      this.cycles++;
      assert(result.infeasible.length === 0, `${result.infeasible[0]?.id} is infeasible`);
    } while (result.again && result.admitted.length === 0 && result.preempted.length === 0);
    return {
      started: result.admitted.map(({ id, podSets }) => ({ work: this.#work(id), flavour: podSets[0]!.flavour })),
      evicted: result.preempted.map(({ id, how }) => {
        assert(how === 'evict', `${id} can only be evicted`);
        return this.#work(id);
      }),
    };
  }

  nextWakeMs(nowMs: number): number | undefined {
    return this.#planner.nextWakeMs(nowMs) ?? undefined;
  }

  #work(id: string): Work {
    const work = this.#works.get(id);
    assert(work !== undefined, `the planner knows ${id} from here`);
    return work;
  }
}

export function pendingOf(work: Work, resource: string): PendingInput {
  return {
    id: work.id,
    division: work.queue,
    user: null,
    podSets: [{ count: 1, resources: { [resource]: work.askMilli } }],
    minReplicas: null,
    flavours: work.flavours,
    priority: work.priority,
    createdAtMs: work.createdAtMs,
    notBeforeMs: 0,
    leaseMs: work.leaseMs,
    maxCostMinor: null,
    preferPrice: false,
    startWithin: null,
  };
}

export function aFlavour(id: string, capacity: FlavourInput['capacity']): FlavourInput {
  const facts = { pool: 'bench', provider: 'bench', spot: false, price: null, away: null, cordoned: false, open: null };
  return { id, capacity, ...facts };
}

export function aDivision(
  name: string,
  parts: Pick<DivisionInput, 'group' | 'flavours'> & { readonly quota: readonly QuotaInput[] } & Partial<DivisionInput>,
): DivisionInput {
  return {
    name,
    weightMilli: 1000,
    preemption: { own: 'never', reclaim: 'never', borrow: null },
    fallback: { whenFull: 'next', prefer: 'borrow' },
    queueing: 'best-effort',
    userLimits: [],
    budgets: [],
    ...parts,
  };
}

export const NO_SHARING = { enabled: false, strategies: ['final', 'initial'] } as const;
