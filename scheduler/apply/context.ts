import type { SigningPolicy } from '../../core/signing-policy.ts';
import type { Finance } from '../../peers/finance/client.ts';
import type { SentinelNet } from '../../peers/sentinelnet/client.ts';
import type { Clock } from '../../platform/clock.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import type { S3Reader } from '../../platform/s3.ts';
import type { AskHealth } from '../../pools/pool-health.ts';
import type { Provider } from '../../providers/provider.ts';
import type { Disappearances } from '../reconcile/disappearance.ts';
import type { BookingDesk } from './booking-desk.ts';
import type { Booking } from './booking-store.ts';
import type { LogKeeper } from './log-keeper.ts';
import type { Move } from './moves.ts';
import type { RunKeeper } from './run-keeper.ts';

export interface ProviderSource {
  /** The opened provider of a pool; throws OperatingError where it cannot be opened. */
  of(tenant: string, pool: string): Promise<Provider>;
  /** What it says, or said last: it is asked at each planning, so an answer is remembered for a moment, and one that hangs is not waited for. */
  health: AskHealth;
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
  /** What came of a longer lease that was asked for. */
  extended(outcome: 'granted' | 'refused'): void;
  /** A victim had its notice (drained), or was undone on its way. */
  preempted(how: 'drained' | 'undone'): void;
  /** A provider refused an attempt, or took its capacity back; it is tried elsewhere. */
  passedOver(code: string): void;
  /** One look of the planner at a tenant's queue. */
  planned(seconds: number): void;
  waiting(count: number): void;
  /** So many jobs of a pool are missing at once that its provider is not believed. */
  reclaimHalted(): void;
  /** Finance refuses for good to end a hold as the ledger has it. */
  financeDiffers(): void;
}

export interface SagaContext {
  /** Of this process’s epoch. */
  readonly desk: BookingDesk;
  readonly clock: Clock;
  readonly sentinelNet: SentinelNet;
  readonly finance: Finance;
  readonly providers: ProviderSource;
  readonly store: ObjectStore;
  /** Puts a job's own reports into the event log; durable when it resolves. A report that comes twice is a duplicate by its id. */
  readonly publishReports: (
    ndjson: AsyncIterable<Uint8Array>,
    source: { readonly tenant: string; readonly producer: string; readonly traceparent: string },
  ) => Promise<unknown>;
  /** Folder for outputs and unpacked code, shared with providers on this machine. */
  readonly stateDir: string;
  /** `s3://bucket/prefix` that jobs may name for their outputs. */
  readonly s3Outputs: readonly string[];
  /** What they are read by; undefined: the AWS SDK. */
  readonly s3?: S3Reader;
  /** Between two looks of the planner when nothing woke it, and between two sweeps. */
  readonly planEveryMs: number;
  readonly sweepEveryMs: number;
  /** Replies to repeated requests are kept this long. */
  readonly idempotencyRetentionMs: number;
  /** Ownership tag of this installation at every provider. */
  readonly tag: string;
  readonly log: Log;
  readonly metrics: SagaMetrics;
}

/** What a step of the saga works with. */
export interface StepContext extends SagaContext {
  /** Commits a move, together with those of other bookings; see GroupCommit for what it throws. */
  readonly commit: (move: Move) => Promise<Booking>;
  readonly disappearances: Disappearances;
  readonly logs: LogKeeper;
  readonly runs: RunKeeper;
  /** Jobs that are thought to run in a pool. */
  readonly runningIn: (tenant: string, pool: string) => number;
  /** Who may sign what is large, as lately read. undefined: none is declared. */
  readonly signingOf: (tenant: string) => SigningPolicy | undefined;
}
