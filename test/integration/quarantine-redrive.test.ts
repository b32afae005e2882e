import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MAX_LINE_BYTES } from '../../core/ndjson.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { parseSuite } from '../../core/suite.ts';
import type { NewMessage } from '../../platform/event-log.ts';
import type { Tx } from '../../platform/postgres.ts';
import { expireQuarantine } from '../../scoring/ingest/expire-quarantine.ts';
import { resendParked } from '../../scoring/ingest/parked.sql.ts';
import { REDRIVE_HEADER } from '../../scoring/ingest/report-log.ts';
import { runCli } from '../support/cli.ts';
import { asAdmin } from '../support/db.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';
import { currentEpoch, type Harness, harness, register, TRACE } from './scoring-online-support.ts';

const SUITE = parseSuite({
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'search',
  metrics: { accuracy: { direction: 'higher', floor: 0, ceil: 1, valid: [0, 1] } },
});

let world: HttpWorld;
let h: Harness;
let home: string;
const call: HttpWorld['call'] = (...args) => world.call(...args);

beforeAll(async () => {
  world = await httpWorld();
  h = await harness(world.database);
  await asAdmin(world.database.urls.admin, "insert into divisions (tenant, division) values ('acme', 'vision')");
  const by = { tenant: 'acme', actor: 'tester', traceId: TRACE, nowMs: Date.now() };
  await register(world.database.db, by, SUITE, ['ranker-v1']);
  await world.app.listen({ host: '127.0.0.1', port: 0 });
  home = mkdtempSync(join(tmpdir(), 'merit-quarantine-'));
  const { port } = world.app.server.address() as AddressInfo;
  writeFileSync(join(home, 'token'), 'token-of-acme-0123456789\n', { mode: 0o600 });
  const connection = { url: `http://127.0.0.1:${port}`, tokenFile: join(home, 'token') };
  writeFileSync(join(home, 'server.json'), JSON.stringify(connection));
});

afterAll(async () => {
  await world?.close();
  if (home !== undefined) rmSync(home, { recursive: true, force: true });
});

let serial = 0;
const report = (overrides: object = {}) => ({
  schemaVersion: 1,
  reportId: `r-${++serial}`,
  producer: 'ci-eval',
  model: 'ranker-v1',
  suite: 'search',
  observedAt: new Date(Date.now() - 60_000).toISOString(),
  metrics: { accuracy: 0.5 },
  ...overrides,
});

/** Sends one line and lets it be read; the place that it was set aside at. */
async function setAside(line: string, producer?: string): Promise<string> {
  await h.send('acme', `${line}\n`, producer);
  await h.drain();
  const sha256 = createHash('sha256').update(line).digest('hex');
  return (await lines('state=open')).find((one) => one.sha256 === sha256)!.id as string;
}

async function lines(query = ''): Promise<readonly Record<string, unknown>[]> {
  return (await call('GET', `/v1/quarantine?${query}`)).json().items;
}

const lineAt = async (id: string) => (await call('GET', `/v1/quarantine/${id}`)).json();
const redrive = (body: object) => call('POST', '/v1/quarantine:redrive', body);

/** As the upgrade would have it that knows the version: the same line is good then. */
async function upgraded(id: string): Promise<void> {
  const [line] = await asAdmin(world.database.urls.admin, `select raw from quarantine where ${whereOf(id)}`);
  const raw = (line!.raw as Buffer).toString('utf8').replace('"schemaVersion":9', '"schemaVersion":1');
  await asAdmin(
    world.database.urls.admin,
    `update quarantine set raw = '\\x${Buffer.from(raw).toString('hex')}' where ${whereOf(id)}`,
  );
}

const whereOf = (id: string) =>
  `(topic || '-' || partition || '-' || log_offset || '-' || line) = '${id.replaceAll("'", '')}'`;

async function accepted(): Promise<number> {
  const [row] = await asAdmin(
    world.database.urls.admin,
    "select coalesce(sum(accepted), 0)::int as n from input_counters where tenant = 'acme'",
  );
  return row!.n as number;
}

const redrivenEvents = async () => (await call('GET', '/v1/audit/events?type=quarantine.redriven')).json().items;

