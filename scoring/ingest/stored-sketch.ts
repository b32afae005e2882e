/** Sketches as the database keeps them: bucket indexes, ascending, and their counts, side by side. */

/** Several sketches, one after another. `end[i]` is where sketch i ends; it begins where the one before ends. */
export interface SketchColumns {
  readonly end: Uint32Array;
  readonly index: Int32Array;
  readonly count: Float64Array;
}

/** A stored sketch, as `array::text` gives its two columns: `{-3,0,12}` and `{1,4,2}`. */
export interface StoredSketch {
  readonly buckets: string;
  readonly counts: string;
}

/** What is added to one sketch: buckets [first, first + buckets) of the deltas. */
export interface SketchDeltas {
  readonly firstBucket: Uint32Array;
  readonly buckets: Uint32Array;
  readonly bucketIndex: Int32Array;
  readonly bucketCount: Uint32Array;
}

/** The sketches of these rows of the deltas, each added to what is stored of it; `storedOf` gives undefined where nothing is. */
export function mergeSketches(
  deltas: SketchDeltas,
  rows: Uint32Array,
  storedOf: (i: number) => StoredSketch | undefined,
): SketchColumns {
  let added = 0;
  for (const row of rows) added += deltas.buckets[row]!;
  const merge = new Merge(added * 2);
  const end = new Uint32Array(rows.length);
  for (let i = 0; i < rows.length; i++) {
    merge.add(deltas, rows[i]!, storedOf(i));
    end[i] = merge.size;
  }
  return { end, index: merge.index.subarray(0, merge.size), count: merge.count.subarray(0, merge.size) };
}

/** Grows as stored sketches turn out longer than their deltas. */
class Merge {
  index: Int32Array;
  count: Float64Array;
  size = 0;

  constructor(room: number) {
    this.index = new Int32Array(room);
    this.count = new Float64Array(room);
  }

  add(deltas: SketchDeltas, row: number, stored: StoredSketch | undefined): void {
    const { bucketIndex, bucketCount } = deltas;
    let at = deltas.firstBucket[row]!;
    const to = at + deltas.buckets[row]!;
    if (stored !== undefined) {
      const indexes = new Integers(stored.buckets);
      const counts = new Integers(stored.counts);
      while (indexes.next()) {
        counts.next();
        while (at < to && bucketIndex[at]! < indexes.value) this.#put(bucketIndex[at]!, bucketCount[at++]!);
        const same = at < to && bucketIndex[at] === indexes.value;
        this.#put(indexes.value, same ? counts.value + bucketCount[at++]! : counts.value);
      }
    }
    while (at < to) this.#put(bucketIndex[at]!, bucketCount[at++]!);
  }

  #put(index: number, count: number): void {
    if (this.size === this.index.length) {
      const room = this.size * 2 + 64;
      const [grownIndex, grownCount] = [new Int32Array(room), new Float64Array(room)];
      grownIndex.set(this.index);
      grownCount.set(this.count);
      this.index = grownIndex;
      this.count = grownCount;
    }
    this.index[this.size] = index;
    this.count[this.size++] = count;
  }
}

const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;

/** The integers of a one-dimensional array's text, one by one and without a string each. */
class Integers {
  value = 0;
  readonly #text: string;
  #at = 1;

  constructor(text: string) {
    this.#text = text;
  }

  next(): boolean {
    const text = this.#text;
    let c = text.charCodeAt(this.#at);
    const negative = c === MINUS;
    if (negative) c = text.charCodeAt(++this.#at);
    if (!(c >= ZERO && c <= NINE)) return false;
    let value = 0;
    while (c >= ZERO && c <= NINE) {
      value = value * 10 + (c - ZERO);
      c = text.charCodeAt(++this.#at);
    }
    this.#at++;
    this.value = negative ? -value : value;
    return true;
  }
}
