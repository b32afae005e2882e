import { assert } from '../../../core/assert.ts';
import type { Suite } from '../../../core/suite.ts';
import { bucketOf } from '../../../scoring/rules/sketch.ts';
import { FirstWins } from '../../../scoring-native/first-wins.ts';
import { ReportChecker } from './checked-report.ts';
import { Canonicaliser, sha256 } from './content.ts';
import { Fingerprint } from './fingerprint.ts';
import { IdTable } from './id-table.ts';
import { PaneCells } from './pane-cells.ts';

/**
 * Bytes → panes in JavaScript as fast as we can write it: JSON.parse, names interned, reports remembered in an open hash table, exact sums in
 * two limbs of typed arrays; the wide panes are summed from the narrow ones at the end.
 */
export class TunedPanes {
  accepted = 0;
  quarantined = 0;
  duplicates = 0;
  conflicts = 0;
  readonly #checker: ReportChecker;
  readonly #cells: PaneCells;
  readonly #digests: boolean;
  readonly #ids = new IdTable();
  readonly #seen = new FirstWins();
  readonly #canonical = new Canonicaliser();
  readonly #content = new Fingerprint();

  constructor(suite: Suite, options: { readonly digests: boolean }) {
    this.#checker = new ReportChecker(suite);
    this.#cells = new PaneCells(suite.metrics.length);
    this.#digests = options.digests;
  }

  /** By number. */
  get models(): readonly string[] {
    return this.#checker.models.names;
  }

  /** A batch of whole lines. */
  read(bytes: Buffer): void {
    const text = bytes.toString('utf8');
    for (let from = 0; from < text.length; ) {
      const feed = text.indexOf('\n', from);
      const end = feed === -1 ? text.length : feed;
      if (end > from) this.#line(text.slice(from, end));
      from = end + 1;
    }
  }

  /** The sums so far, rows sorted by model, metric, resolution and start. */
  take() {
    return this.#cells.take(this.#checker.models.names);
  }

  #line(line: string): void {
    const checker = this.#checker;
    if (!checker.read(line)) {
      this.quarantined++;
      return;
    }
    const offer = this.#digests ? this.#offerDigest() : this.#offerFingerprint();
    if (offer === 'duplicate') this.duplicates++;
    else if (offer === 'conflict') this.conflicts++;
    else this.#accept();
  }

  #offerDigest(): 'new' | 'duplicate' | 'conflict' {
    const { report } = this.#checker;
    return this.#seen.offer(sha256(`\n${report.producer}\n${report.reportId}`), sha256(this.#canonical.text(report)));
  }

  #offerFingerprint(): 'new' | 'duplicate' | 'conflict' {
    const { producer, report } = this.#checker;
    const content = this.#content;
    content.take(report);
    return this.#ids.offer(producer, report.reportId, content.low, content.high);
  }

  #accept(): void {
    this.accepted++;
    const { count, metric, model, observedAtMs, q, weight } = this.#checker;
    const cells = this.#cells;
    const block = cells.block(model, observedAtMs);
    cells.countReport(block, weight);
    for (let i = 0; i < count; i++) {
      const value = q[i]!;
      assert(Math.abs(value) < 2 ** 20, 'the corpus keeps within the sums of this peer');
      cells.add(block, metric[i]!, value, weight, bucketOf(value));
    }
  }
}
