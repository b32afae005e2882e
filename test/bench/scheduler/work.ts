/** A piece of work as every scheduler of the benchmarks sees it. */
export interface Work {
  readonly id: string;
  /** The division, or queue, that it belongs to. */
  readonly queue: string;
  /** The root of the quota tree that the queue hangs on: nothing flows between roots. */
  readonly root: string;
  /** What its waits are told by. */
  readonly className: string;
  readonly priority: number;
  readonly askMilli: number;
  /** What it really runs; known to the simulator and to the bounds only. */
  readonly runtimeMs: number;
  /** What the scheduler is told: never less than it runs. */
  readonly leaseMs: number;
  readonly createdAtMs: number;
  /** Those it may take, in the order to try. */
  readonly flavours: readonly string[];
}

/** One run of a work, from its start to its end or its eviction. */
export interface Run {
  readonly work: Work;
  readonly flavour: string;
  readonly fromMs: number;
  readonly toMs: number;
  /** false: it was evicted, and what it had done is lost. */
  readonly finished: boolean;
}

/** Quantity × time that a run held. */
export function heldBy({ work, fromMs, toMs }: Run): number {
  return work.askMilli * (toMs - fromMs);
}
