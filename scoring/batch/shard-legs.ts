import type { Position } from '../ingest/read-lines.ts';
import { shardsOf } from '../ingest/shards.ts';
import type { Era } from '../ingest/topic-history.sql.ts';
import { isBefore, placeIn } from '../ingest/vector.ts';
import type { Shard } from './recomputes.sql.ts';

/** A stretch of one partition that was read while the log had so many. */
export interface Leg {
  readonly partition: number;
  readonly partitions: number;
  readonly from: Position;
  readonly to: Position;
  /** As in Stretch. */
  readonly servedSince: number | null;
}

/**
 * What a shard reads, in order: its own partition, a leg for each number of partitions that the log had meanwhile; and before the first line that was
 * read under another number what was read of other partitions that served its reports until then, so that a repeat of one is known.
 */
export function legsOf({ partition, eras, untilOffset, untilLine }: LegsOf): readonly Leg[] {
  const until = { offset: untilOffset, line: untilLine };
  const legs: Leg[] = [];
  eras.forEach((era, k) => {
    const from = beginOf(eras, k, partition);
    const to = earlier(era.until === null ? until : placeIn(era.until, partition), until);
    if (!isBefore(from, to)) return;
    eras.slice(0, k).forEach((before, j) => {
      for (let other = 0; other < before.partitions; other++) {
        if (other === partition || !servesSome(other, before.partitions, partition, era.partitions)) continue;
        const ends = { from: beginOf(eras, j, other), to: placeIn(before.until!, other) };
        if (!isBefore(ends.from, ends.to)) continue;
        legs.push({ partition: other, partitions: before.partitions, ...ends, servedSince: era.partitions });
      }
    });
    legs.push({ partition, partitions: era.partitions, from, to, servedSince: null });
  });
  return legs;
}

type LegsOf = Pick<Shard, 'partition' | 'eras' | 'untilOffset' | 'untilLine'>;

function beginOf(eras: readonly Era[], k: number, partition: number): Position {
  return placeIn(eras[k - 1]?.until ?? new Map(), partition);
}

function earlier(a: Position, b: Position): Position {
  return isBefore(a, b) ? a : b;
}

/** Did a partition serve reports that another serves since? */
function servesSome(before: number, partitionsBefore: number, since: number, partitionsSince: number): boolean {
  const shards = new Set(shardsOf(since, partitionsSince));
  return shardsOf(before, partitionsBefore).some((shard) => shards.has(shard));
}
