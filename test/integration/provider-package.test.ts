import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'merit-provider-package-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const TSC = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');

function run(args: readonly string[]): string {
  try {
    return execFileSync(process.execPath, args, {
      cwd: folder,
      encoding: 'utf8',
      env: { PATH: process.env.PATH ?? '' },
    });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${stdout}${stderr}`);
  }
}

test('merit-provider builds to JavaScript with types, by which the scaffold is checked and passes its own tests without Merit', () => {
  const installed = join(folder, 'node_modules', 'merit-provider');
  cpSync(join(ROOT, 'providers', 'merit-provider'), installed, {
    recursive: true,
    filter: (path) => !path.endsWith('/dist'),
  });
  symlinkSync(join(ROOT, 'node_modules', '@types'), join(folder, 'node_modules', '@types'));
  run([TSC, '-p', join(installed, 'tsconfig.build.json')]);
  rmSync(join(installed, 'src'), { recursive: true });
  cpSync(join(ROOT, 'providers', 'scaffold'), folder, { recursive: true });
  const compilerOptions = {
    ...{ allowJs: true, checkJs: true, strict: true, noEmit: true, skipLibCheck: true, types: ['node'] },
    ...{ target: 'es2024', module: 'nodenext', moduleResolution: 'nodenext' },
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['src', 'test'] }));
  run([TSC, '-p', folder]);
  // One of each kind of check: that all pass is another test's.
  const path = join(folder, 'test', 'kit.test.js');
  writeFileSync(
    path,
    readFileSync(path, 'utf8').replace('{ required }', "{ required, only: ['contract', 'lost-reply', 'logs-bytes'] }"),
  );
  expect(run(['--test', '--test-reporter=tap'])).toMatch(/# pass 3\n# fail 0/);
});
