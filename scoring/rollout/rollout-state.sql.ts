import type { Suite } from '../../core/suite.ts';
import type { Tx } from '../../platform/postgres.ts';

/** A running rollout, as requests want it. */
export interface WantedRollout {
  readonly rolloutId: string;
  readonly suite: Suite;
  /** Per cent of the models. */
  readonly share: number;
  /** The share holds before the windows are full. */
  readonly forced: boolean;
}

/** A rollout whose version the consumer keeps beside the active one. */
export interface OpenRollout extends WantedRollout {
  /** Not `running`: a request has ended it, and the consumer takes that up now. */
  readonly wantedState: 'running' | 'promoted' | 'rolled_back';
  readonly shareInForce: number;
  readonly scoredTickMs: number | null;
  readonly judgedAfterMs: number | null;
  readonly completeTickMs: number | null;
}

export interface LoadedRollout {
  readonly wanted: WantedRollout | null;
  /** May be another one than `wanted`: one that ended and was not taken up yet. */
  readonly open: OpenRollout | null;
}

/** To be joined to `suites s`: at most one running rollout (w, its document d) and one open state (o, its rollout r, document e). */
export const ROLLOUT_JOINS = `
  left join suite_rollouts w on w.tenant = s.tenant and w.suite = s.suite and w.state = 'running'
  left join suites d on d.tenant = w.tenant and d.suite = w.suite and d.suite_hash = w.suite_hash
  left join rollout_states o on o.tenant = s.tenant and o.suite = s.suite and not o.ended
  left join suite_rollouts r on r.rollout_id = o.rollout_id
  left join suites e on e.tenant = o.tenant and e.suite = o.suite and e.suite_hash = o.suite_hash`;

export const ROLLOUT_COLUMNS = `
  w.rollout_id as wanted_id, w.suite_hash as wanted_hash, d.document as wanted_document, w.share as wanted_share, w.forced as wanted_forced,
  o.rollout_id as open_id, o.suite_hash as open_hash, e.document as open_document, r.state as open_state, r.share as open_share,
  r.forced as open_forced, o.share as share_in_force, o.scored_tick_ms as open_scored_ms, o.judged_after_ms, o.complete_tick_ms`;

/** To be joined to `suites s` by readers of what holds now: the version kept beside the active one (o), where its rollout runs. */
export const KEPT_BESIDE_JOIN = `
  left join rollout_states o on o.tenant = s.tenant and o.suite = s.suite and not o.ended
    and exists (select 1 from suite_rollouts r where r.rollout_id = o.rollout_id and r.state = 'running')`;

export interface RolloutColumns {
  readonly wanted_id: string | null;
  readonly wanted_hash: string;
  readonly wanted_document: unknown;
  readonly wanted_share: number;
  readonly wanted_forced: boolean;
  readonly open_id: string | null;
  readonly open_hash: string;
  readonly open_document: unknown;
  readonly open_state: OpenRollout['wantedState'];
  readonly open_share: number;
  readonly open_forced: boolean;
  readonly share_in_force: number;
  readonly open_scored_ms: bigint | null;
  readonly judged_after_ms: bigint | null;
  readonly complete_tick_ms: bigint | null;
}

export function loadedRollout(row: RolloutColumns, suiteOf: (hash: string, document: unknown) => Suite): LoadedRollout {
  return {
    wanted:
      row.wanted_id === null
        ? null
        : {
            rolloutId: row.wanted_id,
            suite: suiteOf(row.wanted_hash, row.wanted_document),
            share: row.wanted_share,
            forced: row.wanted_forced,
          },
    open:
      row.open_id === null
        ? null
        : {
            rolloutId: row.open_id,
            suite: suiteOf(row.open_hash, row.open_document),
            share: row.open_share,
            forced: row.open_forced,
            wantedState: row.open_state,
            shareInForce: row.share_in_force,
            scoredTickMs: numberOrNull(row.open_scored_ms),
            judgedAfterMs: numberOrNull(row.judged_after_ms),
            completeTickMs: numberOrNull(row.complete_tick_ms),
          },
  };
}

export function numberOrNull(value: bigint | null): number | null {
  return value === null ? null : Number(value);
}

/**
 * Suites whose rollout a request has started, ended or changed since the consumer looked, or whose share may come into force; and
 * those with ticks to publish again, which a recompute leaves.
 */
export const ROLLOUTS_TO_TAKE_UP = `
  select w.tenant, w.suite as name from suite_rollouts w left join rollout_states o using (rollout_id)
  where w.state = 'running'
    and (o.rollout_id is null or (o.share <> w.share and (w.forced or o.share > 0 or o.complete_tick_ms is null or o.scored_tick_ms >= o.complete_tick_ms)))
  union
  select o.tenant, o.suite from rollout_states o join suite_rollouts w using (rollout_id) where not o.ended and w.state <> 'running'
  union
  select tenant, suite from rescore_ranges`;

/** How far the new version's ticks are published. */
export async function saveScoredTick(tx: Tx, rolloutId: string, scoredTickMs: number | null): Promise<void> {
  await tx.execute('update rollout_states set scored_tick_ms = $2 where rollout_id = $1', [rolloutId, scoredTickMs]);
}

/** Adds what only one of the two versions took in. */
export async function addRefused(tx: Tx, rolloutId: string, refused: number, missed: number): Promise<void> {
  if (refused === 0 && missed === 0) return;
  await tx.execute('update rollout_states set refused = refused + $2, missed = missed + $3 where rollout_id = $1', [
    rolloutId,
    refused,
    missed,
  ]);
}
