import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isEnded } from '../../core/booking.ts';
import { attemptKey } from '../../core/ids.ts';
import { applyPool } from '../../pools/apply-pool.ts';
import { setMachineState } from '../../pools/machine-states.ts';
import { parsePool } from '../../pools/pool-file.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';

const pool = {
  apiVersion: 'merit/v1',
  kind: 'Pool',
  name: 'gpus',
  provider: { kind: 'local' },
  flavours: [
    {
      name: 'h100',
      resource: 'gpu',
      capacity: 8,
      nodes: [
        { name: 'n1', gpus: 4 },
        { name: 'n2', gpus: 4 },
      ],
      price: { currency: 'USD', perUnitHour: '0.00' },
    },
  ],
  quotas: { vision: { h100: 8 } },
};
const job = { name: 'train', division: 'vision', resources: { gpus: 4 }, pools: ['gpus'], run: 'python train.py' };

describe('a machine of a pool, by HTTP,', () => {
  let world: HttpWorld;
  const call: HttpWorld['call'] = (...args) => world.call(...args);
  beforeAll(async () => {
    world = await httpWorld();
    expect((await call('PUT', '/v1/pools/gpus', pool)).statusCode).toBe(201);
  });
  afterAll(() => world?.close());

  test('is cordoned, drained and opened again, each with a version and an event; repeating changes nothing', async () => {
    const cordoned = await call('POST', '/v1/pools/gpus:cordon?node=n1');
    expect(cordoned.json()).toMatchObject({ state: 'open', nodes: [{ name: 'n1', state: 'cordoned' }] });
    const again = await call('POST', '/v1/pools/gpus:cordon?node=n1');
    expect(again.headers.etag).toBe(cordoned.headers.etag);
    const drained = await call('POST', '/v1/pools/gpus:drain?node=n1');
    expect(drained.json().nodes).toEqual([{ name: 'n1', state: 'draining' }]);
    expect((await call('POST', '/v1/pools/gpus:cordon?node=n1')).json().nodes).toEqual(drained.json().nodes);
    expect((await call('POST', '/v1/pools/gpus:uncordon?node=n1')).json().nodes).toEqual([]);
    const { items } = (await call('GET', '/v1/audit/events?subject=pool/gpus')).json();
    const told = items.flatMap((one: { type: string; data: { machine?: string } }) =>
      one.data.machine === undefined ? [] : [`${one.type} ${one.data.machine}`],
    );
    expect(told).toEqual(['pool.cordoned n1', 'pool.draining n1', 'pool.uncordoned n1']);
  });

  test('stays cordoned when the pool’s file is applied again, and is forgotten once the file has it no more', async () => {
    await call('POST', '/v1/pools/gpus:cordon?node=n2');
    await call('PUT', '/v1/pools/gpus', { ...pool, overcommit: true });
    expect((await call('GET', '/v1/pools/gpus')).json().nodes).toEqual([{ name: 'n2', state: 'cordoned' }]);
    const [flavour] = pool.flavours;
    const others = [{ ...flavour, nodes: [flavour!.nodes[0], { name: 'n3', gpus: 4 }] }];
    await call('PUT', '/v1/pools/gpus', { ...pool, flavours: others });
    expect((await call('GET', '/v1/pools/gpus')).json().nodes).toEqual([]);
    await call('PUT', '/v1/pools/gpus', pool);
    await call('POST', '/v1/pools/gpus:uncordon?node=n2');
  });

  test('that is none of the pool’s, or of a pool that is none, is refused; so is a version that was', async () => {
    const unknown = await call('POST', '/v1/pools/gpus:cordon?node=n9');
    expect([unknown.statusCode, unknown.json().code]).toEqual([422, 'unknown_node']);
    expect((await call('POST', '/v1/pools/none:cordon?node=n1')).statusCode).toBe(404);
    const { etag } = (await call('GET', '/v1/pools/gpus')).headers;
    for (const path of ['/v1/pools/gpus:cordon?node=n1', '/v1/pools/gpus:cordon']) {
      const stale = await call('POST', path, undefined, { 'if-match': '"1"' });
      expect([stale.statusCode, stale.json().code]).toEqual([412, 'stale']);
    }
    expect((await call('GET', '/v1/pools/gpus')).headers.etag).toBe(etag);
    const right = await call('POST', '/v1/pools/gpus:uncordon?node=n1', undefined, { 'if-match': String(etag) });
    expect(right.statusCode).toBe(200);
  });

  test('that is cordoned is named to who waits for it; capacity and quota stay what they were', async () => {
    for (const node of ['n1', 'n2']) await call('POST', `/v1/pools/gpus:cordon?node=${node}`);
    const { id } = (await call('POST', '/v1/jobs', job)).json();
    const { reasons } = (await call('GET', `/v1/jobs/${id}/why`)).json();
    expect(reasons).toMatchObject([{ code: 'no_node', text: expect.stringContaining('cordoned: n1, n2') }]);
    expect((await call('GET', '/v1/pools/gpus')).json().flavours).toMatchObject([{ capacity: '8', free: '8' }]);
  });
});

describe('a machine that is drained', () => {
  let world: SagaWorld;
  beforeAll(async () => {
    world = await sagaWorld();
    await change((tx) => applyPool(tx, by(), parsePool(pool)));
  });
  afterAll(() => world.close());

  const by = () => ({ tenant: TENANT, actor: 'ada', traceId: '0'.repeat(32), nowMs: Date.now() });
  const change = <T>(work: Parameters<typeof world.database.db.asTenant<T>>[1]) =>
    world.database.db.asTenant(TENANT, work);
  const set = (node: string, wanted: 'cordon' | 'uncordon' | 'drain') =>
    change((tx) => setMachineState(tx, by(), 'gpus', node, wanted));
  const machineOf = ({ state }: Booking) => ('placement' in state ? state.placement.machines?.[0]?.node : undefined);
  const runs = (attempt: number) => (booking: Booking) =>
    booking.state.state === 'applied' && booking.state.attempt === attempt;

  test('is left with notice by what runs there, which goes on elsewhere; what runs elsewhere stays', async () => {
    const allocator = await world.startAllocator();
    const book = () => world.book({ pools: ['gpus'], resources: { gpus: 3 } });
    const first = await book();
    const node = machineOf(await world.until(first, runs(1)))!;
    await set(node, 'cordon');
    const second = await book();
    const other = machineOf(await world.until(second, runs(1)))!;
    expect(new Set([node, other])).toEqual(new Set(['n1', 'n2']));
    expect((await world.get(first)).state.state).toBe('applied');
    world.provider.end(attemptKey(second, 1), 'succeeded');
    await world.until(second, ({ state }) => isEnded(state.state));

    await set(node, 'drain');
    const again = await world.until(first, runs(2));
    expect(machineOf(again)).toBe(other);
    const notice = await change((tx) =>
      tx.query<{ data: object }>(
        "select convert_from(bytes, 'UTF8')::jsonb->'data' as data from audit_events where subject = $1 and type = 'booking.draining'",
        [`booking/${first}`],
      ),
    );
    expect(notice).toMatchObject([
      { data: { machine: node, reason: { code: 'preempted', text: expect.stringContaining(`machine ${node}`) } } },
    ]);
    world.provider.end(attemptKey(first, 2), 'succeeded');
    await world.until(first, ({ state }) => isEnded(state.state));
    await allocator.stop();
    expect(await ledgerLeaks(world.database.db)).toEqual([]);
  });
});
