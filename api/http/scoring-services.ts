import type { EvalReport } from '../../core/eval-report.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { BacklogRefusal } from '../../scoring/ingest/backlog-meter.ts';
import type { QuarantineFilter } from '../../scoring/ingest/redrive.sql.ts';
import type { Caller, Page, PutOutcome, Rows, Versioned, View } from './services.ts';

export type ReportAnswer =
  | { readonly kind: 'accepted'; readonly view: View }
  | { readonly kind: 'duplicate'; readonly view: View }
  | { readonly kind: 'conflict'; readonly view: View };

export interface ReportsService {
  /** One checked report; durable in the log when it resolves. */
  append(caller: Caller, report: EvalReport): Promise<ReportAnswer>;
  /** NDJSON of any size; durable when it resolves. Throws BacklogFull, and PartlyAppended where some of it is durable. */
  appendStream(caller: Caller, body: AsyncIterable<Uint8Array>): Promise<View>;
  /** Why no reports are taken now; undefined: they are. Asked before a body is read. */
  refusal(): BacklogRefusal | undefined;
}

export interface RedriveRequest {
  /** Lines by name; else those that the filter finds, the oldest first. */
  readonly ids?: readonly string[];
  readonly filter?: QuarantineFilter;
  readonly limit?: number;
  /** Only tell how many. */
  readonly dryRun?: boolean;
}

/** As scoring/replay/spec.ts checks it. */
export interface ReplayRequest {
  readonly into: string;
  readonly from?: string;
  readonly to?: string;
  readonly source?: string;
  readonly rate?: number;
  readonly suite?: unknown;
}

/** Reports read again. Of each that is named: undefined where there is none. */
export interface ReplaysService {
  /** One asked for in the same words that has not come to its end `exists`, and goes on. Throws RefusedInput. */
  start(
    tx: Tx,
    caller: Caller,
    request: ReplayRequest,
  ): Promise<{ readonly kind: 'created' | 'exists'; readonly view: View }>;
  list(tx: Tx, caller: Caller, page: Page): Promise<Rows>;
  get(tx: Tx, caller: Caller, id: string): Promise<View | undefined>;
  /** What differs from what was live; nulls where it has not come to its end. */
  diff(tx: Tx, caller: Caller, id: string): Promise<View | undefined>;
  verification(tx: Tx, caller: Caller, id: string): Promise<View | undefined>;
  /** Asks for its end, and for that of its tables. */
  cancel(tx: Tx, caller: Caller, id: string): Promise<View | undefined>;
}

/** Lines that were set aside. */
export interface QuarantineService {
  list(tx: Tx, caller: Caller, filter: QuarantineFilter & { readonly open?: boolean }, page: Page): Promise<Rows>;
  /** With its bytes; undefined: there is no such line. */
  get(tx: Tx, caller: Caller, id: string): Promise<View | undefined>;
  /** Throws RefusedInput where a named line is none, or can never be sent again. */
  redrive(tx: Tx, caller: Caller, request: RedriveRequest): Promise<View>;
}

export interface ScoringService {
  /** The last published scores of a model in every suite that has some; undefined: the model is unknown. */
  scores(tx: Tx, caller: Caller, model: string, suite: string | undefined): Promise<View | undefined>;
  /** One score taken apart; undefined: there is none. Throws RefusedInput where several suites score the model and none is named. */
  explain(
    tx: Tx,
    caller: Caller,
    model: string,
    filter: { readonly suite: string | undefined; readonly atMs: number | undefined },
  ): Promise<View | undefined>;
  /** What was published of a model in one suite, newest tick first. */
  history(tx: Tx, caller: Caller, model: string, suite: string, page: Page): Promise<Rows>;
  /** Scores one report against the live windows and stores nothing. Takes transactions of its own. Throws RefusedInput. */
  compute(caller: Caller, report: EvalReport): Promise<View>;
  /** undefined: the suite is unknown. `atMs`: the last tick at or before it. */
  leaderboard(
    tx: Tx,
    caller: Caller,
    suite: string,
    options: { readonly atMs: number | undefined; readonly withChecksum: boolean },
  ): Promise<View | undefined>;
  suites(tx: Tx, caller: Caller, page: Page): Promise<Rows>;
  suite(tx: Tx, caller: Caller, name: string): Promise<Versioned | undefined>;
  putSuite(tx: Tx, caller: Caller, name: string, document: unknown, ifVersion: string | undefined): Promise<PutOutcome>;
  promotions(
    tx: Tx,
    caller: Caller,
    filter: { readonly suite?: string; readonly model?: string },
    page: Page,
  ): Promise<Rows>;
  promotion(tx: Tx, caller: Caller, id: string): Promise<View | undefined>;
  models(tx: Tx, caller: Caller, page: Page): Promise<Rows>;
  model(tx: Tx, caller: Caller, name: string): Promise<Versioned | undefined>;
  /** Registers a model, or changes its aliases; `document` is checked inside. */
  putModel(tx: Tx, caller: Caller, name: string, document: unknown, ifVersion: string | undefined): Promise<PutOutcome>;
  versions(tx: Tx, caller: Caller, model: string): Promise<readonly View[] | undefined>;
  /** Asks for a retrain by hand; where one is open already, tells of that one. Throws RefusedInput. */
  retrain(tx: Tx, caller: Caller, model: string): Promise<{ readonly kind: 'raised' | 'exists'; readonly view: View }>;
  /** Newest first. */
  retrains(tx: Tx, caller: Caller, model: string | undefined): Promise<readonly View[]>;
  /** Points an alias of a model at one of its versions. Throws RefusedInput where either is unknown. */
  putAlias(tx: Tx, caller: Caller, model: string, alias: string, version: string): Promise<View>;
  /** Adds a version by hand; `seat` makes it the incumbent without a contest. Throws RefusedInput. */
  putVersion(tx: Tx, caller: Caller, model: string, version: string, seat: boolean): Promise<View>;
}

export interface RolloutRequest {
  /** The new version; absent where one runs already. */
  readonly suite?: object;
  /** Per cent of the models; 0: a shadow. */
  readonly share: number;
  readonly force?: boolean;
}

/** Two versions of a suite side by side. All throw RefusedInput where the feature is off. */
export interface RolloutsService {
  /** The one that runs, else the last; undefined: there was none. */
  rollout(tx: Tx, caller: Caller, suite: string): Promise<Versioned | undefined>;
  putRollout(
    tx: Tx,
    caller: Caller,
    suite: string,
    wanted: RolloutRequest,
    ifVersion: string | undefined,
  ): Promise<PutOutcome>;
  /** The rest: undefined where none runs. */
  promote(tx: Tx, caller: Caller, suite: string, force: boolean): Promise<View | undefined>;
  rollBack(tx: Tx, caller: Caller, suite: string): Promise<View | undefined>;
  diff(tx: Tx, caller: Caller, suite: string): Promise<View | undefined>;
  /** These take transactions of their own. What is left of the version's history, for jobs to count, for so long (`6h`). */
  claimHistory(caller: Caller, suite: string, hold: string | undefined): Promise<View | undefined>;
  /** Adds what the jobs of one partition left. undefined: the claim does not hold it. */
  mergeHistory(caller: Caller, suite: string, shares: SharesOfJobs): Promise<View | undefined>;
  releaseHistory(caller: Caller, suite: string, claim: string): Promise<View>;
}

export interface SharesOfJobs {
  readonly claim: string;
  readonly partition: number;
  readonly jobs: readonly string[];
}
