import fc from 'fast-check';
import type {
  DivisionInput,
  GroupInput,
  GuardInput,
  PendingInput,
  PlannerConfig,
  QuotaInput,
  RunningInput,
} from '../../pools/planner-input.ts';

/** Small random tenants for the planner's property tests. */

export const T0 = 1_700_000_000_000;
const HOUR = 3_600_000;
const FLAVOURS = ['od', 'spot'];

export interface Tenant {
  readonly config: PlannerConfig;
  readonly asks: readonly PendingInput[];
}

const units = (max: number) => fc.integer({ min: 0, max }).map((n) => n * 1000);

function quota(flavours: readonly string[], most: number): fc.Arbitrary<readonly QuotaInput[]> {
  return fc.tuple(
    ...flavours.map((flavour) =>
      fc.record({
        flavour: fc.constant(flavour),
        resource: fc.constant('gpu'),
        nominalMilli: units(most),
        borrowMilli: fc.option(units(6), { freq: 3 }),
        lendMilli: fc.option(units(6), { freq: 3 }),
      }),
    ),
  );
}

const weight = fc.constantFrom(1000, 1000, 2000, 500, 0);

const groups: fc.Arbitrary<readonly GroupInput[]> = fc.integer({ min: 1, max: 4 }).chain((count) =>
  fc.tuple(
    ...Array.from({ length: count }, (_, i) =>
      fc.record({
        name: fc.constant(`g${i}`),
        // A root, or below one that came before.
        parent:
          i === 0 ? fc.constant(null) : fc.integer({ min: -1, max: i - 1 }).map((at) => (at < 0 ? null : `g${at}`)),
        weightMilli: weight,
        quota: quota(FLAVOURS, 3),
      }),
    ),
  ),
);

function division(name: string, parents: readonly string[]): fc.Arbitrary<DivisionInput> {
  return fc.record({
    name: fc.constant(name),
    group: fc.option(fc.constantFrom(...parents), { freq: 8 }),
    weightMilli: weight,
    quota: quota(FLAVOURS, 6),
    flavours: fc.constantFrom(['od'], ['od', 'spot'], ['spot', 'od']),
    preemption: fc.record({
      own: fc.constantFrom('never', 'lower', 'lower-or-newer'),
      reclaim: fc.constantFrom('never', 'lower', 'any', 'any'),
      borrow: fc.option(fc.record({ maxPriority: fc.option(fc.integer({ min: -1, max: 2 })) }), { freq: 2 }),
    }),
    fallback: fc.record({ whenFull: fc.constantFrom('next', 'preempt'), prefer: fc.constantFrom('borrow', 'preempt') }),
    queueing: fc.constantFrom('best-effort', 'best-effort', 'strict'),
    userLimits: fc.constant([]),
    budgets: fc.constant([]),
  });
}

function ask(id: string, divisions: readonly string[], leases: boolean): fc.Arbitrary<PendingInput> {
  return fc
    .record({
      division: fc.constantFrom(...divisions),
      replicas: fc.integer({ min: 1, max: 6 }),
      gpu: fc.constantFrom(1000, 1000, 2000, 500),
      elastic: fc.boolean(),
      priority: fc.integer({ min: -1, max: 2 }),
      ageS: fc.integer({ min: 0, max: 50 }),
      lease: leases ? fc.option(fc.integer({ min: 1, max: 5 }), { freq: 4 }) : fc.constant(null),
    })
    .map(({ division: name, replicas, gpu, elastic, priority, ageS, lease }) => ({
      id,
      division: name,
      user: null,
      podSets: [{ count: replicas, resources: { gpu } }],
      minReplicas: elastic && replicas > 1 ? Math.ceil(replicas / 2) : null,
      flavours: null,
      priority,
      createdAtMs: T0 - ageS * 1000,
      notBeforeMs: 0,
      leaseMs: lease === null ? null : lease * HOUR,
      maxCostMinor: null,
      preferPrice: false,
      startWithin: null,
    }));
}

const guard: fc.Arbitrary<GuardInput> = fc.record({
  pool: fc.constantFrom(null, 'od'),
  minRunMs: fc.constantFrom(0, 60_000, 150_000),
  maxCheckpointAgeMs: fc.constant(null),
  rate: fc.constant(null),
  graceMs: fc.constant(0),
});

export function tenants(most = 14, leases = false, guarded = false): fc.Arbitrary<Tenant> {
  return fc.tuple(groups, fc.integer({ min: 1, max: 5 })).chain(([tree, count]) => {
    const names = Array.from({ length: count }, (_, i) => `d${i}`);
    return fc
      .record({
        divisions: fc.tuple(
          ...names.map((name) =>
            division(
              name,
              tree.map((group) => group.name),
            ),
          ),
        ),
        fair: fc.constantFrom('off', 'both', 'final', 'initial'),
        guards: guarded ? fc.array(guard, { minLength: 1, maxLength: 2 }) : fc.constant([]),
        asks: fc
          .integer({ min: 1, max: most })
          .chain((n) => fc.tuple(...Array.from({ length: n }, (_, i) => ask(`p${i}`, names, leases)))),
      })
      .map(({ divisions, fair, guards, asks }) => ({
        asks,
        config: {
          fairSharing: {
            enabled: fair !== 'off',
            strategies: fair === 'final' || fair === 'initial' ? [fair] : (['final', 'initial'] as const),
          },
          flavours: FLAVOURS.map((id) => ({
            id,
            pool: id,
            provider: 'local',
            spot: id === 'spot',
            price: null,
            capacity: {},
            away: null,
            cordoned: false,
            open: null,
          })),
          nodes: [],
          groups: tree,
          divisions,
          guards,
          reservations: [],
        },
      }));
  });
}

/** A pending ask that came to run. */
export function asRunning(
  pending: PendingInput,
  podSets: readonly { readonly flavour: string; readonly count: number }[],
  nowMs: number,
): RunningInput {
  return {
    id: pending.id,
    division: pending.division,
    user: pending.user,
    podSets: podSets.map(({ flavour, count }, i) => ({
      flavour,
      count,
      resources: pending.podSets[i]!.resources,
      nodes: null,
    })),
    minReplicas: pending.minReplicas,
    priority: pending.priority,
    createdAtMs: pending.createdAtMs,
    startedAtMs: nowMs,
    leaseEndsAtMs: pending.leaseMs === null ? null : nowMs + pending.leaseMs,
    checkpointedAtMs: null,
    draining: null,
    held: null,
  };
}
