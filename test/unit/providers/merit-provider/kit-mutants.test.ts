import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { CHECK_NAMES } from '../../../../providers/merit-provider/src/kit/index.ts';
import { PROVIDER_MUTANTS } from '../../../support/provider-mutants.ts';
import { dueToday } from '../../../support/rotating.ts';

const RUN = fileURLToPath(new URL('../../../support/run-provider-mutants.ts', import.meta.url));

/** Check → names of those that failed. */
async function failuresOf(checks: readonly string[]): Promise<Readonly<Record<string, readonly string[]>>> {
  // In a process of its own: providers outside the repository are loaded by Node, with Merit's own copy of what they import.
  const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=merit-source', RUN, ...checks]);
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { check: string; failed: { check: string }[] });
  return Object.fromEntries(lines.map(({ check, failed }) => [check, failed.map((one) => one.check)]));
}

test('the scaffold passes every check, and with a fault planted exactly the check that names it fails', async () => {
  const due = dueToday(PROVIDER_MUTANTS).map(({ check }) => check);
  const found = await failuresOf(['none', ...due]);
  expect(found).toEqual({ none: [], ...Object.fromEntries(due.map((check) => [check, [check]])) });
});

test('every check has a fault that it finds, and a place in the page for authors', () => {
  expect(PROVIDER_MUTANTS.map(({ check }) => check)).toEqual(CHECK_NAMES);
  const page = readFileSync(new URL('../../../../docs/providers.md', import.meta.url), 'utf8');
  expect(CHECK_NAMES.filter((name) => name !== 'contract' && !page.includes(`\`${name}\``))).toEqual([]);
  expect(page).toContain(`# ${CHECK_NAMES.length} checks`);
  const readme = readFileSync(new URL('../../../../providers/scaffold/README.md', import.meta.url), 'utf8');
  expect(readme).toContain(`contract v1: ${CHECK_NAMES.length}/${CHECK_NAMES.length} checks, 0 not exercised`);
});