describe('a line that was set aside', () => {
  test('is found by what is known of it, shown with its bytes, and is nobody else’s', async () => {
    const bad = JSON.stringify(report({ metrics: { accuracy: 7 } }));
    const id = await setAside(bad);
    await setAside('{"suite":"search"');
    for (const query of ['reason=valid', 'suite=search&producer=ci-eval', 'reason=valid&partition=0'])
      expect((await lines(query)).map((line) => line.id)).toEqual([id]);
    for (const query of ['reason=range', 'suite=other', 'partition=1', "reason=' OR 1=1", 'since=2999-01-01T00:00:00Z'])
      expect(await lines(query)).toEqual([]);
    expect((await call('GET', '/v1/quarantine?since=yesterday')).statusCode).toBe(422);
    const line = await lineAt(id);
    expect(line).toMatchObject({
      reason: 'valid',
      field: 'metrics.accuracy',
      position: bad.indexOf('7', bad.indexOf('accuracy')),
      producer: 'ci-eval',
      suite: 'search',
      state: 'open',
      size: bad.length,
      cut: false,
      traceId: TRACE,
    });
    expect(Buffer.from(line.rawBase64, 'base64').toString()).toBe(bad);
    const stranger = await call('GET', `/v1/quarantine/${id}`, undefined, {}, 'rival');
    const missing = await call('GET', '/v1/quarantine/merit.reports-0-999999-1');
    expect([stranger.statusCode, missing.statusCode]).toEqual([404, 404]);
    const theirs = await call('POST', '/v1/quarantine:redrive', { ids: [id] }, {}, 'rival');
    expect(theirs.json()).toMatchObject({ status: 422, code: 'not_found' });
  });

  test('is listed a page at a time, newest first, each once', async () => {
    await h.send('acme', Array.from({ length: 5 }, () => '{"schemaVersion":\n').join(''));
    await h.drain();
    const all = (await lines()).map((line) => line.id);
    const seen: unknown[] = [];
    let cursor = '';
    do {
      const page = (await call('GET', `/v1/quarantine?limit=2${cursor}`)).json();
      seen.push(...page.items.map((line: { id: string }) => line.id));
      cursor = page.nextCursor === undefined ? '' : `&cursor=${encodeURIComponent(page.nextCursor)}`;
    } while (cursor !== '');
    expect(seen).toEqual(all);
    expect(new Set(seen).size).toBe(seen.length);
  });

  test('K13 of a version that came too early counts once after the upgrade, however often it is sent again', async () => {
    const id = await setAside(JSON.stringify(report({ schemaVersion: 9 })), 'ci-eval');
    expect(await lineAt(id)).toMatchObject({ reason: 'unknown_version', producer: 'ci-eval', suite: 'search' });
    await upgraded(id);
    const before = await accepted();
    const bodies = await Promise.all([1, 2, 3].map(async () => (await redrive({ ids: [id, id] })).json()));
    expect(bodies.map((body) => body.redriven).sort()).toEqual([0, 0, 1]);
    expect(await lineAt(id)).toMatchObject({ state: 'redriving', redrivenBy: 'token:acme' });
    await h.drain();
    expect(await lineAt(id)).toMatchObject({ state: 'taken', redrivenAs: null });
    expect((await redrive({ ids: [id] })).json()).toMatchObject({ redriven: 0, already: 1 });
    await h.drain();
    expect(await accepted()).toBe(before + 1);
    const [event, ...others] = await redrivenEvents();
    expect(others).toEqual([]);
    expect(event).toMatchObject({
      actor: 'token:acme',
      data: { lines: [{ place: id, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) }] },
    });
    expect((await lines('state=open')).map((line) => line.id)).not.toContain(id);
  });

  test('is set aside again at a place of its own where nothing was mended, and each names the other', async () => {
    const id = await setAside(JSON.stringify(report({ metrics: { accuracy: -3 } })));
    await redrive({ ids: [id] });
    await h.drain();
    const again = (await lineAt(id)).redrivenAs;
    expect(await lineAt(id)).toMatchObject({ state: 'again' });
    expect(await lineAt(again)).toMatchObject({ state: 'open', reason: 'valid', redriveOf: id, traceId: TRACE });
  });

  test('is held to its sender the second time too', async () => {
    const id = await setAside(JSON.stringify(report({ schemaVersion: 9, producer: 'somebody' })), 'ci-eval');
    await upgraded(id);
    const before = await accepted();
    await redrive({ ids: [id] });
    await h.drain();
    expect(await lineAt((await lineAt(id)).redrivenAs)).toMatchObject({ reason: 'producer_mismatch' });
    expect(await accepted()).toBe(before);
  });

  test('that was cut, or that nothing can mend, is not sent again, and its mend is told', async () => {
    const cut = await setAside(`"${'x'.repeat(MAX_LINE_BYTES)}"`);
    expect(await lineAt(cut)).toMatchObject({ reason: 'too_large', cut: true, size: MAX_LINE_BYTES + 2 });
    const first = report();
    await h.send('acme', `${JSON.stringify(first)}\n`);
    const conflict = await setAside(JSON.stringify({ ...first, metrics: { accuracy: 0.1 } }));
    const refused = (await redrive({ ids: [cut, conflict] })).json();
    expect(refused).toMatchObject({ status: 422, code: 'cannot_redrive' });
    expect(refused.reasons.map((reason: { field: string; mend: string }) => [reason.field, reason.mend])).toEqual([
      ['ids[0]', expect.stringContaining('send the whole report again')],
      ['ids[1]', expect.stringContaining('reportId of its own')],
    ]);
    expect(await lineAt(conflict)).toMatchObject({ state: 'open' });
    expect((await redrive({ filter: { reason: 'too_large' } })).json()).toMatchObject({ redriven: 0, never: 1 });
  });
});

