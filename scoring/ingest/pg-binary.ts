/**
 * Arrays in Postgres' binary wire format, straight from columns of words: no BigInt, no decimal text, no string a value. Source:
 * src/backend/utils/adt (array_recv, numeric_recv, int8recv).
 */

const OID = { bytea: 17, int2: 21, int4: 23, int8: 20, numeric: 1700 } as const;

type ElementType = 'bytea' | 'int2' | 'int4' | 'int8' | 'numeric';

const FIRST_BYTES = 4096;
/** Dimensions, null flag, element type, length and lower bound. */
const ARRAY_HEADER_BYTES = 20;
/** In front of each field. */
const LENGTH_BYTES = 4;
const NUMERIC_NEGATIVE = 0x4000;
const NUMERIC_BASE = 10_000;
/** 10^4 to the tenth is above 2^128. */
const MAX_NUMERIC_DIGITS = 10;
const WORD = 4294967296;

/** As a whole array, to be bound as one parameter: pg sends a Buffer as it is, as binary. */
export function byteaArray(values: readonly Uint8Array[]): Buffer {
  const bytes = values.reduce((total, value) => total + LENGTH_BYTES + value.length, ARRAY_HEADER_BYTES);
  const writer = new FieldWriter(bytes);
  writer.arrayOf('bytea', values.length);
  for (const value of values) writer.bytea(value);
  return writer.take();
}

/** Of a field with its length, as a first guess. */
const FIELD_BYTES = { int2: 6, int4: 8, int8: 12, numeric: 20 } as const;

/*
 * Columns are written by loops of their own: V8 compiles a closure that a caller hands over anew for each flush, which cost more than what it
 * wrote.
 */

/** Integers with |value| ≤ 2^53 as such an array. */
export function integerArray(type: 'int2' | 'int4' | 'int8', values: ArrayLike<number>): Buffer {
  const writer = new FieldWriter(ARRAY_HEADER_BYTES + values.length * FIELD_BYTES[type]);
  writer.arrayOf(type, values.length);
  if (type === 'int8') for (let i = 0; i < values.length; i++) writer.int8(values[i]!);
  else if (type === 'int4') for (let i = 0; i < values.length; i++) writer.int4(values[i]!);
  else for (let i = 0; i < values.length; i++) writer.int2(values[i]!);
  return writer.take();
}

/** The 64-bit integers in two words each, the lower first. */
export function int8WordsArray(words: Uint32Array): Buffer {
  const elements = words.length / 2;
  const writer = new FieldWriter(ARRAY_HEADER_BYTES + elements * FIELD_BYTES.int8);
  writer.arrayOf('int8', elements);
  for (let i = 0; i < elements; i++) writer.int8Words(words, i * 2);
  return writer.take();
}

/** As numeric: unsigned integers of two words each, or two's complement ones of four. */
export function numericArray(words: Uint32Array, wordsEach: 2 | 4): Buffer {
  const elements = words.length / wordsEach;
  const writer = new FieldWriter(ARRAY_HEADER_BYTES + elements * FIELD_BYTES.numeric);
  writer.arrayOf('numeric', elements);
  if (wordsEach === 2) for (let i = 0; i < elements; i++) writer.numeric64(words, i * 2);
  else for (let i = 0; i < elements; i++) writer.numeric128(words, i * 4);
  return writer.take();
}

/** Fields one after another in a buffer that grows; `take` gives what was written and starts again. */
export class FieldWriter {
  #bytes: Buffer;
  #at = 0;
  readonly #digits = new Int16Array(MAX_NUMERIC_DIGITS);
  readonly #words = new Float64Array(4);

  constructor(bytes = FIRST_BYTES) {
    this.#bytes = Buffer.allocUnsafe(bytes);
  }

  bytea(bytes: Uint8Array): void {
    this.#need(LENGTH_BYTES + bytes.length);
    this.#put32(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  int2(value: number): void {
    this.#need(6);
    this.#put32(2);
    this.#put16(value);
  }

  int4(value: number): void {
    this.#need(8);
    this.#put32(4);
    this.#put32(value);
  }

