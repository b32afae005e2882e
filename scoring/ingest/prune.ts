import type { Tx } from '../../platform/postgres.ts';
import { type SuiteLanes, statesOf } from '../rollout/suite-lanes.ts';
import { RESOLUTIONS } from '../rules/pane.ts';
import { keptFromMs, RECORDED_BACK_MS } from '../rules/retention.ts';
import { pruneDedup, resolutionMinutes } from './effects.sql.ts';
import type { SuiteState } from './suite-state.sql.ts';

const HOUR_MS = 3_600_000;

/** Old rows go once an hour of event time, not at every tick. */
export function isPruneDue(before: SuiteState, after: SuiteState): boolean {
  if (before.scoredTickMs === null || after.scoredTickMs === null) return false;
  return Math.floor(after.scoredTickMs / HOUR_MS) > Math.floor(before.scoredTickMs / HOUR_MS);
}

/** Deletes what no window, late report or duplicate can reach any more. Returns how many reports the dedup state forgot. */
export async function prune(tx: Tx, lanes: SuiteLanes): Promise<number> {
  const { tenant, suite, watermarkMs, decidedTickMs } = lanes.active;
  // A new version may lag behind the active one.
  const scoredTickMs = Math.min(...statesOf(lanes).map((state) => state.scoredTickMs ?? Number.NEGATIVE_INFINITY));
  if (watermarkMs === null || !Number.isFinite(scoredTickMs)) return 0;
  // Behind the published tick, not the watermark: after a jump of event time ticks are still to be published from old panes.
  for (const table of ['pane_sketches', 'panes']) {
    for (const resolution of RESOLUTIONS) {
      await tx.execute(
        `delete from ${table} where resolution = $3 and start_ms < $4
           and series_id in (select series_id from series where tenant = $1 and suite = $2)`,
        [tenant, suite.name, resolutionMinutes(resolution), keptFromMs(resolution, scoredTickMs)],
      );
    }
  }
  // A tick that waits for its decision keeps its rows, and those whose composites the record will carry.
  const oldestMs = Math.min(scoredTickMs, decidedTickMs ?? scoredTickMs) - RECORDED_BACK_MS;
  await tx.execute('delete from tick_reports where tenant = $1 and suite = $2 and tick_ms < $3', [
    tenant,
    suite.name,
    oldestMs,
  ]);
  // What a watch counted that ended long ago: its decision carries the sums it rested on.
  await tx.execute(
    `delete from evidence_sums where watch_id in
       (select watch_id from watches where tenant = $1 and suite = $2 and closed_tick_ms < $3)`,
    [tenant, suite.name, oldestMs],
  );
  return pruneDedup(tx, tenant, suite.name, watermarkMs);
}
