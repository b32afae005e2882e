// `npm test [-- vitest arguments]`: installs what is missing, runs every test this machine has parts for, and ends with the line
// "N passed, N failed, N skipped". MERIT_REQUIRE_PARTS=1 makes a skip a failure.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tooOld } from './old-node.mjs';

function readCounts(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    // The runner ended before it could count: that is a failure of its own.
    return undefined;
  }
}

async function runTests(launch, env) {
  const folder = mkdtempSync(join(tmpdir(), 'merit-test-'));
  const countsPath = join(folder, 'counts.json');
  try {
    const reporter = join(launch.ROOT, 'bin', 'test-reporter.mjs');
    const tool = join(launch.ROOT, 'node_modules', 'vitest', 'vitest.mjs');
    const args = [tool, 'run', '--reporter=default', `--reporter=${reporter}`, ...process.argv.slice(2)];
    const outcome = await launch.runNode(args, {
      cwd: launch.ROOT,
      env: {
        ...env,
        MERIT_TEST_COUNTS: countsPath,
        // A few files that were asked for by name start a Ray of their own where they need one, and all of them run.
        ...(process.argv.length > 2 ? {} : { MERIT_SHARE_RAY: '1', MERIT_ROTATE_FILES: '1' }),
      },
    });
    const counts = readCounts(countsPath) ?? { passed: 0, failed: 1, skipped: 0, skips: [] };
    const required = env.MERIT_REQUIRE_PARTS === '1';
    if (counts.skips.length > 0) {
      process.stdout.write(
        `\n${required ? 'Skipped, though every part is required' : 'Skipped'}:\n${counts.skips.map((line) => `  ${line}\n`).join('')}`,
      );
    }
    if (process.argv.length === 2 && env.MERIT_PROOFS !== 'whole')
      process.stdout.write(
        '\nOf the longest files a fifth ran, another one each day; MERIT_PROOFS=whole npm test runs all.\n',
      );
    if (typeof outcome !== 'number') launch.endAs(outcome);
    else process.exitCode = outcome !== 0 ? outcome : counts.failed > 0 || (required && counts.skipped > 0) ? 1 : 0;
    process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function main() {
  const launch = await import('./launch.mjs');
  const { prepare } = await import('./prepare.mjs');
  await launch.orExplain(async () => {
    const env = await prepare();
    if (env !== undefined) await runTests(launch, env);
  });
}

if (!tooOld()) main();
