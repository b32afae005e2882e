import { createHash, type Hash } from 'node:crypto';
import { canonicalText } from '../../core/canonical.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Suite } from '../../core/suite.ts';
import type { PublishedMetric, PublishedModel, PublishedWindow, WindowName } from './published.ts';

/**
 * The replay proof's rows of one model at one tick (or T offline): the composite, each window, each metric of the suite in
 * each window, as RFC 8785 texts of [suite, suiteHash, model, window, end, metric, n, weight, score, lower, upper].
 * No revision and no emission time: re-emission with equal values gives equal rows. Source: docs/scoring.md, Replay proof.
 */
export function checksumRows(suite: Suite, atMs: number, model: PublishedModel): string[] {
  const rows = [compositeRow(suite, atMs, model)];
  for (const { name } of suite.windows) {
    const window = model.windows[name satisfies WindowName];
    if (window !== undefined) rows.push(...windowRows(suite, model.model, name, window));
  }
  return rows;
}

/** The row of a model's composite at a tick. */
export function compositeRow(suite: Suite, atMs: number, model: PublishedModel): string {
  const { composite, lower, upper } = model;
  return rowText(suite, model.model, null, formatRfc3339(atMs), [null, null, null, composite, lower, upper]);
}

/** The rows of one window of a model; ticks that share the window share them. */
export function windowRows(suite: Suite, model: string, name: WindowName, window: PublishedWindow): string[] {
  const row = (metric: string | null, value: PublishedWindow | PublishedMetric) => {
    const { n, weight, score, lower, upper } = value;
    return rowText(suite, model, name, window.end, [metric, n, weight, score, lower, upper]);
  };
  return [row(null, window), ...Object.entries(window.metrics).map(([metric, value]) => row(metric, value))];
}

function rowText(
  suite: Suite,
  model: string,
  window: WindowName | null,
  end: string,
  rest: readonly (string | number | null)[],
): string {
  return canonicalText([suite.name, suite.hash, model, window, end, ...rest]);
}

/** SHA-256 of the rows' texts sorted bytewise, identical rows once, joined by "\n"; lower-case hex. Rows are ASCII. */
export function checksumOf(rows: Iterable<string>): string {
  const sorted = Array.from(rows).sort();
  const digest = new SortedRowsHash();
  for (const row of sorted) digest.add(row);
  return digest.hex();
}

/** The same over rows that already come in bytewise order, e.g. from `ORDER BY row COLLATE "C"`; holds one row. */
export class SortedRowsHash {
  readonly #hash: Hash = createHash('sha256');
  #last: string | undefined;

  add(row: string): void {
    if (row === this.#last) return;
    this.#hash.update(this.#last === undefined ? row : `\n${row}`);
    this.#last = row;
  }

  hex(): string {
    return this.#hash.digest('hex');
  }
}

/**
 * inputDigest: SHA-256 over the accepted reports' raw 32-byte digests, sorted bytewise and concatenated. Give them in
 * that order.
 */
export class InputDigest {
  readonly #hash: Hash = createHash('sha256');

  add(sortedDigests: Uint8Array): void {
    this.#hash.update(sortedDigests);
  }

  hex(): string {
    return this.#hash.digest('hex');
  }
}

/** inputDigest of digests in any order, held in memory. */
export function inputDigestOf(digests: Iterable<Uint8Array>): string {
  const digest = new InputDigest();
  for (const one of Array.from(digests).sort((a, b) => Buffer.compare(a, b))) digest.add(one);
  return digest.hex();
}
