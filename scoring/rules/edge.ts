import type { Observation } from './contribution.ts';
import { addEvidence, type EvidenceSums, evidenceOf, tickAfter } from './evidence.ts';
import { compareText } from './pane-table.ts';

/**
 * The edge of a suite: the evidence of reports already read whose observedAt is not before the suite's watermark. A watch
 * that starts at the watermark counts reports observed at or after it, those read before it began included; they are
 * exactly the edge. With one partition the edge is one millisecond: the reports at the watermark itself. With several it
 * reaches as far as the partitions that are ahead of the slowest.
 * Source: a challenge's start, docs/scoring.md, Promotion and demotion.
 */
export interface EdgeEntry {
  readonly observedAtMs: number;
  readonly model: string;
  readonly metric: string;
  readonly sums: EvidenceSums;
}

/** Rows for a new watch: one a (model, metric, tick). */
export interface SeedRow {
  readonly model: string;
  readonly metric: string;
  readonly tickMs: number;
  readonly sums: EvidenceSums;
}

export class Edge {
  readonly #entries = new Map<string, EdgeEntry>();

  constructor(entries: Iterable<EdgeEntry> = []) {
    for (const entry of entries) this.#merge(entry);
  }

  /**
   * Call it for each accepted report after the watermark took the report in: first what fell behind the watermark is
   * dropped, then the report is kept if it is not behind itself.
   */
  take(observation: Observation, watermarkMs: number | null): void {
    this.advance(watermarkMs);
    const { observedAtMs, model } = observation;
    if (watermarkMs !== null && observedAtMs < watermarkMs) return;
    for (const { metric, sums } of evidenceOf(observation)) this.#merge({ observedAtMs, model, metric, sums });
  }

  /** Drops what lies before the watermark; for when it moves without a report, as when a partition goes idle. */
  advance(watermarkMs: number | null): void {
    if (watermarkMs === null) return;
    for (const [key, entry] of this.#entries) if (entry.observedAtMs < watermarkMs) this.#entries.delete(key);
  }

  #merge(entry: EdgeEntry): void {
    const key = `${entry.observedAtMs} ${entry.model} ${entry.metric}`;
    const present = this.#entries.get(key);
    this.#entries.set(key, present === undefined ? entry : { ...entry, sums: addEvidence(present.sums, entry.sums) });
  }

  /** What to store, sorted by key. */
  entries(): readonly EdgeEntry[] {
    return Array.from(this.#entries.values()).sort(
      (a, b) => a.observedAtMs - b.observedAtMs || compareText(a.model, b.model) || compareText(a.metric, b.metric),
    );
  }

  /** The first rows of a watch over `models` that starts now, at the watermark. */
  seed(models: readonly string[], tickLengthMs: number): readonly SeedRow[] {
    const rows = new Map<string, SeedRow>();
    for (const { observedAtMs, model, metric, sums } of this.entries()) {
      if (!models.includes(model)) continue;
      const tickMs = tickAfter(observedAtMs, tickLengthMs);
      const key = `${model} ${metric} ${tickMs}`;
      const present = rows.get(key);
      rows.set(key, { model, metric, tickMs, sums: present === undefined ? sums : addEvidence(present.sums, sums) });
    }
    return Array.from(rows.values());
  }
}
