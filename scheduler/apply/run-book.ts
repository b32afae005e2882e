import type { LogOf } from './log-book.ts';
import type { UsageSeries } from './usage-series.ts';

export type RunOf = LogOf;

/** What was seen of the run of an attempt: it outlives whatever ran it. */
export interface RunRecord {
  readonly beganAtMs: number;
  /** undefined: it runs, as far as is known. */
  readonly endedAtMs: number | undefined;
  /** undefined: there was none, or nobody saw it. */
  readonly exitCode: number | undefined;
  readonly usage: UsageSeries;
}

export interface RunBook {
  read(of: RunOf): Promise<RunRecord | undefined>;
  /** In the place of what is kept of the attempt. Throws StaleLeader where another process leads. */
  save(of: RunOf, record: RunRecord): Promise<void>;
}
