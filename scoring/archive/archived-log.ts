import { OperatingError } from '../../core/operating-error.ts';
import type { EventLog, LogMessage } from '../../platform/event-log.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import type { Database } from '../../platform/postgres.ts';
import { generationOf } from './generation.ts';
import type { Segment } from './segment-codec.ts';
import { archivedRanges, type SegmentRow, segmentsIn } from './segments.sql.ts';
import { loadSegment } from './stored-segment.ts';

export interface ArchivedLogOptions {
  readonly db: Database;
  readonly store: ObjectStore;
  readonly eventLog: EventLog;
  /** `archive`: read from it wherever it has what is asked for. `log`: only where the log has it no more. */
  readonly prefer: 'archive' | 'log';
  /** Which life of the topic is read, whatever the log holds now; absent: its present one. */
  readonly generation?: string;
}

/** The report log with what only the archive still holds of it: for who reads from the beginning. */
export interface ArchivedLog {
  /** As EventLog.read. Throws AlteredSegment. */
  read: EventLog['read'];
  /** The oldest offset that can be read. */
  firstOffset(topic: string, partition: number): Promise<bigint>;
}

/**
 * One segment a partition stays unpacked (up to about 17 MiB), so that reading on costs one reading of each object. What was read of the
 * log may have been trimmed a moment later, and is looked for in the archive then.
 */
export function archivedLog({ db, store, eventLog, prefer, generation }: ArchivedLogOptions): ArchivedLog {
  const held = new Map<string, { readonly row: SegmentRow; readonly segment: Segment }>();

  const lifeOf = async (topic: string): Promise<string> => generation ?? (await generationOf(db, eventLog, topic));

  /** What the log holds by now may be another life's. */
  const isThere = async (topic: string) =>
    generation === undefined || (await generationOf(db, eventLog, topic)) === generation;

  const fromLog: EventLog['read'] = async (topic, partition, offset, maxMessages, maxBytes) => {
    if (!(await isThere(topic))) throw lifeIsOver(topic, partition, offset);
    const messages = await eventLog.read(topic, partition, offset, maxMessages, maxBytes);
    if (!(await isThere(topic))) throw lifeIsOver(topic, partition, offset);
    return messages;
  };

  const rowAt = async (topic: string, partition: number, offset: bigint): Promise<SegmentRow | undefined> => {
    const place = { topic, generation: await lifeOf(topic), partition };
    const rows = await db.asEngine((tx) => segmentsIn(tx, place, offset, 2n ** 63n - 1n, 1));
    return rows[0];
  };

  const fromArchive = async (
    topic: string,
    partition: number,
    offset: bigint,
    maxMessages: number,
    maxBytes: number,
  ): Promise<readonly LogMessage[]> => {
    const name = JSON.stringify([topic, partition]);
    const known = held.get(name);
    if (known !== undefined && known.row.from <= offset && offset < known.row.next)
      return sliceOf(known.segment, offset, maxMessages, maxBytes);
    held.delete(name);
    for (let at = offset; ; ) {
      const row = await rowAt(topic, partition, at);
      if (row === undefined) return [];
      at = row.next;
      if (row.expired) continue;
      const segment = await loadSegment(store, row);
      held.set(name, { row, segment });
      const messages = sliceOf(segment, offset, maxMessages, maxBytes);
      if (messages.length > 0) return messages;
    }
  };

  return {
    read: async (topic, partition, offset, maxMessages, maxBytes) => {
      if (prefer === 'log' && (await isThere(topic))) {
        const { firstOffset } = await eventLog.end(topic, partition);
        if (offset >= firstOffset) {
          const messages = await fromLog(topic, partition, offset, maxMessages, maxBytes);
          const first = messages[0];
          if (first === undefined || first.offset === offset) return messages;
          const again = await eventLog.end(topic, partition);
          if (again.firstOffset <= offset) return messages;
        }
      }
      const archived = await fromArchive(topic, partition, offset, maxMessages, maxBytes);
      return archived.length > 0 ? archived : fromLog(topic, partition, offset, maxMessages, maxBytes);
    },
    firstOffset: async (topic, partition) => {
      const { firstOffset } = await eventLog.end(topic, partition);
      const life = await lifeOf(topic);
      const ranges = await db.asEngine((tx) => archivedRanges(tx, topic));
      const archived = ranges.find((range) => range.generation === life && range.partition === partition);
      return archived === undefined || archived.from > firstOffset ? firstOffset : archived.from;
    },
  };
}

function lifeIsOver(topic: string, partition: number, offset: bigint): OperatingError {
  return new OperatingError('not-found', 'never', `reading ${topic}/${partition} from ${offset}`, {
    cause: 'the topic was made anew, and the archive of the earlier one ends before',
    mend: 'what was read of it since is lost: read the new one',
  });
}

function sliceOf(segment: Segment, offset: bigint, maxMessages: number, maxBytes: number): readonly LogMessage[] {
  const { messages } = segment;
  const from = messages.findIndex((message) => message.offset >= offset);
  if (from === -1) return [];
  let to = from + 1;
  let bytes = messages[from]!.value?.length ?? 0;
  while (to < messages.length && to - from < maxMessages) {
    bytes += messages[to]!.value?.length ?? 0;
    if (bytes > maxBytes) break;
    to++;
  }
  return messages.slice(from, to);
}
