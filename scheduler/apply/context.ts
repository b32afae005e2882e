import type { Json } from '../../core/canonical.ts';
import type { Clock } from '../../platform/clock.ts';
import type { EventLog } from '../../platform/event-log.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import type { Database } from '../../platform/postgres.ts';
import type { Provider } from '../../providers/provider.ts';

/** What SentinelNet is asked before a booking takes anything. Amounts are decimal strings of integers. */
export interface AllocationPolicyRequest {
  readonly kind: 'allocation';
  readonly tenant: string;
  readonly division: string;
  readonly bookingId: string;
  readonly attempt: number;
  readonly requester: string;
  readonly specHash: string;
  readonly pool: string;
  readonly flavour: string;
  readonly gpuMilli: string;
  readonly cpuMilli: string;
  readonly leaseMs: string;
  readonly costCents: string;
  readonly currency: string;
}

/** `evidence`: what was asked and what was answered, whole. */
export type PolicyVerdict =
  | {
      readonly kind: 'allow';
      readonly decisionId: string;
      readonly policyVersion: string;
      readonly requestHash: string;
      readonly signatures: number;
      readonly evidence: Json;
    }
  | { readonly kind: 'deny'; readonly code: string; readonly text: string; readonly evidence: Json };

/** Fails closed: whatever is not a well-formed allow is a deny or an OperatingError. */
export interface PolicyPort {
  decide(request: AllocationPolicyRequest, signal: AbortSignal): Promise<PolicyVerdict>;
  currentVersion(signal: AbortSignal): Promise<string>;
}

export interface HoldRequest {
  readonly holdId: string;
  readonly tenant: string;
  readonly division: string;
  readonly bookingId: string;
  readonly attempt: number;
  readonly amountCents: bigint;
  readonly currency: string;
}

export type FinanceAnswer =
  | { readonly kind: 'done'; readonly evidence: Json }
  | { readonly kind: 'refused'; readonly code: string; readonly text: string; readonly evidence: Json };

/** Idempotent by holdId. A lost reply is an OperatingError with retry `look-first`: the same id is asked again. */
export interface FinancePort {
  hold(request: HoldRequest, signal: AbortSignal): Promise<FinanceAnswer>;
  confirm(holdId: string, signal: AbortSignal): Promise<FinanceAnswer>;
  /** Takes the actual amount, frees the rest. */
  settle(holdId: string, amountCents: bigint, currency: string, signal: AbortSignal): Promise<FinanceAnswer>;
  /** Frees all of it; a hold never heard of counts as reversed, and is refused if it arrives late. */
  reverse(holdId: string, signal: AbortSignal): Promise<FinanceAnswer>;
}

export interface ProviderSource {
  /** The opened provider of a pool; throws OperatingError where it cannot be opened. */
  of(tenant: string, pool: string): Promise<Provider>;
  /** Why nothing can be started there now; undefined: it answers. Asked at each planning, so it remembers an answer for a moment. */
  away(tenant: string, pool: string): Promise<string | undefined>;
}

export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What the saga reports; the wiring binds it to the metrics registry. */
export interface SagaMetrics {
  transition(state: string): void;
  /** From accepted request to applied, and from accepted request to the provider's acceptance. */
  requestLatency(stage: 'submitted' | 'applied', seconds: number): void;
  applied(outcome: 'applied' | 'undone'): void;
}

export interface SagaContext {
  readonly db: Database;
  /** The epoch this process leads by. */
  readonly epoch: bigint;
  readonly clock: Clock;
  readonly policy: PolicyPort;
  readonly finance: FinancePort;
  readonly providers: ProviderSource;
  readonly store: ObjectStore;
  readonly eventLog: EventLog;
  /** Folder for outputs and unpacked code, shared with providers on this machine. */
  readonly stateDir: string;
  /** Absolute folders besides its own that `file:` outputs may lie in. */
  readonly outputFolders: readonly string[];
  /** Ownership tag of this installation at every provider. */
  readonly tag: string;
  readonly log: Log;
  readonly metrics: SagaMetrics;
}
