import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Tx } from '../../platform/postgres.ts';
import { MAX_LISTED } from '../registry/suites.ts';
import { KEPT_BESIDE_JOIN } from '../rollout/rollout-state.sql.ts';
import { compareText } from '../rules/pane-table.ts';
import type { PublishedModel } from '../rules/published.ts';
import { decidingVersion, type NextVersion } from '../rules/rollout.ts';

/** A suite's ranking at its last published tick, in the shape of `merit score -o json`. */
export interface Leaderboard {
  readonly suite: string;
  readonly suiteHash: string;
  /** The tick; null: none is final yet. */
  readonly at: string | null;
  readonly accepted: number;
  readonly quarantined: number;
  readonly duplicates: number;
  readonly conflicts: number;
  readonly incumbent: string | null;
  readonly models: readonly BoardModel[];
}

export interface BoardModel extends PublishedModel {
  /** How often late data changed it since it was first published. */
  readonly revision: number;
  /** Where it is not the board's: the version that decides for this model while two are kept. */
  readonly suiteHash?: string;
}

/**
 * undefined: no such suite. Where two versions are kept each model's row is that of the version that decides for it now; with
 * `atMs`, of the last tick at or before it, that of the version that published it then. A rank is a model's place among all
 * models under its row's version: composites of two versions are not compared.
 */
export async function leaderboard(
  tx: Tx,
  tenant: string,
  suite: string,
  atMs?: number,
): Promise<Leaderboard | undefined> {
  const heads = await tx.query<HeadRow>(
    `select s.suite_hash, o.suite_hash as next_hash, o.share, t.scored_tick_ms, e.version as incumbent, c.accepted, c.quarantined, c.duplicates, c.conflicts
     from suites s left join suite_states t using (tenant, suite) left join seats e using (tenant, suite) left join input_counters c using (tenant, suite)
       ${KEPT_BESIDE_JOIN}
     where s.tenant = $1 and s.suite = $2 and s.active`,
    [tenant, suite],
  );
  const head = heads[0];
  if (head === undefined) return undefined;
  const tickMs = atMs === undefined ? head.scored_tick_ms : await lastTick(tx, tenant, suite, atMs);
  const rows = tickMs === null ? [] : await boardRows(tx, tenant, suite, tickMs);
  const shown = rows.filter(({ suite_hash, published, body }) =>
    atMs === undefined ? suite_hash === decidingVersion(suite, body.model, head.suite_hash, nextOf(head)) : published,
  );
  const suiteHash = shown.find(({ suite_hash }) => suite_hash !== head.next_hash)?.suite_hash ?? head.suite_hash;
  return {
    suite,
    suiteHash,
    at: tickMs === null ? null : formatRfc3339(Number(tickMs)),
    accepted: Number(head.accepted ?? 0n),
    quarantined: Number(head.quarantined ?? 0n),
    duplicates: Number(head.duplicates ?? 0n),
    conflicts: Number(head.conflicts ?? 0n),
    incumbent: head.incumbent,
    models: shown
      .map(({ suite_hash: own, revision, body }) => ({
        ...body,
        revision,
        ...(own === suiteHash ? {} : { suiteHash: own }),
      }))
      .sort(byRank),
  };
}

function nextOf({ next_hash: suiteHash, share }: Pick<HeadRow, 'next_hash' | 'share'>): NextVersion | null {
  return suiteHash === null || share === null ? null : { suiteHash, share };
}

/** The last tick that was published at or before an instant; null: none was. */
async function lastTick(tx: Tx, tenant: string, suite: string, atMs: number): Promise<bigint | null> {
  const rows = await tx.query<{ tick_ms: bigint }>(
    'select tick_ms from scores where tenant = $1 and suite = $2 and tick_ms <= $3 and published order by tick_ms desc limit 1',
    [tenant, suite, atMs],
  );
  return rows[0]?.tick_ms ?? null;
}

interface BoardRow {
  readonly suite_hash: string;
  readonly published: boolean;
  readonly revision: number;
  readonly body: PublishedModel;
}

/** Of every version. */
async function boardRows(tx: Tx, tenant: string, suite: string, tickMs: bigint): Promise<readonly BoardRow[]> {
  return tx.query<BoardRow>(
    'select suite_hash, published, revision, body from scores where tenant = $1 and suite = $2 and tick_ms = $3',
    [tenant, suite, tickMs],
  );
}

