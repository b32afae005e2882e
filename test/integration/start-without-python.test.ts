import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { runCommand } from '../support/digits-example.ts';
import { removeInstallation } from '../support/remove-installation.ts';

const MERIT = fileURLToPath(new URL('../../bin/merit.mjs', import.meta.url));
const home = mkdtempSync(join(tmpdir(), 'merit-no-python-'));
afterAll(async () => {
  await removeInstallation(join(home, '.merit'));
  rmSync(home, { recursive: true, force: true });
});

test('without Python the loop closes with train.mjs on the local provider, and says so', {
  timeout: 180_000,
}, async () => {
  const command = [
    process.execPath,
    MERIT,
    'start',
    '--loop',
    '--exit',
    '--port',
    '0',
    '--state-dir',
    join(home, '.merit'),
  ];
  const ran = await runCommand(command, { MERIT_NO_PYTHON: 'no Python 3.10 or later was found' });
  expect(ran.stderr).toContain('no Python: the example runs its train.mjs');
  expect(ran.stdout).toMatch(/^booking\s+\S{26}\s+released, pool local\/cpu, attempt 1/m);
  expect(ran.stdout).toMatch(/^promotion\s+digits-v2\s/m);
  expect(ran.code).toBe(0);
});
