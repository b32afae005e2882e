import { hash } from 'node:crypto';
import { canonicalText } from '../../../core/canonical.ts';
import type { ParsedReport } from './checked-report.ts';

/** The canonical form and its digest, by JSON.stringify over objects with sorted keys, and the order of keys kept from the report before. */

/** schemaVersion, reportId, producer, model, suite, observedAt, metrics. */
const ALWAYS = 7;
/** Keys that an object keeps in an order of its own. */
const INTEGER_KEY = /^(?:0|[1-9]\d*)$/;

export class Canonicaliser {
  readonly #labels = new KeyOrder();
  readonly #metrics = new KeyOrder();

  text(report: ParsedReport): string {
    const { labels, metrics, sampleSize } = report;
    let members = 0;
    for (const _ in report) members++;
    const known = ALWAYS + (labels === undefined ? 0 : 1) + (sampleSize === undefined ? 0 : 1);
    if (members !== known) return canonicalText(report);
    const sorted: Record<string, unknown> = {};
    if (labels !== undefined) sorted.labels = this.#labels.sorted(labels);
    sorted.metrics = this.#metrics.sorted(metrics);
    if (this.#labels.isOdd || this.#metrics.isOdd) return canonicalText(report);
    sorted.model = report.model;
    sorted.observedAt = report.observedAt;
    sorted.producer = report.producer;
    sorted.reportId = report.reportId;
    if (sampleSize !== undefined) sorted.sampleSize = sampleSize;
    sorted.schemaVersion = report.schemaVersion;
    sorted.suite = report.suite;
    return JSON.stringify(sorted);
  }
}

class KeyOrder {
  #last: readonly string[] = [];
  #order: readonly string[] = [];
  isOdd = false;

  sorted(object: Readonly<Record<string, unknown>>): Record<string, unknown> {
    const last = this.#last;
    let i = 0;
    let same = true;
    for (const key in object) if (last[i++] !== key) same = false;
    if (!same || i !== last.length) {
      this.#last = Object.keys(object);
      this.#order = this.#last.toSorted();
      this.isOdd = this.#last.some((key) => INTEGER_KEY.test(key));
    }
    const sorted: Record<string, unknown> = {};
    for (const key of this.#order) sorted[key] = object[key];
    return sorted;
  }
}

export function sha256(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}
