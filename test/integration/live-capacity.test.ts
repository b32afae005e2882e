import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';

let world: HttpWorld;

const flavour = (name: string) => ({
  name,
  resource: 'cpu',
  capacity: 4,
  price: { currency: 'USD', perUnitHour: '0.50' },
});
const POOL = {
  apiVersion: 'merit/v1',
  kind: 'Pool',
  name: 'cpus',
  provider: { kind: 'local' },
  flavours: [{ ...flavour('nodes'), liveCapacity: true }, flavour('grows')],
  quotas: { vision: { nodes: 4, grows: 0 }, audio: { grows: 4 } },
};
const JOB = { name: 'train', resources: { cpus: 3 }, pools: ['cpus'], lease: '1h', run: 'true' };
const vision = { ...JOB, division: 'vision' };
const audio = { ...JOB, division: 'audio' };
const there = (name: string, total: bigint, free = total) => ({
  flavour: name,
  totalGpuMilli: 0n,
  freeGpuMilli: 0n,
  totalCpuMilli: total,
  freeCpuMilli: free,
});
const plan = async (job: object) => (await world.call('POST', '/v1/jobs:plan', job)).json();
const capacity = async () => (await world.call('GET', '/v1/pools/cpus/capacity')).json();

beforeAll(async () => {
  world = await httpWorld();
  expect((await world.call('PUT', '/v1/pools/cpus', POOL)).statusCode).toBe(201);
  for (const division of ['vision', 'audio']) {
    const budget = { apiVersion: 'merit/v1', kind: 'Budget', division, currency: 'USD', limit: '100.00' };
    expect((await world.call('PUT', `/v1/budgets/${division}`, budget)).statusCode).toBe(200);
  }
});
afterAll(() => world?.close());
beforeEach(() => {
  Object.assign(world.provider, { there: [], away: undefined });
});

describe('a flavour whose capacity is live', () => {
  test('takes what is declared, where its provider does not say what is there', async () => {
    expect(await plan(vision)).toMatchObject({ verdict: 'admit' });
    expect(await capacity()).toMatchObject({ flavours: [{ there: null, free: null, planned: '4' }, {}] });
  });

  test('takes no more than is there, and again as soon as it is', async () => {
    world.provider.there = [there('nodes', 2000n)];
    const short = await plan(vision);
    expect(short).toMatchObject({ verdict: 'wait' });
    expect(short.reasons).toContainEqual(
      expect.objectContaining({
        code: 'capacity',
        text: 'cpus/nodes: asks for 3 cpu, 2 cpu of its 4 cpu are there now',
        shortfall: '1',
      }),
    );
    expect(await plan({ ...vision, resources: { cpus: 2 } })).toMatchObject({ verdict: 'admit' });
    expect((await world.call('POST', '/v1/jobs', vision)).statusCode).toBe(202);
    world.provider.there = [there('nodes', 64_000n)];
    expect(await plan({ ...vision, priority: 1 })).toMatchObject({ verdict: 'admit' });
  });
});

test('a flavour that grows when work waits takes what is declared, whatever is there', async () => {
  world.provider.there = [there('grows', 0n)];
  expect(await plan(audio)).toMatchObject({ verdict: 'admit' });
});

describe('the capacity of a pool', () => {
  test('is told as declared, booked, there and planned with, by flavour', async () => {
    world.provider.there = [there('nodes', 3000n, 1500n), there('grows', 1000n, 0n)];
    expect(await capacity()).toEqual({
      pool: 'cpus',
      away: null,
      flavours: [
        { name: 'nodes', resource: 'cpu', declared: '4', booked: '0', there: '3', free: '1.5', planned: '3' },
        { name: 'grows', resource: 'cpu', declared: '4', booked: '0', there: '1', free: '0', planned: '4' },
      ],
    });
  });

  test('says why its provider is away', async () => {
    world.provider.away = 'connect ECONNREFUSED';
    expect(await capacity()).toMatchObject({ away: 'connect ECONNREFUSED', flavours: [{ there: null }, {}] });
  });

  test('of a pool that is none, or another tenant’s, is not found', async () => {
    expect((await world.call('GET', '/v1/pools/none/capacity')).statusCode).toBe(404);
    expect((await world.call('GET', '/v1/pools/cpus/capacity', undefined, {}, 'rival')).statusCode).toBe(404);
  });
});
