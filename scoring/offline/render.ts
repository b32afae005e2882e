import type { PublishedModel } from '../rules/published.ts';
import type { OfflineScores } from './score-stream.ts';
import { decimal, tableLines } from './text-table.ts';

/**
 * The result as JSON text in pieces, one model a line: whole boards can be longer than the longest string.
 * One JSON object, as scoring.md shows it.
 */
export function* jsonPieces(scores: OfflineScores): Generator<string> {
  const { models, ...head } = scores;
  yield `${JSON.stringify(head).slice(0, -1)},"models":[`;
  let separator = '\n';
  for (const model of models) {
    yield separator + JSON.stringify(model);
    separator = ',\n';
  }
  yield models.length === 0 ? ']}\n' : '\n]}\n';
}

/** A table for people; `wide` adds each window's score and count. */
export function* tablePieces(scores: OfflineScores, wide: boolean): Generator<string> {
  const windows = wide ? Object.keys(scores.models[0]?.windows ?? {}) : [];
  const rows = [
    ['RANK', 'MODEL', 'STATUS', 'COMPOSITE', 'LOWER', 'UPPER', ...windows.map((name) => name.toUpperCase())],
    ...scores.models.map((model) => tableRow(model, windows)),
  ];
  yield* tableLines(rows);
  const { accepted, quarantined, duplicates, conflicts } = scores;
  yield `\n${scores.suite} at ${scores.at}: ${accepted} accepted, ${quarantined} quarantined, ${duplicates} duplicates, `;
  yield `${conflicts} conflicts\ninputs ${scores.inputDigest}\nscores ${scores.checksum}\n`;
}

function tableRow(model: PublishedModel, windows: readonly string[]): string[] {
  const cells = windows.map((name) => {
    const window = model.windows[name as keyof PublishedModel['windows']];
    return window === undefined ? '-' : `${decimal(window.score)} (${window.n})`;
  });
  const { rank, composite, lower, upper } = model;
  return [
    rank === null ? '-' : String(rank),
    model.model,
    model.status,
    decimal(composite),
    decimal(lower),
    decimal(upper),
    ...cells,
  ];
}
