import { createHash } from 'node:crypto';
import { canonicalText } from '../../../core/canonical.ts';
import type { Suite } from '../../../core/suite.ts';
import { ANY_METRIC, type Pane, paneStartMs, RESOLUTIONS, type Resolution } from '../../../scoring/rules/pane.ts';
import { bucketOf } from '../../../scoring/rules/sketch.ts';
import { ReportChecker } from './checked-report.ts';

interface MapPane {
  readonly key: Omit<Pane, 'sums'>;
  n: number;
  weight: bigint;
  sumWq: bigint;
  sumWq2: bigint;
  min: number;
  max: number;
  readonly buckets: Map<number, number>;
}

/** Bytes → panes as one writes it first: JSON.parse, a Map of ids, a Map of panes with BigInt sums. The checks are those of the tuned peer. */
export class MapPanes {
  accepted = 0;
  quarantined = 0;
  duplicates = 0;
  conflicts = 0;
  readonly #suite: Suite;
  readonly #digests: boolean;
  readonly #checker: ReportChecker;
  readonly #seen = new Map<string, string>();
  readonly #panes = new Map<string, MapPane>();

  constructor(suite: Suite, options: { readonly digests: boolean }) {
    this.#suite = suite;
    this.#digests = options.digests;
    this.#checker = new ReportChecker(suite);
  }

  read(bytes: Buffer): void {
    for (const line of bytes.toString('utf8').split('\n')) if (line !== '') this.#line(line);
  }

  take(): Pane[] {
    return Array.from(this.#panes.values(), ({ key, buckets, ...sums }) => ({
      ...key,
      sums: { ...sums, buckets: Array.from(buckets).sort((a, b) => a[0] - b[0]) },
    })).sort(
      (a, b) =>
        byText(a.model, b.model) ||
        byText(a.metric, b.metric) ||
        RESOLUTIONS.indexOf(a.resolution) - RESOLUTIONS.indexOf(b.resolution) ||
        a.paneStartMs - b.paneStartMs,
    );
  }

  #line(line: string): void {
    const checker = this.#checker;
    if (!checker.read(line)) {
      this.quarantined++;
      return;
    }
    const { producer, reportId } = checker.report;
    const key = this.#digests ? sha256(`\n${producer}\n${reportId}`) : `${producer}\n${reportId}`;
    const content = this.#digests ? sha256(canonicalText(checker.report)) : line;
    const before = this.#seen.get(key);
    if (before === undefined) {
      this.#seen.set(key, content);
      this.#accept();
    } else if (before === content || (!this.#digests && sameContent(before, content))) {
      this.duplicates++;
    } else {
      this.conflicts++;
    }
  }

  #accept(): void {
    this.accepted++;
    const { count, metric, observedAtMs, q, report, weight } = this.#checker;
    const w = BigInt(weight);
    for (const resolution of RESOLUTIONS) {
      const any = this.#pane(report.model, ANY_METRIC, resolution, observedAtMs);
      any.n++;
      any.weight += w;
      for (let i = 0; i < count; i++) {
        const value = q[i]!;
        const pane = this.#pane(report.model, this.#suite.metrics[metric[i]!]!.name, resolution, observedAtMs);
        pane.min = pane.n === 0 ? value : Math.min(pane.min, value);
        pane.max = pane.n === 0 ? value : Math.max(pane.max, value);
        pane.n++;
        pane.weight += w;
        const exact = BigInt(value);
        pane.sumWq += w * exact;
        pane.sumWq2 += w * exact * exact;
        const bucket = bucketOf(value);
        pane.buckets.set(bucket, (pane.buckets.get(bucket) ?? 0) + 1);
      }
    }
  }

  #pane(model: string, metric: string, resolution: Resolution, atMs: number): MapPane {
    const startMs = paneStartMs(resolution, atMs);
    const id = `${model} ${metric} ${resolution} ${startMs}`;
    let pane = this.#panes.get(id);
    if (pane === undefined) {
      const key = { suiteHash: this.#suite.hash, model, metric, resolution, paneStartMs: startMs };
      pane = { key, n: 0, weight: 0n, sumWq: 0n, sumWq2: 0n, min: 0, max: 0, buckets: new Map() };
      this.#panes.set(id, pane);
    }
    return pane;
  }
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}

function sameContent(a: string, b: string): boolean {
  return canonicalText(JSON.parse(a)) === canonicalText(JSON.parse(b));
}

function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
