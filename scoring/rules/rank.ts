import { compareText } from './pane-table.ts';
import type { PublishedModel } from './published.ts';

/**
 * Rank = 1 + #{lower bound > my upper bound} over composites, so that models whose intervals overlap may share a rank.
 * Rows come by composite descending, then model id by code point; null composites last, rank null.
 * Source: Chiang and others, Chatbot Arena (2024), approximate ranking.
 */
export function rankModels(models: readonly PublishedModel[]): readonly PublishedModel[] {
  const lowers: number[] = [];
  for (const model of models) if (model.lower !== null) lowers.push(model.lower);
  const ascending = Float64Array.from(lowers).sort();
  return models
    .map((model) => ({ ...model, rank: model.upper === null ? null : 1 + countAbove(ascending, model.upper) }))
    .sort(compareModels);
}

/**
 * The rank that a model would have among the lower bounds of a published board: `ascending` with its own entry `own` (null: it
 * has none), which does not count against it.
 */
export function rankAmong(ascending: Float64Array, own: number | null, upper: number | null): number | null {
  if (upper === null) return null;
  return 1 + countAbove(ascending, upper) - (own !== null && own > upper ? 1 : 0);
}

/** How many of the ascending values are strictly greater than `bound`. */
function countAbove(ascending: Float64Array, bound: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ascending[middle]! > bound) high = middle;
    else low = middle + 1;
  }
  return ascending.length - low;
}

function compareModels(a: PublishedModel, b: PublishedModel): number {
  if (a.composite !== null && b.composite !== null && a.composite !== b.composite) return b.composite - a.composite;
  if ((a.composite === null) !== (b.composite === null)) return a.composite === null ? 1 : -1;
  return compareText(a.model, b.model);
}