describe('merit quarantine', () => {
  test('finds by flags, tells without a terminal what to add, and sends no more than it is let', async () => {
    const early = Array.from(
      { length: 3 },
      () => `${JSON.stringify(report({ schemaVersion: 9, producer: 'many' }))}\n`,
    );
    await h.send('acme', early.join(''));
    await h.drain();
    const flags = ['redrive', '--producer', 'many', '--limit', '2'];
    const asked = await runCli(home, ['quarantine', ...flags]);
    expect(asked).toMatchObject({ code: 2, out: '' });
    expect(asked.err).toContain('--yes');
    expect((await runCli(home, ['quarantine', 'redrive', '--yes'])).code).toBe(2);
    const dry = await runCli(home, ['quarantine', ...flags, '--dry-run']);
    expect(dry.out).toBe('2 would be sent again, 1 left for another go\n');
    const done = await runCli(home, ['quarantine', ...flags, '--yes', '-o', 'json']);
    expect(JSON.parse(done.out)).toMatchObject({ redriven: 2, left: 1 });
    const open = await runCli(home, ['quarantine', 'ls', '--producer', 'many', '-o', 'name']);
    expect(open.out.trim().split('\n')).toHaveLength(1);
    const all = await runCli(home, ['quarantine', 'ls', '--producer', 'many', '--all', '-o', 'json']);
    expect(JSON.parse(all.out)).toHaveLength(3);
  });

  test('C23 shows a line without its escape sequences, and its bytes as they came', async () => {
    const line = '{"model":"\u001b]0;owned\u0007\u001b[31mred\u202e"';
    const id = await setAside(line);
    const shown = await runCli(home, ['quarantine', 'show', id]);
    expect(shown.out).toContain('{"model":"red"');
    for (const hidden of ['\u001b', '\u0007', '\u202e']) expect(shown.out).not.toContain(hidden);
    expect((await runCli(home, ['quarantine', 'show', id, '--raw'])).out).toBe(line);
    expect((await runCli(home, ['quarantine', 'show', 'no-such'])).code).toBe(9);
  });
});

test('a line is sent by one consumer at a time: another leaves it alone, and takes it over from one that died', async () => {
  const db = world.database.db;
  const { admin } = world.database.urls;
  const id = await setAside(JSON.stringify(report({ metrics: { accuracy: 9 } })));
  await redrive({ ids: [id] });
  await asAdmin(
    admin,
    `update quarantine set resend_by = -99, resend_claimed_at = clock_timestamp() where ${whereOf(id)}`,
  );
  const appended: string[] = [];
  const eventLog = {
    ...h.log,
    append: (message: NewMessage) => {
      appended.push(message.key);
      return h.log.append(message);
    },
  };
  const ctx = h.context({ db, eventLog });
  const by = { claim: ctx.epoch, write: <T>(work: (tx: Tx) => Promise<T>) => db.asLeader(ctx.epoch, work) };
  expect(await resendParked(ctx, by)).toBe(false);
  await asAdmin(
    admin,
    `update quarantine set resend_claimed_at = clock_timestamp() - interval '2 minutes' where ${whereOf(id)}`,
  );
  // Twice at once: of one leader one round goes at a time.
  const sent = await Promise.all([resendParked(ctx, by), resendParked(ctx, by)]);
  expect(sent.filter(Boolean)).toHaveLength(1);
  expect(appended).toHaveLength(1);
  await h.drain();
  expect(await lineAt(id)).toMatchObject({ state: 'again' });
});

