import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { check } from '../../core/schema.ts';
import type {
  DivisionInput,
  FlavourInput,
  GroupInput,
  GuardInput,
  Interval,
  PendingInput,
  PlannerConfig,
  PriceInput,
  QuotaInput,
  RunningInput,
} from '../../pools/planner-input.ts';
import { checkNames } from './scenario-names.ts';
import { ScenarioFile } from './scenario-schema.ts';
import { ScenarioValues } from './scenario-values.ts';

/** A scenario as the planner takes it; lists are sorted, so that their order in the file decides nothing. */
export interface Scenario {
  readonly nowMs: number;
  readonly config: PlannerConfig;
  readonly running: readonly RunningInput[];
  readonly pending: readonly PendingInput[];
}

const DEFAULT_CURRENCY = 'USD';

/** A checked scenario; throws RefusedInput with every problem at once. */
export function parseScenario(value: unknown): Scenario {
  refuseOtherKind(value);
  const refusals: readonly Refusal[] = check(ScenarioFile, value);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const file = value as ScenarioFile;
  const values = new ScenarioValues();
  const flavours = flavoursOf(file, values);
  checkNames(file, new Set(flavours.map(({ id }) => id)), values);
  const nowMs = nowOf(file, values);
  const config = configOf(file, flavours, values);
  const running = (file.running ?? []).map((one, i) => runningOf(one, `running.${i}`, nowMs, values));
  const pending = (file.pending ?? []).map((one, i) => pendingOf(one, `pending.${i}`, nowMs, values));
  if (values.refusals.length > 0) throw new RefusedInput(values.refusals);
  const byStart = (a: RunningInput, b: RunningInput) => a.startedAtMs - b.startedAtMs || (a.id < b.id ? -1 : 1);
  return {
    nowMs,
    config,
    running: running.sort(byStart),
    pending: pending.sort((a, b) => a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1)),
  };
}

/** A document of another kind is told so, instead of each of its fields. */
function refuseOtherKind(value: unknown): void {
  const { kind } = (value ?? {}) as { readonly kind?: unknown };
  if (typeof kind !== 'string' || kind === 'Scenario') return;
  throw new RefusedInput([refuse('kind', 'kind', 'is not Scenario', 'give a document that says kind: Scenario')]);
}

/** Without `now`, the last instant that anything happened at: no clock is looked at. */
function nowOf(file: ScenarioFile, values: ScenarioValues): number {
  if (file.now !== undefined) return values.instant('now', file.now);
  const times = [...(file.running ?? []), ...(file.pending ?? [])].flatMap((one) => [
    one.createdAt,
    'startedAt' in one ? one.startedAt : undefined,
  ]);
  return times.reduce((last, time) => Math.max(last, time === undefined ? 0 : Date.parse(time) || 0), 0);
}

function configOf(file: ScenarioFile, flavours: readonly FlavourInput[], values: ScenarioValues): PlannerConfig {
  const groups = (file.groups ?? []).map(
    (group, i): GroupInput => ({
      name: group.name,
      parent: group.parent ?? null,
      weightMilli: weightOf(group.weight, `groups.${i}.weight`, values),
      quota: quotaOf(group.quota, `groups.${i}.quota`, false, values),
    }),
  );
  const all = flavours.map(({ id }) => id);
  return {
    fairSharing: {
      enabled: file.fairSharing !== undefined && file.fairSharing.enabled !== false,
      strategies: file.fairSharing?.strategies ?? ['final', 'initial'],
    },
    flavours,
    nodes: (file.nodes ?? []).map(({ name, flavour, cordoned, ...capacity }, i) => ({
      name,
      flavour,
      cordoned: cordoned ?? false,
      capacity: values.amounts(`nodes.${i}`, capacity as Record<string, number>),
    })),
    groups: groups.sort((a, b) => (a.name < b.name ? -1 : 1)),
    divisions: (file.divisions ?? [])
      .map((one, i) => divisionOf(file, one, `divisions.${i}`, all, values))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    guards: guardsOf(file, values),
    reservations: (file.reservations ?? []).map((one, i) => ({
      id: one.id,
      division: one.division,
      flavour: one.flavour,
      amounts: values.amounts(`reservations.${i}.resources`, one.resources),
      fromMs: values.instant(`reservations.${i}.from`, one.from),
      untilMs: values.instant(`reservations.${i}.until`, one.until),
    })),
  };
}

