import { parseSuite } from '../../core/suite.ts';
import type { LogMessage } from '../../platform/event-log.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { type ArchivedPartition, loadArchived } from '../archive/archived-reports.ts';
import type { SegmentRow } from '../archive/segments.sql.ts';
import type { AsidePlace } from '../ingest/asides.sql.ts';
import { holdsLines } from '../ingest/read-lines.ts';
import { RESOLUTIONS } from '../rules/pane.ts';
import { MAX_SKEW_MS } from '../rules/watermark.ts';
import { endOffsetOf, type HandedLeg, type HandedShard } from './handed-shard.ts';
import type { HourShare } from './hour-share.ts';
import { packMessages } from './messages.ts';
import { packPanes, unpackPanes } from './pane-deltas.ts';
import { paneFile } from './pane-file.ts';
import { countedFromMs, ShardEffects } from './shard-effects.ts';

/** The archive cannot give what the shard needs. */
export class ArchiveFalls extends Error {
  override name = 'ArchiveFalls';
}

/** The segments that the legs of a shard lie in, each once: all but what is too old for any pane that is kept. Throws ArchiveFalls. */
export function segmentsFor(handed: HandedShard, archive: readonly ArchivedPartition[]): readonly SegmentRow[] {
  const rows = handed.legs.flatMap((leg) => segmentsOf(handed, leg, archive));
  return [...new Set(rows)];
}

function segmentsOf(handed: HandedShard, leg: HandedLeg, archive: readonly ArchivedPartition[]): readonly SegmentRow[] {
  const [from, end] = [BigInt(leg.from.offset), endOffsetOf(leg.to)];
  const segments =
    archive.find(({ generation, partition }) => generation === handed.generation && partition === leg.partition)
      ?.segments ?? [];
  const of = `partition ${leg.partition} of ${handed.topic}`;
  const archivedTo = segments.at(-1)?.next ?? 0n;
  if (archivedTo < end)
    throw new ArchiveFalls(`${of} is archived up to offset ${archivedTo}, and ${end} is what the version began at`);
  const countedFrom = countedFromMs(handed);
  const first = segments[0]!;
  // What was let go before it is as old, or older.
  if (first.from > from && first.firstAppendedMs + MAX_SKEW_MS >= countedFrom)
    throw new ArchiveFalls(`${of} is archived from offset ${first.from} on only, and what is before it counts`);
  return segments.filter((row) => row.next > from && row.from < end && row.lastAppendedMs + MAX_SKEW_MS >= countedFrom);
}

/**
 * Counts one share of a partition's history out of its archive, as a recompute worker counts it out of the log; gives the file that says so. Throws
 * ArchiveFalls, and as loadArchived.
 */
export async function countShare(
  store: ObjectStore,
  handed: HandedShard,
  share: HourShare,
  archive: readonly ArchivedPartition[],
  onSegment: (messages: number) => void = () => {},
): Promise<Buffer> {
  const { partition, suiteHash, onTimeFromMs, untilLine } = handed;
  const effects = new ShardEffects({ ...handed, suite: parseSuite(handed.suite), share });
  const nextOffset = BigInt(handed.fromOffset);
  for (const leg of handed.legs) {
    const asides = asidesByOffset(leg);
    const [from, end] = [BigInt(leg.from.offset), endOffsetOf(leg.to)];
    for (const row of segmentsOf(handed, leg, archive)) {
      const { messages, lostBefore } = await loadArchived(store, row);
      if (lostBefore !== null && row.firstAppendedMs + MAX_SKEW_MS >= countedFromMs(handed))
        throw new ArchiveFalls(`of partition ${leg.partition} the log had let go what is before offset ${row.from}`);
      const here = messages.filter(({ offset }) => offset >= from && offset < end);
      // What is in the panes already is only to be known.
      const known = (offset: bigint) => leg.servedSince !== null || offset < nextOffset;
      take(
        effects,
        handed.tenant,
        leg,
        here.filter(({ offset }) => known(offset)),
        asides,
        true,
      );
      take(
        effects,
        handed.tenant,
        leg,
        here.filter(({ offset }) => !known(offset)),
        asides,
        false,
      );
      onSegment(here.length);
    }
  }
  const { panes, counts } = effects.drain();
  const inOrder = unpackPanes(panes, suiteHash).sort(
    (a, b) =>
      compare(a.model, b.model) ||
      compare(a.metric, b.metric) ||
      RESOLUTIONS.indexOf(a.resolution) - RESOLUTIONS.indexOf(b.resolution) ||
      a.paneStartMs - b.paneStartMs,
  );
  const named = { claim: handed.claim, rollout: handed.rollout, suiteHash, partition, share };
  const until = String(endOffsetOf({ offset: handed.untilOffset, line: untilLine }));
  const stretch = { from: handed.fromOffset, until, untilLine, onTimeFromMs };
  return paneFile({ ...named, ...stretch, counts }, packPanes(inOrder));
}

function take(
  effects: ShardEffects,
  tenant: string,
  leg: HandedLeg,
  messages: readonly LogMessage[],
  asides: ReadonlyMap<bigint, readonly AsidePlace[]>,
  replay: boolean,
): void {
  const own = messages.filter((message) => message.tenant === tenant && holdsLines(message));
  const [first, last] = [own[0], own.at(-1)];
  if (first === undefined || last === undefined) return;
  const { partition, partitions, servedSince, from, to } = leg;
  const afterLine = String(first.offset) === from.offset ? from.line : 0;
  const untilLine = String(last.offset) === to.offset ? to.line : 0;
  const here = own.flatMap(({ offset }) => asides.get(offset) ?? []);
  effects.take(packMessages(own, here, { partition, partitions, afterLine, untilLine, servedSince }), replay);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function asidesByOffset({ asides }: HandedLeg): ReadonlyMap<bigint, readonly AsidePlace[]> {
  const places = new Map<bigint, AsidePlace[]>();
  for (const [text, line, size] of asides) {
    const offset = BigInt(text);
    const known = places.get(offset);
    if (known === undefined) places.set(offset, [{ offset, line, size }]);
    else known.push({ offset, line, size });
  }
  return places;
}
