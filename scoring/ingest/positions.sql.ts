import type { Tx } from '../../platform/postgres.ts';
import type { Position } from './read-lines.ts';

/** The position that the consumer works from is not the stored one any more: another consumer has gone on. Nothing was changed. */
export class StalePosition extends Error {
  override name = 'StalePosition';
}

export interface StoredPosition extends Position {
  /** The greatest append time among the messages read. */
  readonly appendedAtMs: number;
}

export const START: StoredPosition = { offset: 0n, line: 0, appendedAtMs: 0 };

/** By partition; a partition never read is absent. */
export async function loadPositions(tx: Tx, topic: string): Promise<ReadonlyMap<number, StoredPosition>> {
  const rows = await tx.query<{ partition: number; next_offset: bigint; next_line: number; appended_at_ms: bigint }>(
    'select partition, next_offset, next_line, appended_at_ms from consumer_offsets where topic = $1 order by partition',
    [topic],
  );
  return new Map(
    rows.map((row) => [
      row.partition,
      { offset: row.next_offset, line: row.next_line, appendedAtMs: Number(row.appended_at_ms) },
    ]),
  );
}

/** Moves a partition from exactly `from` to `to`; throws StalePosition where it stands elsewhere. */
export async function advancePosition(
  tx: Tx,
  topic: string,
  partition: number,
  from: Position,
  to: StoredPosition,
): Promise<void> {
  const values = [topic, partition, to.offset, to.line, to.appendedAtMs];
  const isFirst = from.offset === 0n && from.line === 0;
  const changed = isFirst
    ? await tx.execute(
        `insert into consumer_offsets (topic, partition, next_offset, next_line, appended_at_ms) values ($1, $2, $3, $4, $5)
         on conflict do nothing`,
        values,
      )
    : await tx.execute(
        `update consumer_offsets set next_offset = $3, next_line = $4, appended_at_ms = greatest(appended_at_ms, $5)
         where topic = $1 and partition = $2 and next_offset = $6 and next_line = $7`,
        [...values, from.offset, from.line],
      );
  if (changed === 0) throw new StalePosition(`${topic}/${partition} does not stand at ${from.offset}:${from.line}`);
}

/** As signed in decisions: partition → offset of the next message, and where one is half read, partition → lines done of it. */
export interface ReadOffsets {
  readonly offsets: { readonly [partition: string]: string };
  readonly lines: { readonly [partition: string]: number };
}

export function readOffsets(positions: ReadonlyMap<number, Position>): ReadOffsets {
  const entries = [...positions].sort(([a], [b]) => a - b);
  return {
    offsets: Object.fromEntries(entries.map(([partition, { offset }]) => [String(partition), offset.toString()])),
    lines: Object.fromEntries(
      entries.filter(([, { line }]) => line > 0).map(([partition, { line }]) => [String(partition), line]),
    ),
  };
}
