// `npm test [-- vitest arguments]`: installs what is missing, runs every test this machine has parts for, and ends with the line
// "N passed, N failed, N skipped". MERIT_REQUIRE_PARTS=1 makes a skip a failure.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tooOld } from './old-node.mjs';
import { filesToTryAgain } from './second-try.mjs';

function readCounts(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    // The runner ended before it could count: that is a failure of its own.
    return { files: {}, unhandled: 1 };
  }
}

/** One run of vitest. A few files that were asked for by name start a Ray of their own where they need one, and all of them run. */
async function runVitest(launch, env, args, countsPath) {
  const reporter = join(launch.ROOT, 'bin', 'test-reporter.mjs');
  const tool = join(launch.ROOT, 'node_modules', 'vitest', 'vitest.mjs');
  rmSync(countsPath, { force: true });
  const outcome = await launch.runNode([tool, 'run', '--reporter=default', `--reporter=${reporter}`, ...args], {
    cwd: launch.ROOT,
    env: {
      ...env,
      MERIT_TEST_COUNTS: countsPath,
      ...(args.length > 0 ? {} : { MERIT_SHARE_RAY: '1', MERIT_ROTATE_FILES: '1' }),
    },
  });
  return { outcome, counts: readCounts(countsPath) };
}

/** What failed in parts that other tests shared is tried once more without them, where nobody asked for files by name, or a script did with MERIT_SECOND_TRY=1. */
async function runTwice(launch, env, args, countsPath) {
  const first = await runVitest(launch, env, args, countsPath);
  const options = args.filter((arg) => arg.startsWith('-'));
  const mayTry = options.length === args.length || env.MERIT_SECOND_TRY === '1';
  const again = mayTry ? filesToTryAgain(first.counts) : [];
  if (typeof first.outcome !== 'number' || again.length === 0) return { ...first, unstable: [] };
  process.stdout.write(`\nFailed, and tried once more by themselves:\n${lines(again)}`);
  const { outcome, counts } = await runVitest(launch, env, [...options, '--no-file-parallelism', ...again], countsPath);
  const unstable = again
    .filter((file) => counts.files[file]?.failures.length === 0)
    .flatMap((file) => first.counts.files[file].failures.map((name) => `${file}: ${name}`));
  const files = { ...first.counts.files, ...counts.files };
  return { outcome, counts: { files, unhandled: counts.unhandled }, unstable };
}

const lines = (texts) => texts.map((text) => `  ${text}\n`).join('');

async function runTests(launch, env) {
  const folder = mkdtempSync(join(tmpdir(), 'merit-test-'));
  try {
    const args = process.argv.slice(2);
    const { outcome, counts, unstable } = await runTwice(launch, env, args, join(folder, 'counts.json'));
    const files = Object.entries(counts.files);
    const passed = files.reduce((sum, [, file]) => sum + file.passed, 0);
    const failed = files.reduce((sum, [, file]) => sum + file.failures.length, counts.unhandled);
    const skips = files.flatMap(([name, file]) => file.skips.map((skip) => `${name}: ${skip}`));
    const required = env.MERIT_REQUIRE_PARTS === '1';
    if (skips.length > 0)
      process.stdout.write(`\n${required ? 'Skipped, though every part is required' : 'Skipped'}:\n${lines(skips)}`);
    if (unstable.length > 0)
      process.stdout.write(`\nUnstable (failed, then passed by themselves):\n${lines(unstable)}`);
    if (args.length === 0 && env.MERIT_PROOFS !== 'whole')
      process.stdout.write(
        '\nOf the longest files a fifth ran, another one each day; MERIT_PROOFS=whole npm test runs all.\n',
      );
    if (typeof outcome !== 'number') launch.endAs(outcome);
    else process.exitCode = outcome !== 0 ? outcome : failed > 0 || (required && skips.length > 0) ? 1 : 0;
    process.stdout.write(`\n${passed} passed, ${failed} failed, ${skips.length} skipped\n`);
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
