import type { ObjectStore } from '../../platform/object-store.ts';
import type { ScoringContext } from '../context.ts';

export interface ReplayMetrics {
  /** Reports read again. */
  reports(count: number): void;
  /** Replays that ended. */
  ended(how: (typeof REPLAY_ENDS)[number]): void;
  /** Replays that go on another time, or elsewhere. */
  brokenOff(cause: (typeof REPLAY_BREAKS)[number]): void;
  /** Holding what came of one against what was live. */
  compared(seconds: number): void;
  /** Those that this process works on. */
  running(count: number): void;
}

export const REPLAY_ENDS = ['equal', 'different', 'other_suite', 'failed', 'cancelled'] as const;

/** By what: a fault of ours, something that was away, another process that took it over, or the end of this one. */
export const REPLAY_BREAKS = ['fault', 'away', 'taken_over', 'stopped'] as const;

/** What a replay works with: no epoch, since its row is its fence, and no signer, since nothing of it is signed. */
export interface ReplayContext extends Pick<ScoringContext, 'db' | 'clock' | 'eventLog' | 'log'> {
  readonly store: ObjectStore;
  /** Names this process in the rows it claims. */
  readonly holder: string;
  readonly metrics: ReplayMetrics;
}

/** For tests and tools that watch nothing. */
export const NO_REPLAY_METRICS: ReplayMetrics = {
  reports: () => {},
  ended: () => {},
  brokenOff: () => {},
  compared: () => {},
  running: () => {},
};
