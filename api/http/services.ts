import type { Readable } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { ApiFunction } from '../../core/access.ts';
import type { Json } from '../../core/canonical.ts';
import type { Refusal } from '../../core/refusal.ts';
import type { BillingMonth } from '../../ledger/finops/focus.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Database, Tx } from '../../platform/postgres.ts';
import type { RateVerdict } from '../../platform/rate-limit.ts';
import type { JobsService } from './jobs-service.ts';
import type { ProposalsService } from './proposals-service.ts';
import type {
  QuarantineService,
  ReplaysService,
  ReportsService,
  RolloutsService,
  ScoringService,
} from './scoring-services.ts';

/**
 * What the HTTP server needs of the rest, as small functions that the wiring (api/roles) binds. Everything that takes a `Tx` runs in
 * the request's own transaction (role merit_app, row-level security by the caller's tenant): a mutation commits together with its
 * idempotency row. Nothing here calls the network inside a transaction.
 */

export interface Identity {
  /** A stable name that audit events show: `token:local`, `oidc:<person>`, or a SPIFFE id. */
  readonly principal: string;
  readonly tenant: string;
  readonly functions: readonly ApiFunction[];
  /** The producers whose reports it may post; 'any' for the one token of an installation on loopback. */
  readonly producers: 'any' | readonly string[];
}

/** What a request shows of who sends it. */
export interface Presented {
  readonly authorization: string | undefined;
  /** The connection, where the client showed a certificate on it; a proxy's headers about one count for nothing. */
  readonly tls: TLSSocket | undefined;
}

/** Why nobody was recognised, in words that tell nothing of who else there is. */
export type Unidentified =
  | { readonly refused: 'missing' }
  /** What was shown proves nothing. */
  | { readonly refused: 'invalid'; readonly why: string }
  /** It proves who asks, and who that is has no role here, or no tenant. */
  | { readonly refused: 'stranger'; readonly principal: string; readonly why: string }
  /** It cannot be judged now. */
  | { readonly refused: 'away'; readonly why: string };

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

/** By its reader, because the reader was too slow or may read it no more, at the server's stop or age, or by a fault. */
export const STREAM_ENDS = ['left', 'slow', 'denied', 'over', 'fault'] as const;
export type StreamEnd = (typeof STREAM_ENDS)[number];

/** The metrics of the HTTP surface; bound to the registry of platform/telemetry. */
export interface HttpMetrics {
  /** `route` is the template, never a path with ids in it. */
  request(route: string, method: string, statusClass: string, seconds: number): void;
  /** rejected_total{surface="http",code}. */
  rejected(code: string): void;
  /** Event streams open now. */
  streams(open: number): void;
  /** An event stream ended. */
  streamEnded(reason: StreamEnd): void;
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

export interface PoolsService {
  pools(tx: Tx, caller: Caller, page: Page): Promise<Rows>;
  pool(tx: Tx, caller: Caller, name: string): Promise<Versioned | undefined>;
  /** What its provider says is there now, beside what is declared and booked; undefined: no such pool. */
  capacity(caller: Caller, name: string): Promise<View | undefined>;
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
export type StoredKind = 'Group' | 'Division' | 'PriorityClass' | 'Budget' | 'Scheduling' | 'SigningPolicy';

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
  /** What the tables say that is so, for a chain that is exported afterwards to cover; needs `operate`. */
  exportState(caller: Caller): AsyncIterable<Uint8Array>;
  /** What the witness has seen, and whether the trail is that. Throws RefusedInput where there is none. */
  witness(caller: Caller): Promise<View>;
  /** Copies the newest checkpoint now. */
  pushWitness(caller: Caller): Promise<View>;
  /** All its records, the newest first. */
  witnessRecords(caller: Caller): AsyncIterable<Uint8Array>;
  /** Every key that signed it, is in use, or was asked for; the oldest first. */
  keys(caller: Caller): Promise<readonly View[]>;
  /** Asks for the change to the key that `signer.next` names. Throws RefusedInput where it names none that can come. */
  rotateKey(caller: Caller): Promise<View>;
}

export interface FinopsService {
  /** `name` as it was asked for. Of a month that has not ended, what was settled until a minute ago. */
  month(caller: Caller, name: string, month: BillingMonth, signal: AbortSignal): Promise<View>;
  /** The lines of a FOCUS file, header first; only what was settled before `toMs`. */
  focus(caller: Caller, month: BillingMonth, toMs: number | undefined): AsyncIterable<string>;
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

/** Somebody was turned away: not recognised, or without the function that the route takes. */
export interface Denial {
  readonly why: 'function' | Unidentified['refused'];
  /** undefined: it is not known whose tenant that would be. */
  readonly tenant: string | undefined;
  readonly principal: string | undefined;
  /** Template, never a path with ids in it. */
  readonly route: string;
  readonly method: string;
  readonly needs: ApiFunction;
  readonly traceId: string;
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
  /** Whom a request comes from, or why nobody is recognised. Compares secrets in constant time. */
  identify(presented: Presented): Promise<Identity | Unidentified>;
  /** Hears of everybody who was turned away; never throws, and keeps little of a flood. */
  denied(denial: Denial): void;
  /** Takes a request of an identity from what it and its tenant may send. Never throws. */
  limitRate(identity: Identity): Promise<RateVerdict>;
  /** All parts, each within its own limit. */
  readiness(): Promise<readonly PartStatus[]>;
  readonly jobs: JobsService;
  readonly artifacts: ArtifactsService;
  readonly reports: ReportsService;
  readonly quarantine: QuarantineService;
  readonly replays: ReplaysService;
  readonly scoring: ScoringService;
  readonly rollouts: RolloutsService;
  readonly pools: PoolsService;
  readonly documents: DocumentsService;
  readonly proposals: ProposalsService;
  readonly audit: AuditService;
  readonly finops: FinopsService;
  readonly events: EventsService;
  readonly code: CodeService;
}
