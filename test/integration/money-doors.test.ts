import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isEnded } from '../../core/booking.ts';
import { systemClock } from '../../platform/clock.ts';
import { runCli } from '../support/cli.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';
import { type SagaWorld, sagaWorld } from '../support/saga-world.ts';

/** Money alone through its doors, with the engine and both peers behind them. */
let world: SagaWorld;
let http: HttpWorld;
let allocator: { stop(): Promise<void> };
let home: string;
let aheadMs = 0;

beforeAll(async () => {
  world = await sagaWorld();
  allocator = await world.startAllocator();
  const clock = { ...systemClock, now: () => systemClock.now() + aheadMs };
  http = await httpWorld([], { database: world.database, clock });
  await http.app.listen({ host: '127.0.0.1', port: 0 });
  home = mkdtempSync(join(tmpdir(), 'merit-money-'));
  const { port } = http.app.server.address() as AddressInfo;
  const tokenFile = join(home, 'token');
  writeFileSync(tokenFile, 'token-of-acme-0123456789\n', { mode: 0o600 });
  writeFileSync(join(home, 'server.json'), JSON.stringify({ url: `http://127.0.0.1:${port}`, tokenFile }));
}, 60_000);
afterAll(async () => {
  await http?.close();
  await allocator?.stop();
  await world?.close();
  rmSync(home, { recursive: true, force: true });
});

const merit = (...args: string[]) => runCli(home, args);
const applied = (id: string) => world.until(id, ({ state }) => state.state === 'applied');
const ended = (id: string) => world.until(id, ({ state }) => isEnded(state.state));
const ASK = { division: 'vision', amount: '20.00', currency: 'USD', purpose: 'label data', agent: 'labeller' };

test('POST /v1/allocations asks for it once for a key, and :close ends it once, with what was spent', async () => {
  const key = { 'idempotency-key': 'grant-1' };
  const asked = await http.call('POST', '/v1/allocations', ASK, key);
  expect(asked.statusCode).toBe(202);
  const { id } = asked.json() as { id: string };
  expect(asked.headers.location).toBe(`/v1/allocations/${id}`);
  expect((await http.call('POST', '/v1/allocations', ASK, key)).body).toBe(asked.body);
  const other = { ...ASK, amount: '21.00' };
  expect((await http.call('POST', '/v1/allocations', other, key)).statusCode).toBeGreaterThanOrEqual(400);
  await applied(id);
  const close = (spent: string) => http.call('POST', `/v1/allocations/${id}:close`, { spent });
  expect((await close('20.01')).json()).toMatchObject({ status: 422, reasons: [{ field: 'spent', code: 'range' }] });
  expect((await close('12.50')).statusCode).toBe(202);
  await ended(id);
  expect((await close('12.50')).statusCode).toBe(200);
  expect((await close('13.00')).json()).toMatchObject({ status: 409, code: 'spent_otherwise' });
  expect((await http.call('GET', `/v1/allocations/${id}`)).json()).toMatchObject({ state: 'released' });
  expect(world.finance.get(`h-${id}-1`)).toMatchObject({ status: 'settled', settled: { amount: '12.50' } });
  const jobs = (await http.call('GET', '/v1/jobs')).json() as { items: readonly unknown[] };
  expect(jobs.items).toEqual([]);
});

test('a division without a budget in the currency, and an amount of another scale, are refused by their field', async () => {
  for (const [over, code, field] of [
    [{ currency: 'EUR' }, 'no_budget', 'currency'],
    [{ amount: '20' }, 'scale', 'amount'],
  ] as const)
    expect((await http.call('POST', '/v1/allocations', { ...ASK, ...over })).json()).toMatchObject({
      status: 422,
      reasons: [{ code, field }],
    });
});

test('merit allocations request and close do the same, and close of a job says that it is none', async () => {
  const options = Object.entries(ASK).flatMap(([name, value]) => [`--${name}`, value]);
  const asked = await merit('allocations', 'request', ...options, '--lease', '2h', '-o', 'json');
  expect(asked.code).toBe(0);
  const { id } = JSON.parse(asked.out) as { id: string };
  expect(asked.err).toContain(`merit allocations get ${id}`);
  await applied(id);
  expect((await merit('allocations', 'close', id, '--spent', '7.25')).code).toBe(0);
  await ended(id);
  expect((await merit('allocations', 'close', id, '--spent', '7.25')).code).toBe(0);
  const otherwise = await merit('allocations', 'close', id, '--spent', '0.00');
  expect([otherwise.code, otherwise.err]).toEqual([5, expect.stringContaining('7.25 USD settled')]);
  expect(world.finance.get(`h-${id}-1`)).toMatchObject({ status: 'settled', settled: { amount: '7.25' } });
  const job = await world.book();
  expect(await merit('allocations', 'close', job, '--spent', '1.00')).toMatchObject({ code: 5 });
  await applied(job);
  world.provider.end(`m-${job}-1`, 'succeeded');
  await ended(job);
});

test('the FOCUS rows of money alone are what the ledger and Finance have of it', async () => {
  aheadMs = 120_000;
  const month = new Date(systemClock.now()).toISOString().slice(0, 7);
  const { body } = await http.call('GET', `/v1/finops/months/${month}/charges`);
  const [header, ...rows] = body.trimEnd().split('\n');
  const at = header!.split(',').indexOf('BilledCost');
  const money = rows.filter((row) => row.includes('money'));
  expect(money.map((row) => Number(row.split(',')[at])).sort()).toEqual([12.5, 7.25].sort());
  // What is priced is the money itself: a unit of its currency at one.
  const column = (row: string, name: string) =>
    row.split(/,(?=(?:[^"]*"[^"]*")*[^"]*$)/)[header!.split(',').indexOf(name)];
  for (const row of money) {
    const cost = column(row, 'BilledCost');
    for (const name of ['ListCost', 'PricingQuantity', 'ConsumedQuantity']) expect(column(row, name)).toBe(cost);
    expect(['ListUnitPrice', 'PricingUnit', 'ResourceType'].map((name) => column(row, name))).toEqual([
      '1.00',
      'USD',
      'Money',
    ]);
  }
  const { divisions } = (await http.call('GET', `/v1/finops/months/${month}`)).json() as {
    divisions: readonly { settled: string; ledger: { settled: string; equal: boolean } }[];
  };
  const [row] = await world.database.db.asEngine((tx) =>
    tx.query<{ spent: bigint }>(
      "select (credits_posted - debits_posted)::bigint as spent from accounts where account_id = 'spend:acme:vision:USD'",
    ),
  );
  expect(row?.spent).toBe(world.finance.used('acme', 'vision', 'USD'));
  expect(divisions).toMatchObject([{ ledger: { equal: true } }]);
  expect(divisions[0]?.settled.replace('.', '')).toBe(String(row?.spent));
});
