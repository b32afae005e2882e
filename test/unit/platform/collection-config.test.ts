import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RefusedInput } from '../../../core/refusal.ts';
import { loadConfig } from '../../../platform/config.ts';

const HOUR_MS = 3_600_000;
let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'merit-collection-config-'));
});
afterAll(() => rm(cwd, { recursive: true }));

async function load(yaml: string) {
  await writeFile(join(cwd, 'merit.yaml'), yaml);
  return (await loadConfig({ env: {}, cwd })).collection;
}

test('nothing is collected by itself unless the file says how often, and never what is younger than an hour', async () => {
  expect(await load('{}')).toEqual({ everyMs: null, graceMs: 168 * HOUR_MS });
  expect(await load('collection: {every: never, grace: 2d}')).toEqual({ everyMs: null, graceMs: 48 * HOUR_MS });
  expect(await load('collection: {every: 6h}')).toEqual({ everyMs: 6 * HOUR_MS, graceMs: 168 * HOUR_MS });
  const refused = await load('collection: {every: 5m, grace: 59m}').catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(RefusedInput);
  expect((refused as RefusedInput).refusals.map(({ field, code }) => `${field} ${code}`)).toEqual([
    'collection.every range',
    'collection.grace range',
  ]);
});
