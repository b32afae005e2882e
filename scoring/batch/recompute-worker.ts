import { OperatingError } from '../../core/operating-error.ts';
import { isDatabaseAway } from '../../platform/postgres.ts';
import { newId } from '../context.ts';
import { REPORTS_TOPIC } from '../ingest/report-log.ts';
import { type RecomputeContext, SHARD_STATES } from './context.ts';
import { finishRollout, rolloutsToFinish } from './finish-rollouts.sql.ts';
import {
  claimShard,
  endShard,
  loadProgress,
  loadVersion,
  makeShards,
  missShard,
  type Shard,
  StaleShard,
} from './recomputes.sql.ts';
import { LEASE_MS, runShard, ShardFault, type ShardOptions } from './run-shard.ts';

/** Shards that a process works on at once, each on a thread. */
export const MAX_SHARD_THREADS = 2;
/** Between two looks for rollouts that were taken up and shards that are free. */
const LOOK_MS = 2_000;
/** A shard that fails this often without a step forward is given up; its rollout becomes complete by time. */
export const MAX_SHARD_TRIES = 3;
/** After a failure, before somebody tries again. */
const RETRY_MS = 1_000;
const MAX_FAILURE_CHARS = 500;

export interface RecomputeOptions extends ShardOptions {
  readonly maxThreads?: number;
}

/**
 * Fills the windows of versions that are kept beside the active one from the report log, until `signal`. Any number of processes may run it. It
 * throws nothing: what it cannot do now waits, what it never can is told in its row.
 */
export async function runRecomputes(
  ctx: RecomputeContext,
  signal: AbortSignal,
  options: RecomputeOptions = {},
): Promise<void> {
  const worker = new RecomputeWorker(ctx, options);
  while (!signal.aborted) {
    try {
      if (await worker.look(signal)) continue;
    } catch (error) {
      ctx.log[isDatabaseAway(error) ? 'warn' : 'error']({ error: String(error) }, 'a look for recomputes failed');
    }
    await ctx.clock.sleep(LOOK_MS, AbortSignal.any([signal, worker.ended()]));
  }
  await worker.settled();
}

/** What one process works on. */
export class RecomputeWorker {
  readonly #ctx: RecomputeContext;
  readonly #options: RecomputeOptions;
  readonly #running = new Set<Promise<void>>();
  #ended = new AbortController();

  constructor(ctx: RecomputeContext, options: RecomputeOptions = {}) {
    this.#ctx = ctx;
    this.#options = options;
  }

  /** Makes, finishes and claims what there is, as far as threads are free. False where there was nothing. */
  async look(signal: AbortSignal): Promise<boolean> {
    const { db } = this.#ctx;
    const made = await db.asEngine((tx) => makeShards(tx, REPORTS_TOPIC));
    let progressed = made > 0;
    for (const rolloutId of await db.asEngine(rolloutsToFinish)) if (await this.#finish(rolloutId)) progressed = true;
    while (!signal.aborted && this.#running.size < (this.#options.maxThreads ?? MAX_SHARD_THREADS)) {
      const worker = `${this.#ctx.holder}/${newId(this.#ctx.clock)}`;
      const shard = await db.asEngine((tx) => claimShard(tx, worker, this.#options.leaseMs ?? LEASE_MS));
      if (shard === undefined) break;
      progressed = true;
      this.#start(shard, signal);
    }
    await this.#tellProgress();
    return progressed;
  }

  /** Aborted as soon as one of the shards under way has ended. */
  ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** No shard is under way any more. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #start(shard: Shard, signal: AbortSignal): void {
    const running = this.#work(shard, signal).finally(() => {
      this.#running.delete(running);
      this.#ended.abort();
      this.#ended = new AbortController();
    });
    this.#running.add(running);
  }

  async #work(shard: Shard, signal: AbortSignal): Promise<void> {
    const { log, db, clock } = this.#ctx;
    const of = { suite: shard.suite.name, tenant: shard.tenant, rollout: shard.rolloutId, partition: shard.partition };
    log.info({ ...of, from: String(shard.nextOffset), until: String(shard.untilOffset) }, 'recomputing from the log');
    try {
      const outcome = await runShard(this.#ctx, shard, signal, this.#options);
      await db.asEngine((tx) => endShard(tx, shard, outcome === 'done' ? 'done' : 'waiting'));
      log.info({ ...of, outcome }, 'the recompute of a partition ended');
    } catch (error) {
      log.warn({ ...of, error: String(error) }, 'the recompute of a partition was broken off');
      await this.#release(shard, error).catch((cause: unknown) => {
        // The lease runs out by itself.
        log.warn({ ...of, error: String(cause) }, 'a claimed partition could not be given back');
      });
      await clock.sleep(RETRY_MS, signal);
    }
  }

  async #release(shard: Shard, error: unknown): Promise<void> {
    const failure = (error instanceof Error ? error.message : String(error)).slice(0, MAX_FAILURE_CHARS);
    const worldsFault = error instanceof OperatingError || isDatabaseAway(error);
    await this.#ctx.db.asEngine(async (tx) => {
      if ((await loadVersion(tx, shard.rolloutId)) === undefined) {
        await endShard(tx, shard, 'stopped', 'the version is kept no more');
        return;
      }
      if (error instanceof StaleShard) return;
      if (error instanceof ShardFault) await endShard(tx, shard, 'failed', failure);
      else if (worldsFault) await endShard(tx, shard, 'waiting', failure);
      else await missShard(tx, shard, failure, MAX_SHARD_TRIES);
    });
  }

  async #finish(rolloutId: string): Promise<boolean> {
    const finished = await this.#ctx.db.asEngine((tx) => finishRollout(tx, rolloutId));
    if (finished === undefined) return false;
    this.#ctx.log.info(finished, 'the history of a new version is in');
    return true;
  }

  async #tellProgress(): Promise<void> {
    const { states, messagesLeft } = await this.#ctx.db.asEngine(loadProgress);
    for (const state of SHARD_STATES) this.#ctx.metrics.shards(state, states.get(state) ?? 0);
    this.#ctx.metrics.lag(messagesLeft);
  }
}
