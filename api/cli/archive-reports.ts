import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { LogMessage } from '../../platform/event-log.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import {
  type ArchivedPartition,
  archivedPartitions,
  messagesInOrder,
  tenantsOf,
} from '../../scoring/archive/archived-reports.ts';
import type { SegmentRow } from '../../scoring/archive/segments.sql.ts';
import { AlteredSegment, faultText } from '../../scoring/archive/stored-segment.ts';
import { holdsLines } from '../../scoring/ingest/read-lines.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { CliError, EXIT } from './exit.ts';
import type { Invocation } from './invocation.ts';
import { s3PlaceOf } from './s3-place.ts';

/** A file is ended when it passes this, so it is at most one message longer. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;
const NEWLINE = Buffer.from('\n');

/**
 * A tenant's reports of an archive as files, in the order in which they came (of several partitions that of `messagesInOrder`), for as long as `work` takes. Every
 * segment is held to its manifest, and the manifests to each other. Throws CliError, exit 10 where one is not what was archived.
 */
export async function withArchivedReports<T>(
  { io, options, signal }: Invocation,
  work: (reports: readonly string[]) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'merit-archive-'));
  try {
    const store = await openPlace(io.cwd, String(options.archive));
    const partitions = await archivedPartitions(store, REPORTS_TOPIC);
    for (const partition of partitions) io.note(partitionNote(partition, partitions.length > 1));
    if (partitions.some(({ isCut }) => isCut))
      io.note('what was archived before them is not there: its time was over, or it was taken away');
    const rows = partitions.flatMap(({ segments }) => segments);
    const tenant = await tenantIn(store, rows, options.tenant as string | undefined);
    const files = await writeReports(messagesInOrder(store, partitions), tenant, folder, signal);
    if (files.length === 0)
      throw new CliError(EXIT.incomplete, 'empty', `the archive has no report of ${tenant}`, {
        mend: 'check --tenant',
      });
    return await work(files);
  } catch (error) {
    throw toldAsAltered(error);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** An archive that is not what it was, as a command tells it; everything else as it is. */
export function toldAsAltered(error: unknown): unknown {
  if (!(error instanceof AlteredSegment)) return error;
  const problem = `the archive is not what it was: ${faultText(error.fault)}`;
  return new CliError(EXIT.tampered, 'archive_altered', problem, { mend: error.mend ?? 'restore the object' });
}

function partitionNote({ partition, segments, head }: ArchivedPartition, isOneOfSeveral: boolean): string {
  const [first, last] = [segments[0]!, segments.at(-1)!];
  const of = isOneOfSeveral ? ` of partition ${partition}` : '';
  return `read ${segments.length} segments${of}, offsets ${first.from} to ${last.next - 1n}; their chain ends with ${head}`;
}

/** The values of one tenant's messages as files of NDJSON; resolves with their paths. */
async function writeReports(
  messages: AsyncIterable<LogMessage>,
  tenant: string,
  folder: string,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const files: string[] = [];
  let held: Uint8Array[] = [];
  let bytes = 0;
  const end = async () => {
    if (bytes === 0) return;
    files.push(join(folder, `${String(files.length).padStart(8, '0')}.ndjson`));
    await writeFile(files.at(-1)!, Buffer.concat(held));
    [held, bytes] = [[], 0];
  };
  for await (const message of messages) {
    signal.throwIfAborted();
    const { value } = message;
    if (message.tenant !== tenant || value === null || !holdsLines(message)) continue;
    held.push(value);
    if (value.at(-1) !== NEWLINE[0]) held.push(NEWLINE);
    bytes += value.length + 1;
    if (bytes >= MAX_FILE_BYTES) await end();
  }
  await end();
  return files;
}

export async function openPlace(cwd: string, place: string): Promise<ObjectStore> {
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
