import type { ScoringMetrics } from '../context.ts';
import type { Effects } from './reader-tasks.ts';

/** Tells what a flush did, once it is stored. */
export function tellEffects(metrics: ScoringMetrics, effects: Effects): void {
  for (const { counts } of effects.counters) {
    if (counts.accepted > 0) metrics.reports('accepted', counts.accepted);
    if (counts.quarantined > 0) metrics.reports('quarantined', counts.quarantined);
    if (counts.duplicates > 0) metrics.reports('duplicate', counts.duplicates);
    if (counts.conflicts > 0) metrics.reports('conflict', counts.conflicts);
  }
  for (const { next } of effects.suites) {
    if (next === null) continue;
    if (next.counted > 0) metrics.beside('counted', next.counted);
    if (next.refused > 0) metrics.beside('refused', next.refused);
    if (next.missed > 0) metrics.beside('missed', next.missed);
  }
  for (const { aside } of effects.asides) metrics.rejected(aside.code, 1);
}
