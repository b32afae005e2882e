import type { MetricContribution } from './contribution.ts';
import type { Bucket, Sums } from './pane.ts';

/**
 * Grows exact sums report by report or pane by pane. All operations are commutative and associative on exact integers,
 * so order, sharding and batch size cannot change one bit of toSums().
 */
export class Accumulator {
  #n = 0;
  #weight = 0n;
  #sumWq = 0n;
  #sumWq2 = 0n;
  #min = 0;
  #max = 0;
  readonly #buckets = new Map<number, number>();

  static from(sums: Sums): Accumulator {
    const accumulator = new Accumulator();
    accumulator.merge(sums);
    return accumulator;
  }

  /** One report's value of this metric. */
  add(metric: MetricContribution, w: bigint): void {
    const { q, bucket } = metric;
    this.#extend(q, q);
    this.#n++;
    this.#weight += w;
    this.#sumWq += metric.wq;
    this.#sumWq2 += metric.wq2;
    this.#buckets.set(bucket, (this.#buckets.get(bucket) ?? 0) + 1);
  }

  /** One report in a row of ANY_METRIC. */
  count(w: bigint): void {
    this.#n++;
    this.#weight += w;
  }

  merge(sums: Sums): void {
    if (sums.n === 0) return;
    this.#extend(sums.min, sums.max);
    this.#n += sums.n;
    this.#weight += sums.weight;
    this.#sumWq += sums.sumWq;
    this.#sumWq2 += sums.sumWq2;
    for (const [index, count] of sums.buckets) this.#buckets.set(index, (this.#buckets.get(index) ?? 0) + count);
  }

  #extend(min: number, max: number): void {
    this.#min = this.#n === 0 ? min : Math.min(this.#min, min);
    this.#max = this.#n === 0 ? max : Math.max(this.#max, max);
  }

  toSums(): Sums {
    return {
      n: this.#n,
      weight: this.#weight,
      sumWq: this.#sumWq,
      sumWq2: this.#sumWq2,
      min: this.#min,
      max: this.#max,
      buckets: sortedBuckets(this.#buckets),
    };
  }
}

function sortedBuckets(buckets: ReadonlyMap<number, number>): Bucket[] {
  const list: Bucket[] = [];
  for (const [index, count] of buckets) if (count !== 0) list.push([index, count]);
  return list.sort((a, b) => a[0] - b[0]);
}

export function mergeSums(parts: Iterable<Sums>): Sums {
  const accumulator = new Accumulator();
  for (const part of parts) accumulator.merge(part);
  return accumulator.toSums();
}

/**
 * `total` without `evicted`: sums and counts by subtraction, min and max merged again from what remains, since no
 * subtraction can give those back. `remaining` are the panes that `total` still covers.
 */
export function evictSums(total: Sums, evicted: Sums, remaining: Iterable<Sums>): Sums {
  const buckets = new Map<number, number>(total.buckets);
  for (const [index, count] of evicted.buckets) buckets.set(index, (buckets.get(index) ?? 0) - count);
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (const part of remaining) {
    if (part.n === 0) continue;
    min = Math.min(min, part.min);
    max = Math.max(max, part.max);
  }
  const n = total.n - evicted.n;
  return {
    n,
    weight: total.weight - evicted.weight,
    sumWq: total.sumWq - evicted.sumWq,
    sumWq2: total.sumWq2 - evicted.sumWq2,
    min: n === 0 ? 0 : min,
    max: n === 0 ? 0 : max,
    buckets: sortedBuckets(buckets),
  };
}
