import { formatRfc3339 } from '../../core/rfc3339.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import { ENGINE_ACTOR, newId } from '../context.ts';
import { addEvidenceRows, loadEdge } from '../ingest/effects.sql.ts';
import { wantParked } from '../ingest/parked.sql.ts';
import type { ReadOffsets } from '../ingest/positions.sql.ts';
import type { OpenWatch } from '../ingest/suite-batch.ts';
import type { SuiteState } from '../ingest/suite-state.sql.ts';
import { lockSubject } from '../registry/lock-subject.ts';
import { type SuiteLanes, statesOf } from '../rollout/suite-lanes.ts';
import { Edge } from '../rules/edge.ts';
import type { GuardrailState, WatchState } from '../rules/promotion.ts';

/** The alias that follows the seat. */
const CHAMPION_ALIAS = 'champion';

export interface StoredWatch extends OpenWatch {
  readonly state: WatchState;
}

interface WatchRow {
  readonly watch_id: string;
  readonly model: string;
  readonly role: 'incumbent' | 'candidate';
  readonly start_ms: bigint | null;
  readonly run: number;
  readonly guardrails: readonly GuardrailState[];
}

/** The open watches of one version; each version that is kept has one of every model in the contest. */
export async function loadWatches(
  tx: Tx,
  tenant: string,
  suite: string,
  suiteHash: string,
): Promise<readonly StoredWatch[]> {
  const rows = await tx.query<WatchRow>(
    `select watch_id, model, role, start_ms, run, guardrails from watches
     where tenant = $1 and suite = $2 and suite_hash = $3 and closed_tick_ms is null order by model`,
    [tenant, suite, suiteHash],
  );
  return rows.map((row) => {
    const startMs = row.start_ms === null ? null : Number(row.start_ms);
    const state = { model: row.model, startMs, run: row.run, guardrails: row.guardrails };
    return { watchId: row.watch_id, model: row.model, role: row.role, startMs, state };
  });
}

/** Runs and guardrail restarts after a tick without a decision. */
export async function saveWatchStates(
  tx: Tx,
  watches: readonly StoredWatch[],
  after: readonly WatchState[],
): Promise<void> {
  const changed = after.flatMap((state) => {
    const watch = watches.find((one) => one.model === state.model);
    if (watch === undefined) return [];
    const same =
      watch.state.run === state.run && JSON.stringify(watch.state.guardrails) === JSON.stringify(state.guardrails);
    return same ? [] : [{ watchId: watch.watchId, state }];
  });
  if (changed.length === 0) return;
  await tx.execute(
    `update watches w set run = a.run, guardrails = a.guardrails::jsonb
     from unnest($1::text[], $2::integer[], $3::text[]) as a (watch_id, run, guardrails) where w.watch_id = a.watch_id`,
    [
      changed.map((one) => one.watchId),
      changed.map((one) => one.state.run),
      changed.map((one) => JSON.stringify(one.state.guardrails)),
    ],
  );
}

export interface NewWatches {
  readonly state: SuiteState;
  readonly incumbent: string | null;
  readonly candidates: readonly string[];
  /** Where the log stood. */
  readonly read: ReadOffsets;
}

/**
 * Opens challenges that start at the suite's watermark, with what the edge already holds for them: reports observed at or
 * after the watermark that were read before. The incumbent named is the one they are compared with; its own watch is not
 * touched.
 */
async function openChallenges(tx: Tx, clock: Clock, next: NewWatches): Promise<void> {
  const { incumbent } = next;
  for (const model of next.candidates) {
    await openWatch(tx, clock, next, model, 'candidate', incumbent === null ? [model] : [model, incumbent]);
  }
}

