import { Piscina } from 'piscina';
import {
  buffersOfBatch,
  type Drained,
  type MessageBatch,
  type OpenTask,
  type ShardTask,
  type Taken,
} from './messages.ts';

/** Batches that a thread may have before it, the one it works on among them: while one is read in, the next is on its way. */
export const MAX_BATCHES_IN_FLIGHT = 2;
/** A drain may wait behind them. */
const MAX_QUEUED_TASKS = MAX_BATCHES_IN_FLIGHT + 1;

/** The thread of one shard. Calls are worked off in order; bytes go in and deltas come back by being moved. */
export interface ShardThread {
  /** Never more than MAX_BATCHES_IN_FLIGHT of them unanswered. */
  take(batch: MessageBatch, replay: boolean): Promise<Taken>;
  drain(): Promise<Drained>;
  /** Whatever it is doing. */
  end(): Promise<void>;
}

/** Takes over, on a thread of its own, what one shard needs to remember. */
export async function openShardThread(rules: Omit<OpenTask, 'kind'>): Promise<ShardThread> {
  // A pool of one: piscina chooses the thread of a task, and a shard's state must not be spread.
  const pool = new Piscina({
    filename: new URL('./shard.worker.ts', import.meta.url).href,
    minThreads: 1,
    maxThreads: 1,
    concurrentTasksPerWorker: 1,
    maxQueue: MAX_QUEUED_TASKS,
  });
  const run = (task: ShardTask, moved: ArrayBuffer[] = []) => pool.run(task, { transferList: moved });
  try {
    await run({ kind: 'open', ...rules });
  } catch (error) {
    await pool.destroy();
    throw error;
  }
  return {
    take: (batch, replay) => run({ kind: 'take', batch, replay }, buffersOfBatch(batch)),
    drain: () => run({ kind: 'drain' }),
    end: () => pool.destroy(),
  };
}
