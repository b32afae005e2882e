import { ownOf } from '../core/own.ts';
import { machineId } from './machine-states.ts';
import type {
  BudgetInput,
  DivisionInput,
  FlavourInput,
  GroupInput,
  NodeInput,
  PlannerConfig,
  QuotaInput,
} from './planner-input.ts';
import { flavourId } from './pool-facts.ts';
import type { PoolFile } from './pool-file.ts';
import { milliQuota, type QuotaValue } from './quota-value.ts';
import { fairSharingOf, guardsOf, type SchedulingFile } from './scheduling-file.ts';
import { type DivisionFile, type GroupFile, weightMilli } from './tree-files.ts';

/** All that is declared of a tenant, as its documents say it. */
export interface Declared {
  readonly pools: readonly PoolFile[];
  readonly groups: readonly GroupFile[];
  /** Those with a document; `divisionNames` has the others as well. */
  readonly divisions: readonly DivisionFile[];
  readonly divisionNames: readonly string[];
  readonly scheduling: SchedulingFile | undefined;
}

/** What is not declared but stands: flavours with what runs there, and money. */
export interface Standing {
  /** By pool and position; one that left its pool's file is still there, without capacity. */
  readonly flavours: readonly FlavourInput[];
  /** Machines that take no new work, as `machineId` names them; absent: all do. */
  readonly cordonedMachines?: ReadonlySet<string>;
  readonly budgetsOf: (division: string) => readonly BudgetInput[];
}

/** The planner's input; lists are in an order of their own, so that equal documents give equal inputs. */
export function plannerConfig(declared: Declared, standing: Standing): PlannerConfig {
  const { flavours, budgetsOf, cordonedMachines = new Set<string>() } = standing;
  const quotas = new Quotas(declared, flavours);
  const files = new Map(declared.divisions.map((file) => [file.name, file]));
  const names = new Set([...declared.divisionNames, ...files.keys()]);
  return {
    fairSharing: fairSharingOf(declared.scheduling),
    flavours,
    nodes: declared.pools.flatMap((pool) => nodesOf(pool, cordonedMachines)),
    groups: [...declared.groups].sort(byName).map(
      (file): GroupInput => ({
        name: file.name,
        parent: file.parent ?? null,
        weightMilli: weightMilli(file.weight),
        quota: quotas.ofGroup(file),
      }),
    ),
    divisions: [...names].sort().map((name) => divisionOf(name, files.get(name), quotas, budgetsOf(name))),
    guards: guardsOf(declared.scheduling),
    reservations: [],
  };
}

function divisionOf(
  name: string,
  file: DivisionFile | undefined,
  quotas: Quotas,
  budgets: readonly BudgetInput[],
): DivisionInput {
  const { group = null, preemption = {}, fallback = {} } = file ?? {};
  const { own = 'never', reclaim = 'never', borrow } = preemption;
  const quota = quotas.ofDivision(name, group === null);
  const withQuota = quota.filter((one) => one.declared).map((one) => one.flavour);
  return {
    name,
    group,
    weightMilli: weightMilli(file?.weight),
    quota: quota.map(({ declared: _declared, ...rest }) => rest),
    // Alone it can use nothing it has no quota of; listing all tells it so by the quota that it lacks.
    flavours: file?.flavours ?? (group === null || withQuota.length === 0 ? quotas.flavourIds : withQuota),
    preemption: {
      own,
      reclaim,
      borrow: borrow == null ? null : { maxPriority: borrow.maxPriority ?? null },
    },
    fallback: { whenFull: 'next', prefer: 'borrow', ...fallback },
    queueing: file?.queueing ?? 'best-effort',
    userLimits: (file?.userLimits ?? []).map(({ flavour = null, resource, limit }) => ({
      flavour,
      resource,
      limitMilli: limit * 1000,
    })),
    budgets,
  };
}

/** Quotas of the pools' files by division, and of groups by their own. */
class Quotas {
  readonly flavourIds: readonly string[];
  readonly #flavours: readonly FlavourInput[];
  /** division → flavour id → quota. */
  readonly #granted = new Map<string, Map<string, QuotaValue>>();

  constructor({ pools }: Declared, flavours: readonly FlavourInput[]) {
    this.#flavours = flavours;
    this.flavourIds = flavours.map(({ id }) => id);
    for (const pool of pools) {
      for (const [division, quota] of Object.entries(pool.quotas)) {
        const own = this.#granted.get(division) ?? new Map<string, QuotaValue>();
        this.#granted.set(division, own);
        for (const [flavour, value] of Object.entries(quota)) own.set(flavourId(pool.name, flavour), value);
      }
    }
  }

  /** Of every flavour: one without a quota of it has nothing, which is not to be known nothing of it. */
  ofDivision(division: string, alone: boolean): readonly (QuotaInput & { readonly declared: boolean })[] {
    const own = this.#granted.get(division);
    return this.#flavours.map((flavour) => ({
      flavour: flavour.id,
      resource: resourceOf(flavour),
      ...milliQuota(own?.get(flavour.id)),
      // What it says of borrowing and lending waits for a group.
      ...(alone ? { borrowMilli: null, lendMilli: null } : {}),
      declared: own?.has(flavour.id) ?? false,
    }));
  }

  ofGroup({ quotas = {} }: GroupFile): readonly QuotaInput[] {
    return this.#flavours.flatMap((flavour) => {
      const value = ownOf(ownOf(quotas, flavour.pool) ?? {}, flavour.id.slice(flavour.pool.length + 1));
      return value === undefined ? [] : [{ flavour: flavour.id, resource: resourceOf(flavour), ...milliQuota(value) }];
    });
  }
}

function resourceOf({ capacity }: FlavourInput): string {
  return Object.keys(capacity)[0] ?? 'gpu';
}

function nodesOf(pool: PoolFile, cordoned: ReadonlySet<string>): readonly NodeInput[] {
  return pool.flavours.flatMap(({ name, nodes = [] }) =>
    nodes.map((node) => ({
      name: node.name,
      flavour: flavourId(pool.name, name),
      capacity: { gpu: node.gpus * 1000 },
      cordoned: cordoned.has(machineId(pool.name, node.name)),
    })),
  );
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1;
}
