import type { Readable } from 'node:stream';
import type { Json } from '../../core/canonical.ts';
import type { EvalReport } from '../../core/eval-report.ts';
import type { JobSpec } from '../../core/job.ts';
import type { Refusal } from '../../core/refusal.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Database, Tx } from '../../platform/postgres.ts';

/**
 * What the HTTP server needs of the rest, as small functions that the wiring (api/roles) binds. Everything that takes a `Tx` runs in
 * the request's own transaction (role merit_app, row-level security by the caller's tenant): a mutation commits together with its
 * idempotency row. Nothing here calls the network inside a transaction.
 */

/** What an identity may do: read anything of its tenant; submit and cancel jobs; post reports; change pools, suites and models. */
export type ApiFunction = 'read' | 'submit' | 'report' | 'operate';

export interface Identity {
  /** A stable name that audit events show: `token:local`, later a SPIFFE id. */
  readonly principal: string;
  readonly tenant: string;
  readonly functions: readonly ApiFunction[];
  /** The producers whose reports it may post; 'any' for the one token of an installation on loopback. */
  readonly producers: 'any' | readonly string[];
}

export interface Caller {
  readonly identity: Identity;
  /** W3C trace id, 32 hex. */
  readonly traceId: string;
  readonly nowMs: number;
}

/** One part that must be there before the server takes work. `mend` says what to do where it is not. */
export interface PartStatus {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly mend?: string;
}

/** The metrics of the HTTP surface; bound to the registry of platform/telemetry. */
export interface HttpMetrics {
  /** `route` is the template, never a path with ids in it. */
  request(route: string, method: string, statusClass: string, seconds: number): void;
  /** rejected_total{surface="http",code}. */
  rejected(code: string): void;
  /** Event streams open now. */
  streams(open: number): void;
  /** An event stream ended: by its reader, because the reader was too slow, at the server's stop or age, or by a fault. */
  streamEnded(reason: 'left' | 'slow' | 'over' | 'fault'): void;
  /** The whole registry in Prometheus' text format. */
  expose(): Promise<{ readonly contentType: string; readonly body: string }>;
}

export interface HttpLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** An object of JSON that a reply carries. */
export type View = { readonly [key: string]: Json };

export interface Versioned {
  readonly version: string;
  readonly view: View;
}

/** A page of a list: rows after `after` (the last row's sort key of the page before), newest or first by name, as the list says. */
export interface Page {
  readonly limit: number;
  readonly after: string | undefined;
}
export interface Rows {
  readonly items: readonly View[];
  /** The sort key of the last row where there may be more. */
  readonly last: string | undefined;
}

export type PutOutcome =
  | { readonly kind: 'created' | 'replaced' | 'unchanged'; readonly version: string; readonly view: View }
  | { readonly kind: 'stale'; readonly version: string };

