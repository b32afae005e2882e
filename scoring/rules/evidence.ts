/** Exact sums of s = round(s × 10^12) over reports of one (watch, model, metric), by tick. */
export interface EvidenceSums {
  readonly n: number;
  readonly weight: bigint;
  /** Σ w·S, S = s × 10^12 as an integer. */
  readonly sumWs: bigint;
  /** Σ w·S². */
  readonly sumWs2: bigint;
  /** Reports beyond the metric's guardrail; 0 where it has none. */
  readonly beyond: number;
}

export const NO_EVIDENCE: EvidenceSums = { n: 0, weight: 0n, sumWs: 0n, sumWs2: 0n, beyond: 0 };

/**
 * A row: one watch's (challenge's or seat's) sums of one model and metric over the reports that fall into one tick.
 * `model` is the candidate or, in the same challenge, the incumbent it is compared with. Cumulative sums at tick t are
 * the sums of the rows with tickMs ≤ t.
 */
export interface EvidenceRow {
  readonly watchId: string;
  readonly model: string;
  readonly metric: string;
  /** The first tick after the report: tick − length ≤ observedAt < tick. */
  readonly tickMs: number;
  readonly sums: EvidenceSums;
}
