import { decimalText } from '../../../core/decimal.ts';
import type { Refusal } from '../../../core/refusal.ts';
import type { Clock } from '../../../platform/clock.ts';
import type { EventLog } from '../../../platform/event-log.ts';
import type { Feature } from '../../../platform/features.ts';
import type { ObjectStore } from '../../../platform/object-store.ts';
import type { Database } from '../../../platform/postgres.ts';
import type { TenantReads } from '../../../platform/postgres-reads.ts';
import type { PoolFile } from '../../../pools/pool-file.ts';
import type { AskHealth } from '../../../pools/pool-health.ts';
import type { Offer, Provider } from '../../../providers/provider.ts';
import type { QueueView } from '../../../scheduler/apply/queue-view.ts';
import type { Backlog } from '../../../scoring/ingest/backlog.ts';
import type { RealtimeMetrics } from '../../../scoring/realtime/metrics.ts';
import type { RecentCommits } from '../../../scoring/realtime/recent-commits.ts';
import type { Caller } from '../services.ts';

/** What the services are made of: the opened ports of this process. */
export interface RoomPorts {
  readonly db: Database;
  readonly clock: Clock;
  readonly store: ObjectStore;
  readonly eventLog: EventLog;
  /** Of the reports in it. */
  readonly backlog: Backlog;
  readonly features: ReadonlySet<Feature>;
  /** The hottest reads. */
  readonly reads: TenantReads;
  readonly realtimeMetrics: RealtimeMetrics;
  /** Of the consumer in this process. */
  readonly recentCommits: RecentCommits;
  /** What waits, as the engine's planner sees it. */
  readonly queues: QueueView;
  readonly providers: {
    /** The opened provider of a pool; throws OperatingError where it cannot be opened. */
    of(tenant: string, pool: string): Promise<Provider>;
    /** What it says now, lately asked. */
    readonly health: AskHealth;
    /** What a tenant's pool says of its provider and cannot be: no such kind, a config that its schema refuses, what is not for it. Fields begin with `provider`. */
    refusals(tenant: string, declared: PoolFile['provider']): Promise<readonly Refusal[]>;
    /** What of a job's `options` these kinds of provider do not take. */
    optionRefusals(options: Readonly<Record<string, unknown>>, kinds: readonly string[]): Promise<readonly Refusal[]>;
    /** What the provider asks for now, lately asked; none where it does not answer or names no prices. */
    offers(tenant: string, pool: string): Promise<readonly Offer[]>;
  };
}

/** The caller as audit events name it. */
export function requesterOf(caller: Caller): {
  readonly tenant: string;
  readonly actor: string;
  readonly traceId: string;
  readonly nowMs: number;
} {
  return {
    tenant: caller.identity.tenant,
    actor: caller.identity.principal,
    traceId: caller.traceId,
    nowMs: caller.nowMs,
  };
}

/** `1234` milli-units as `1.234`; whole units without decimals. */
export function unitsText(milli: bigint): string {
  return decimalText(milli, 3);
}

/** Cents as `12.50`. */
export function moneyText(cents: bigint): string {
  return decimalText(cents, 2, 2);
}
