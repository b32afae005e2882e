import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Tx } from '../../platform/postgres.ts';
import { MAX_LISTED } from '../registry/suites.ts';
import { compareText } from '../rules/pane-table.ts';
import type { PublishedModel } from '../rules/published.ts';

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
  readonly models: readonly PublishedModel[];
}

/** undefined: no such suite. `tickMs` asks for an earlier tick. */
export async function leaderboard(
  tx: Tx,
  tenant: string,
  suite: string,
  tickMs?: number,
): Promise<Leaderboard | undefined> {
  const heads = await tx.query<HeadRow>(
    `select s.suite_hash, t.scored_tick_ms, e.version as incumbent, c.accepted, c.quarantined, c.duplicates, c.conflicts
     from suites s left join suite_states t using (tenant, suite) left join seats e using (tenant, suite) left join input_counters c using (tenant, suite)
     where s.tenant = $1 and s.suite = $2 and s.active`,
    [tenant, suite],
  );
  const head = heads[0];
  if (head === undefined) return undefined;
  const atMs = tickMs ?? (head.scored_tick_ms === null ? null : Number(head.scored_tick_ms));
  const rows =
    atMs === null
      ? []
      : await tx.query<{ body: PublishedModel }>(
          'select body from scores where tenant = $1 and suite = $2 and suite_hash = $3 and tick_ms = $4',
          [tenant, suite, head.suite_hash, atMs],
        );
  return {
    suite,
    suiteHash: head.suite_hash,
    at: atMs === null ? null : formatRfc3339(atMs),
    accepted: Number(head.accepted ?? 0n),
    quarantined: Number(head.quarantined ?? 0n),
    duplicates: Number(head.duplicates ?? 0n),
    conflicts: Number(head.conflicts ?? 0n),
    incumbent: head.incumbent,
    models: rows.map((row) => row.body).sort(byRank),
  };
}

interface HeadRow {
  readonly suite_hash: string;
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

/** The last published scores of a model (as reports name it) in each suite it is scored by; empty where there are none. */
export async function scoresOfModel(tx: Tx, tenant: string, model: string): Promise<readonly ModelScore[]> {
  const rows = await tx.query<ScoreRow>(
    `select s.suite, s.suite_hash, s.tick_ms, s.revision, s.trace_id, s.body
     from suites a, lateral (select * from scores s where s.tenant = a.tenant and s.suite = a.suite and s.suite_hash = a.suite_hash
                               and s.model = $2 order by s.tick_ms desc limit 1) s
     where a.tenant = $1 and a.active order by s.suite`,
    [tenant, model],
  );
  return rows.map(modelScore);
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
     where tenant = $1 and suite = $2 and model = $3 and tick_ms < $4 order by tick_ms desc limit $5`,
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
