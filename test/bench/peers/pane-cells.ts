import { RESOLUTION_MS, RESOLUTIONS } from '../../../scoring/rules/pane.ts';

/**
 * Sums in typed arrays. A block is a (model, resolution, start) and holds a cell a metric. Σwq and Σwq² are exact in limbs: of Σwq² one limb
 * counts units of 2^20; each stays below 2^53 by carries. |q| < 2^20.
 */

const LIMB = 2 ** 20;
/** A limb is emptied into the next before it could pass 2^53. */
const CARRY_AT = 2 ** 52;
const FIRST_BLOCKS = 256;
const FIRST_BUCKETS = 4096;
const MAX_LOAD = 0.5;
/** Buckets of |q| < 2^20 lie within ± 2^11. */
const BUCKET_ROOM = 4096;
const BUCKET_ZERO = 2048;

export interface CellColumns {
  readonly rows: number;
  readonly model: Int32Array;
  /** −1: reports of any metric. */
  readonly metric: Int32Array;
  readonly resolution: Uint8Array;
  readonly startMs: Float64Array;
  readonly n: Float64Array;
  readonly weight: Float64Array;
  /** Σwq = low + 2^52·high; Σwq² = low + 2^20·middle + 2^52·high. */
  readonly sumWq: Float64Array;
  readonly sumWqHigh: Float64Array;
  readonly sumWq2: Float64Array;
  readonly sumWq2Middle: Float64Array;
  readonly min: Float64Array;
  readonly max: Float64Array;
  readonly firstBucket: Uint32Array;
  readonly buckets: Uint32Array;
  readonly bucketIndex: Int32Array;
  readonly bucketCount: Uint32Array;
}

export class PaneCells {
  readonly #metrics: number;
  #blocks = 0;
  #slots = new Int32Array(FIRST_BLOCKS * 2);
  #model = new Int32Array(FIRST_BLOCKS);
  #resolution = new Uint8Array(FIRST_BLOCKS);
  #start = new Float64Array(FIRST_BLOCKS);
  #anyN = new Float64Array(FIRST_BLOCKS);
  #anyWeight = new Float64Array(FIRST_BLOCKS);
  #n: Float64Array;
  #weight: Float64Array;
  #wq: Float64Array;
  #wqHigh: Float64Array;
  #wq2: Float64Array;
  #wq2Middle: Float64Array;
  #min: Float64Array;
  #max: Float64Array;
  readonly #buckets = new BucketTable();

  constructor(metrics: number) {
    this.#metrics = metrics;
    const cells = FIRST_BLOCKS * metrics;
    this.#n = new Float64Array(cells);
    this.#weight = new Float64Array(cells);
    this.#wq = new Float64Array(cells);
    this.#wqHigh = new Float64Array(cells);
    this.#wq2 = new Float64Array(cells);
    this.#wq2Middle = new Float64Array(cells);
    this.#min = new Float64Array(cells);
    this.#max = new Float64Array(cells);
  }

  /** The one-minute block of a report. */
  block(model: number, observedAtMs: number): number {
    return this.#at(model, 0, Math.floor(observedAtMs / 60_000) * 60_000);
  }

  countReport(block: number, weight: number): void {
    this.#anyN[block]!++;
    this.#anyWeight[block]! += weight;
  }

  add(block: number, metric: number, q: number, weight: number, bucket: number): void {
    const cell = block * this.#metrics + metric;
    const wq = weight * q;
    // Truncation: both parts have the sign of wq, and each product stays below 2^41.
    const upper = Math.trunc(wq / LIMB);
    this.#extend(cell, q, q);
    this.#n[cell]!++;
    this.#weight[cell]! += weight;
    this.#addWide(cell, wq, 0, (wq - upper * LIMB) * q, upper * q);
    this.#buckets.add(cell * BUCKET_ROOM + bucket + BUCKET_ZERO, 1);
  }

