/**
 * All that the planner knows of one tenant, as plain values. Quantities are integers in milli-units (1 GPU is 1000), money is in minor
 * units of its currency, times are milliseconds since the epoch. Whoever makes one has checked it: ids are unique, what is
 * named exists, quantities are safe integers ≥ 0.
 */

/** resource → milli-units. */
export type Amounts = Readonly<Record<string, number>>;

/** Half open: from ≤ t < until. */
export interface Interval {
  readonly fromMs: number;
  readonly untilMs: number;
}

export interface FlavourInput {
  /** `pool/flavour` on a server, the bare name in a scenario. */
  readonly id: string;
  readonly pool: string;
  readonly provider: string;
  readonly spot: boolean;
  /** null: free of charge. */
  readonly price: PriceInput | null;
  /** What of it no group or division has as nominal belongs to the root, where there is one root group. */
  readonly capacity: Amounts;
  /** What `capacity` will be once all of it is there; absent: all is. */
  readonly whole?: Amounts;
  /** Why nothing can be started there now (the provider does not answer); null: it can. */
  readonly away: string | null;
  /** Takes no new work; what runs there goes on. */
  readonly cordoned: boolean;
  /** When it takes work, sorted; a lease there ends before its interval does. null: always. */
  readonly open: readonly Interval[] | null;
}

export interface PriceInput {
  readonly currency: string;
  /** resource → minor units of the currency for one unit and hour. */
  readonly minorPerUnitHour: Readonly<Record<string, bigint>>;
}

/** A machine of a flavour; flavours with any are placed on them. `gpu` is counted in devices of 1000. */
export interface NodeInput {
  readonly name: string;
  readonly flavour: string;
  readonly capacity: Amounts;
  readonly cordoned: boolean;
}

export interface QuotaInput {
  readonly flavour: string;
  readonly resource: string;
  readonly nominalMilli: number;
  /** How much beyond its own it may use; null: unlimited. */
  readonly borrowMilli: number | null;
  /** How much of its own others may use; null: all of it. */
  readonly lendMilli: number | null;
}

export interface GroupInput {
  readonly name: string;
  /** null: a root of its own; nothing flows between roots. */
  readonly parent: string | null;
  /** 1000: weight 1. 0 while borrowing: the share is infinite. */
  readonly weightMilli: number;
  readonly quota: readonly QuotaInput[];
}

export interface DivisionInput {
  readonly name: string;
  /** null: it neither borrows nor lends. */
  readonly group: string | null;
  readonly weightMilli: number;
  readonly quota: readonly QuotaInput[];
  /** Ids in the order to try. */
  readonly flavours: readonly string[];
  readonly preemption: PreemptionPolicy;
  readonly fallback: Fallback;
  readonly queueing: 'best-effort' | 'strict';
  readonly userLimits: readonly UserLimit[];
  readonly budgets: readonly BudgetInput[];
}

export interface PreemptionPolicy {
  readonly own: 'never' | 'lower' | 'lower-or-newer';
  readonly reclaim: 'never' | 'lower' | 'any';
  /** Victims for which the asker may end above its nominal; null: none. `maxPriority` null: any lower than the asker's. */
  readonly borrow: { readonly maxPriority: number | null } | null;
}

export interface Fallback {
  readonly whenFull: 'next' | 'preempt';
  readonly prefer: 'borrow' | 'preempt';
  /** What decides between options that are as good: the order of the flavours (absent, too), what they cost, or what they strand on machines. */
  readonly ties?: 'order' | 'price' | 'packing';
}

/** What one user of the division may use at a time. */
export interface UserLimit {
  /** null: all flavours together. */
  readonly flavour: string | null;
  readonly resource: string;
  readonly limitMilli: number;
}

export interface BudgetInput {
  readonly currency: string;
  readonly limitMinor: bigint;
  /** Posted in this period. What running work holds is counted beside it. */
  readonly spentMinor: bigint;
}

