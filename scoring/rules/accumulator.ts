import type { MetricContribution } from './contribution.ts';
import type { Bucket, Sums } from './pane.ts';

/** What a report's value of a metric adds. */
export type Quantised = Pick<MetricContribution, 'q' | 'wq' | 'wq2' | 'bucket'>;

/**
 * Grows exact sums report by report or pane by pane. All operations are commutative and associative on exact integers,
 * so order, sharding and batch size cannot change one bit of toSums(). What was added can be taken away again.
 * Source: docs/scoring.md, Exact arithmetic.
 */
export class Accumulator {
  #n = 0;
  #weight = 0n;
  #sumWq = 0n;
  #sumWq2 = 0n;
  #min = 0;
  #max = 0;
  /** The only bucket while there is but one: most panes hold few reports, and a Map takes more than all else here. */
  #bucket = 0;
  #bucketCount = 0;
  #buckets: Map<number, number> | undefined;

  static from(sums: Sums): Accumulator {
    const accumulator = new Accumulator();
    accumulator.merge(sums);
    return accumulator;
  }

  get n(): number {
    return this.#n;
  }

  get min(): number {
    return this.#min;
  }

  get max(): number {
    return this.#max;
  }

  /** One report's value of this metric. */
  add(metric: Quantised, w: bigint): void {
    const { q, bucket } = metric;
    this.#extend(q, q);
    this.#n++;
    this.#weight += w;
    this.#sumWq += metric.wq;
    this.#sumWq2 += metric.wq2;
    this.#count(bucket, 1);
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
    for (const [index, count] of sums.buckets) this.#count(index, count);
  }

  /** As merge, without the way through sorted buckets. */
  absorb(other: Accumulator): void {
    if (other.#n === 0) return;
    this.#extend(other.#min, other.#max);
    this.#n += other.#n;
    this.#weight += other.#weight;
    this.#sumWq += other.#sumWq;
    this.#sumWq2 += other.#sumWq2;
    this.#countAll(other, 1);
  }

  /**
   * Takes away what was absorbed before: sums and counts by subtraction. No subtraction gives min and max back: true
   * where they may have gone with it, and must be set again from what remains.
   */
  evict(other: Accumulator): boolean {
    if (other.#n === 0) return false;
    this.#n -= other.#n;
    this.#weight -= other.#weight;
    this.#sumWq -= other.#sumWq;
    this.#sumWq2 -= other.#sumWq2;
    this.#countAll(other, -1);
    return this.#lostExtreme(other.#min, other.#max);
  }

  /** As evict, of one report's value. */
  remove(metric: Quantised, w: bigint): boolean {
    const { q, bucket } = metric;
    this.#n--;
    this.#weight -= w;
    this.#sumWq -= metric.wq;
    this.#sumWq2 -= metric.wq2;
    this.#count(bucket, -1);
    return this.#lostExtreme(q, q);
  }

  /** The counterpart of count. */
  uncount(w: bigint): void {
    this.#n--;
    this.#weight -= w;
  }

  setExtremes(min: number, max: number): void {
    this.#min = min;
    this.#max = max;
  }

  #lostExtreme(min: number, max: number): boolean {
    if (this.#n === 0) {
      this.setExtremes(0, 0);
      return false;
    }
    return min <= this.#min || max >= this.#max;
  }

  #extend(min: number, max: number): void {
    this.#min = this.#n === 0 ? min : Math.min(this.#min, min);
    this.#max = this.#n === 0 ? max : Math.max(this.#max, max);
  }

  #count(index: number, count: number): void {
    if (this.#buckets === undefined) {
      if (this.#bucketCount === 0 || this.#bucket === index) {
        this.#bucket = index;
        this.#bucketCount += count;
        return;
      }
      this.#buckets = new Map([[this.#bucket, this.#bucketCount]]);
    }
    const total = (this.#buckets.get(index) ?? 0) + count;
    if (total === 0) this.#buckets.delete(index);
    else this.#buckets.set(index, total);
  }

  #countAll(other: Accumulator, sign: 1 | -1): void {
    if (other.#buckets === undefined) {
      if (other.#bucketCount > 0) this.#count(other.#bucket, sign * other.#bucketCount);
      return;
    }
    for (const [index, count] of other.#buckets) this.#count(index, sign * count);
  }

  toSums(): Sums {
    return {
      n: this.#n,
      weight: this.#weight,
      sumWq: this.#sumWq,
      sumWq2: this.#sumWq2,
      min: this.#min,
      max: this.#max,
      buckets: this.#sortedBuckets(),
    };
  }

  #sortedBuckets(): Bucket[] {
    const buckets = this.#buckets;
    if (buckets === undefined) return this.#bucketCount === 0 ? [] : [[this.#bucket, this.#bucketCount]];
    // By plain loops over a typed array: 4 times the speed of sorting pairs by a comparison, of 300 buckets.
    const indices = new Int32Array(buckets.size);
    let at = 0;
    for (const index of buckets.keys()) indices[at++] = index;
    indices.sort();
    const sorted: Bucket[] = [];
    for (const index of indices) sorted.push([index, buckets.get(index)!]);
    return sorted;
  }
}

export function mergeSums(parts: Iterable<Sums>): Sums {
  const accumulator = new Accumulator();
  for (const part of parts) accumulator.merge(part);
  return accumulator.toSums();
}