interface HeadRow {
  readonly suite_hash: string;
  /** Of the version that is kept beside the active one. */
  readonly next_hash: string | null;
  readonly share: number | null;
  readonly scored_tick_ms: bigint | null;
  readonly incumbent: string | null;
  readonly accepted: bigint | null;
  readonly quarantined: bigint | null;
  readonly duplicates: bigint | null;
  readonly conflicts: bigint | null;
}

/** Composite descending, then model id by code point; null composites last. */
function byRank(a: PublishedModel, b: PublishedModel): number {
  if (a.composite !== b.composite) {
    if (a.composite === null) return 1;
    if (b.composite === null) return -1;
    return b.composite - a.composite;
  }
  return compareText(a.model, b.model);
}

export interface ModelScore extends PublishedModel {
  readonly suite: string;
  readonly suiteHash: string;
  readonly at: string;
  /** How often late data changed it since it was first published. */
  readonly revision: number;
  readonly traceId: string;
}

/** A score with the version of the suite that it was scored by. */
export interface DocumentedScore {
  readonly score: ModelScore;
  readonly document: unknown;
}

export interface ScoreFilter {
  readonly suite?: string | undefined;
  /** The last tick at or before it, under whichever version published it; absent: the last one of the version that decides now. */
  readonly atMs?: number | undefined;
}

/** The last published scores of a model (as reports name it) in each suite it is scored by; empty where there are none. */
export async function scoresOfModel(
  tx: Tx,
  tenant: string,
  model: string,
  filter: ScoreFilter = {},
): Promise<readonly DocumentedScore[]> {
  const { suite = null, atMs = null } = filter;
  const heads = await tx.query<{ suite: string; suite_hash: string; next_hash: string | null; share: number | null }>(
    `select s.suite, s.suite_hash, o.suite_hash as next_hash, o.share from suites s ${KEPT_BESIDE_JOIN}
     where s.tenant = $1 and s.active and ($2::text is null or s.suite = $2)`,
    [tenant, suite],
  );
  const rows = await tx.query<ScoreRow & { document: unknown }>(
    `select s.suite, s.suite_hash, s.tick_ms, s.revision, s.trace_id, s.body, d.document
     from unnest($3::text[], $4::text[]) as a (suite, suite_hash)
     cross join lateral (
       select * from scores s where s.tenant = $1 and s.suite = a.suite and s.model = $2
         and case when $5::bigint is null then s.suite_hash = a.suite_hash else s.published and s.tick_ms <= $5 end
       order by s.tick_ms desc limit 1) s
     join suites d on d.tenant = $1 and d.suite = a.suite and d.suite_hash = s.suite_hash
     order by s.suite`,
    [
      tenant,
      model,
      heads.map((head) => head.suite),
      heads.map((head) => decidingVersion(head.suite, model, head.suite_hash, nextOf(head))),
      atMs,
    ],
  );
  return rows.map((row) => ({ score: modelScore(row), document: row.document }));
}

/** One model in one suite by tick, newest first, before `beforeMs`. */
export async function scoreHistory(
  tx: Tx,
  tenant: string,
  suite: string,
  model: string,
  limit = MAX_LISTED,
  beforeMs = Number.MAX_SAFE_INTEGER,
): Promise<readonly ModelScore[]> {
  const rows = await tx.query<ScoreRow>(
    `select suite, suite_hash, tick_ms, revision, trace_id, body from scores
     where tenant = $1 and suite = $2 and model = $3 and tick_ms < $4 and published
     order by tick_ms desc limit $5`,
    [tenant, suite, model, beforeMs, Math.min(limit, MAX_LISTED)],
  );
  return rows.map(modelScore);
}

interface ScoreRow {
  readonly suite: string;
  readonly suite_hash: string;
  readonly tick_ms: bigint;
  readonly revision: number;
  readonly trace_id: string;
  readonly body: PublishedModel;
}

function modelScore(row: ScoreRow): ModelScore {
  return {
    suite: row.suite,
    suiteHash: row.suite_hash,
    at: formatRfc3339(Number(row.tick_ms)),
    revision: row.revision,
    traceId: row.trace_id,
    ...row.body,
  };
}
