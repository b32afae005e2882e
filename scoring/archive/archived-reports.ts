import { sha256Hex } from '../../core/canonical.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { RefusedInput, refuse } from '../../core/refusal.ts';
import type { LogMessage } from '../../platform/event-log.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import type { Segment } from './segment-codec.ts';
import { ARCHIVE_PREFIX, manifestOf, type SegmentId, segmentKeys, segmentOfKey } from './segment-manifest.ts';
import type { SegmentRow } from './segments.sql.ts';
import { AlteredSegment, loadSegment, readObject } from './stored-segment.ts';

/** What an archive has of one partition of one life of a topic, as its own manifests tell it: no database is asked. */
export interface ArchivedPartition {
  readonly generation: string;
  readonly partition: number;
  /** Oldest first, each naming the one before it. */
  readonly segments: readonly SegmentRow[];
  /** What was archived before the first one is not there: its time was over, or it was taken away. */
  readonly isCut: boolean;
  /** SHA-256 of the last manifest, which stands for all of it. */
  readonly head: string;
}

const NO_ARCHIVE = 'name the folder or s3://bucket/prefix that a server keeps its objects in';

/**
 * The chains of all partitions that a place has of a topic, by the time of their first messages. Every manifest is held to the one behind it, so that none is changed, missing or
 * another's in between; that the last one is the last, only whoever kept `head` can tell. What a server lets go meanwhile is not there, as if it had gone before. Throws RefusedInput, AlteredSegment, and what the store throws.
 */
export async function archivedPartitions(store: ObjectStore, topic: string): Promise<readonly ArchivedPartition[]> {
  const found = new Map<string, SegmentId[]>();
  for await (const { key } of store.list(`${ARCHIVE_PREFIX}${topic}/`)) {
    const of = key.endsWith('.json') ? segmentOfKey(key) : undefined;
    if (of === undefined) continue;
    const name = `${of.generation}/${of.partition}`;
    const known = found.get(name);
    if (known === undefined) found.set(name, [of]);
    else known.push(of);
  }
  const partitions: ArchivedPartition[] = [];
  for (const ids of found.values()) {
    const chain = await chainOf(store, ids);
    if (chain !== undefined) partitions.push(chain);
  }
  if (partitions.length === 0)
    throw new RefusedInput([refuse('not_found', '--archive', `has no segment of ${topic}`, NO_ARCHIVE)]);
  return partitions.sort((a, b) => a.segments[0]!.firstAppendedMs - b.segments[0]!.firstAppendedMs || byPlace(a, b));
}

async function chainOf(store: ObjectStore, ids: readonly SegmentId[]): Promise<ArchivedPartition | undefined> {
  const segments: SegmentRow[] = [];
  for (const of of ids.toSorted((a, b) => (a.from < b.from ? -1 : 1))) {
    const bytes = await readObject(store, segmentKeys(of).manifest);
    if (bytes === undefined && segments.length === 0) continue;
    const row = manifestRow(of, bytes);
    const before = segments.at(-1);
    if (before !== undefined && (before.next !== row.from || before.manifestSha256 !== row.previous))
      throw altered(row, before.next, 'the segment before it is missing, or was altered');
    segments.push(row);
  }
  const first = segments[0];
  if (first === undefined) return undefined;
  const { generation, partition, previous } = first;
  return { generation, partition, segments, isCut: previous !== null, head: segments.at(-1)!.manifestSha256 };
}

function byPlace(a: ArchivedPartition, b: ArchivedPartition): number {
  if (a.generation !== b.generation) return a.generation < b.generation ? -1 : 1;
  return a.partition - b.partition;
}

/**
 * The messages of all partitions in one order: each partition's as it is, and between them the one that was appended first, of several at once that of the
 * first partition given. No order between partitions was ever recorded; this one is the same whenever it is asked for. A segment of each is
 * unpacked at a time. Throws as loadArchived.
 */
export async function* messagesInOrder(
  store: ObjectStore,
  partitions: readonly ArchivedPartition[],
): AsyncGenerator<LogMessage> {
  const waiting: { readonly rest: AsyncGenerator<LogMessage>; head: LogMessage }[] = [];
  for (const { segments } of partitions) {
    const rest = messagesOf(store, segments);
    const { value, done } = await rest.next();
    if (done !== true) waiting.push({ rest, head: value });
  }
  while (waiting.length > 0) {
    const next = waiting.reduce((least, one) => (one.head.appendedAtMs < least.head.appendedAtMs ? one : least));
    yield next.head;
    const { value, done } = await next.rest.next();
    if (done === true) waiting.splice(waiting.indexOf(next), 1);
    else next.head = value;
  }
}

/** Of one partition, in the order of its offsets. */
async function* messagesOf(store: ObjectStore, segments: readonly SegmentRow[]): AsyncGenerator<LogMessage> {
  for (const row of segments) yield* (await loadArchived(store, row)).messages;
}

/** The segment of a row that `archivedPartitions` gave. Throws AlteredSegment, what the store throws, and OperatingError `conflict` where its time was over meanwhile. */
export async function loadArchived(store: ObjectStore, row: SegmentRow): Promise<Segment> {
  try {
    return await loadSegment(store, row);
  } catch (error) {
    const { manifest, segment } = segmentKeys(row);
    if (!(error instanceof AlteredSegment) || (await readObject(store, manifest)) !== undefined) throw error;
    throw new OperatingError('conflict', 'safe', 'reading the archive', {
      cause: `${segment} was let go meanwhile, with its manifest: its time was over`,
      mend: 'run it again: it begins behind what was let go',
    });
  }
}

/** Whose messages a segment has. */
export async function tenantsOf(store: ObjectStore, row: SegmentRow): Promise<ReadonlySet<string>> {
  return new Set((await loadArchived(store, row)).messages.map(({ tenant }) => tenant));
}

function manifestRow(of: SegmentId, bytes: Buffer | undefined): SegmentRow {
  const manifest = bytes === undefined ? undefined : manifestOf(bytes, of);
  if (bytes === undefined || manifest === undefined) throw altered(of, of.from, 'is no manifest of this segment');
  const { next, messages, sha256, marks: marksSha256, previous } = manifest;
  const times = {
    firstAppendedMs: Date.parse(manifest.firstAppendedAt),
    lastAppendedMs: Date.parse(manifest.lastAppendedAt),
  };
  const stored = { manifest: bytes, manifestSha256: sha256Hex(bytes), expired: false };
  return { ...of, next: BigInt(next), messages, sha256, marksSha256, previous, ...times, ...stored };
}

function altered(of: SegmentId, offset: bigint, problem: string): AlteredSegment {
  return new AlteredSegment({ object: segmentKeys(of).manifest, offset, line: null, problem });
}
