import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { filesToTryAgain } from '../../../bin/second-try.mjs';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'merit-second-try-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** A run in which one test of each of these files failed, and one of another passed. */
function ran(names: readonly string[], text = '', unhandled = 0) {
  const path = join(folder, 'one.test.ts');
  writeFileSync(path, text);
  const failed = names.map((name) => [name, { path, passed: 3, failures: ['holds'], skips: [] }]);
  const files = Object.fromEntries([
    ...failed,
    ['test/unit/other.test.ts', { path, passed: 1, failures: [], skips: [] }],
  ]);
  return { files, unhandled };
}

test('files on real parts that failed are tried again', () => {
  const failed = ['test/integration/a.test.ts', 'test/parts/b.test.ts', 'test/chaos/c.test.ts'];
  expect(filesToTryAgain(ran(failed))).toEqual(failed);
});

test.each([
  ['nothing failed', ran.bind(null, [])],
  ['a pure rule failed', ran.bind(null, ['test/unit/a.test.ts'])],
  ['the simulator failed, beside a real part', ran.bind(null, ['test/integration/a.test.ts', 'test/sim/b.test.ts'])],
  ['a case failed that chance drew', ran.bind(null, ['test/integration/a.test.ts'], "import fc from 'fast-check';")],
  ['an error belongs to no test', ran.bind(null, ['test/integration/a.test.ts'], '', 1)],
  [
    'more than three files failed',
    ran.bind(
      null,
      [1, 2, 3, 4].map((n) => `test/parts/${n}.test.ts`),
    ),
  ],
])('none is where %s', (_, run) => {
  expect(filesToTryAgain(run())).toEqual([]);
});