async function openWatch(
  tx: Tx,
  clock: Clock,
  next: NewWatches,
  model: string,
  role: OpenWatch['role'],
  counted: readonly string[],
): Promise<void> {
  const { tenant, suite, watermarkMs } = next.state;
  const watchId = newId(clock);
  await tx.execute(
    `insert into watches (watch_id, tenant, suite, suite_hash, model, role, start_ms, opened_at) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [watchId, tenant, suite.name, suite.hash, model, role, watermarkMs, JSON.stringify(next.read)],
  );
  const edge = new Edge(await loadEdge(tx, tenant, suite.name, suite.hash));
  await addEvidenceRows(
    tx,
    tenant,
    edge.seed(counted, suite.tickMs).map((row) => ({ watchId, ...row })),
  );
}

/** The watches of one version end. */
export async function closeWatches(
  tx: Tx,
  tenant: string,
  suite: string,
  suiteHash: string,
  closedTickMs: number,
): Promise<void> {
  await tx.execute(
    'update watches set closed_tick_ms = $4 where tenant = $1 and suite = $2 and suite_hash = $3 and closed_tick_ms is null',
    [tenant, suite, suiteHash, closedTickMs],
  );
}

/** A version's watches begin at the watermark. */
export async function openWatches(tx: Tx, clock: Clock, next: NewWatches): Promise<void> {
  if (next.incumbent !== null) await openWatch(tx, clock, next, next.incumbent, 'incumbent', [next.incumbent]);
  await openChallenges(tx, clock, next);
}

/** The seat changed: every watch ends, under each version that is kept, and new ones begin at the watermark. */
export async function replaceWatches(
  tx: Tx,
  clock: Clock,
  states: readonly SuiteState[],
  next: Omit<NewWatches, 'state'>,
  closedTickMs: number,
): Promise<void> {
  for (const state of states) {
    await closeWatches(tx, state.tenant, state.suite.name, state.suite.hash, closedTickMs);
    await openWatches(tx, clock, { ...next, state });
  }
}

/** Challenges of these models count their ticks anew; what they have seen so far stays. */
export async function resetRuns(
  tx: Tx,
  { tenant, suite }: SuiteState,
  isAffected: (model: string) => boolean,
): Promise<void> {
  const watches = await loadWatches(tx, tenant, suite.name, suite.hash);
  const affected = watches.filter((watch) => watch.role === 'candidate' && isAffected(watch.model));
  if (affected.length === 0) return;
  await tx.execute('update watches set run = 0 where watch_id = any($1::text[])', [
    affected.map((watch) => watch.watchId),
  ]);
}

/** Who sits, and since when in event time. The champion alias follows; an emptied seat leaves it on what served last. */
export async function setSeat(tx: Tx, state: SuiteState, version: string | null): Promise<void> {
  const { tenant, suite, watermarkMs } = state;
  await tx.execute(
    `insert into seats (tenant, suite, version, since_ms) values ($1, $2, $3, $4)
     on conflict (tenant, suite) do update set version = excluded.version, since_ms = excluded.since_ms, updated_at = clock_timestamp()`,
    [tenant, suite.name, version, watermarkMs],
  );
  if (version === null) return;
  await tx.execute(
    `insert into model_aliases (tenant, model, alias, version)
     select $1, model, $3, version from model_versions where tenant = $1 and version = $2
     on conflict (tenant, model, alias) do update set version = excluded.version, updated_at = clock_timestamp()`,
    [tenant, version, CHAMPION_ALIAS],
  );
}

interface CandidateRow {
  readonly version: string;
  readonly seat: boolean;
  readonly actor: string;
  readonly trace_id: string;
}

/** Ends the challenges of candidates withdrawn since, and opens those registered since, in their order; a seat by hand needs no contest. */
export async function admitCandidates(tx: Tx, clock: Clock, lanes: SuiteLanes, read: ReadOffsets): Promise<void> {
  const { tenant, suite, decidedTickMs } = lanes.active;
  await tx.execute(
    `update watches w set closed_tick_ms = $3 from candidates c
     where w.tenant = $1 and w.suite = $2 and w.closed_tick_ms is null and w.role = 'candidate'
       and c.tenant = $1 and c.suite = $2 and c.version = w.model and c.state = 'withdrawn'`,
    [tenant, suite.name, decidedTickMs ?? 0],
  );
  const rows = await tx.query<CandidateRow>(
    `select version, seat, actor, trace_id from candidates where tenant = $1 and suite = $2 and state = 'registered'
     order by created_at, version for update`,
    [tenant, suite.name],
  );
  await wantParked(
    tx,
    tenant,
    'unknown_model',
    rows.map((row) => row.version),
  );
  for (const row of rows) {
    await tx.execute(
      `update candidates set state = 'open', seat = false where tenant = $1 and suite = $2 and version = $3`,
      [tenant, suite.name, row.version],
    );
    if (row.seat) await seatByHand(tx, clock, lanes, row, read);
    else for (const state of statesOf(lanes)) await openMissing(tx, clock, state, row.version, read);
  }
}

async function openMissing(tx: Tx, clock: Clock, state: SuiteState, version: string, read: ReadOffsets): Promise<void> {
  const watches = await loadWatches(tx, state.tenant, state.suite.name, state.suite.hash);
  if (watches.some((watch) => watch.model === version)) return;
  const incumbent = watches.find((watch) => watch.role === 'incumbent')?.model ?? null;
  await openChallenges(tx, clock, { state, incumbent, candidates: [version], read });
}

async function seatByHand(
  tx: Tx,
  clock: Clock,
  lanes: SuiteLanes,
  row: CandidateRow,
  read: ReadOffsets,
): Promise<void> {
  const { tenant, suite, decidedTickMs } = lanes.active;
  const watches = await loadWatches(tx, tenant, suite.name, suite.hash);
  const before = watches.find((watch) => watch.role === 'incumbent')?.model ?? null;
  if (before === row.version) return;
  const candidates = watches.map((watch) => watch.model).filter((model) => model !== row.version);
  const next = { incumbent: row.version, candidates, read };
  await replaceWatches(tx, clock, statesOf(lanes), next, decidedTickMs ?? 0);
  await setSeat(tx, lanes.active, row.version);
  const subject = `suite/${suite.name}`;
  await lockSubject(tx, tenant, subject);
  await appendAudit(tx, {
    tenant,
    subject,
    type: 'seat.set',
    at: formatRfc3339(clock.now()),
    actor: row.actor,
    trace: row.trace_id,
    data: { model: row.version, incumbentBefore: before, admittedBy: ENGINE_ACTOR },
  });
}