/** Those listed, then those that only capacity or a quota names, by name. */
function flavoursOf(file: ScenarioFile, values: ScenarioValues): readonly FlavourInput[] {
  const owners = [...(file.groups ?? []), ...(file.divisions ?? [])];
  const named = new Set([
    ...Object.keys(file.capacity ?? {}),
    ...owners.flatMap(({ quota }) => Object.keys(quota ?? {})),
    ...(file.nodes ?? []).map(({ flavour }) => flavour),
  ]);
  const listed = file.flavours ?? [];
  for (const { name } of listed) named.delete(name);
  const plain = [...named].sort().map((name): (typeof listed)[number] => ({ name }));
  return [...listed, ...plain].map((flavour, i): FlavourInput => {
    const resources = new Set(owners.flatMap(({ quota }) => Object.keys(quota?.[flavour.name] ?? {})));
    const capacity = file.capacity?.[flavour.name];
    for (const resource of Object.keys(capacity ?? {})) resources.add(resource);
    return {
      id: flavour.name,
      pool: flavour.pool ?? flavour.name,
      provider: flavour.provider ?? 'local',
      spot: flavour.spot ?? false,
      price: priceOf(flavour.price, `flavours.${i}.price`, [...resources], values),
      capacity: capacity === undefined ? {} : values.amounts(`capacity.${flavour.name}`, capacity),
      away: flavour.away ?? null,
      cordoned: flavour.cordoned ?? false,
      open: intervals(flavour.open, `flavours.${i}.open`, values),
    };
  });
}

function priceOf(
  price: NonNullable<ScenarioFile['flavours']>[number]['price'],
  field: string,
  resources: readonly string[],
  values: ScenarioValues,
): PriceInput | null {
  if (price === undefined) return null;
  const [currency, amount, resource] =
    typeof price === 'object'
      ? [price.currency, price.perUnitHour, price.resource]
      : [DEFAULT_CURRENCY, price, undefined];
  const minor = values.money(field, amount);
  const priced = resource !== undefined ? [resource] : resources.includes('gpu') ? ['gpu'] : resources;
  return { currency, minorPerUnitHour: Object.fromEntries(priced.map((one) => [one, minor])) };
}

function divisionOf(
  file: ScenarioFile,
  division: NonNullable<ScenarioFile['divisions']>[number],
  field: string,
  all: readonly string[],
  values: ScenarioValues,
): DivisionInput {
  const { name, group = null, preemption = {}, fallback = {} } = division;
  const own = Object.keys(division.quota ?? {});
  const { own: ownPolicy = 'never', reclaim = 'never', borrow } = preemption;
  return {
    name,
    group,
    weightMilli: weightOf(division.weight, `${field}.weight`, values),
    quota: quotaOf(division.quota, `${field}.quota`, group === null, values),
    flavours: division.flavours ?? (own.length > 0 ? own : all),
    preemption: {
      own: ownPolicy,
      reclaim,
      borrow: borrow == null ? null : { maxPriority: borrow.maxPriority ?? null },
    },
    fallback: { whenFull: 'next', prefer: 'borrow', ...fallback },
    queueing: division.queueing ?? 'best-effort',
    userLimits: (division.perUser ?? []).map(({ flavour = null, resource, limit }, i) => ({
      flavour,
      resource,
      limitMilli: values.milli(`${field}.perUser.${i}.limit`, limit),
    })),
    budgets: (file.budgets ?? []).flatMap((budget, i) =>
      budget.division !== name
        ? []
        : [
            {
              currency: budget.currency ?? DEFAULT_CURRENCY,
              limitMinor: values.money(`budgets.${i}.limit`, budget.limit),
              spentMinor: budget.spent === undefined ? 0n : values.money(`budgets.${i}.spent`, budget.spent),
            },
          ],
    ),
  };
}

function weightOf(weight: number | undefined, field: string, values: ScenarioValues): number {
  return weight === undefined ? 1000 : values.milli(field, weight);
}

/** Alone, without a group, it neither borrows nor lends. */
function quotaOf(
  quota: NonNullable<ScenarioFile['divisions']>[number]['quota'],
  field: string,
  alone: boolean,
  values: ScenarioValues,
): readonly QuotaInput[] {
  return Object.entries(quota ?? {}).flatMap(([flavour, byResource]) =>
    Object.entries(byResource).map(([resource, { nominal, borrow, lend }]): QuotaInput => {
      const at = `${field}.${flavour}.${resource}`;
      const borrowMilli = values.limit(`${at}.borrow`, borrow);
      const lendMilli = values.limit(`${at}.lend`, lend);
      return {
        flavour,
        resource,
        nominalMilli: values.milli(`${at}.nominal`, nominal),
        borrowMilli: alone ? null : borrowMilli,
        lendMilli: alone ? null : lendMilli,
      };
    }),
  );
}

