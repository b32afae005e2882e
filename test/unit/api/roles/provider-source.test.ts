import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { noRay } from '../../../../api/roles/own-ray.ts';
import { PoolProviders } from '../../../../api/roles/provider-source.ts';
import { systemClock } from '../../../../platform/clock.ts';
import type { Database } from '../../../../platform/postgres.ts';

let stateDir: string;

beforeAll(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'merit-providers-'));
});
afterAll(() => rm(stateDir, { recursive: true }));

/** The providers of one pool whose file `setPool` changes, and what they told of what is there. */
function pools() {
  let stored: object | undefined;
  let version = 0n;
  const told: string[] = [];
  const providers = new PoolProviders({
    db: { asEngine: async () => stored } as unknown as Database,
    clock: systemClock,
    stateDir,
    ownRay: noRay('there is none'),
    paths: [],
    trust: { tenant: 'acme', stateDir, files: [] },
    watch: {
      call: () => {},
      there: ({ tenant, flavour, total, free }) => told.push(`${tenant} ${flavour} ${free} of ${total}`),
    },
  });
  const setPool = (flavour: string, provider: object) => {
    version += 1n;
    const price = { currency: 'USD', perUnitHour: '0.50' };
    const file = { name: 'cpus', provider, flavours: [{ name: flavour, resource: 'cpu', capacity: 4, price }] };
    stored = { version, file };
  };
  return { providers, setPool, told };
}

test('a flavour that a pool’s file has no more is told as nothing, once', async () => {
  const { providers, setPool, told } = pools();
  setPool('old', { kind: 'local', config: { cpus: 4, flavour: 'old' } });
  expect(await providers.health('acme', 'cpus')).toMatchObject({ away: undefined });
  setPool('new', { kind: 'local', config: { cpus: 3, flavour: 'new' } });
  await providers.health('acme', 'cpus');
  setPool('new', { kind: 'local', config: { cpus: 2, flavour: 'new' } });
  await providers.health('acme', 'cpus');
  expect(told).toEqual([
    'acme cpus/old 4 of 4',
    'acme cpus/old 0 of 0',
    'acme cpus/new 3 of 3',
    'acme cpus/new 2 of 2',
  ]);
  await providers.close();
});

test('what is there is told as nothing where its provider cannot be opened any more', async () => {
  const { providers, setPool, told } = pools();
  setPool('small', { kind: 'local', config: { cpus: 4, flavour: 'small' } });
  await providers.health('acme', 'cpus');
  setPool('small', { kind: 'ray' });
  expect(await providers.health('acme', 'cpus')).toEqual({ away: 'there is none', there: [] });
  expect(told).toEqual(['acme cpus/small 4 of 4', 'acme cpus/small 0 of 0']);
  await providers.close();
});

test('one that hangs is told as silent, then by what it said last, is asked once at a time, and costs its callers a second at most', async () => {
  const { providers, setPool } = pools();
  setPool('cpu', { kind: 'local', config: { cpus: 4, flavour: 'cpu' } });
  const provider = await providers.of('acme', 'cpus');
  const { capacity } = provider;
  let asked = 0;
  const answers: (() => void)[] = [];
  Object.assign(provider, {
    capacity: async (signal: AbortSignal) => {
      asked++;
      await new Promise<void>((resolve) => answers.push(resolve));
      return capacity(signal);
    },
  });
  const silent = { away: 'it did not answer within 1000 ms', there: [] };
  expect(await Promise.all([providers.health('acme', 'cpus'), providers.health('acme', 'cpus')])).toEqual([
    silent,
    silent,
  ]);
  expect(asked).toBe(1);
  for (const answer of answers.splice(0)) answer();
  await expect.poll(() => providers.health('acme', 'cpus')).toMatchObject({ away: undefined });
  // It hangs again once that is old.
  await expect.poll(async () => (await providers.health('acme', 'cpus')) && asked, { timeout: 10_000 }).toBe(2);
  expect(await providers.health('acme', 'cpus')).toMatchObject({ away: undefined, there: [{ flavour: 'cpu' }] });
  for (const answer of answers.splice(0)) answer();
  await providers.close();
});

test('an answer that comes once the pool’s file is another one is not told over the new one’s', async () => {
  const { providers, setPool, told } = pools();
  setPool('old', { kind: 'local', config: { cpus: 4, flavour: 'old' } });
  const provider = await providers.of('acme', 'cpus');
  const { capacity } = provider;
  let answer = () => {};
  const late = new Promise<void>((resolve) => (answer = resolve));
  Object.assign(provider, { capacity: (signal: AbortSignal) => late.then(() => capacity(signal)) });
  const asked = providers.health('acme', 'cpus');
  setPool('new', { kind: 'local', config: { cpus: 3, flavour: 'new' } });
  await new Promise((resolve) => setTimeout(resolve, 20));
  await providers.health('acme', 'cpus');
  answer();
  await asked;
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(told).toEqual(['acme cpus/new 3 of 3']);
  await providers.close();
});
