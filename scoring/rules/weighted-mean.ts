/** A score with the ends of its interval, all three present. */
export interface Scored {
  readonly score: number;
  readonly lower: number;
  readonly upper: number;
}

/**
 * Σ weight·value / Σ weight of scores, lower and upper ends: added in the given order, divided last. Null without parts.
 * Weights of parts that are missing are simply not there, which renormalises the others.
 * Source: docs/scoring.md, Exact arithmetic (the order) and From metric to rank.
 */
export function weightedMean(parts: readonly { readonly weight: number; readonly scored: Scored }[]): Scored | null {
  if (parts.length === 0) return null;
  let weights = 0;
  let score = 0;
  let lower = 0;
  let upper = 0;
  for (const part of parts) {
    weights += part.weight;
    score += part.weight * part.scored.score;
    lower += part.weight * part.scored.lower;
    upper += part.weight * part.scored.upper;
  }
  return { score: score / weights, lower: lower / weights, upper: upper / weights };
}