function guardsOf({ guards }: ScenarioFile, values: ScenarioValues): readonly GuardInput[] {
  if (guards === undefined) return [];
  const { pools = {}, ...others } = guards;
  const read = (pool: string | null, field: string, guard: typeof others): GuardInput => ({
    pool,
    minRunMs: guard.minRunTime === undefined ? 0 : values.duration(`${field}.minRunTime`, guard.minRunTime),
    maxCheckpointAgeMs:
      guard.maxCheckpointAge === undefined
        ? null
        : values.duration(`${field}.maxCheckpointAge`, guard.maxCheckpointAge),
    rate: guard.rate ?? null,
    graceMs: guard.grace === undefined ? 0 : values.duration(`${field}.grace`, guard.grace),
  });
  return [
    read(null, 'guards', others),
    ...Object.entries(pools).map(([pool, guard]) => read(pool, `guards.pools.${pool}`, guard)),
  ];
}

function intervals(
  windows: readonly { readonly from: string; readonly until: string }[] | undefined,
  field: string,
  values: ScenarioValues,
): readonly Interval[] | null {
  if (windows === undefined) return null;
  return windows
    .map(({ from, until }, i) => ({
      fromMs: values.instant(`${field}.${i}.from`, from),
      untilMs: values.instant(`${field}.${i}.until`, until),
    }))
    .sort((a, b) => a.fromMs - b.fromMs);
}

type Running = NonNullable<ScenarioFile['running']>[number];
type Pending = NonNullable<ScenarioFile['pending']>[number];

function runningOf(one: Running, field: string, nowMs: number, values: ScenarioValues): RunningInput {
  const instant = (name: 'createdAt' | 'startedAt' | 'leaseEndsAt' | 'checkpointedAt') =>
    one[name] === undefined ? undefined : values.instant(`${field}.${name}`, one[name]);
  const createdAtMs = instant('createdAt') ?? nowMs;
  const replicas = one.replicas ?? 1;
  const podSets = one.podSets ?? [{ count: replicas, resources: one.resources ?? {} }];
  const { draining } = one;
  return {
    id: one.id,
    division: one.division,
    user: one.user ?? null,
    podSets: podSets.map((podSet, i) => ({
      flavour: ('on' in podSet ? podSet.on : undefined) ?? one.on ?? '',
      count: podSet.count,
      resources: values.amounts(
        one.podSets === undefined ? `${field}.resources` : `${field}.podSets.${i}.resources`,
        podSet.resources,
      ),
      nodes: one.node === undefined ? null : [{ node: one.node, replicas: podSet.count }],
    })),
    minReplicas: one.minReplicas ?? null,
    priority: one.priority ?? 0,
    createdAtMs,
    startedAtMs: instant('startedAt') ?? createdAtMs,
    leaseEndsAtMs: instant('leaseEndsAt') ?? null,
    checkpointedAtMs: instant('checkpointedAt') ?? null,
    draining:
      draining === undefined
        ? null
        : {
            for: draining.for ?? null,
            untilMs: draining.until === undefined ? null : values.instant(`${field}.draining.until`, draining.until),
          },
    held: null,
  };
}

function pendingOf(one: Pending, field: string, nowMs: number, values: ScenarioValues): PendingInput {
  const podSets = one.podSets ?? [{ count: one.replicas ?? 1, resources: one.resources ?? {} }];
  return {
    id: one.id,
    division: one.division,
    user: one.user ?? null,
    podSets: podSets.map(({ count, resources }, i) => ({
      count,
      resources: values.amounts(
        one.podSets === undefined ? `${field}.resources` : `${field}.podSets.${i}.resources`,
        resources,
      ),
    })),
    minReplicas: one.minReplicas ?? null,
    flavours: one.flavours ?? null,
    priority: one.priority ?? 0,
    createdAtMs: one.createdAt === undefined ? nowMs : values.instant(`${field}.createdAt`, one.createdAt),
    notBeforeMs: one.notBefore === undefined ? 0 : values.instant(`${field}.notBefore`, one.notBefore),
    leaseMs: one.lease === undefined ? null : values.duration(`${field}.lease`, one.lease),
    maxCostMinor: one.maxCost === undefined ? null : values.money(`${field}.maxCost`, one.maxCost),
    preferPrice: one.prefer === 'price',
    startWithin: intervals(one.window, `${field}.window`, values),
  };
}
