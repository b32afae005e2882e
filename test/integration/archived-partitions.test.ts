import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withArchivedReports } from '../../api/cli/archive-reports.ts';
import { run } from '../../api/cli/commands/backtest.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { archivedPartitions, messagesInOrder } from '../../scoring/archive/archived-reports.ts';
import { segmentKeys } from '../../scoring/archive/segment-manifest.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { type ContestReport, contestReports, contestSuite } from '../support/backtest-cases.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { Sink } from '../support/sink.ts';
import { archiveAll } from './archive-support.ts';
import { replayOnline } from './backtest-online-support.ts';
import { partitionFor } from './ingest-readers.ts';
import { type Harness, harness } from './scoring-online-support.ts';

const PARTITIONS = 3;
const { signal } = new AbortController();
let base: TestDatabase;
let h: Harness;
let root: string;

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base, PARTITIONS);
  root = await mkdtemp(join(tmpdir(), 'merit-partitions-'));
  const reports = contestReports(1, 120);
  await replayOnline(base, h, 'acme', contestSuite, [...reports, ...closing(reports.at(-1)!)]);
  await archiveAll(base.db, h, root, 2_000);
});
afterAll(async () => {
  await h.log.close();
  await base.close();
  await rm(root, { recursive: true });
});

/** One report for each partition at one instant, so that each has come as far as the others. */
function closing(last: ContestReport): ContestReport[] {
  const found = new Map<number, ContestReport>();
  for (let i = 0; found.size < PARTITIONS; i++) {
    const report = { ...last, reportId: `end-${i}` };
    const partition = partitionFor('acme', report, PARTITIONS);
    if (!found.has(partition)) found.set(partition, report);
  }
  return [...found.values()];
}

test('a backtest of an archive of several partitions has the checksum of the leaderboard of who read them all', async () => {
  const notes: string[] = [];
  const stdout = new Sink();
  const suite = join(root, 'suite.json');
  await writeFile(suite, JSON.stringify(contestSuite.document));
  const io = { cwd: root, note: (line: string) => notes.push(line) };
  const code = await withArchivedReports({ io, options: { archive: root }, args: [], signal } as never, (reports) =>
    run({ suite, reports, output: 'json' }, { stdin: Readable.from([]), stdout, stderr: new Sink() }),
  );
  expect(code).toBe(0);
  expect(notes.sort()).toEqual(
    [0, 1, 2].map((partition) => expect.stringMatching(`^read \\d+ segments of partition ${partition}, offsets 0 to `)),
  );
  const { checksum, accepted, duplicates } = JSON.parse(stdout.text);
  expect(checksum).toBe(await base.db.asTenant('acme', (tx) => suiteChecksum(tx, 'acme', contestSuite.name)));
  expect({ accepted, duplicates }).toEqual(await counted());
});

async function counted() {
  const rows = await base.db.asTenant('acme', (tx) =>
    tx.query<{ accepted: bigint; duplicates: bigint }>('select accepted, duplicates from input_counters'),
  );
  const sum = (of: 'accepted' | 'duplicates') => rows.reduce((total, row) => total + Number(row[of]), 0);
  return { accepted: sum('accepted'), duplicates: sum('duplicates') };
}

test('messages of all partitions come by the time at which they were appended, each partition’s in its own order', async () => {
  const store = await openFileObjectStore({ root });
  const partitions = await archivedPartitions(store, REPORTS_TOPIC);
  const inOrder = await Array.fromAsync(messagesInOrder(store, partitions));
  expect(new Set(inOrder.map(({ partition }) => partition)).size).toBe(PARTITIONS);
  expect(inOrder.map(({ appendedAtMs }) => appendedAtMs)).toEqual(
    inOrder.map(({ appendedAtMs }) => appendedAtMs).toSorted((a, b) => a - b),
  );
  for (const { partition } of partitions) {
    const offsets = inOrder.filter((message) => message.partition === partition).map(({ offset }) => offset);
    expect(offsets).toEqual(offsets.map((_, i) => BigInt(i)));
  }
  const again = await Array.fromAsync(messagesInOrder(store, partitions));
  expect(again.map(({ partition, offset }) => [partition, offset])).toEqual(
    inOrder.map(({ partition, offset }) => [partition, offset]),
  );
});

describe('what a server lets go while it is read', () => {
  /** A store of which those objects are gone once they were listed. */
  async function letGo(gone: (key: string) => boolean): Promise<ObjectStore> {
    const store = await openFileObjectStore({ root });
    return { ...store, list: store.list.bind(store), get: async (key) => (gone(key) ? undefined : store.get(key)) };
  }
  const wholeArchive = async () => archivedPartitions(await openFileObjectStore({ root }), REPORTS_TOPIC);

  test('is left out where it is the oldest of a partition', async () => {
    const whole = await wholeArchive();
    const { generation, partition, segments } = whole[0]!;
    const { manifest } = segmentKeys(segments[0]!);
    const rest = await archivedPartitions(await letGo((key) => key === manifest), REPORTS_TOPIC);
    const same = rest.find((one) => one.generation === generation && one.partition === partition)!;
    expect(same).toEqual({ ...whole[0], segments: segments.slice(1), isCut: true });
    expect(rest).toHaveLength(whole.length);
    const later = segmentKeys(segments[1]!).manifest;
    await expect(archivedPartitions(await letGo((key) => key === later), REPORTS_TOPIC)).rejects.toThrow(
      `${later}, offset ${segments[1]!.from}: is no manifest of this segment`,
    );
  });

  test('is told as such, and what was taken away without its manifest is told as altered', async () => {
    const partitions = await wholeArchive();
    const { manifest, segment } = segmentKeys(partitions[0]!.segments[0]!);
    const read = async (store: ObjectStore) => Array.fromAsync(messagesInOrder(store, partitions));
    const ended = read(await letGo((key) => key === manifest || key === segment));
    await expect(ended).rejects.toMatchObject({ code: 'conflict', mend: expect.stringContaining('run it again') });
    await expect(read(await letGo((key) => key === segment))).rejects.toThrow('the segment is missing');
  });
});
