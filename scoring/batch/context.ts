import type { ScoringContext } from '../context.ts';
import type { ShardCounts } from './messages.ts';

export interface RecomputeMetrics {
  /** Accepted lines, by what they are to the new version. */
  reports(result: keyof ShardCounts, count: number): void;
  shards(state: (typeof SHARD_STATES)[number], count: number): void;
  /** Messages that the shards which are not done have before them. */
  lag(messages: number): void;
  /** One stretch, from its drain to its commit. */
  stretch(seconds: number): void;
}

export const SHARD_STATES = ['waiting', 'running', 'done', 'failed', 'stopped'] as const;

/** What a recompute works with: no epoch, since its rows are its fence. */
export interface RecomputeContext extends Pick<ScoringContext, 'db' | 'clock' | 'eventLog' | 'log'> {
  /** Names this process in the rows it claims. */
  readonly holder: string;
  readonly metrics: RecomputeMetrics;
}

/** For tests and tools that watch nothing. */
export const NO_RECOMPUTE_METRICS: RecomputeMetrics = {
  reports: () => {},
  shards: () => {},
  lag: () => {},
  stretch: () => {},
};
