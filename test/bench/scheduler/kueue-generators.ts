import type { Work } from './work.ts';

/**
 * Kueue's own scheduler performance tests, as its published generators describe them:
 * github.com/kubernetes-sigs/kueue at ff69552e79ad21652c36caa97038382e55625cf7 (2026-08-22),
 * test/performance/scheduler/configs/{baseline,large-scale}/generator.yaml, and rangespec.yaml beside each for what its own CI got.
 */

export interface WorkloadClass {
  readonly name: string;
  readonly count: number;
  readonly creationIntervalMs: number;
  readonly runtimeMs: number;
  readonly priority: number;
  /** CPUs. */
  readonly request: number;
}

export interface Generator {
  readonly name: string;
  readonly cohorts: number;
  readonly queuesPerCohort: number;
  readonly nominal: number;
  readonly borrowingLimit: number;
  /** Of Kueue: `reclaimWithinCohort: Any`, `withinClusterQueue: LowerPriority`; fair sharing is off. */
  readonly preemption: { readonly own: 'lower'; readonly reclaim: 'any' };
  readonly classes: readonly WorkloadClass[];
  /** What Kueue's own CI measured, by the comments of its rangespec.yaml: it shows the scale, on other machines and with an API server. */
  readonly kueue: {
    readonly wallMs: number;
    readonly usagePercent: number;
    readonly admissionMs: Readonly<Record<string, number>>;
  };
}

export const BASELINE: Generator = {
  name: 'baseline',
  cohorts: 5,
  queuesPerCohort: 6,
  nominal: 20,
  borrowingLimit: 100,
  preemption: { own: 'lower', reclaim: 'any' },
  classes: [
    { name: 'small', count: 350, creationIntervalMs: 100, runtimeMs: 200, priority: 50, request: 1 },
    { name: 'medium', count: 100, creationIntervalMs: 500, runtimeMs: 500, priority: 100, request: 5 },
    { name: 'large', count: 50, creationIntervalMs: 1200, runtimeMs: 1000, priority: 200, request: 20 },
  ],
  kueue: {
    wallMs: 351_116,
    usagePercent: 55.9,
    admissionMs: { large: 16_501, medium: 76_768, small: 215_468 },
  },
};

export const LARGE_SCALE: Generator = {
  name: 'large scale',
  cohorts: 10,
  queuesPerCohort: 100,
  nominal: 20,
  borrowingLimit: 100,
  preemption: { own: 'lower', reclaim: 'any' },
  classes: [
    { name: 'small', count: 35, creationIntervalMs: 60, runtimeMs: 150, priority: 50, request: 1 },
    { name: 'medium', count: 11, creationIntervalMs: 300, runtimeMs: 350, priority: 100, request: 5 },
    { name: 'large', count: 4, creationIntervalMs: 700, runtimeMs: 700, priority: 200, request: 20 },
  ],
  kueue: {
    wallMs: 1_179_411,
    usagePercent: 38.64,
    admissionMs: { large: 105_604, medium: 256_413, small: 700_379 },
  },
};

export interface Queue {
  readonly name: string;
  readonly cohort: string;
}

/** Every queue, named as Kueue's generator does. */
export function queuesOf(generator: Generator): readonly Queue[] {
  return Array.from({ length: generator.cohorts * generator.queuesPerCohort }, (_, at) => {
    const cohort = Math.floor(at / generator.queuesPerCohort);
    return { cohort: `cohort-${cohort}`, name: `cq-${cohort}-${at % generator.queuesPerCohort}` };
  });
}

/** The one flavour of both generators. */
export const KUEUE_FLAVOUR = 'rf';
export const KUEUE_RESOURCE = 'cpu';

/**
 * Every workload in order of creation. Kueue's generator waits out the interval before each one, so that the first of a class comes one
 * interval after the start; all queues and classes count in parallel.
 */
export function workloadsOf(generator: Generator): readonly Work[] {
  const works = queuesOf(generator).flatMap(({ name: queue, cohort }) =>
    generator.classes.flatMap((of) =>
      Array.from({ length: of.count }, (_, i): Work => {
        return {
          id: `${queue}-${of.name}-${i}`,
          queue,
          root: cohort,
          className: of.name,
          priority: of.priority,
          askMilli: of.request * 1000,
          runtimeMs: of.runtimeMs,
          leaseMs: of.runtimeMs,
          createdAtMs: (i + 1) * of.creationIntervalMs,
          flavours: [KUEUE_FLAVOUR],
        };
      }),
    ),
  );
  return works.sort((a, b) => a.createdAtMs - b.createdAtMs);
}
