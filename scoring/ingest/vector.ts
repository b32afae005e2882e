import { type ReadOffsets, readOffsets } from './positions.sql.ts';
import type { Position } from './read-lines.ts';

/** A place in every partition of the log; a partition that is absent was not read yet. As decisions record it. */
export type Vector = ReadonlyMap<number, Position>;

const BEGINNING: Position = { offset: 0n, line: 0 };

export function placeIn(vector: Vector, partition: number): Position {
  return vector.get(partition) ?? BEGINNING;
}

export function vectorOf({ offsets, lines }: ReadOffsets): Vector {
  return new Map(
    Object.entries(offsets).map(([partition, offset]) => [
      Number(partition),
      { offset: BigInt(offset), line: lines[partition] ?? 0 },
    ]),
  );
}

export function isBefore(a: Position, b: Position): boolean {
  return a.offset < b.offset || (a.offset === b.offset && a.line < b.line);
}

/** Is nothing of `a` behind `b`? */
export function isWithin(a: Vector, b: Vector): boolean {
  return Array.from(a).every(([partition, at]) => !isBefore(placeIn(b, partition), at));
}

/** In each partition the later place of both. */
export function join(a: Vector, b: Vector): Vector {
  const joined = new Map(a);
  for (const [partition, at] of b) if (isBefore(placeIn(joined, partition), at)) joined.set(partition, at);
  return joined;
}

/** Equal for equal places. */
export function vectorKey(vector: Vector): string {
  const places = [...vector].filter(([, at]) => isBefore(BEGINNING, at)).sort(([a], [b]) => a - b);
  return places.map(([partition, { offset, line }]) => `${partition}:${offset}:${line}`).join(' ');
}

/** An order in which whatever is within another comes before it. */
export function compareVectors(a: Vector, b: Vector): number {
  const [one, other] = [weightOf(a), weightOf(b)];
  if (one.offset !== other.offset) return one.offset < other.offset ? -1 : 1;
  return one.line - other.line;
}

function weightOf(vector: Vector): Position {
  let [offset, line] = [0n, 0];
  for (const at of vector.values()) {
    offset += at.offset;
    line += at.line;
  }
  return { offset, line };
}

/** Messages that lie between two places. */
export function messagesBetween(from: Vector, to: Vector): number {
  let messages = 0n;
  for (const [partition, at] of to) messages += at.offset - placeIn(from, partition).offset;
  return Number(messages > 0n ? messages : 0n);
}

/** As decisions record it, and as it is stored. */
export function recordedVector(vector: Vector): ReadOffsets {
  return readOffsets(vector);
}
