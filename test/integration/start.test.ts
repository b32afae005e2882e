import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isAlive } from '../../platform/processes.ts';
import { contestReports, contestSuite } from '../support/backtest-cases.ts';
import { type CleanClone, cleanClone, type Running } from '../support/clean-clone.ts';
import { rayMissing } from '../support/ray.ts';
import { removeInstallation } from '../support/remove-installation.ts';

const START_LIMIT_MS = 400_000;
const missing = rayMissing();

interface Parts {
  readonly name: string;
  readonly pid: number;
  readonly startTime: string;
}

/** The README's first command, as a stranger runs it: a clean clone in an empty home folder. */
describe.skipIf(missing !== undefined)(
  `npm start on a clean clone${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  () => {
    let clone: CleanClone;
    let server: Running;
    let table = '';
    let parts: readonly Parts[] = [];
    const merit = (...args: string[]) => clone.run('node', ['bin/merit.mjs', ...args]);
    const json = async (...args: string[]): Promise<unknown> => {
      const ran = await merit(...args, '-o', 'json');
      expect(ran.stderr, args.join(' ')).toBe('');
      return JSON.parse(ran.stdout);
    };
    const state = (name: string) => readFileSync(join(clone.dir, '.merit', name), 'utf8');

    beforeAll(async () => {
      clone = cleanClone();
      server = clone.start('npm', ['start', '--', '--port', '0']);
      table = await server.until('Merit is up at', START_LIMIT_MS);
      parts = JSON.parse(state('parts.json')) as Parts[];
    }, START_LIMIT_MS);

    afterAll(async () => {
      await server?.interrupt();
      if (clone === undefined) return;
      await removeInstallation(join(clone.dir, '.merit'));
      clone.remove();
    }, 60_000);

    const jobId = () => /^booking\s+(\S+)/m.exec(table)?.[1] ?? '';

    test('tells demotion, booking, Ray job, artifact digest and promotion, each by the server’s own figures', async () => {
      expect(table).toMatch(/^demotion\s+digits-v1\s+at 2026-01-05T10:\d\d:00\.000Z, composite 0\.6\d\d$/m);
      expect(table).toMatch(/^booking\s+\S{26}\s+released, pool ray-local\/cpu, attempt 1, cost 0\.\d\d USD$/m);
      expect(table).toMatch(/^artifact\s+weights\.json\s+sha256 [0-9a-f]{64}$/m);
      expect(table).toMatch(/^promotion\s+digits-v2\s+at 2026-01-05T1\d:\d\d:00\.000Z, composite 0\.9\d\d$/m);
      const decisions = (await json('promotions', 'ls')) as { action: string; model: string; tick: string }[];
      expect(decisions.map(({ action, model }) => `${action} ${model}`)).toEqual([
        'promote digits-v2',
        'demote digits-v1',
        'promote digits-v1',
      ]);
    });

    test('leaves the job in Ray’s own list, once', async () => {
      const record = readdirSync(join(clone.dir, '.merit', 'ray')).find((name) => name.endsWith('.json')) ?? '';
      const { address } = JSON.parse(state(join('ray', record))) as { address: string };
      const token = state('ray/ray-token').trim();
      const reply = await fetch(`${address}/api/jobs/`, { headers: { authorization: `Bearer ${token}` } });
      const jobs = (await reply.json()) as { submission_id: string; status: string }[];
      expect(jobs.map(({ submission_id, status }) => `${submission_id} ${status}`)).toEqual([
        `m-${jobId()}-1 SUCCEEDED`,
      ]);
    });

    test('reads the shards of an archive as Ray jobs, and decides by them what it decides on one machine', async () => {
      writeFileSync(join(clone.dir, 'contest.json'), JSON.stringify(contestSuite.document));
      const archive = contestReports(1, 120).map((report) => `${JSON.stringify(report)}\n`);
      writeFileSync(join(clone.dir, 'one.ndjson'), archive.slice(0, 200).join(''));
      writeFileSync(join(clone.dir, 'two.ndjson'), archive.slice(200).join(''));
      const asked = ['--suite', 'contest.json', '--reports', 'one.ndjson', '--reports', 'two.ndjson', '-o', 'json'];
      const here = await merit('backtest', ...asked);
      expect(JSON.parse(here.stdout)).toMatchObject({ decisions: [{ model: 'a' }, { model: 'c' }] });
      const there = await merit('backtest', ...asked, '--on', 'ray', '--shards', '3');
      expect(there.stderr).toMatch(/^booked 3 shards as array \S{26}$/m);
      expect(there.stderr).toContain('the reports were sent with them');
      expect(there).toMatchObject({ code: 0, stdout: here.stdout });
    }, 120_000);

    test('its receipt verifies with no server, by the exported roots; one changed byte is found', async () => {
      const file = join(clone.dir, 'receipt.jsonl');
      expect((await merit('receipt', jobId(), '--out', file)).code).toBe(0);
      expect((await merit('audit', 'export', '--roots', join(clone.dir, 'roots.json'))).code).toBe(0);
      const verify = () =>
        clone.run('node', ['bin/merit.mjs', 'audit', 'verify', file, '--roots', 'roots.json'], {
          MERIT_HOME: join(clone.dir, 'nowhere'),
        });
      expect(await verify()).toMatchObject({ code: 0, stdout: expect.stringContaining('everything in it holds') });
      const bytes = readFileSync(file);
      const at = bytes.indexOf('"cents"') + 10;
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      writeFileSync(file, bytes);
      expect((await verify()).code).toBe(10);
    });

    test('finds one flipped byte of an artifact', async () => {
      expect((await merit('jobs', 'verify', jobId())).code).toBe(0);
      const weights = findFile(join(clone.dir, '.merit', 'objects', 'artifacts'), 'weights.json');
      const bytes = readFileSync(weights);
      bytes[100] = (bytes[100] ?? 0) ^ 1;
      writeFileSync(weights, bytes);
      expect(await merit('jobs', 'verify', jobId())).toMatchObject({
        code: 10,
        stdout: expect.stringContaining('weights.json'),
      });
    });

    test('carries one trace id from the report to the booking', async () => {
      const [decision] = (await json('promotions', 'ls', '--model', 'digits-v1')) as {
        action: string;
        traceId: string;
      }[];
      const job = (await json('jobs', 'get', jobId())) as { traceId: string };
      expect(decision?.action).toBe('demote');
      expect(job.traceId).toBe(decision?.traceId);
    });

    test('ends at Ctrl-C with nothing left running, and a second start shows the finished loop and ends with 0', async () => {
      const ran = await server.interrupt();
      expect(ran.code).toBe(0);
      expect(parts.length).toBeGreaterThan(0);
      for (const part of parts) expect(isAlive(part.pid, part.startTime), part.name).toBe(false);
      const again = await clone.run('npm', ['start', '--', '--port', '0', '--exit']);
      expect(again.stderr).toContain('released');
      expect(again.stdout).toContain(jobId());
      expect(again.code).toBe(0);
    }, 120_000);
  },
);

function findFile(dir: string, name: string): string {
  for (const entry of readdirSync(dir)) {
    const path = join(dir, entry);
    if (statSync(path).isDirectory()) {
      const found = findFile(path, name);
      if (found !== '') return found;
    } else if (entry === name) return path;
  }
  return '';
}
