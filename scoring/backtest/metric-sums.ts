import type { Suite } from '../../core/suite.ts';
import { Accumulator, type Quantised } from '../rules/accumulator.ts';
import type { Contribution } from '../rules/contribution.ts';
import type { Sums } from '../rules/pane.ts';
import type { WindowSums } from '../rules/score-models.ts';

/** A report as sums take it: its weight, and its value of each metric of the suite by place; undefined where it has none. */
export interface ReportRow {
  readonly w: bigint;
  readonly values: readonly (Quantised | undefined)[];
}

/** A contribution with its metrics at their places in `suite`. */
export function reportRow(suite: Suite, contribution: Contribution): ReportRow {
  const byName = new Map(contribution.metrics.map((metric) => [metric.rule.name, metric]));
  return { w: contribution.w, values: suite.metrics.map(({ name }) => byName.get(name)) };
}

/** One model's exact sums over some stretch of time: of reports of any metric, and of each metric of the suite by place. */
export class MetricSums {
  readonly #any = new Accumulator();
  readonly #metrics: readonly Accumulator[];
  /** Metrics whose min or max may have gone with what was taken away. */
  readonly #stale = new Set<number>();

  constructor(metrics: number) {
    this.#metrics = Array.from({ length: metrics }, () => new Accumulator());
  }

  /** Reports of any metric. */
  get n(): number {
    return this.#any.n;
  }

  of(place: number): Accumulator {
    return this.#metrics[place]!;
  }

  add(row: ReportRow): void {
    this.#any.count(row.w);
    for (const [place, value] of row.values.entries()) if (value !== undefined) this.of(place).add(value, row.w);
  }

  remove(row: ReportRow): void {
    this.#any.uncount(row.w);
    for (const [place, value] of row.values.entries()) {
      if (value !== undefined && this.of(place).remove(value, row.w)) this.#stale.add(place);
    }
  }

  absorb(other: MetricSums): void {
    this.#any.absorb(other.#any);
    for (const [place, sums] of other.#metrics.entries()) this.of(place).absorb(sums);
  }

  evict(other: MetricSums): void {
    this.#any.evict(other.#any);
    for (const [place, sums] of other.#metrics.entries()) if (this.of(place).evict(sums)) this.#stale.add(place);
  }

  /** Sets every min and max again that may have gone; `extremesOf` gives those of what the sums cover now. */
  mend(extremesOf: (place: number) => Extremes): void {
    for (const place of this.#stale) {
      const { min, max } = extremesOf(place);
      if (this.of(place).n > 0) this.of(place).setExtremes(min, max);
    }
    this.#stale.clear();
  }

  windowSums(suite: Suite): WindowSums {
    const metrics = new Map<string, Sums>();
    for (const [place, { name }] of suite.metrics.entries()) {
      if (this.of(place).n > 0) metrics.set(name, this.of(place).toSums());
    }
    return { any: this.#any.toSums(), metrics, revision: 0 };
  }
}

export interface Extremes {
  readonly min: number;
  readonly max: number;
}
