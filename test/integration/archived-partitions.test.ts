import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { withArchivedReports } from '../../api/cli/archive-reports.ts';
import { run } from '../../api/cli/commands/backtest.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import { archivedPartitions, messagesInOrder } from '../../scoring/archive/archived-reports.ts';
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