/** What keeps preemption from thrashing. */
export interface GuardInput {
  /** null: every pool without guards of its own. */
  readonly pool: string | null;
  /** Younger work is no victim. */
  readonly minRunMs: number;
  /** Work whose last checkpoint is older is no victim until it has made another; null: off. Work without checkpoints is not guarded. */
  readonly maxCheckpointAgeMs: number | null;
  /** Token bucket of preemptions; null: off. */
  readonly rate: { readonly burst: number; readonly perHour: number } | null;
  /** How long a victim has to leave: what an ETA reckons with. */
  readonly graceMs: number;
}

/** Capacity promised from a time on (an advance booking): work whose lease reaches into it has to fit beside it. */
export interface ReservationInput {
  readonly id: string;
  readonly division: string;
  readonly flavour: string;
  readonly amounts: Amounts;
  readonly fromMs: number;
  readonly untilMs: number;
}

export interface FairSharing {
  readonly enabled: boolean;
  readonly strategies: readonly ('final' | 'initial')[];
}

export interface PlannerConfig {
  readonly fairSharing: FairSharing;
  readonly flavours: readonly FlavourInput[];
  readonly nodes: readonly NodeInput[];
  readonly groups: readonly GroupInput[];
  readonly divisions: readonly DivisionInput[];
  readonly guards: readonly GuardInput[];
  readonly reservations: readonly ReservationInput[];
}

export interface PodSet {
  readonly count: number;
  /** Of one replica. */
  readonly resources: Amounts;
}

/** A booking that waits. */
export interface PendingInput {
  readonly id: string;
  readonly division: string;
  readonly user: string | null;
  readonly podSets: readonly PodSet[];
  /** Fewer replicas than asked that it can start with; only with one pod set. null: all or nothing. */
  readonly minReplicas: number | null;
  /** Ids it may run on, in its own order; null: all of its division's, in the division's. */
  readonly flavours: readonly string[] | null;
  readonly priority: number;
  readonly createdAtMs: number;
  /** It backs off until then. */
  readonly notBeforeMs: number;
  /** Longest run time; null: without end. */
  readonly leaseMs: number | null;
  /** The whole lease may not cost more; null: no bound. */
  readonly maxCostMinor: bigint | null;
  /** Options that are equal otherwise are taken by price, not by order. */
  readonly preferPrice: boolean;
  /** When it may start, sorted; null: at any time. */
  readonly startWithin: readonly Interval[] | null;
  /** Ids of what it was preempted for, where that is remembered: it takes none of it. The planner that chose it as a victim knows by itself. */
  readonly leftFor?: readonly string[];
}

export interface NodeShare {
  readonly node: string;
  readonly replicas: number;
}

export interface RunningPodSet {
  readonly flavour: string;
  readonly count: number;
  readonly resources: Amounts;
  /** Where the replicas are, on flavours with nodes; null or too few: the rest is counted nowhere. */
  readonly nodes: readonly NodeShare[] | null;
}

/** Work that holds capacity: from its reservation until its release is done. */
export interface RunningInput {
  readonly id: string;
  readonly division: string;
  readonly user: string | null;
  readonly podSets: readonly RunningPodSet[];
  /** It can be shrunk to this; null: it cannot. */
  readonly minReplicas: number | null;
  readonly priority: number;
  readonly createdAtMs: number;
  readonly startedAtMs: number;
  readonly leaseEndsAtMs: number | null;
  readonly checkpointedAtMs: number | null;
  /** It is leaving; `for`: whom its capacity is kept for. `toReplicas`: it only shrinks to that. */
  readonly draining: {
    readonly for: string | null;
    readonly untilMs: number | null;
    readonly toReplicas?: number;
  } | null;
  /** As of pending bookings: what it was preempted for before it came to run. */
  readonly leftFor?: readonly string[];
  /** Money it holds. */
  readonly held: { readonly currency: string; readonly minor: bigint } | null;
}
