import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import { openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import { NO_REPLAY_METRICS, type ReplayContext } from '../../scoring/replay/context.ts';
import { workOffOne } from '../../scoring/replay/replay-worker.ts';
import { runCli } from '../support/cli.ts';
import { asAdmin } from '../support/db.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';

let world: HttpWorld;
let home: string;
let ctx: ReplayContext;
const merit = (...args: string[]) => runCli(home, ['replay', ...args]);
const sql = (text: string) => asAdmin(world.database.urls.admin, text);

beforeAll(async () => {
  world = await httpWorld();
  await world.app.listen({ host: '127.0.0.1', port: 0 });
  home = mkdtempSync(join(tmpdir(), 'merit-replays-'));
  const { port } = world.app.server.address() as AddressInfo;
  writeFileSync(join(home, 'token'), 'token-of-acme-0123456789\n', { mode: 0o600 });
  const connection = { url: `http://127.0.0.1:${port}`, tokenFile: join(home, 'token') };
  writeFileSync(join(home, 'server.json'), JSON.stringify(connection));
  const { db } = world.database;
  const log = { info: () => {}, warn: () => {}, error: console.error };
  const eventLog = openPostgresEventLog({ db, appendAs: 'engine' });
  const store = await openFileObjectStore({ root: join(home, 'objects') });
  ctx = { db, clock: systemClock, eventLog, log, store, holder: 'test', metrics: NO_REPLAY_METRICS };
});

afterAll(async () => {
  await ctx?.eventLog.close();
  await world?.close();
  rmSync(home, { recursive: true, force: true });
});

describe('merit replay', () => {
  test('says what is wrong with what was asked, by exit codes that mean it', async () => {
    const range = ['--from', '2026-01-02T00:00:00Z', '--to', '2026-01-01T00:00:00Z'];
    expect(await merit('start', '--into', 'shadow', ...range)).toMatchObject({
      code: 2,
      err: expect.stringContaining('--from is later than --to'),
    });
    expect((await merit('start', '--into', 'shadow', '--from', '7', '--to', '3')).code).toBe(2);
    expect((await merit('start', '--into', 'shadow', '--from', 'yesterday')).code).toBe(3);
    expect((await merit('start', '--into', 'shadow', '--suite', join(home, 'none.yaml'))).code).toBe(3);
    for (const verb of ['status', 'diff', 'verify', 'cancel'])
      expect((await merit(verb, 'nothing')).code, verb).toBe(9);
    expect(await sql('select 1 from replays')).toEqual([]);
  });

  test('goes from asked for to proven, and is ended', async () => {
    const started = await merit('start', '--into', 'shadow', '--detach', '-o', 'json');
    expect(started.code).toBe(0);
    const { id, state } = JSON.parse(started.out) as { id: string; state: string };
    expect(state).toBe('queued');
    const again = await merit('start', '--into', 'shadow', '--rate', '10', '--detach', '-o', 'name');
    expect(again.out).toBe(`${id}\n`);
    expect(await merit('verify', id)).toMatchObject({
      code: 11,
      out: expect.stringContaining('has not come to its end'),
    });
    expect((await merit('diff', id)).code).toBe(11);
    await workOffOne(ctx, new AbortController().signal);
    expect(await merit('verify', id)).toMatchObject({
      code: 0,
      out: expect.stringContaining('equal: what was live follows'),
    });
    expect(await merit('diff', id)).toMatchObject({ code: 0, out: expect.stringContaining('0 differ of 0 live') });
    expect((await merit('status')).out).toMatch(new RegExp(`^REPLAY.*\n${id} +done +equal`));
    const seen = JSON.parse((await merit('status', id, '-o', 'json')).out) as object;
    expect(seen).toMatchObject({
      id,
      verdict: 'equal',
      startedBy: expect.any(String),
      tablesKept: true,
      failure: null,
    });
    expect((await merit('cancel', id)).code).toBe(0);
    await workOffOne(ctx, new AbortController().signal);
    expect((await merit('status', id)).out).toMatch(/state +cancelled/);
  });

  test('tells what differs, and what was altered, and exits with 10', async () => {
    const { out } = await merit('start', '--into', 'shadow', '--to', '2030-01-01T00:00:00Z', '--detach', '-o', 'name');
    const id = out.trim();
    await workOffOne(ctx, new AbortController().signal);
    const first = {
      suite: 's',
      tick: '2026-01-01T00:00:00.000Z',
      model: 'm',
      window: '24h',
      metric: 'a',
      live: 1,
      replay: 2,
      pane: null,
    };
    await sql(
      `update replays set result = result || '${JSON.stringify({ equal: false, first })}'::jsonb where replay_id = '${id}'`,
    );
    const differs = await merit('verify', id);
    expect(differs).toMatchObject({
      code: 10,
      out: expect.stringContaining('s, tick 2026-01-01T00:00:00.000Z, model m'),
    });
    const fault = { object: 'archive/x.zst', offset: '12', line: 3, problem: 'the line was altered' };
    const failure = { code: 'archive', problem: 'altered', mend: 'restore it', fault };
    await sql(`update replays set state = 'failed', failure = '${JSON.stringify(failure)}' where replay_id = '${id}'`);
    const altered = await merit('verify', id);
    expect(altered.code).toBe(10);
    for (const told of [/segment +archive\/x\.zst/, /offset +12/, /line +3/, /problem +the line was altered/])
      expect(altered.out).toMatch(told);
  });

  test('of another tenant is none', async () => {
    await sql(`update replays set tenant = 'rival'`);
    expect(JSON.parse((await merit('status', '-o', 'json')).out)).toEqual([]);
  });
});
