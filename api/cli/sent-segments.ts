import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ObjectStore } from '../../platform/object-store.ts';
import { type ArchivedPartition, archivedPartitions, tenantsOf } from '../../scoring/archive/archived-reports.ts';
import { segmentKeys } from '../../scoring/archive/segment-manifest.ts';
import type { SegmentRow } from '../../scoring/archive/segments.sql.ts';
import { readObject } from '../../scoring/archive/stored-segment.ts';
import { segmentsFor } from '../../scoring/batch/count-share.ts';
import type { HandedShard } from '../../scoring/batch/handed-shard.ts';
import { CliError, EXIT } from './exit.ts';

/** Segments of an archive that jobs of a recompute are given. */

interface Needed extends SegmentRow {
  readonly size: number;
}

/** What the shards read, and before that the chains that it is held to. Throws ArchiveFalls, AlteredSegment. */
export async function neededOf(store: ObjectStore, shards: readonly HandedShard[]): Promise<readonly Needed[]> {
  const archive = await archivedPartitions(store, shards[0]!.topic);
  const needed = new Set<SegmentRow>();
  for (const shard of shards) for (const row of segmentsFor(shard, archive)) needed.add(row);
  const isOf = ({ generation, partition }: ArchivedPartition) =>
    shards.some((shard) => shard.generation === generation && shard.legs.some((leg) => leg.partition === partition));
  return archive
    .filter(isOf)
    .flatMap(({ segments }) => segments)
    .map((row) => ({ ...row, size: needed.has(row) ? sizeOf(row) : 0 }));
}

function sizeOf({ manifest }: SegmentRow): number {
  return (JSON.parse(manifest.toString()) as { readonly size: number }).size;
}

/**
 * Copies them below `place`; of those that are not read (size 0) the manifest alone, which the chain goes through. What is sent is code of jobs, which all
 * of the tenant may run: a segment with messages of another tenant is not sent. Throws CliError, AlteredSegment.
 */
export async function copySegments(
  store: ObjectStore,
  segments: readonly Needed[],
  tenant: string,
  place: string,
): Promise<void> {
  for (const segment of segments) if (segment.size > 0) requireOwn(await tenantsOf(store, segment), tenant);
  for (const segment of segments) {
    const keys = segmentKeys(segment);
    for (const key of segment.size === 0 ? [keys.manifest] : [keys.manifest, keys.segment]) {
      const bytes = await readObject(store, key);
      if (bytes === undefined) continue;
      await mkdir(dirname(join(place, key)), { recursive: true });
      await writeFile(join(place, key), bytes);
    }
  }
}

function requireOwn(tenants: ReadonlySet<string>, tenant: string): void {
  if ([...tenants].every((one) => one === tenant)) return;
  const problem =
    'the segments that the jobs need hold messages of other tenants, too, and what is sent with jobs their tenant can read';
  throw new CliError(EXIT.badValue, 'tenants', problem, {
    mend: 'put the archive where the nodes of the pool see it by the same path, and ask with --files shared',
  });
}
