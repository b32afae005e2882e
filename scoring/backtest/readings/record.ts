import type { Suite } from '../../../core/suite.ts';
import type { LineFault } from '../../../scoring-native/reference.ts';
import { type Contribution, metricContribution } from '../../rules/contribution.ts';

/**
 * What reading one line of reports comes to, in bytes, so that it can be read in one place and judged in another. Whole records only: a
 * block of them is never cut inside one. Little endian:
 *
 *   record   u32 length of what follows · u32 line in its part of the file, from 1 · a reading for each reader, in their order
 *   reading  u8 kind, then
 *     fault     u32 position · u16 length, code in UTF-8 · u16 length, reason in UTF-8
 *     accepted  16 bytes of the key · 32 bytes of the digest; that is all where the report is of another suite, else
 *               f64 observedAt in ms · f64 weight · u16 length, model in Latin-1 · u16 count · per metric u16 place in the suite, f64 x
 */
const FAULT = 0;
const OTHER_SUITE = 1;
const CONTRIBUTES = 2;

const KEY_BYTES = 16;
const DIGEST_BYTES = 32;

/** What a reader makes of a line. `contribution` null: an accepted report of another suite. */
export type Reading =
  | { readonly kind: 'fault'; readonly fault: LineFault }
  | {
      readonly kind: 'accepted';
      readonly key: Uint8Array;
      readonly digest: Uint8Array;
      readonly contribution: Contribution | null;
    };

/** Collects records; `take` gives the block and begins a new one. */
export class RecordWriter {
  /** Of each reader: the place of each metric in its suite. */
  readonly #places: readonly ReadonlyMap<string, number>[];
  #buffer = Buffer.allocUnsafe(1 << 16);
  #at = 0;

  /** One suite a reader. */
  constructor(suites: readonly Suite[]) {
    this.#places = suites.map(({ metrics }) => new Map(metrics.map(({ name }, place) => [name, place])));
  }

  /** Bytes of the block so far. */
  get size(): number {
    return this.#at;
  }

  add(line: number, readings: readonly Reading[]): void {
    const start = this.#at;
    this.#u32(0);
    this.#u32(line);
    for (const [reader, reading] of readings.entries()) this.#reading(reading, this.#places[reader]!);
    this.#buffer.writeUInt32LE(this.#at - start - 4, start);
  }

  take(): Buffer {
    const block = Buffer.from(this.#buffer.subarray(0, this.#at));
    this.#at = 0;
    return block;
  }

  #reading(reading: Reading, places: ReadonlyMap<string, number>): void {
    if (reading.kind === 'fault') {
      const { code, position, reason } = reading.fault;
      this.#u8(FAULT);
      this.#u32(position);
      this.#text(code, 'utf8');
      this.#text(reason, 'utf8');
      return;
    }
    const { key, digest, contribution } = reading;
    this.#u8(contribution === null ? OTHER_SUITE : CONTRIBUTES);
    this.#bytes(key.subarray(0, KEY_BYTES));
    this.#bytes(digest);
    if (contribution === null) return;
    this.#f64(contribution.observedAtMs);
    this.#f64(Number(contribution.w));
    this.#text(contribution.model, 'latin1');
    this.#u16(contribution.metrics.length);
    for (const { rule, x } of contribution.metrics) {
      this.#u16(places.get(rule.name)!);
      this.#f64(x);
    }
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#at + bytes));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }

  #u8(value: number): void {
    this.#room(1);
    this.#at = this.#buffer.writeUInt8(value, this.#at);
  }

  #u16(value: number): void {
    this.#room(2);
    this.#at = this.#buffer.writeUInt16LE(value, this.#at);
  }

  #u32(value: number): void {
    this.#room(4);
    this.#at = this.#buffer.writeUInt32LE(value, this.#at);
  }

  #f64(value: number): void {
    this.#room(8);
    this.#at = this.#buffer.writeDoubleLE(value, this.#at);
  }

  #bytes(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #text(text: string, encoding: 'utf8' | 'latin1'): void {
    const bytes = Buffer.from(text, encoding);
    this.#u16(bytes.length);
    this.#bytes(bytes);
  }
}

export interface LineReadings {
  readonly line: number;
  /** Where the reading of each reader begins in the block. */
  readonly at: readonly number[];
}

/** A block's records in order. Throws RangeError where it is cut or holds anything else. */
export function* recordsOf(block: Buffer, readers: number): Generator<LineReadings> {
  let at = 0;
  while (at < block.length) {
    const end = at + 4 + block.readUInt32LE(at);
    const line = block.readUInt32LE(at + 4);
    const places: number[] = [];
    at += 8;
    for (let reader = 0; reader < readers; reader++) {
      places.push(at);
      at = endOf(block, at);
    }
    if (at !== end) throw new RangeError(`a record ends at ${at} and not at ${end}`);
    yield { line, at: places };
  }
}

function endOf(block: Buffer, start: number): number {
  const kind = block.readUInt8(start);
  let at = start + 1;
  if (kind === FAULT) {
    at += 4;
    at += 2 + block.readUInt16LE(at);
    return at + 2 + block.readUInt16LE(at);
  }
  at += KEY_BYTES + DIGEST_BYTES;
  if (kind === OTHER_SUITE) return at;
  if (kind !== CONTRIBUTES) throw new RangeError(`${kind} is no kind of reading`);
  at += 16;
  at += 2 + block.readUInt16LE(at);
  return at + 2 + 10 * block.readUInt16LE(at);
}

/** The reading that begins at `start`, of the reader whose suite is given. */
export function readingAt(block: Buffer, start: number, suite: Suite): Reading {
  const kind = block.readUInt8(start);
  let at = start + 1;
  if (kind === FAULT) {
    const position = block.readUInt32LE(at);
    const code = textAt(block, at + 4, 'utf8');
    return { kind: 'fault', fault: { code: code.text, position, reason: textAt(block, code.end, 'utf8').text } };
  }
  const key = block.subarray(at, at + KEY_BYTES);
  const digest = block.subarray(at + KEY_BYTES, at + KEY_BYTES + DIGEST_BYTES);
  if (kind === OTHER_SUITE) return { kind: 'accepted', key, digest, contribution: null };
  at += KEY_BYTES + DIGEST_BYTES;
  const observedAtMs = block.readDoubleLE(at);
  const w = BigInt(block.readDoubleLE(at + 8));
  const model = textAt(block, at + 16, 'latin1');
  const count = block.readUInt16LE(model.end);
  const metrics = Array.from({ length: count }, (_, i) => {
    const of = model.end + 2 + 10 * i;
    const rule = suite.metrics[block.readUInt16LE(of)];
    const metric = rule === undefined ? undefined : metricContribution(rule, block.readDoubleLE(of + 2), w);
    if (metric === undefined) throw new RangeError('a reading names a value that its suite does not take');
    return metric;
  });
  return { kind: 'accepted', key, digest, contribution: { model: model.text, observedAtMs, w, metrics } };
}

function textAt(
  block: Buffer,
  at: number,
  encoding: 'utf8' | 'latin1',
): { readonly text: string; readonly end: number } {
  const end = at + 2 + block.readUInt16LE(at);
  return { text: block.toString(encoding, at + 2, end), end };
}
