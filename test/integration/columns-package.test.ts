import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'merit-columns-package-'));
const built = join(folder, 'package');
const user = join(folder, 'user');
const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function node(...args: readonly string[]): string {
  return execFileSync(process.execPath, args, { encoding: 'utf8', env: { PATH: process.env.PATH ?? '' }, cwd: folder });
}

function npm(...args: readonly string[]): string {
  const cli = process.env.npm_execpath;
  const command = cli === undefined ? ['npm'] : [process.execPath, cli];
  return execFileSync(command[0]!, [...command.slice(1), ...args], {
    encoding: 'utf8',
    cwd: built,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

let packed: readonly string[] = [];

beforeAll(() => {
  const source = join(ROOT, 'scoring-native', 'simd-json-wasm');
  cpSync(source, built, { recursive: true, filter: (path) => !/\/(dist|node_modules)$/.test(path) });
  // Types of Node, as they are in any project that builds for it.
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  node(tsc, '-p', join(built, 'tsconfig.build.json'));
  node(join(built, 'copy-wasm.mjs'));
  const [{ filename, files }] = JSON.parse(npm('pack', '--ignore-scripts', '--offline', '--json')) as [
    { filename: string; files: readonly { path: string }[] },
  ];
  packed = files.map(({ path }) => path).sort();
  const installed = join(user, 'node_modules');
  mkdirSync(installed, { recursive: true });
  writeFileSync(join(user, 'package.json'), '{"type":"module"}');
  execFileSync('tar', ['-xzf', join(built, filename), '-C', installed]);
  renameSync(join(installed, 'package'), join(installed, 'simd-json-wasm'));
  rmSync(join(folder, 'node_modules'));
});

test('the package holds the built JavaScript, its types, the module and what a reader needs, and no sources', () => {
  const modules = ['batch', 'compile-schema', 'ids', 'index', 'instance', 'reader', 'reason', 'schema'];
  const files = [...modules.flatMap((name) => [`dist/${name}.d.ts`, `dist/${name}.js`]), 'dist/columns.wasm'];
  expect(packed).toEqual([...files, 'LICENSE', 'README.md', 'package.json'].sort());
});

test('what is built reads lines in a project that has nothing of ours but the package', () => {
  const use = join(user, 'use.mjs');
  writeFileSync(
    use,
    `import { ColumnReader } from 'simd-json-wasm';
const reader = new ColumnReader({ model: { type: 'id' }, score: { path: 'metrics.score', type: 'number' } }, (batch) => {
  const refused = Array.from(batch.refused.lines, (_, i) => reader.refusal(batch, i).reason);
  console.log(...batch.columns.score.values, ...batch.lines, ...refused);
});
reader.push(Buffer.from('{"model":"a","metrics":{"score":0.5}}\\nx\\n{"model":"a","metrics":{"score":1e-7}}'));
reader.finish();
console.log(reader.ids.model.text(0), reader.ids.model.size);
`,
  );
  expect(node(use)).toBe('0.5 1 json_syntax\n1e-7 3\na 1\n');
});

test('its types tell the columns of a schema apart, under strict checks and without types of ours', () => {
  const config = { target: 'es2022', module: 'nodenext', strict: true, noEmit: true, types: [], skipLibCheck: false };
  writeFileSync(join(user, 'tsconfig.json'), JSON.stringify({ compilerOptions: config, files: ['use.mts'] }));
  const source = (access: string) => `import { ColumnReader, type Batch } from 'simd-json-wasm';
const schema = { id: { type: 'text' }, m: { type: 'id', optional: true }, d: { type: 'numbers' } } as const;
const rows: number[] = [];
const reader = new ColumnReader(schema, (batch: Batch<typeof schema>) => { rows.push(${access}); });
export const texts: readonly string[] = [reader.ids.m.text(0), reader.ids.d.text(0)];
`;
  writeFileSync(join(user, 'use.mts'), source('batch.columns.id.starts[0] ?? 0, batch.columns.d.values[0] ?? 0'));
  expect(node(tsc, '-p', user)).toBe('');
  writeFileSync(join(user, 'use.mts'), source('batch.columns.id.values[0]'));
  expect(() => node(tsc, '-p', user)).toThrow();
});
