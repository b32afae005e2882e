import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { finopsOf } from '../../api/http/rooms/finops.ts';
import { buildHttpServer } from '../../api/http/server.ts';
import { isEnded } from '../../core/booking.ts';
import { attemptKey } from '../../core/ids.ts';
import { runCli } from '../support/cli.ts';
import { type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';
import { fakeServices, TOKEN } from '../unit/api/http/fake-services.ts';

/** What real bookings cost, as the ledger has it, told by the doors. */
let world: SagaWorld;
let app: FastifyInstance;
let home: string;
let month: string;
let nowMs = 0;

beforeAll(async () => {
  world = await sagaWorld();
  const allocator = await world.startAllocator();
  const [well, ill] = [await world.book(), await world.book({ max_restarts: 1 })];
  await world.until(well, ({ state }) => state.state === 'applied');
  await world.until(ill, ({ state }) => state.state === 'applied');
  world.provider.end(attemptKey(well, 1), 'succeeded');
  world.provider.end(attemptKey(ill, 1), 'failed');
  await world.until(ill, ({ state }) => state.state === 'applied' && state.attempt === 2);
  await world.until(well, ({ state }) => isEnded(state.state));
  await allocator.stop();
  nowMs = Date.now() + 120_000;
  month = new Date().toISOString().slice(0, 7);
  const fake = fakeServices();
  app = buildHttpServer({
    ...fake.services,
    clock: { ...fake.services.clock, now: () => nowMs },
    finops: finopsOf(world.database.db),
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  home = mkdtempSync(join(tmpdir(), 'merit-finops-'));
  const { port } = app.server.address() as AddressInfo;
  writeFileSync(join(home, 'token'), `${TOKEN}\n`, { mode: 0o600 });
  writeFileSync(
    join(home, 'server.json'),
    JSON.stringify({ url: `http://127.0.0.1:${port}`, tokenFile: join(home, 'token') }),
  );
}, 60_000);
afterAll(async () => {
  await app?.close();
  await world?.close();
  rmSync(home, { recursive: true, force: true });
});

const get = async (path: string) =>
  app.inject({ method: 'GET', url: path, headers: { host: 'localhost', authorization: `Bearer ${TOKEN}` } });

test('a month tells what was completed and what failed, what runs still, and that the ledger has the same', async () => {
  const { divisions, open } = (await get(`/v1/finops/months/${month}`)).json();
  expect(open).toBe(true);
  expect(divisions).toEqual([
    {
      division: 'vision',
      currency: 'USD',
      settlements: 2,
      settled: '0.02',
      completed: '0.01',
      preempted: '0.00',
      failed: '0.01',
      stopped: '0.00',
      spot: '0.00',
      ledger: expect.objectContaining({ openBefore: '0.00', settled: '0.02', equal: true }),
    },
  ]);
  const { posted, refunded, openAfter } = divisions[0].ledger;
  expect(Number(posted) - Number(refunded) - Number(openAfter)).toBeCloseTo(0.02, 10);
  expect(Number(openAfter)).toBeGreaterThan(0);
});

test('the export has a row for each attempt that was settled, and names the event of the trail that tells its cost', async () => {
  const file = join(home, 'focus.csv');
  const { code, out, err } = await runCli(home, ['finops', 'export', '--month', month, '--out', file]);
  expect({ code, out }).toEqual({ code: 0, out: '' });
  expect(err).toContain('2 charges, equal to the ledger, settled until');
  const [header, ...rows] = readFileSync(file, 'utf8').trimEnd().split('\n');
  expect(rows).toHaveLength(2);
  const at = header!.split(',').indexOf('x_MeritAuditEventId');
  const ids = rows.map((row) => row.replace(/"[^"]*"/g, '').split(',')[at]!);
  const events = await world.database.db.asTenant(TENANT, (tx) =>
    tx.query<{ type: string }>('select type from audit_events where event_id = any($1) order by type', [ids]),
  );
  expect(events.map(({ type }) => type)).toEqual(['booking.released', 'booking.waiting']);
});

test('without a file the rows come on stdout, and what is told beside them does not', async () => {
  const { code, out } = await runCli(home, ['finops', 'export', '--month', month]);
  expect(code).toBe(0);
  expect(out.startsWith('BilledCost,')).toBe(true);
  expect(out.trimEnd().split('\n')).toHaveLength(3);
});

test('the report is a table of divisions for a person, and the whole month for a program', async () => {
  const table = await runCli(home, ['finops', 'report', '--month', month]);
  expect(table.out).toMatch(/^DIVISION .*\nvision +USD +0\.02 /);
  const whole = await runCli(home, ['finops', 'report', '--month', month, '-o', 'json']);
  expect(JSON.parse(whole.out)).toMatchObject({ month, divisions: [{ division: 'vision', settled: '0.02' }] });
});

test('a month in which nothing was settled is a header, and sums of nothing', async () => {
  const { body, headers } = await get('/v1/finops/months/2020-01/charges');
  expect(headers['content-type']).toContain('text/csv');
  expect(body.trimEnd().split('\n')).toHaveLength(1);
  expect((await get('/v1/finops/months/2020-01')).json()).toMatchObject({ open: false, divisions: [] });
});

test('a month and a time that are none are refused by name', async () => {
  for (const [path, field] of [
    ['/v1/finops/months/2026-13', 'month'],
    ['/v1/finops/months/1914-08', 'month'],
    [`/v1/finops/months/${month}/charges?to=yesterday`, 'to'],
  ] as const) {
    const reply = await get(path);
    expect(reply.statusCode).toBe(422);
    expect(reply.json().reasons[0]).toMatchObject({ field });
  }
});

test('money that moved beside the trail is found: the export ends with 10', async () => {
  await world.database.db.asEngine(async (tx) => {
    await tx.execute(
      `insert into transfers (transfer_id, tenant, kind, debit_account, credit_account, amount)
       select 'beside', $1, 'direct', account_id, replace(account_id, 'spend:', 'budget:'), 5 from accounts where kind = 'spend' limit 1`,
      [TENANT],
    );
  });
  const report = await runCli(home, ['finops', 'report', '--month', month]);
  expect(report.code).toBe(10);
  expect(report.err).toContain('vision: charged 0.02 USD, the ledger has');
  expect((await runCli(home, ['finops', 'export', '--month', month])).code).toBe(10);
});