  /** An integer with |value| ≤ 2^53. */
  int8(value: number): void {
    this.#need(12);
    this.#put32(8);
    const high = Math.floor(value / WORD);
    this.#put32(high);
    this.#put32(value - high * WORD);
  }

  /** The 64-bit integer in two words from `at` on, the lower first. */
  int8Words(words: Uint32Array, at: number): void {
    this.#need(12);
    this.#put32(8);
    this.#put32(words[at + 1]!);
    this.#put32(words[at]!);
  }

  /** The unsigned integer of 64 bits in two words, the lower first, as numeric. */
  numeric64(words: Uint32Array, at: number): void {
    this.#numeric(words[at]!, words[at + 1]!, 0, 0, false);
  }

  /** The two's complement integer of 128 bits in four words, the lowest first, as numeric. */
  numeric128(words: Uint32Array, at: number): void {
    let [a, b, c, d] = [words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!];
    const negative = d >= 0x80000000;
    if (negative) {
      // −x = ~x + 1. The lowest word may become 2^32: the division does not mind, and needs no carry.
      a = (~a >>> 0) + 1;
      b = ~b >>> 0;
      c = ~c >>> 0;
      d = ~d >>> 0;
    }
    this.#numeric(a, b, c, d, negative);
  }

  /** Begins an array of `elements` fields of that type, to be sent as one parameter. */
  arrayOf(type: ElementType, elements: number): void {
    this.#need(ARRAY_HEADER_BYTES);
    this.#arrayHeader(OID[type], elements);
  }

  /** What was written; the writer begins anew. */
  take(): Buffer {
    const bytes = this.#bytes.subarray(0, this.#at);
    this.#bytes = Buffer.alloc(0);
    this.#at = 0;
    return bytes;
  }

  /** a + b·2^32 + c·2^64 + d·2^96, by long division into digits to the base 10^4. */
  #numeric(a: number, b: number, c: number, d: number, negative: boolean): void {
    const words = this.#words;
    words[0] = a;
    words[1] = b;
    words[2] = c;
    words[3] = d;
    let top = d > 0 ? 3 : c > 0 ? 2 : b > 0 ? 1 : a > 0 ? 0 : -1;
    const digits = this.#digits;
    let count = 0;
    while (top >= 0) {
      let rest = 0;
      for (let i = top; i >= 0; i--) {
        // At most 10^4·2^32, below 2^53: exact.
        const dividend = rest * WORD + words[i]!;
        const quotient = Math.floor(dividend / NUMERIC_BASE);
        words[i] = quotient;
        rest = dividend - quotient * NUMERIC_BASE;
      }
      digits[count++] = rest;
      while (top >= 0 && words[top] === 0) top--;
    }
    // Trailing zero digits are not sent; the weight says where the first stands.
    let last = 0;
    while (last < count && digits[last] === 0) last++;
    this.#need(12 + 2 * MAX_NUMERIC_DIGITS);
    this.#put32(8 + 2 * (count - last));
    this.#put16(count - last);
    this.#put16(count === 0 ? 0 : count - 1);
    this.#put16(negative ? NUMERIC_NEGATIVE : 0);
    this.#put16(0);
    for (let i = count - 1; i >= last; i--) this.#put16(digits[i]!);
  }

  #arrayHeader(elementOid: number, elements: number): void {
    this.#put32(1);
    this.#put32(0);
    this.#put32(elementOid);
    this.#put32(elements);
    this.#put32(1);
  }

  #need(more: number): void {
    if (this.#at + more <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(FIRST_BYTES, this.#bytes.length * 2, this.#at + more));
    this.#bytes.copy(grown, 0, 0, this.#at);
    this.#bytes = grown;
  }

  #put16(value: number): void {
    const bytes = this.#bytes;
    const at = this.#at;
    bytes[at] = value >> 8;
    bytes[at + 1] = value;
    this.#at = at + 2;
  }

  #put32(value: number): void {
    const bytes = this.#bytes;
    const at = this.#at;
    bytes[at] = value >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
    this.#at = at + 4;
  }
}
