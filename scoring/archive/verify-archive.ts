import { sha256Hex } from '../../core/canonical.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import type { Database } from '../../platform/postgres.ts';
import { segmentKeys } from './segment-manifest.ts';
import { type Place, type SegmentRow, segmentsIn } from './segments.sql.ts';
import { AlteredSegment, loadSegment, readObject, type SegmentFault } from './stored-segment.ts';

/** Rows of the chain fetched at once. */
const ROWS_AT_ONCE = 256;

export interface ArchiveCheck {
  readonly segments: number;
  readonly messages: number;
  /** The first fault; null: every byte is as it was archived, and nothing is missing. */
  readonly fault: SegmentFault | null;
}

/**
 * Reads every segment of [from, to) of a partition again and holds it, its marks, its manifest and the chain to what Postgres says. Of
 * segments whose time was over only the chain. Ends at the first fault.
 */
export async function verifyArchive(
  db: Database,
  store: ObjectStore,
  place: Place,
  range: { readonly from: bigint; readonly to: bigint },
  signal: AbortSignal,
): Promise<ArchiveCheck> {
  let [segments, messages] = [0, 0];
  let before: SegmentRow | undefined;
  for (let at = range.from; ; ) {
    const rows = await db.asEngine((tx) => segmentsIn(tx, place, at, range.to, ROWS_AT_ONCE));
    for (const row of rows) {
      signal.throwIfAborted();
      const fault = chainFault(row, before, range.from) ?? (row.expired ? undefined : await segmentFault(store, row));
      if (fault !== undefined) return { segments, messages, fault };
      before = row;
      segments++;
      messages += row.messages;
      at = row.next;
    }
    if (rows.length < ROWS_AT_ONCE) return { segments, messages, fault: null };
  }
}

/** A segment that was taken out of the chain leaves a manifest that names another one before it. */
function chainFault(row: SegmentRow, before: SegmentRow | undefined, from: bigint): SegmentFault | undefined {
  const { manifest: object } = segmentKeys(row);
  const fault = (offset: bigint, problem: string) => ({ object, offset, line: null, problem });
  if (sha256Hex(row.manifest) !== row.manifestSha256) return fault(row.from, 'its manifest in Postgres was altered');
  if (before === undefined) {
    const isFirst = row.previous === null || row.from <= from;
    return isFirst ? undefined : fault(from, 'the segment before it is missing');
  }
  if (before.next === row.from && before.manifestSha256 === row.previous) return undefined;
  return fault(before.next, 'the segment before it is missing');
}

async function segmentFault(store: ObjectStore, row: SegmentRow): Promise<SegmentFault | undefined> {
  const keys = segmentKeys(row);
  try {
    await loadSegment(store, row);
  } catch (error) {
    if (error instanceof AlteredSegment) return error.fault;
    throw error;
  }
  for (const [object, sha256] of [
    [keys.marks, row.marksSha256],
    [keys.manifest, row.manifestSha256],
  ] as const) {
    const bytes = await readObject(store, object);
    const problem = bytes === undefined ? 'is missing' : sha256Hex(bytes) === sha256 ? undefined : 'was altered';
    if (problem !== undefined) return { object, offset: null, line: null, problem };
  }
  return undefined;
}
