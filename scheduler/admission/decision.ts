import type { NodeShare } from '../../pools/planner-input.ts';

/** What a cycle decides, and what is told about who waits. */

export interface PlacedPodSet {
  readonly flavour: string;
  readonly count: number;
  /** On flavours with nodes. */
  readonly nodes: readonly NodeShare[] | null;
}

export interface Admission {
  readonly id: string;
  readonly division: string;
  readonly podSets: readonly PlacedPodSet[];
  /** Of all pod sets together. */
  readonly replicas: number;
  /** resource → milli-units of this ask that lie above its division's nominal. */
  readonly borrowedMilli: Readonly<Record<string, number>>;
  readonly leaseEndsAtMs: number | null;
  readonly held: { readonly currency: string; readonly minor: bigint } | null;
}

export interface Preempted {
  readonly id: string;
  readonly for: string;
  readonly how: 'evict' | 'shrink' | 'migrate';
  readonly keptReplicas: number;
}

export const REASON_CODES = [
  'infeasible',
  'awaiting_drain',
  'backing_off',
  'not_head',
  'window_closed',
  'provider_unreachable',
  'cordoned',
  'max_cost',
  'budget',
  'user_limit',
  'capacity',
  'quota',
  'borrow_limit',
  'no_node',
  'kept_for_head',
  'backfill',
  'outrun',
  'no_victims',
  'far_back',
  'guarded',
  'rate_limited',
] as const;
export type ReasonCode = (typeof REASON_CODES)[number];

/** One thing that stands between a booking and its start. */
export interface WaitReason {
  readonly code: ReasonCode;
  /** null: it is not about one flavour. */
  readonly flavour: string | null;
  readonly resource: string | null;
  /** Milli-units that are missing; of money, minor units. null: it is not a matter of amount. */
  readonly shortfall: number | bigint | null;
  /** Ids of what holds it (work, or a booking that goes first), the first to leave first; at most MAX_HOLDERS. */
  readonly holders: readonly string[];
  /** For a person: `od: 3 gpu short in group eng`. */
  readonly text: string;
}

/** The least that would let it start. */
export interface SmallestChange {
  readonly kind:
    | 'free'
    | 'raise_quota'
    | 'raise_borrow'
    | 'fewer_replicas'
    | 'raise_budget'
    | 'raise_user_limit'
    | 'wait';
  readonly flavour: string | null;
  readonly resource: string | null;
  /** Milli-units, minor units of money, or replicas. */
  readonly amount: number | bigint | null;
  /** The node of the quota tree to change. */
  readonly node: string | null;
  readonly text: string;
}

export interface Waiting {
  readonly id: string;
  /** Most telling first. */
  readonly reasons: readonly WaitReason[];
  /** When it starts if every lease runs out and nothing else comes; null: not known. */
  readonly etaMs: number | null;
  readonly smallestChange: SmallestChange | null;
}

export interface Explanation extends Waiting {
  readonly state: 'waiting' | 'running' | 'draining' | 'unknown';
  /** 1: the next of its division. */
  readonly position: number | null;
}

export interface CycleResult {
  /** Charged, and counted as running from `nowMs` on. */
  readonly admitted: readonly Admission[];
  /** New victims of this cycle; they are draining until the caller removes or shrinks them. */
  readonly preempted: readonly Preempted[];
  /** Can never start with this configuration. They are no longer pending. */
  readonly infeasible: readonly Waiting[];
  /** Heads that this cycle looked at and that wait. */
  readonly waiting: readonly Waiting[];
  /** Another cycle at this very time would look at somebody else. */
  readonly again: boolean;
}
