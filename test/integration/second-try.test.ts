import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

/** Fails where nobody has left the mark, and leaves it. */
const FAILS_ONCE = `import { existsSync, writeFileSync } from 'node:fs';
const mark = new URL('mark', import.meta.url);
test('waits for a broker', () => {
  const there = existsSync(mark);
  writeFileSync(mark, '');
  expect(there).toBe(true);
});`;
const HOLDS = "test('holds', () => {});";
const NEVER_HOLDS = "test('never holds', () => expect(1).toBe(2));";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'merit-second-try-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function runSuite(files: Record<string, string>, named: readonly string[] = [], env: NodeJS.ProcessEnv = {}) {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(folder, dirname(name)), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  const config = join(folder, 'vitest.config.mjs');
  await writeFile(
    config,
    `export default { root: ${JSON.stringify(folder)}, test: { globals: true, include: ['test/**'] } };`,
  );
  const { status, stdout, stderr } = spawnSync('node', ['bin/test.mjs', `--config=${config}`, ...named], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  return { status, said: `${stdout}${stderr}` };
}

test('what fails on a real part is run once more by itself, and told as unstable where it holds then', async () => {
  const { status, said } = await runSuite({
    'test/integration/broker.test.mjs': FAILS_ONCE,
    'test/unit/rule.test.mjs': HOLDS,
  });
  expect(said).toMatch(/Unstable [^\n]*\n {2}test\/integration\/broker\.test\.mjs: waits for a broker\n/);
  expect(said).toMatch(/\n2 passed, 0 failed, 0 skipped\n/);
  expect(status).toBe(0);
});

test('what fails twice has failed', async () => {
  const { status, said } = await runSuite({ 'test/integration/broker.test.mjs': NEVER_HOLDS });
  expect(said).toMatch(/\n0 passed, 1 failed, 0 skipped\n/);
  expect(said).not.toContain('Unstable');
  expect(status).toBe(1);
});

test('files that were asked for by name run once, unless a script asks for a second try', async () => {
  const files = { 'test/integration/broker.test.mjs': FAILS_ONCE };
  const once = await runSuite(files, ['broker']);
  expect(once.said).toMatch(/\n0 passed, 1 failed, 0 skipped\n/);
  expect(once.status).toBe(1);
  await rm(join(folder, 'test/integration/mark'));
  const twice = await runSuite(files, ['broker'], { MERIT_SECOND_TRY: '1' });
  expect(twice.said).toMatch(/\n1 passed, 0 failed, 0 skipped\n/);
  expect(twice.status).toBe(0);
});