export interface JobFilter {
  readonly state?: string;
  readonly division?: string;
  readonly model?: string;
  readonly name?: string;
  /** Booked at or after this RFC 3339 time. */
  readonly since?: string;
  /** `true`: those that have not ended. */
  readonly live?: string;
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
  /** Asks for its end; safe to repeat. undefined: no such job of this tenant. `ended`: it had ended before. */
  cancel(
    tx: Tx,
    caller: Caller,
    jobId: string,
  ): Promise<{ readonly kind: 'asked' | 'ended'; readonly view: View } | undefined>;
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

export type ReportAnswer =
  | { readonly kind: 'accepted'; readonly view: View }
  | { readonly kind: 'duplicate'; readonly view: View }
  | { readonly kind: 'conflict'; readonly view: View };

export interface ReportsService {
  /** One checked report; durable in the log when it resolves. */
  append(caller: Caller, report: EvalReport): Promise<ReportAnswer>;
  /** NDJSON of any size; durable when it resolves. */
  appendStream(caller: Caller, body: AsyncIterable<Uint8Array>): Promise<View>;
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
}

export interface PoolsService {
  pools(tx: Tx, caller: Caller, page: Page): Promise<Rows>;
  pool(tx: Tx, caller: Caller, name: string): Promise<Versioned | undefined>;
  /** How often the start times that were told for it held; undefined: no such pool. */
  etaRecord(tx: Tx, caller: Caller, name: string): Promise<View | undefined>;
  /** Cordons, uncordons or drains a pool, or one machine of it; undefined: no such pool. Throws RefusedInput where it has no such machine. */
  setPoolState(
    tx: Tx,
    caller: Caller,
    name: string,
    wanted: 'cordon' | 'uncordon' | 'drain',
    options: { readonly node: string | undefined; readonly ifVersion: string | undefined },
  ): Promise<
    ({ readonly kind: 'done' } & Versioned) | { readonly kind: 'stale'; readonly version: string } | undefined
  >;
  /** Every balance of the tenant: quotas and budgets with limit, held, used and free; quotas with what is borrowed and lent as well. */
  quotas(
    tx: Tx,
    caller: Caller,
    filter: { readonly division?: string; readonly group?: string; readonly pool?: string },
  ): Promise<readonly View[]>;
}

/** Kinds of documents that have a path of their own beside pools. */
export type StoredKind = 'Group' | 'Division' | 'PriorityClass' | 'Budget' | 'Scheduling';

export type DocumentsOutcome =
  | { readonly kind: 'done'; readonly view: View }
  | { readonly kind: 'stale'; readonly key: string; readonly version: string };

/** What operators declare, a document each. All throw RefusedInput; what `dryRun` answers is what would be done. */
export interface DocumentsService {
  list(tx: Tx, caller: Caller, kind: StoredKind, page: Page): Promise<Rows>;
  get(tx: Tx, caller: Caller, kind: StoredKind, name: string): Promise<Versioned | undefined>;
  /** `expected`: what the path says of it. */
  put(
    tx: Tx,
    caller: Caller,
    document: unknown,
    expected: { readonly field: string; readonly name: string } | undefined,
    options: { readonly ifVersion: string | undefined; readonly dryRun: boolean },
  ): Promise<PutOutcome>;
  remove(
    tx: Tx,
    caller: Caller,
    kind: StoredKind,
    name: string,
    options: { readonly ifVersion: string | undefined; readonly dryRun: boolean },
  ): Promise<
    | DocumentsOutcome
    | { readonly kind: 'not_found' }
    | { readonly kind: 'in_use'; readonly refusals: readonly Refusal[] }
  >;
  /** `versions`: by `Kind/name`, only where it is still at that version. */
  apply(
    tx: Tx,
    caller: Caller,
    documents: readonly unknown[],
    options: { readonly versions: Readonly<Record<string, string>>; readonly dryRun: boolean },
  ): Promise<DocumentsOutcome>;
}

export interface AuditService {
  /** Events in order of sequence, those not sequenced yet last. */
  events(
    tx: Tx,
    caller: Caller,
    filter: { readonly subject?: string; readonly type?: string },
    page: Page,
  ): Promise<Rows>;
  /** The public keys and checkpoints that an offline check is pinned to. */
  roots(caller: Caller): Promise<View>;
  /** The whole chain of the installation as one bundle; needs `operate`. */
  exportBundle(caller: Caller): AsyncIterable<Uint8Array>;
}

export interface EventFilter {
  /** Ticks, decisions and changes of one suite only. */
  readonly suite: string | undefined;
  /** Types or their beginnings: `decision` takes in `decision.promote`. */
  readonly types: readonly string[] | undefined;
}

export interface StreamEvent {
  /** The position behind it. */
  readonly id: string;
  readonly type: string;
  readonly data: View;
}

export interface EventPage {
  readonly events: readonly StreamEvent[];
  /** Behind all that was looked at, also where nothing of it is wanted. */
  readonly position: string;
  /** There may be more right now. */
  readonly more: boolean;
}

/** What happened, from what is stored, in an order that only grows at its end. */
export interface EventsService {
  /** A position that every later event comes after. */
  now(tx: Tx, caller: Caller): Promise<string>;
  /** undefined: that is no position. */
  after(tx: Tx, caller: Caller, position: string, filter: EventFilter): Promise<EventPage | undefined>;
  /** Another text whenever there may be something new. */
  head(tx: Tx, tenant: string): Promise<string>;
}

export interface ArtifactFile {
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
  readonly objectKey: string;
  readonly attempt: number;
}

export interface ArtifactsService {
  /** A file by its path in the manifest of an attempt, the newest by default. undefined: there is none. */
  file(tx: Tx, jobId: string, path: string, attempt: number | undefined): Promise<ArtifactFile | undefined>;
  open(file: ArtifactFile, range: { readonly from?: number }): Promise<Readable>;
  /** What no manifest and no log names, one by one, deleted unless `dryRun`; at last a summary. Outside any transaction. */
  collect(
    caller: Caller,
    options: { readonly dryRun: boolean; readonly graceMs: number },
    signal: AbortSignal,
  ): AsyncGenerator<View>;
}

export interface CodeService {
  /** Stores a zip of a working directory by its content; returns `code:<sha256>`. */
  put(caller: Caller, packed: Uint8Array): Promise<View>;
}

export interface Services {
  readonly version: string;
  readonly clock: Clock;
  readonly db: Database;
  readonly log: HttpLog;
  readonly metrics: HttpMetrics;
  /** 32 bytes; cursors are signed with it. */
  readonly cursorSecret: Uint8Array;
  /** Host names that a request may name besides loopback's; without a port. */
  readonly allowedHosts: readonly string[];
  /** The identity of an Authorization header; undefined where it proves none. Compares secrets in constant time. */
  identify(authorization: string | undefined): Promise<Identity | undefined>;
  /** All parts, each within its own limit. */
  readiness(): Promise<readonly PartStatus[]>;
  readonly jobs: JobsService;
  readonly artifacts: ArtifactsService;
  readonly reports: ReportsService;
  readonly scoring: ScoringService;
  readonly rollouts: RolloutsService;
  readonly pools: PoolsService;
  readonly documents: DocumentsService;
  readonly audit: AuditService;
  readonly events: EventsService;
  readonly code: CodeService;
}
