import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RefusedInput } from '../../../core/refusal.ts';
import { loadConfig } from '../../../platform/config.ts';

let cwd: string;
beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'merit-config-doors-'));
});
afterEach(() => rm(cwd, { recursive: true }));

async function load(yaml: string, env: Readonly<Record<string, string>> = {}) {
  await writeFile(join(cwd, 'merit.yaml'), yaml);
  return loadConfig({ env, cwd });
}

async function fields(yaml: string, env?: Readonly<Record<string, string>>): Promise<readonly string[]> {
  try {
    await load(yaml, env);
    return [];
  } catch (error) {
    if (!(error instanceof RefusedInput)) throw error;
    return error.refusals.map((one) => `${one.field} ${one.code}`);
  }
}

test('what the doors take and give out is sensible where nothing is said, and as the file says where it does', async () => {
  expect(await load('{}')).toMatchObject({
    redis: undefined,
    ingest: { backlog: { messages: 1_000_000, bytes: 17_179_869_184, ageMs: 21_600_000 } },
    rateLimits: { identity: { perSecond: 2_000, burst: 4_000 }, tenant: { perSecond: 5_000, burst: 10_000 } },
    downstream: { retentionMs: 604_800_000 },
  });
  const said = await load(`
ingest: {maxBacklogMessages: 10, maxBacklogAge: 5m, quarantineRetention: 15d}
rateLimit: {identity: {perSecond: 5}, tenant: {perSecond: 7, burst: 100}}
downstream: {retention: 2h}
`);
  expect(said).toMatchObject({
    ingest: { backlog: { messages: 10, bytes: 17_179_869_184, ageMs: 300_000 }, quarantineRetentionMs: 1_296_000_000 },
    rateLimits: { identity: { perSecond: 5, burst: 10 }, tenant: { perSecond: 7, burst: 100 } },
    downstream: { retentionMs: 7_200_000 },
  });
});

test('what was set aside is kept for as long as the history of a new version may be read again', async () => {
  for (const text of ['1s', '14d', '359h']) {
    const { refusals } = await load(`ingest: {quarantineRetention: ${text}}`).catch((error) => error);
    expect(refusals).toEqual([
      {
        code: 'range',
        field: 'ingest.quarantineRetention',
        problem: expect.stringMatching(/less than 15d/),
        mend: expect.stringMatching(/15d or more/),
      },
    ]);
  }
  expect(await fields('ingest: {quarantineRetention: 3651d}')).toEqual(['ingest.quarantineRetention range']);
});

test('what cannot be meant is refused, all of it at once', async () => {
  expect(await fields('ingest: {maxBacklogAge: 0s, quarantineRetention: "30"}\ndownstream: {retention: 1ms}')).toEqual([
    'ingest.maxBacklogAge duration',
    'ingest.quarantineRetention duration',
    'downstream.retention range',
  ]);
  expect(await fields('rateLimit: {identity: {perSecond: 0}}')).toEqual(['rateLimit.identity.perSecond range']);
  expect(await fields('ingest: {maxBacklogMessages: 1.5}')).toEqual(['ingest.maxBacklogMessages integer']);
  expect(await fields('rateLimit: {identity: {perSecond: 9}, tenant: {perSecond: 5}}')).toEqual([
    'rateLimit.tenant conflict',
  ]);
});

test('a Redis limits rates whoever nominates leaders, and keeps its rules', async () => {
  const config = await load('{}', { REDIS_URL: 'redis://127.0.0.1:6379' });
  expect(config.nominator).toEqual({ kind: 'postgres' });
  expect(config.redis?.url.reveal()).toBe('redis://127.0.0.1:6379');
  expect(await fields('{}', { REDIS_URL: 'redis://cache.example:6379' })).toEqual(['REDIS_URL redis_tls']);
});
