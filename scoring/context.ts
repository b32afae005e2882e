import { randomBytes } from 'node:crypto';
import { ulid } from '../core/ids.ts';
import type { Clock } from '../platform/clock.ts';
import type { EventLog } from '../platform/event-log.ts';
import type { Database } from '../platform/postgres.ts';
import type { Signer } from '../platform/signer.ts';
import type { ReaderThread } from './ingest/reader-thread.ts';
import type { RecentCommits } from './realtime/recent-commits.ts';

/** What SentinelNet is asked before a candidate's tick counts: may this version take the seat of this suite? */
export interface PromotionQuestion {
  /** The same for every try, so that the peer can tell a repeat. */
  readonly questionId: string;
  readonly tenant: string;
  readonly division: string;
  readonly suite: string;
  readonly suiteHash: string;
  /** The model of the registry. */
  readonly model: string;
  /** The version that would be promoted. */
  readonly version: string;
  readonly incumbent: string | null;
  /** RFC 3339. */
  readonly tick: string;
}

export interface PromotionVerdict {
  readonly allow: boolean;
  readonly decisionId: string;
  readonly policyVersion: string;
  /** What was asked and what was answered, whole: it becomes evidence of the decision. */
  readonly evidence: object;
}

/** Throws OperatingError where no well-formed answer came: the tick then waits, it is never taken for an allow. */
export type PromotionPolicy = (question: PromotionQuestion, signal: AbortSignal) => Promise<PromotionVerdict>;

export interface ScoringMetrics {
  reports(result: 'accepted' | 'quarantined' | 'duplicate' | 'conflict', count: number): void;
  /** Lines set aside, by the reason's code. */
  rejected(code: string, count: number): void;
  /** Reports as the new version of a suite takes them that is kept beside the active one. */
  beside(result: 'counted' | 'refused' | 'missed', count: number): void;
  /** New versions that could not be computed and were rolled back. */
  rolledBack(count: number): void;
  /** Messages appended and not yet read, and the age of the oldest of them. */
  ingestLag(partition: number, messages: number, seconds: number): void;
  /** Since the oldest message that was not read was appended. */
  oldestUnread(partition: number, seconds: number): void;
  /** Partitions that this process reads. */
  ownedPartitions(count: number): void;
  /** Partitions came to this process, or went from it. */
  rebalanced(): void;
  /** Lines that lay in a partition which does not serve them, and were appended to another. */
  strays(count: number): void;
  /** The log was found to be another, or to have more partitions. */
  layoutChanged(kind: 'raised' | 'recreated'): void;
  /** Messages that the log let go before they were read, told by the offsets that are missing. */
  lost(offsets: number): void;
  /** One flush, from its first line to its commit. */
  processingLatency(seconds: number): void;
  /** One tick's scores. */
  scoringLatency(seconds: number): void;
  decision(action: 'promote' | 'demote'): void;
  retrainQueue(length: number): void;
  /** From the booking of a retrain to the start of its job. */
  retrainWaited(seconds: number): void;
}

export interface ScoringLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What whoever leads works with. */
export interface ScoringContext {
  readonly db: Database;
  /** The epoch this process leads by; every write is fenced by it. */
  readonly epoch: bigint;
  readonly clock: Clock;
  readonly eventLog: EventLog;
  /** Reads reports for the consumer, which alone uses it. */
  readonly reader: ReaderThread;
  readonly signer: Signer;
  readonly policy: PromotionPolicy;
  /** May two versions of a suite be kept side by side here? Where not, rollouts that run are rolled back. */
  readonly rollouts: boolean;
  readonly metrics: ScoringMetrics;
  readonly log: ScoringLog;
}

/** What a reader of the log works with: what it may write is fenced by the partitions it has. */
export interface ConsumerContext extends Omit<ScoringContext, 'epoch'> {
  /** Names this process. */
  readonly holder: string;
  /** What live windows in this process are kept up with. Absent: there are none. */
  readonly recentCommits?: RecentCommits;
  /** Is it known here that the process of that name has ended? Absent: of none. */
  readonly isGone?: (holder: string) => boolean;
}

/** Who did it, in audit events of the engine's own. */
export const ENGINE_ACTOR = 'merit/scoring';

const ULID_RANDOM_BYTES = 10;

export function newId(clock: Clock): string {
  return ulid(clock.now(), randomBytes(ULID_RANDOM_BYTES));
}

/** For tests and tools that watch nothing. */
export const NO_METRICS: ScoringMetrics = {
  reports: () => {},
  beside: () => {},
  rolledBack: () => {},
  rejected: () => {},
  ingestLag: () => {},
  oldestUnread: () => {},
  ownedPartitions: () => {},
  rebalanced: () => {},
  strays: () => {},
  layoutChanged: () => {},
  lost: () => {},
  processingLatency: () => {},
  scoringLatency: () => {},
  decision: () => {},
  retrainQueue: () => {},
  retrainWaited: () => {},
};
