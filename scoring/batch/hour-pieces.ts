import { hourOf } from './hour-share.ts';
import type { PackedPanes } from './pane-deltas.ts';

/** Whole hours of event time, and where their panes lie. */
export interface HourPiece {
  readonly hours: readonly number[];
  readonly rows: readonly number[];
}

/** Cuts panes by their hours, the oldest first, into pieces of at most so many panes; an hour that has more is one by itself. Without the hours of `merged`. */
export function* hourPieces(
  { startMs }: PackedPanes,
  merged: ReadonlySet<number>,
  panesAtOnce: number,
): Generator<HourPiece> {
  const byHour = Map.groupBy(startMs.keys(), (row) => hourOf(startMs[row]!));
  let [hours, rows]: [number[], number[]] = [[], []];
  for (const [hour, its] of [...byHour].sort(([a], [b]) => a - b)) {
    if (merged.has(hour)) continue;
    if (rows.length > 0 && rows.length + its.length > panesAtOnce) {
      yield { hours, rows };
      [hours, rows] = [[], []];
    }
    hours.push(hour);
    rows = rows.concat(its);
  }
  if (rows.length > 0) yield { hours, rows };
}

/** Are all panes in hours that are merged? */
export function areIn({ startMs }: PackedPanes, merged: ReadonlySet<number>): boolean {
  return startMs.every((atMs) => merged.has(hourOf(atMs)));
}
