import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { ObjectStore } from '../../platform/object-store.ts';
import { archiveChain, reportsOf, tenantsOf } from '../../scoring/archive/archived-reports.ts';
import type { SegmentRow } from '../../scoring/archive/segments.sql.ts';
import { AlteredSegment, faultText } from '../../scoring/archive/stored-segment.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { CliError, EXIT } from './exit.ts';
import type { Invocation } from './invocation.ts';
import { s3PlaceOf } from './s3-place.ts';

/**
 * A tenant's reports of an archive as files, a segment each, in the order in which they came, for as long as `work` takes. Every segment is held to its
 * manifest, and the manifests to each other. Throws CliError, exit 10 where one is not what was archived.
 */
export async function withArchivedReports<T>(
  { io, options, signal }: Invocation,
  work: (reports: readonly string[]) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'merit-archive-'));
  try {
    const store = await openPlace(io.cwd, String(options.archive));
    const { segments, isCut, head } = await archiveChain(store, REPORTS_TOPIC);
    const [first, last] = [segments[0]!, segments.at(-1)!];
    io.note(
      `read ${segments.length} segments, offsets ${first.from} to ${last.next - 1n}; their chain ends with ${head}`,
    );
    if (isCut) io.note('what was archived before them is not there: its time was over, or it was taken away');
    const tenant = await tenantIn(store, segments, options.tenant as string | undefined);
    const files: string[] = [];
    for (const segment of segments) {
      signal.throwIfAborted();
      const bytes = await reportsOf(store, segment, tenant);
      if (bytes === undefined) continue;
      files.push(join(folder, `${String(segment.from).padStart(19, '0')}.ndjson`));
      await writeFile(files.at(-1)!, bytes);
    }
    if (files.length === 0)
      throw new CliError(EXIT.incomplete, 'empty', `the archive has no report of ${tenant}`, {
        mend: 'check --tenant',
      });
    return await work(files);
  } catch (error) {
    if (!(error instanceof AlteredSegment)) throw error;
    throw new CliError(EXIT.tampered, 'archive_altered', `the archive is not what it was: ${faultText(error.fault)}`, {
      mend: error.mend ?? 'restore the object',
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function openPlace(cwd: string, place: string): Promise<ObjectStore> {
  const s3 = s3PlaceOf(place);
  if (s3 !== undefined) {
    const { openS3ObjectStore } = await import('../../platform/object-store/s3.ts');
    return openS3ObjectStore(s3);
  }
  const root = resolve(cwd, place);
  const archive = await stat(join(root, 'archive')).catch(() => undefined);
  if (archive?.isDirectory() !== true)
    throw new CliError(EXIT.badValue, 'archive', `${JSON.stringify(place)} has no folder "archive"`, {
      mend: 'name the folder or s3://bucket/prefix that a server keeps its objects in',
    });
  const { openFileObjectStore } = await import('../../platform/object-store/files.ts');
  return openFileObjectStore({ root });
}

/** The one that is named, else the only one that there is. */
async function tenantIn(
  store: ObjectStore,
  segments: readonly SegmentRow[],
  named: string | undefined,
): Promise<string> {
  if (named !== undefined) return named;
  const tenants = new Set<string>();
  for (const segment of segments) for (const tenant of await tenantsOf(store, segment)) tenants.add(tenant);
  const [only, second] = [...tenants].sort();
  if (only !== undefined && second === undefined) return only;
  throw new CliError(
    EXIT.badValue,
    'tenant',
    `the archive has reports of ${tenants.size} tenants (${only}, ${second}, …)`,
    {
      mend: 'name one: --tenant NAME',
    },
  );
}