/** A log that refuses these lines, each at its first try. */
function resending(fails: ReadonlyMap<string, OperatingError>) {
  const db = world.database.db;
  const appended: string[] = [];
  const failing = new Map(fails);
  const eventLog = {
    ...h.log,
    append: (message: NewMessage) => {
      const id = message.headers[REDRIVE_HEADER]!;
      const fault = failing.get(id);
      failing.delete(id);
      if (fault !== undefined) throw fault;
      appended.push(id);
      return h.log.append(message);
    },
  };
  const ctx = h.context({ db, eventLog });
  const by = { claim: ctx.epoch, write: <T>(work: (tx: Tx) => Promise<T>) => db.asLeader(ctx.epoch, work) };
  return { appended, send: () => resendParked(ctx, by) };
}

const three = async () => {
  const ids: string[] = [];
  for (let i = 0; i < 3; i++) ids.push(await setAside(JSON.stringify(report({ metrics: { accuracy: 9 } }))));
  await redrive({ ids });
  return ids as [string, string, string];
};

test('a line that the log takes from nobody holds up none behind it: it is given back, and can be redriven once that is mended', async () => {
  const [first, second, third] = await three();
  const other = new OperatingError('conflict', 'never', 'appending', { cause: 'this log is another tenant’s' });
  const { appended, send } = resending(new Map([[second, other]]));
  expect(await send()).toBe(true);
  expect(await send()).toBe(false);
  expect(appended).toEqual([first, third]);
  expect(await lineAt(second)).toMatchObject({ state: 'open', redrivenAt: null, redrivenBy: null });
  expect(await lineAt(third)).toMatchObject({ state: 'redriving' });
  expect((await redrive({ ids: [second] })).json()).toMatchObject({ redriven: 1, already: 0 });
  expect(await send()).toBe(true);
  expect(appended).toEqual([first, third, second]);
  await h.drain();
});

test('a log that goes away between two lines is sent the second one later, and the first one not again', async () => {
  const [first, second, third] = await three();
  const away = new OperatingError('unreachable', 'safe', 'appending');
  const { appended, send } = resending(new Map([[second, away]]));
  await expect(send()).rejects.toThrow('unreachable');
  expect(appended).toEqual([first]);
  expect(await send()).toBe(true);
  expect(appended).toEqual([first, second, third]);
  await h.drain();
});

test('lines older than the retention go, a bounded number at a time, but for those on their way and what replays must know', async () => {
  const { admin } = world.database.urls;
  await asAdmin(admin, "update quarantine set created_at = created_at - interval '40 days'");
  const id = await setAside('{"young":');
  const onItsWay = ((await lines('reason=json_syntax')).at(-1) as { id: string }).id;
  await redrive({ ids: [onItsWay] });
  const epoch = await currentEpoch(world.database.db);
  const sweep = () => expireQuarantine(world.database.db, epoch, Date.now() - 30 * 86_400_000, 4);
  expect(await sweep()).toBe(4);
  while ((await sweep()) > 0);
  const left = await lines('limit=500');
  const kept = left.filter((line) => line.id !== id && line.id !== onItsWay);
  expect(left.length - kept.length).toBe(2);
  expect(new Set(kept.map((line) => line.reason))).toEqual(new Set(['unknown_version', 'conflict']));
  const gone = await lineAt(kept.find((line) => line.reason === 'unknown_version')!.id as string);
  expect(gone).toMatchObject({ cut: true, rawBase64: '' });
  const refused = (await redrive({ filter: { reason: 'unknown_version' } })).json();
  expect(refused).toMatchObject({ redriven: 0 });
});
