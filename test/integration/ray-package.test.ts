import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'merit-ray-package-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('ray-job-submission-client builds to JavaScript with types that another project imports without our sources', () => {
  const source = join(ROOT, 'providers', 'ray-job-submission-client');
  const installed = join(folder, 'node_modules', 'ray-job-submission-client');
  cpSync(source, installed, { recursive: true, filter: (path) => !path.endsWith('/dist') });
  for (const name of ['ws', '@types'])
    symlinkSync(join(ROOT, 'node_modules', name), join(folder, 'node_modules', name));
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  execFileSync(process.execPath, [tsc, '-p', join(installed, 'tsconfig.build.json')], { stdio: 'pipe' });
  writeFileSync(
    join(folder, 'use.mjs'),
    "import { RayJobClient, RayJobError } from 'ray-job-submission-client';\nconst client = new RayJobClient({ address: 'http://127.0.0.1:9' });\nclient.version().catch((error) => console.log(error instanceof RayJobError, error.code)).finally(() => client.close());\n",
  );
  const said = execFileSync(process.execPath, [join(folder, 'use.mjs')], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH ?? '' },
  });
  expect(said.trim()).toBe('true unreachable');
});
