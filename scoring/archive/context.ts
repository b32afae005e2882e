import type { ObjectStore } from '../../platform/object-store.ts';
import type { ScoringContext } from '../context.ts';

export interface ArchiveMetrics {
  /** A segment that became part of the archive. */
  archived(messages: number, bytes: number, storedBytes: number): void;
  /** Messages that were consumed and are not archived yet, and the age of the oldest of them. */
  lag(partition: number, messages: number, seconds: number): void;
  /** Segments whose time was over and whose objects are gone. */
  expired(segments: number): void;
  /** Messages of the embedded log that were archived and are there no more. */
  trimmed(messages: number): void;
  /** A look that ended in a fault, by what was being done. */
  failed(what: ArchiveStep): void;
  /** Messages that the log let go before they could be archived, told by the offsets that are missing. */
  lost(offsets: number): void;
}

export const ARCHIVE_STEPS = ['archive', 'expire', 'trim'] as const;
export type ArchiveStep = (typeof ARCHIVE_STEPS)[number];

export interface ArchivePolicy {
  /** A message that was consumed is archived at the latest this long after it was appended. */
  readonly segmentAgeMs: number;
  /** Segments whose last message is older go; null: they are kept for ever. */
  readonly keepMs: number | null;
  /** Messages of the embedded log that are archived and older go; null: they stay, or the log has a retention of its own. */
  readonly logKeepMs: number | null;
}

/** What the archiver works with. */
export interface ArchiveContext extends Pick<ScoringContext, 'db' | 'epoch' | 'clock' | 'eventLog' | 'log'> {
  readonly store: ObjectStore;
  readonly policy: ArchivePolicy;
  readonly metrics: ArchiveMetrics;
}

/** For tests and tools that watch nothing. */
export const NO_ARCHIVE_METRICS: ArchiveMetrics = {
  archived: () => {},
  lag: () => {},
  expired: () => {},
  trimmed: () => {},
  failed: () => {},
  lost: () => {},
};
