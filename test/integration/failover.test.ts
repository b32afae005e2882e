import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { applyPool } from '../../pools/apply-pool.ts';
import { parsePool } from '../../pools/pool-file.ts';
import { ProviderError } from '../../providers/provider.ts';
import { healthy } from '../support/healthy.ts';
import { MemoryProvider } from '../support/memory-provider.ts';
import { type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';

const POOLS = ['east', 'west', 'north'];
let world: SagaWorld;
const providers = new Map(POOLS.map((pool) => [pool, new MemoryProvider()]));
let allocator: { stop(): Promise<void> };

beforeAll(async () => {
  world = await sagaWorld();
  const by = { tenant: TENANT, actor: 'test', traceId: '0af7651916cd43dd8448eb211c80319c', nowMs: Date.now() };
  await world.database.db.asTenant(TENANT, async (tx) => {
    for (const pool of POOLS) await applyPool(tx, by, parsePool(poolFile(pool)));
  });
  allocator = await world.startAllocator({
    providers: {
      of: async (_tenant, pool) => providers.get(pool) as MemoryProvider,
      health: (_tenant, pool) => healthy(providers.get(pool)?.down?.message),
    },
  });
});
afterAll(async () => {
  await allocator?.stop();
  await world?.close();
});

function poolFile(name: string): object {
  return {
    apiVersion: 'merit/v1',
    kind: 'Pool',
    name,
    provider: { kind: 'memory' },
    flavours: [{ name: 'cpu', resource: 'cpu', capacity: 4, price: { currency: 'USD', perUnitHour: '1.00' } }],
    quotas: { vision: { cpu: 4 } },
  };
}

function refuses(pool: string, code: 'no_capacity' | 'quota_exceeded' | 'auth'): void {
  const provider = providers.get(pool) as MemoryProvider;
  provider.beforeSubmit = () => {
    throw new ProviderError(code, `${pool} says ${code}`);
  };
}

async function attemptsOf(id: string) {
  return world.database.db.asTenant(TENANT, (tx) =>
    tx.query<{ pool: string; end_code: string | null }>(
      'select pool, end_code from attempts where booking_id = $1 order by attempt',
      [id],
    ),
  );
}

describe('a booking that a provider refuses', () => {
  test('is tried at the next of its pools at once, in the order given, and keeps the list of its attempts', async () => {
    refuses('west', 'no_capacity');
    refuses('north', 'quota_exceeded');
    const id = await world.book({ pools: ['west', 'north', 'east'], retry: { backoff: '1h' } });
    await world.until(id, ({ state }) => state.state === 'applied');
    expect(await attemptsOf(id)).toEqual([
      { pool: 'west', end_code: 'no_capacity' },
      { pool: 'north', end_code: 'quota_exceeded' },
      { pool: 'east', end_code: null },
    ]);
    expect([...(providers.get('west') as MemoryProvider).jobs.keys()]).toEqual([]);
    expect((await world.get(id)).state).toMatchObject({
      passedOver: [
        { place: 'west/cpu', code: 'no_capacity', times: 1 },
        { place: 'north/cpu', code: 'quota_exceeded', times: 1 },
      ],
    });
  });

  test('everywhere backs off at each place by itself, longer from refusal to refusal, and starts where there is room first', async () => {
    for (const pool of POOLS) refuses(pool, 'auth');
    const id = await world.book({ pools: ['north', 'west'], retry: { backoff: '1s', max_backoff: '4s' } });
    const refused = await world.until(
      id,
      ({ state }) => state.state === 'waiting' && state.passedOver?.some(({ times }) => times === 2) === true,
    );
    const { state } = refused;
    expect(state.state === 'waiting' && state.passedOver?.map(({ code }) => code)).toEqual([
      'provider_auth',
      'provider_auth',
    ]);
    (providers.get('west') as MemoryProvider).beforeSubmit = undefined;
    const applied = await world.until(id, (booking) => booking.state.state === 'applied');
    expect(applied.state).toMatchObject({ placement: { pool: 'west' } });
  });

  test('and with one pool only waits for that pool’s back-off', async () => {
    refuses('north', 'no_capacity');
    const id = await world.book({ pools: ['north'], retry: { backoff: '1h' } });
    await world.until(id, ({ state }) => state.state === 'waiting' && state.attempt === 2);
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(await attemptsOf(id)).toEqual([{ pool: 'north', end_code: 'no_capacity' }]);
  });
});
