import { Piscina } from 'piscina';
import { OperatingError } from '../../core/operating-error.ts';
import type { Effects, GivenUp, Outdated, ReaderTask, Segment } from './reader-tasks.ts';

/** A consumer asks one thing at a time; what is beyond that is a mistake of ours, and is refused. */
const MAX_QUEUED_TASKS = 4;

type Fault = Pick<OperatingError, 'code' | 'retry' | 'message' | 'mend'>;
type Answer<T> = { readonly answer: T; readonly fault?: undefined } | { readonly fault: Fault };

/** A thread that reads for the consumer, so that reports cost the server's own thread nothing. Bytes go in by being moved. */
export class ReaderThread {
  // A pool of one: piscina chooses the thread of a task, and what a reader knows must not be spread.
  readonly #pool = new Piscina({
    filename: new URL('./reader.worker.ts', import.meta.url).href,
    minThreads: 1,
    maxThreads: 1,
    concurrentTasksPerWorker: 1,
    maxQueue: MAX_QUEUED_TASKS,
  });

  async open(): Promise<void> {
    await this.#ask({ kind: 'open' });
  }

  async remember(blocks: readonly Uint8Array[]): Promise<void> {
    await this.#ask({ kind: 'remember', blocks });
  }

  async forget(): Promise<void> {
    await this.#ask({ kind: 'forget' });
  }

  load(task: Omit<Extract<ReaderTask, { kind: 'load' }>, 'kind'>): Promise<Segment> {
    const { bytes, begins, ends } = task.packed;
    return this.#ask({ kind: 'load', ...task }, [bytes.buffer, begins.buffer, ends.buffer] as ArrayBuffer[]);
  }

  apply(task: Omit<Extract<ReaderTask, { kind: 'apply' }>, 'kind'>): Promise<Effects | Outdated> {
    return this.#ask({ kind: 'apply', ...task });
  }

  done(partition: number, maxLines: number): Promise<Segment> {
    return this.#ask({ kind: 'done', partition, maxLines });
  }

  giveUp(partition: number, problem: string, maxLines: number): Promise<GivenUp> {
    return this.#ask({ kind: 'give-up', partition, problem, maxLines });
  }

  async clear(partition: number): Promise<void> {
    await this.#ask({ kind: 'clear', partition });
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }

  async #ask<T>(task: ReaderTask, moved: ArrayBuffer[] = []): Promise<T> {
    const given = (await this.#pool.run(task, { transferList: moved })) as Answer<T>;
    if (given.fault === undefined) return given.answer;
    const { code, retry, message, mend } = given.fault;
    throw new OperatingError(code, retry, `reading reports: ${message}`, mend === undefined ? {} : { mend });
  }
}