  #addWide(cell: number, wq: number, wqHigh: number, wq2: number, wq2Middle: number): void {
    let low = this.#wq[cell]! + wq;
    this.#wqHigh[cell]! += wqHigh;
    if (Math.abs(low) >= CARRY_AT) {
      const carry = Math.trunc(low / CARRY_AT);
      this.#wqHigh[cell]! += carry;
      low -= carry * CARRY_AT;
    }
    this.#wq[cell] = low;
    low = this.#wq2[cell]! + wq2;
    let middle = this.#wq2Middle[cell]! + wq2Middle;
    if (low >= CARRY_AT) {
      const carry = Math.trunc(low / LIMB);
      middle += carry;
      low -= carry * LIMB;
    }
    this.#wq2[cell] = low;
    this.#wq2Middle[cell] = middle;
  }

  #extend(cell: number, min: number, max: number): void {
    if (this.#n[cell] === 0) {
      this.#min[cell] = min;
      this.#max[cell] = max;
      return;
    }
    if (min < this.#min[cell]!) this.#min[cell] = min;
    if (max > this.#max[cell]!) this.#max[cell] = max;
  }

  #at(model: number, resolution: number, start: number): number {
    let mask = this.#slots.length - 1;
    let slot = this.#slotOf(model, resolution, start, mask);
    for (;;) {
      const block = this.#slots[slot]! - 1;
      if (block === -1) break;
      if (this.#model[block] === model && this.#start[block] === start && this.#resolution[block] === resolution)
        return block;
      slot = (slot + 1) & mask;
    }
    if (this.#blocks === this.#model.length) {
      this.#grow();
      mask = this.#slots.length - 1;
      slot = this.#slotOf(model, resolution, start, mask);
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    }
    const block = this.#blocks++;
    this.#slots[slot] = block + 1;
    this.#model[block] = model;
    this.#resolution[block] = resolution;
    this.#start[block] = start;
    return block;
  }

  #slotOf(model: number, resolution: number, start: number, mask: number): number {
    const minute = (start / 60_000) | 0;
    const hash = Math.imul(minute, 0x9e3779b1) ^ Math.imul(model * 4 + resolution + 1, 0x85ebca6b);
    return (hash ^ (hash >>> 15)) & mask;
  }

  #grow(): void {
    const blocks = this.#model.length * 2;
    const cells = blocks * this.#metrics;
    const bigger = <A extends Float64Array | Int32Array | Uint8Array>(old: A, size: number): A => {
      const grown = new (old.constructor as new (size: number) => A)(size);
      grown.set(old);
      return grown;
    };
    this.#model = bigger(this.#model, blocks);
    this.#resolution = bigger(this.#resolution, blocks);
    this.#start = bigger(this.#start, blocks);
    this.#anyN = bigger(this.#anyN, blocks);
    this.#anyWeight = bigger(this.#anyWeight, blocks);
    this.#n = bigger(this.#n, cells);
    this.#weight = bigger(this.#weight, cells);
    this.#wq = bigger(this.#wq, cells);
    this.#wqHigh = bigger(this.#wqHigh, cells);
    this.#wq2 = bigger(this.#wq2, cells);
    this.#wq2Middle = bigger(this.#wq2Middle, cells);
    this.#min = bigger(this.#min, cells);
    this.#max = bigger(this.#max, cells);
    this.#slots = new Int32Array(blocks * 2);
    const mask = this.#slots.length - 1;
    for (let block = 0; block < this.#blocks; block++) {
      let slot = this.#slotOf(this.#model[block]!, this.#resolution[block]!, this.#start[block]!, mask);
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = block + 1;
    }
  }

  /** The wide panes from the narrow ones, then all rows in order. */
  take(models: readonly string[]): CellColumns {
    const narrow = this.#blocks;
    const parents = [1, 2].map((resolution) => {
      const sizeMs = RESOLUTION_MS[RESOLUTIONS[resolution]!];
      return Int32Array.from({ length: narrow }, (_, block) =>
        this.#at(this.#model[block]!, resolution, Math.floor(this.#start[block]! / sizeMs) * sizeMs),
      );
    });
    for (const parent of parents) for (let block = 0; block < narrow; block++) this.#addBlock(parent[block]!, block);
    this.#buckets.addToParents(parents, this.#metrics);
    return this.#columns(this.#order(models));
  }

  #addBlock(to: number, from: number): void {
    this.#anyN[to]! += this.#anyN[from]!;
    this.#anyWeight[to]! += this.#anyWeight[from]!;
    for (let metric = 0; metric < this.#metrics; metric++) {
      const a = from * this.#metrics + metric;
      const b = to * this.#metrics + metric;
      if (this.#n[a] === 0) continue;
      this.#extend(b, this.#min[a]!, this.#max[a]!);
      this.#n[b]! += this.#n[a]!;
      this.#weight[b]! += this.#weight[a]!;
      this.#addWide(b, this.#wq[a]!, this.#wqHigh[a]!, this.#wq2[a]!, this.#wq2Middle[a]!);
    }
  }

  /** Blocks by model name, resolution and start. */
  #order(models: readonly string[]): Int32Array {
    const rank = new Int32Array(models.length);
    models
      .map((name, model) => ({ name, model }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .forEach(({ model }, i) => {
        rank[model] = i;
      });
    return Int32Array.from({ length: this.#blocks }, (_, block) => block).sort(
      (a, b) =>
        rank[this.#model[a]!]! - rank[this.#model[b]!]! ||
        this.#resolution[a]! - this.#resolution[b]! ||
        this.#start[a]! - this.#start[b]!,
    );
  }

  #columns(order: Int32Array): CellColumns {
    const metrics = this.#metrics;
    const room = this.#blocks * (metrics + 1);
    const sorted = this.#buckets.byCell(this.#blocks * metrics);
    const out = {
      rows: 0,
      model: new Int32Array(room),
      metric: new Int32Array(room),
      resolution: new Uint8Array(room),
      startMs: new Float64Array(room),
      n: new Float64Array(room),
      weight: new Float64Array(room),
      sumWq: new Float64Array(room),
      sumWqHigh: new Float64Array(room),
      sumWq2: new Float64Array(room),
      sumWq2Middle: new Float64Array(room),
      min: new Float64Array(room),
      max: new Float64Array(room),
      firstBucket: new Uint32Array(room),
      buckets: new Uint32Array(room),
      bucketIndex: sorted.index,
      bucketCount: sorted.count,
    };
    for (let at = 0; at < order.length; ) {
      const model = this.#model[order[at]!]!;
      let end = at;
      while (end < order.length && this.#model[order[end]!] === model) end++;
      for (let metric = -1; metric < metrics; metric++) {
        for (let i = at; i < end; i++) this.#put(out, order[i]!, metric, sorted.first);
      }
      at = end;
    }
    return out;
  }

  #put(
    out: { -readonly [K in keyof CellColumns]: CellColumns[K] },
    block: number,
    metric: number,
    first: Uint32Array,
  ): void {
    const cell = block * this.#metrics + metric;
    if (metric !== -1 && this.#n[cell] === 0) return;
    const row = out.rows++;
    out.model[row] = this.#model[block]!;
    out.metric[row] = metric;
    out.resolution[row] = this.#resolution[block]!;
    out.startMs[row] = this.#start[block]!;
    if (metric === -1) {
      out.n[row] = this.#anyN[block]!;
      out.weight[row] = this.#anyWeight[block]!;
      return;
    }
    out.n[row] = this.#n[cell]!;
    out.weight[row] = this.#weight[cell]!;
    out.sumWq[row] = this.#wq[cell]!;
    out.sumWqHigh[row] = this.#wqHigh[cell]!;
    out.sumWq2[row] = this.#wq2[cell]!;
    out.sumWq2Middle[row] = this.#wq2Middle[cell]!;
    out.min[row] = this.#min[cell]!;
    out.max[row] = this.#max[cell]!;
    out.firstBucket[row] = first[cell]!;
    out.buckets[row] = first[cell + 1]! - first[cell]!;
  }
}

/** Counts by a number of cell and bucket: an open table. */
class BucketTable {
  #keys = new Int32Array(FIRST_BUCKETS);
  #counts = new Uint32Array(FIRST_BUCKETS);
  #size = 0;

  add(key: number, count: number): void {
    const keys = this.#keys;
    const mask = keys.length - 1;
    let slot = slotOf(key, mask);
    for (;;) {
      const present = keys[slot]!;
      // Keys are above 0: the lowest bucket of the first cell is not used.
      if (present === key) {
        this.#counts[slot]! += count;
        return;
      }
      if (present === 0) break;
      slot = (slot + 1) & mask;
    }
    keys[slot] = key;
    this.#counts[slot] = count;
    if (++this.#size > keys.length * MAX_LOAD) this.#grow();
  }

  #grow(): void {
    const [keys, counts] = [this.#keys, this.#counts];
    this.#keys = new Int32Array(keys.length * 2);
    this.#counts = new Uint32Array(keys.length * 2);
    const mask = this.#keys.length - 1;
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!;
      if (key === 0) continue;
      let slot = slotOf(key, mask);
      while (this.#keys[slot] !== 0) slot = (slot + 1) & mask;
      this.#keys[slot] = key;
      this.#counts[slot] = counts[i]!;
    }
  }

  addToParents(parents: readonly Int32Array[], metrics: number): void {
    const [keys, counts] = [this.#keys, this.#counts];
    const used = Int32Array.from(keys.keys()).filter((slot) => keys[slot] !== 0);
    const pairs = used.map((slot) => keys[slot]!);
    const amounts = Uint32Array.from(used, (slot) => counts[slot]!);
    for (const parent of parents) {
      pairs.forEach((key, i) => {
        const cell = Math.floor(key / BUCKET_ROOM);
        const block = Math.floor(cell / metrics);
        const to = parent[block]! * metrics + (cell - block * metrics);
        this.add(to * BUCKET_ROOM + (key & (BUCKET_ROOM - 1)), amounts[i]!);
      });
    }
  }

  /** All entries by cell, ascending within one; `first[cell]` is where its entries begin. */
  byCell(cells: number): { readonly first: Uint32Array; readonly index: Int32Array; readonly count: Uint32Array } {
    const first = new Uint32Array(cells + 1);
    for (const key of this.#keys) if (key !== 0) first[Math.floor(key / BUCKET_ROOM) + 1]!++;
    for (let cell = 0; cell < cells; cell++) first[cell + 1]! += first[cell]!;
    const fill = first.slice();
    // Bucket and count in one number, so that one sort moves both.
    const packed = new Float64Array(this.#size);
    for (let slot = 0; slot < this.#keys.length; slot++) {
      const key = this.#keys[slot]!;
      if (key === 0) continue;
      packed[fill[Math.floor(key / BUCKET_ROOM)]!++] = (key & (BUCKET_ROOM - 1)) * 2 ** 32 + this.#counts[slot]!;
    }
    const index = new Int32Array(this.#size);
    const count = new Uint32Array(this.#size);
    for (let cell = 0; cell < cells; cell++) {
      const part = packed.subarray(first[cell], first[cell + 1]).sort();
      for (let i = 0; i < part.length; i++) {
        const bucket = Math.floor(part[i]! / 2 ** 32);
        index[first[cell]! + i] = bucket - BUCKET_ZERO;
        count[first[cell]! + i] = part[i]! - bucket * 2 ** 32;
      }
    }
    return { first, index, count };
  }
}

function slotOf(key: number, mask: number): number {
  const hash = Math.imul(key, 0x9e3779b1);
  return (hash ^ (hash >>> 15)) & mask;
}
