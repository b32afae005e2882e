import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { CHECK_NAMES, type KitReport } from '../../providers/merit-provider/src/kit/index.ts';
import { dueToday } from '../support/rotating.ts';

const MAIN = fileURLToPath(new URL('../../api/cli/main.ts', import.meta.url));
const EXAMPLE = fileURLToPath(new URL('../../examples/provider-runner', import.meta.url));

/** The runner has no account, no queue, answers from its own memory, and does not count what jobs use. */
const NOT_HERE = ['quota-exceeded', 'eventual-consistency', 'slow-start', 'release-queued', 'usage-told'];

test('a provider of at most 200 lines, written from docs/providers.md alone, passes the kit on real processes', async () => {
  const lines = (await readFile(`${EXAMPLE}/provider.mjs`, 'utf8')).trimEnd().split('\n');
  expect(lines.length).toBeLessThanOrEqual(200);
  const due = dueToday(CHECK_NAMES.filter((name) => !NOT_HERE.includes(name)));
  const args = ['--conditions=merit-source', MAIN, 'providers', 'test', EXAMPLE, '--only', due.join(','), '-o', 'json'];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  const { checks, passed } = JSON.parse(stdout) as KitReport;
  expect(checks.filter(({ verdict }) => verdict !== 'passed')).toEqual([]);
  expect(passed).toBe(due.length);
});
