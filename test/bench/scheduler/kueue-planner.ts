import type { GuardInput, PlannerConfig } from '../../../pools/planner-input.ts';
import { type Generator, KUEUE_FLAVOUR, KUEUE_RESOURCE, queuesOf } from './kueue-generators.ts';
import { aDivision, aFlavour, NO_SHARING, PlannerScheduler } from './planner-scheduler.ts';

/** A cohort is a root group, a ClusterQueue a division; what Kueue's generator does not say has Kueue's default: no fair sharing, BestEffortFIFO, borrow before preempting. */
export function kueueConfig(generator: Generator, guards: readonly GuardInput[] = []): PlannerConfig {
  const queues = queuesOf(generator);
  const nominalMilli = generator.nominal * 1000;
  return {
    fairSharing: NO_SHARING,
    flavours: [aFlavour(KUEUE_FLAVOUR, { [KUEUE_RESOURCE]: nominalMilli * queues.length })],
    nodes: [],
    groups: [...new Set(queues.map(({ cohort }) => cohort))].map((name) => ({
      name,
      parent: null,
      weightMilli: 1000,
      quota: [],
    })),
    divisions: queues.map(({ name, cohort }) =>
      aDivision(name, {
        group: cohort,
        flavours: [KUEUE_FLAVOUR],
        quota: [
          {
            flavour: KUEUE_FLAVOUR,
            resource: KUEUE_RESOURCE,
            nominalMilli,
            borrowMilli: generator.borrowingLimit * 1000,
            lendMilli: null,
          },
        ],
        preemption: { ...generator.preemption, borrow: null },
      }),
    ),
    guards,
    reservations: [],
  };
}

export function kueuePlanner(generator: Generator, guards: readonly GuardInput[] = []): PlannerScheduler {
  return new PlannerScheduler(kueueConfig(generator, guards), KUEUE_RESOURCE);
}

export function longestMs({ classes }: Generator): number {
  return Math.max(...classes.map(({ runtimeMs }) => runtimeMs));
}

/** A guard that no run outlives: whoever started ends. */
export function unbroken(minRunMs: number): readonly GuardInput[] {
  return [{ pool: null, minRunMs, maxCheckpointAgeMs: null, rate: null, graceMs: 0 }];
}
