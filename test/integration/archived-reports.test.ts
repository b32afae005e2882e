import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { withArchivedReports } from '../../api/cli/archive-reports.ts';
import { run } from '../../api/cli/commands/backtest.ts';
import { toldAs } from '../../api/cli/exit.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { contestReports, contestSuite } from '../support/backtest-cases.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { Sink } from '../support/sink.ts';
import { archiveAll } from './archive-support.ts';
import { expectAsOnline, replayOnline } from './backtest-online-support.ts';
import { type Harness, harness } from './scoring-online-support.ts';

const { signal } = new AbortController();
let base: TestDatabase;
let h: Harness;
let root: string;
let suite: string;

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base);
  root = await mkdtemp(join(tmpdir(), 'merit-place-'));
  suite = join(root, 'suite.json');
  await writeFile(suite, JSON.stringify(contestSuite.document));
  // Messages of two tenants lie among each other.
  const [mine, others] = [contestReports(1, 120), contestReports(2, 60)];
  await replayOnline(base, h, 'acme', contestSuite, mine.slice(0, 100));
  await replayOnline(base, h, 'umbrella', contestSuite, others);
  await h.send(
    'acme',
    mine
      .slice(100)
      .map((report) => `${JSON.stringify(report)}\n`)
      .join(''),
  );
  await h.drain();
  await archiveAll(base.db, h, root, 4_000);
});
afterAll(async () => {
  await h.log.close();
  await base.close();
  await rm(root, { recursive: true });
});

const folder = () => join(root, 'archive', 'merit.reports', 'embedded', '0');
const objects = async (ending: string) => (await readdir(folder())).filter((name) => name.endsWith(ending)).sort();

async function backtest(tenant?: string) {
  const notes: string[] = [];
  const stdout = new Sink();
  const io = { cwd: root, note: (line: string) => notes.push(line) };
  const options = { archive: root, ...(tenant === undefined ? {} : { tenant }) };
  try {
    const code = await withArchivedReports({ io, options, args: [], signal } as never, (reports) =>
      run({ suite, reports, output: 'json' }, { stdin: Readable.from([]), stdout, stderr: new Sink() }),
    );
    return { code, notes, result: JSON.parse(stdout.text), error: undefined };
  } catch (error) {
    return { code: toldAs(error).exitCode, notes, result: undefined, error: toldAs(error).problem };
  }
}

describe('a backtest of an archive, without the database that wrote it', () => {
  test('decides what the server decided, with the checksum of its leaderboard, each tenant by its own reports', async () => {
    expect((await objects('.json')).length).toBeGreaterThan(3);
    const { code, result, notes } = await backtest('acme');
    expect(code).toBe(0);
    await expectAsOnline(base, 'acme', contestSuite, result);
    expect(notes).toEqual([
      expect.stringMatching(/^read \d+ segments, offsets 0 to \d+; their chain ends with [0-9a-f]{64}$/),
    ]);
    const other = await base.db.asTenant('umbrella', (tx) => suiteChecksum(tx, 'umbrella', contestSuite.name));
    expect((await backtest('umbrella')).result.checksum).toBe(other);
    expect(await backtest()).toMatchObject({ code: 3, error: expect.stringContaining('reports of 2 tenants') });
    expect(await backtest('nobody')).toMatchObject({ code: 11 });
  });

  describe('of which something was changed', () => {
    const undo: (() => Promise<void>)[] = [];
    afterEach(async () => {
      for (const step of undo.splice(0).toReversed()) await step();
    });
    const change = async (path: string, to: (bytes: Buffer) => Buffer) => {
      const bytes = await readFile(path);
      undo.push(() => writeFile(path, bytes));
      await writeFile(path, to(bytes));
    };
    const flip = (bytes: Buffer) => Buffer.from(bytes.map((byte, i) => (i === 60 ? byte ^ 1 : byte)));

    test('a byte of a segment', async () => {
      const second = (await objects('.zst'))[1]!;
      await change(join(folder(), second), flip);
      expect(await backtest('acme')).toMatchObject({ code: 10, error: expect.stringContaining(second) });
    });

    test('a manifest, though it is one in itself', async () => {
      const second = (await objects('.json'))[1]!;
      await change(join(folder(), second), (bytes) => Buffer.from(bytes.toString().replace(/"bytes":\d/, '"bytes":1')));
      expect(await backtest('acme')).toMatchObject({
        code: 10,
        error: expect.stringContaining('missing, or was altered'),
      });
    });

    test('a segment that was taken away, with its manifest', async () => {
      const name = (await objects('.json'))[2]!;
      await rename(join(folder(), name), join(root, name));
      undo.push(() => rename(join(root, name), join(folder(), name)));
      expect(await backtest('acme')).toMatchObject({ code: 10, error: expect.stringContaining('missing') });
    });

    test('the first one, which may have had its time: it is told, and the rest is read', async () => {
      const name = (await objects('.json'))[0]!;
      await rename(join(folder(), name), join(root, name));
      undo.push(() => rename(join(root, name), join(folder(), name)));
      const { code, notes } = await backtest('acme');
      expect(code).toBe(0);
      expect(notes[1]).toMatch(/archived before them is not there/);
    });
  });
});
