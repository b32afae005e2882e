import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { slug } from '../../../../api/cli/values.ts';
import { CHECK_NAMES } from '../../../../providers/merit-provider/src/kit/index.ts';
import { type CliEnded, runCli } from '../../../support/cli.ts';

const MAIN = fileURLToPath(new URL('../../../../api/cli/main.ts', import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'merit-providers-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** In this process: nothing is loaded. */
const here = (...args: readonly string[]): Promise<CliEnded> => runCli(folder, ['providers', ...args]);

/** In a process of its own, since packages from elsewhere are loaded by Node itself. */
function merit(
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const all = ['--conditions=merit-source', MAIN, 'providers', ...args];
  return new Promise((resolve) => {
    execFile(process.execPath, all, { cwd: folder }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

test('a new package passes the kit as it was written, and is told with what it can do', async () => {
  expect(await here('new', 'acme')).toMatchObject({ code: 0 });
  const tested = await merit('test', 'acme', '--strict');
  expect(tested.out.trim().split('\n').at(-1)).toBe(
    `merit provider contract v1: ${CHECK_NAMES.length}/${CHECK_NAMES.length} checks, 0 not exercised`,
  );
  expect(tested.code).toBe(0);
  const rows = JSON.parse((await merit('ls', 'acme', '-o', 'json')).out) as Record<string, unknown>[];
  expect(rows.map(({ kind }) => kind)).toEqual([
    'kuberay',
    'kubernetes',
    'local',
    'ray',
    'sagemaker',
    'slurm',
    'vertex',
    'acme',
  ]);
  expect(rows.at(-1)).toMatchObject({
    name: 'merit-provider-acme',
    version: '0.1.0',
    contract: 1,
    capabilities: { logs: true, migrate: false },
    problem: null,
  });
});

test('what is there is not written over, and names are slugs that Merit does not have itself', async () => {
  await here('new', 'twice');
  await writeFile(join(folder, 'twice', 'README.md'), 'mine');
  expect(await here('new', 'twice')).toMatchObject({ code: 5, err: expect.stringContaining('is there already') });
  expect(await readFile(join(folder, 'twice', 'README.md'), 'utf8')).toBe('mine');
  expect(await here('new', 'local')).toMatchObject({ code: 3, err: expect.stringContaining('ships with Merit') });
  for (const name of ['Acme', '../acme', 'a_b']) expect(() => slug(name)).toThrow('must be a-z');
});

test('a broken package fails by name with 8; what cannot be tried, or is none, has its own exit', async () => {
  await here('new', 'broken');
  const path = join(folder, 'broken', 'src', 'provider.js');
  const source = await readFile(path, 'utf8');
  await writeFile(path, source.replace('const WINDOW_MS = 60_000', 'const WINDOW_MS = 0'));
  const failed = await merit('test', './broken', '--only', 'eventual-consistency,paging', '-o', 'json');
  expect(failed.code).toBe(8);
  expect(JSON.parse(failed.out)).toMatchObject({
    badge: 'merit provider contract v1: 1/2 checks, 0 not exercised',
    checks: [
      { check: 'eventual-consistency', verdict: 'failed', problem: expect.stringContaining('window of 0 ms') },
      { check: 'paging', verdict: 'passed' },
    ],
  });
  await writeFile(path, source.replace('contractVersion: 1,\n  capabilities', 'contractVersion: 2,\n  capabilities'));
  expect(await merit('test', './broken')).toMatchObject({ code: 78, err: expect.stringContaining('update Merit') });
  await writeFile(path, source.replace(/ {2}testBackend: .*\n/, ''));
  expect(await merit('test', './broken')).toMatchObject({
    code: 78,
    err: expect.stringContaining('test ./broken --config broken.yaml", where broken.yaml is a pool'),
  });
  expect(await here('test', './nowhere')).toMatchObject({ code: 9 });
  expect(await here('test', 'merit-provider-nobody-has')).toMatchObject({ code: 78 });
  expect(await here('test', 'local', '--only', 'pagings')).toMatchObject({
    code: 3,
    err: expect.stringContaining('paging,'),
  });
});
