import { sha256Hex } from '../../core/canonical.ts';
import { RefusedInput, refuse } from '../../core/refusal.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { ARCHIVE_PREFIX, manifestOf, type SegmentId, segmentKeys, segmentOfKey } from './segment-manifest.ts';
import type { SegmentRow } from './segments.sql.ts';
import { AlteredSegment, loadSegment, readObject } from './stored-segment.ts';

/** The chain of an archive, as its own manifests tell it: no database is asked. */
export interface ArchiveChain {
  /** Oldest first, each naming the one before it. */
  readonly segments: readonly SegmentRow[];
  /** What was archived before the first one is not there: its time was over, or it was taken away. */
  readonly isCut: boolean;
  /** SHA-256 of the last manifest, which stands for all of it. */
  readonly head: string;
}

const NO_ARCHIVE = 'name the folder or s3://bucket/prefix that a server keeps its objects in';

/**
 * The chain of the one partition that a place has of a topic. Every manifest is held to the one behind it, so that none is changed, missing or another's in
 * between; that the last one is the last, only whoever kept `head` can tell. Throws RefusedInput, AlteredSegment, and what the store throws.
 */
export async function archiveChain(store: ObjectStore, topic: string): Promise<ArchiveChain> {
  const found = [];
  for await (const { key } of store.list(`${ARCHIVE_PREFIX}${topic}/`)) {
    const of = key.endsWith('.json') ? segmentOfKey(key) : undefined;
    if (of !== undefined) found.push(of);
  }
  const logs = new Set(found.map(({ generation, partition }) => `${generation}/${partition}`));
  if (logs.size !== 1)
    throw new RefusedInput([
      logs.size === 0
        ? refuse('not_found', '--archive', `has no segment of ${topic}`, NO_ARCHIVE)
        : refuse(
            'partitions',
            '--archive',
            `has ${logs.size} logs (${[...logs].sort().slice(0, 5).join(', ')}), and in which order their reports came is kept nowhere`,
            'have them recomputed by the server: merit suites rollout, merit replay start',
          ),
    ]);
  const ordered = found.toSorted((a, b) => (a.from < b.from ? -1 : 1));
  const segments: SegmentRow[] = [];
  for (const of of ordered) {
    const row = await manifestRow(store, of);
    const before = segments.at(-1);
    if (before !== undefined && (before.next !== row.from || before.manifestSha256 !== row.previous))
      throw altered(row, before.next, 'the segment before it is missing, or was altered');
    segments.push(row);
  }
  return { segments, isCut: segments[0]!.previous !== null, head: segments.at(-1)!.manifestSha256 };
}

/** The values of one tenant's messages of a segment, as NDJSON. undefined: it has none. Throws AlteredSegment. */
export async function reportsOf(store: ObjectStore, row: SegmentRow, tenant: string): Promise<Buffer | undefined> {
  const { messages } = await loadSegment(store, row);
  const own = messages.flatMap(({ tenant: of, value }) => (of === tenant && value !== null ? [value] : []));
  if (own.length === 0) return undefined;
  return Buffer.concat(own.flatMap((value) => (value.at(-1) === NEWLINE ? [value] : [value, Buffer.of(NEWLINE)])));
}

/** Whose messages a segment has. */
export async function tenantsOf(store: ObjectStore, row: SegmentRow): Promise<ReadonlySet<string>> {
  return new Set((await loadSegment(store, row)).messages.map(({ tenant }) => tenant));
}

const NEWLINE = 0x0a;

async function manifestRow(store: ObjectStore, of: SegmentId): Promise<SegmentRow> {
  const bytes = await readObject(store, segmentKeys(of).manifest);
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
