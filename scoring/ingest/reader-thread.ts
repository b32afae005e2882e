import { Piscina } from 'piscina';
import { OperatingError } from '../../core/operating-error.ts';
import type { Effects, GivenUp, Outdated, ReaderTask, Segment, Strays } from './reader-tasks.ts';

/** A consumer asks one thing at a time; what is beyond that is a mistake of ours, and is refused. */
const MAX_QUEUED_TASKS = 4;
/** A thread that has not answered within it is ended: far more than a whole flush takes, and less than a transaction may stand idle. */
export const ANSWER_LIMIT_MS = 12_000;
/** The same where one message is looked at alone. */
const LONE_ANSWER_LIMIT_MS = 5_000;
/** The same of what starts a thread, or fills what it knows. */
const FILL_LIMIT_MS = 60_000;
/** Limits are counted in so many steps, so that a time in which this process was frozen is one of them at most. */
const LIMIT_STEPS = 10;

type Fault = Pick<OperatingError, 'code' | 'retry' | 'message' | 'mend'>;
type Answer<T> = { readonly answer: T; readonly fault?: undefined } | { readonly fault: Fault };

/** The thread did not answer, and was ended: what it knew is gone, and has to be told again to the next. */
export class ReaderStuck extends Error {
  override name = 'ReaderStuck';
}

/** What a test may set to other values. */
export interface ReaderThreadOptions {
  readonly worker?: URL;
  readonly answerLimitMs?: number;
  readonly loneAnswerLimitMs?: number;
}

/** A thread that reads for the consumer, so that reports cost the server's own thread nothing. Bytes go in as memory that both see. */
export class ReaderThread {
  readonly #answerLimitMs: number;
  readonly #loneAnswerLimitMs: number;
  readonly #pool: Piscina;

  constructor(options: ReaderThreadOptions = {}) {
    this.#answerLimitMs = options.answerLimitMs ?? ANSWER_LIMIT_MS;
    this.#loneAnswerLimitMs = options.loneAnswerLimitMs ?? LONE_ANSWER_LIMIT_MS;
    // A pool of one: piscina chooses the thread of a task, and what a reader knows must not be spread.
    this.#pool = new Piscina({
      filename: (options.worker ?? new URL('./reader.worker.ts', import.meta.url)).href,
      minThreads: 1,
      maxThreads: 1,
      concurrentTasksPerWorker: 1,
      maxQueue: MAX_QUEUED_TASKS,
    });
  }

  /** A reader that knows nothing, of a topic with so many partitions. */
  async open(partitions: number): Promise<void> {
    await this.#ask({ kind: 'open', partitions }, FILL_LIMIT_MS);
  }

  async remember(blocks: readonly Uint8Array[]): Promise<void> {
    await this.#ask({ kind: 'remember', blocks }, FILL_LIMIT_MS);
  }

  async forget(shards: readonly number[]): Promise<void> {
    await this.#ask({ kind: 'forget', shards });
  }

  load(task: Omit<Extract<ReaderTask, { kind: 'load' }>, 'kind'>, alone = false): Promise<Segment> {
    return this.#ask({ kind: 'load', ...task }, this.#limitOf(alone));
  }

  strays(partition: number, from: number, to: number): Promise<Strays> {
    return this.#ask({ kind: 'strays', partition, from, to });
  }

  apply(task: Omit<Extract<ReaderTask, { kind: 'apply' }>, 'kind'>, alone = false): Promise<Effects | Outdated> {
    return this.#ask({ kind: 'apply', ...task }, this.#limitOf(alone));
  }

  done(partition: number, maxLines: number): Promise<Segment> {
    return this.#ask({ kind: 'done', partition, maxLines });
  }

  giveUp(partition: number, problem: string, maxLines: number): Promise<GivenUp> {
    return this.#ask({ kind: 'give-up', partition, problem, maxLines }, this.#limitOf(true));
  }

  async clear(partition: number): Promise<void> {
    await this.#ask({ kind: 'clear', partition });
  }

  async drop(partition: number, shards: readonly number[]): Promise<void> {
    await this.#ask({ kind: 'drop', partition, shards });
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }

  #limitOf(alone: boolean): number {
    return alone ? this.#loneAnswerLimitMs : this.#answerLimitMs;
  }

  async #ask<T>(task: ReaderTask, limitMs = this.#answerLimitMs): Promise<T> {
    const late = new AbortController();
    let steps = 0;
    const limit = setInterval(() => {
      if (++steps === LIMIT_STEPS) late.abort();
    }, limitMs / LIMIT_STEPS);
    let given: Answer<T>;
    try {
      // piscina ends the thread of a task that is aborted while it runs, and makes another.
      given = (await this.#pool.run(task, { signal: late.signal })) as Answer<T>;
    } catch (error) {
      if (!late.signal.aborted) throw error;
      throw new ReaderStuck(`reading reports: no answer to ${task.kind} within ${limitMs} ms`);
    } finally {
      clearInterval(limit);
    }
    if (given.fault === undefined) return given.answer;
    const { code, retry, message, mend } = given.fault;
    throw new OperatingError(code, retry, `reading reports: ${message}`, mend === undefined ? {} : { mend });
  }
}
