import type { JobSpec } from '../../core/job.ts';
import type { MoneySpec } from '../../core/money-request.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { Caller, Page, Rows, View } from './services.ts';

export interface JobFilter {
  readonly state?: string;
  readonly division?: string;
  readonly model?: string;
  readonly name?: string;
  /** Booked at or after this RFC 3339 time. */
  readonly since?: string;
  /** `true`: those that have not ended. */
  readonly live?: string;
  /** Those of money alone too. */
  readonly money?: boolean;
}

export interface LogQuery {
  readonly attempt: number | undefined;
  readonly fromByte: number;
  readonly maxBytes: number;
}

export interface LogPiece {
  readonly bytes: Uint8Array;
  /** null: the job has none, or none yet, or not the one that was asked for. */
  readonly attempt: number | null;
  readonly nextByte: number;
  /** Nothing will be added behind `nextByte`. */
  readonly done: boolean;
  /** How the log ended, and its bytes; null while it may grow. */
  readonly end: 'complete' | 'truncated' | 'lost' | null;
  readonly size: number | null;
  /** Why its provider did not give what is not kept yet. */
  readonly fault: Error | null;
  readonly job: {
    readonly state: string;
    readonly ended: boolean;
    readonly reasons: readonly View[];
    readonly newestAttempt: number | null;
  };
}

export interface JobsService {
  /** What must be known before the transaction: that the code is stored. Throws RefusedInput. */
  prepare(caller: Caller, spec: JobSpec): Promise<void>;
  /** Books the job; returns its view. An array is booked as its tasks: the view is of the first, with the ids of all as `tasks`. */
  submit(tx: Tx, caller: Caller, spec: JobSpec): Promise<View>;
  /** Books money without a job; returns its view. Throws RefusedInput. */
  requestMoney(tx: Tx, caller: Caller, spec: MoneySpec): Promise<View>;
  /** Ends an allocation of money by what was spent of it. undefined: no such allocation of this tenant. Throws RefusedInput. */
  closeMoney(
    tx: Tx,
    caller: Caller,
    id: string,
    spent: string,
  ): Promise<
    | { readonly kind: 'closed' | 'already'; readonly view: View }
    | { readonly kind: 'refused'; readonly code: string; readonly text: string }
    | undefined
  >;
  /** Asks for its end; safe to repeat. undefined: no such job of this tenant. `ended`: it had ended before; `leaving`: nothing was done yet, it is on its way back to the queue. */
  cancel(
    tx: Tx,
    caller: Caller,
    jobId: string,
  ): Promise<{ readonly kind: 'asked' | 'ended' | 'leaving'; readonly view: View } | undefined>;
  /** Keeps a waiting job back from the planner, or lets it go; safe to repeat. undefined: no such job of this tenant. */
  hold(
    tx: Tx,
    caller: Caller,
    jobId: string,
    wanted: 'hold' | 'let_go',
  ): Promise<{ readonly kind: 'done' | 'not_waiting'; readonly view: View } | undefined>;
  /**
   * Books a job that has ended once more; the view is of the new booking, whose `retryOf` names the old one. undefined: no such job of this
   * tenant. `force`: also where it ended well. Throws RefusedInput.
   */
  retry(
    tx: Tx,
    caller: Caller,
    jobId: string,
    force: boolean,
  ): Promise<
    | { readonly kind: 'booked'; readonly view: View }
    | { readonly kind: 'refused'; readonly code: string; readonly text: string }
    | undefined
  >;
  /** Asks for a lease that is longer by so much; its answer is seen in the view. undefined: no such job of this tenant. */
  extend(
    tx: Tx,
    caller: Caller,
    jobId: string,
    byMs: number,
  ): Promise<
    | { readonly kind: 'asked'; readonly view: View }
    | { readonly kind: 'refused'; readonly code: string; readonly text: string }
    | undefined
  >;
  /** What would happen if it were submitted now: offers with price, most it can cost, what is free, and every reason that stands against it. Outside any transaction. */
  plan(caller: Caller, spec: JobSpec): Promise<View>;
  list(tx: Tx, caller: Caller, filter: JobFilter, page: Page): Promise<Rows>;
  /** What pools and divisions have, use and wait for. Outside any transaction. */
  top(caller: Caller): Promise<View>;
  get(tx: Tx, caller: Caller, jobId: string): Promise<View | undefined>;
  /** Asks the provider too, so it takes its own transaction. */
  why(caller: Caller, jobId: string): Promise<View | undefined>;
  events(tx: Tx, caller: Caller, jobId: string): Promise<readonly View[] | undefined>;
  artifacts(tx: Tx, caller: Caller, jobId: string): Promise<View | undefined>;
  cost(tx: Tx, caller: Caller, jobId: string): Promise<View | undefined>;
  metrics(tx: Tx, caller: Caller, jobId: string): Promise<View | undefined>;
  /** A piece of the log of an attempt, the newest by default. undefined: no such job. Outside any transaction. */
  logs(caller: Caller, jobId: string, query: LogQuery, signal: AbortSignal): Promise<LogPiece | undefined>;
  /** Where the last lines of a log begin. undefined: no such job, or it has no log yet. Outside any transaction. */
  logTail(
    caller: Caller,
    jobId: string,
    query: { readonly attempt: number | undefined; readonly lines: number },
    signal: AbortSignal,
  ): Promise<{ readonly attempt: number; readonly fromByte: number } | undefined>;
  /** Reads every stored object again. undefined: no such job; null: it left no manifest. Outside any transaction. */
  verify(caller: Caller, jobId: string, signal: AbortSignal): Promise<View | null | undefined>;
  /** The receipt's bytes. `not_yet`: it has not ended, or its last event is not under a checkpoint. Outside any transaction. */
  receipt(
    caller: Caller,
    jobId: string,
  ): Promise<
    | { readonly kind: 'ready'; readonly bytes: Uint8Array }
    | { readonly kind: 'not_yet'; readonly text: string }
    | undefined
  >;
}
