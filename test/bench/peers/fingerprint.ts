import { canonicalText } from '../../../core/canonical.ts';
import type { ParsedReport } from './checked-report.ts';

/**
 * 64 bits that stand for a report's content: members are added up, so that their order does not matter, as it does not to the canonical
 * form. Where a report holds members that the corpus has not, those of its canonical form.
 */
export class Fingerprint {
  low = 0;
  high = 0;
  readonly #keys = new Map<string, number>();
  readonly #double = new Float64Array(1);
  readonly #words = new Int32Array(this.#double.buffer);

  take(report: ParsedReport): void {
    this.low = 0;
    this.high = 0;
    let members = 0;
    for (const _ in report) members++;
    const { labels, metrics, sampleSize } = report;
    if (members !== 7 + (labels === undefined ? 0 : 1) + (sampleSize === undefined ? 0 : 1)) {
      this.#text(1, canonicalText(report));
      return;
    }
    this.#text(2, report.model);
    this.#text(3, report.observedAt);
    this.#text(4, report.producer);
    if (sampleSize !== undefined) this.#number(5, sampleSize);
    for (const name in metrics) this.#number(this.#key(name), metrics[name]!);
    if (labels !== undefined) for (const name in labels) this.#text(this.#key(name) ^ 0x55555555, labels[name]!);
  }

  /** A key's own number: as good as its text, since it is given once. */
  #key(name: string): number {
    let key = this.#keys.get(name);
    if (key === undefined) {
      key = Math.imul(this.#keys.size + 16, 0x9e3779b1);
      this.#keys.set(name, key);
    }
    return key;
  }

  #number(key: number, value: number): void {
    this.#double[0] = value;
    this.#add(Math.imul(this.#words[0]! ^ key, 0x85ebca6b), Math.imul(this.#words[1]! + key, 0xc2b2ae35));
  }

  #text(key: number, text: string): void {
    let low = key;
    let high = ~key;
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      low = Math.imul(low ^ c, 0x01000193);
      high = Math.imul(high + c, 0x27d4eb2f);
    }
    this.#add(low, high);
  }

  #add(low: number, high: number): void {
    const mixed = Math.imul(low ^ (high >>> 16), 0x7feb352d);
    this.low = (this.low + (mixed ^ (mixed >>> 15))) | 0;
    this.high = (this.high + Math.imul(high ^ (low >>> 15), 0x846ca68b)) | 0;
  }
}
