import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readBlocks } from '../../api/cli/event-stream.ts';
import type { RoomPorts } from '../../api/http/rooms/base.ts';
import { eventsAfter, feedHead, positionNow } from '../../api/http/rooms/event-feed.sql.ts';
import { scoringOf } from '../../api/http/rooms/scoring.ts';
import { buildHttpServer } from '../../api/http/server.ts';
import type { EventsService } from '../../api/http/services.ts';
import { sequenceOnce } from '../../ledger/audit/sequencer.ts';
import { systemClock } from '../../platform/clock.ts';
import { openTenantReads, type TenantReads } from '../../platform/postgres-reads.ts';
import { NO_REALTIME_METRICS } from '../../scoring/realtime/metrics.ts';
import { RecentCommits } from '../../scoring/realtime/recent-commits.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { horizonPassed } from '../support/horizon.ts';
import { fakeServices, TOKEN } from '../unit/api/http/fake-services.ts';
import {
  currentEpoch,
  EPOCH_MS,
  type Harness,
  harness,
  lineOf,
  newTenant,
  parseSuite,
  random,
  register,
  type TestReport,
} from './scoring-online-support.ts';

const MAIN = fileURLToPath(new URL('../../api/cli/main.ts', import.meta.url));
const MINUTE_MS = 60_000;
const TICK_MS = 15 * MINUTE_MS;

const suite = parseSuite({
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'search',
  tick: '15m',
  minN: 3,
  metrics: {
    accuracy: { direction: 'higher', kind: 'binary', floor: 0, ceil: 1, valid: [0, 1], required: true },
    latency_ms: { direction: 'lower', kind: 'quantile', quantile: 0.9, scale: 3, floor: 1000, ceil: 100, weight: 0.5 },
    rare: { direction: 'higher', floor: 0, ceil: 1 },
  },
});

let base: TestDatabase;
let h: Harness;
let app: FastifyInstance;
let url: string;
let home: string;
let reads: TenantReads;
const ended: string[] = [];
let open = 0;

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base);
  const by = await newTenant(base, 'acme');
  await register(base.db, by, suite, ['ranker-v1', 'ranker-v2']);
  await send(Array.from({ length: 60 }, (_, i) => report(EPOCH_MS + i * 3 * MINUTE_MS)));
  reads = openTenantReads(base.urls.app);
  app = server();
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as { port: number };
  url = `http://127.0.0.1:${port}`;
  home = mkdtempSync(join(tmpdir(), 'merit-scores-'));
  writeFileSync(join(home, 'token'), `${TOKEN}\n`, { mode: 0o600 });
});
afterAll(async () => {
  await app.close();
  await reads.close();
  await h.log.close();
  await base.close();
  rmSync(home, { recursive: true, force: true });
});

function server(): FastifyInstance {
  const { services } = fakeServices();
  const events: EventsService = {
    now: (tx, caller) => positionNow(tx, caller.identity.tenant),
    after: (tx, caller, position, filter) => eventsAfter(tx, caller.identity.tenant, position, filter),
    head: feedHead,
  };
  const metrics = {
    ...services.metrics,
    streams: (n: number) => {
      open = n;
    },
    streamEnded: (reason: string) => void ended.push(reason),
  };
  const scoring = scoringOf({
    db: base.db,
    reads,
    realtimeMetrics: NO_REALTIME_METRICS,
    recentCommits: new RecentCommits(),
  } as RoomPorts);
  return buildHttpServer({ ...services, db: base.db, clock: systemClock, scoring, events, metrics });
}

let serial = 0;
function report(observedAtMs: number, fields: Partial<TestReport> = {}): TestReport {
  const id = serial++;
  const next = random(id);
  const rare = id % 20 === 0 ? { rare: next() } : {};
  return {
    schemaVersion: 1,
    reportId: `r-${id}`,
    producer: 'ci-eval',
    model: id % 2 === 0 ? 'ranker-v1' : 'ranker-v2',
    suite: 'search',
    observedAt: new Date(observedAtMs).toISOString(),
    metrics: { accuracy: next(), latency_ms: 50 + next() * 900, ...rare },
    ...fields,
  };
}

async function send(reports: readonly TestReport[]): Promise<void> {
  await h.send('acme', reports.map(lineOf).join(''));
  await h.drain();
}

const auth = { authorization: `Bearer ${TOKEN}`, host: 'localhost' };

async function get(path: string) {
  const response = await app.inject({ method: 'GET', url: path, headers: auth });
  return { status: response.statusCode, body: response.json() };
}

describe('POST /v1/scores:compute', () => {
  const post = (body: unknown) =>
    app.inject({
      method: 'POST',
      url: '/v1/scores:compute',
      headers: { ...auth, 'content-type': 'application/json' },
      payload: typeof body === 'string' ? body : JSON.stringify(body),
    });

  test('answers without an Idempotency-Key, with the model after and before, its rank, its basis and why', async () => {
    const response = await post(report(EPOCH_MS + 180 * MINUTE_MS, { model: 'ranker-v1' }));
    expect(response.statusCode).toBe(200);
    const body = response.json();
    expect(body).toMatchObject({
      suite: 'search',
      suiteHash: suite.hash,
      at: new Date(EPOCH_MS + 180 * MINUTE_MS).toISOString(),
      report: { counted: ['1h', '24h', '7d'], unknownMetrics: [] },
      model: { model: 'ranker-v1', status: 'ranked', rank: 1 },
    });
    expect(body.model.windows['1h'].n).toBe(body.before.windows['1h'].n + 1);
    expect(Math.abs(body.explanation.sum - body.model.composite)).toBeLessThan(1e-12);
  });

  test('refuses what a report must not be: 400 for its bytes, 422 for what they say, with field, problem and mend', async () => {
    const good = report(EPOCH_MS);
    for (const [body, status, code, field] of [
      ['', 400, 'body_required', undefined],
      ['[]', 400, 'not_an_object', undefined],
      ['{"suite":"a","suite":"b"}', 400, 'duplicate_key', undefined],
      [`"${'x'.repeat(1024 * 1024)}"`, 413, 'body_too_large', undefined],
      [{ ...good, observedAt: '2026-01-01T00:00:00' }, 422, 'time_format', 'observedAt'],
      [{ ...good, metrics: { accuracy: null } }, 422, 'number', 'metrics.accuracy'],
      [{ ...good, metrics: { accuracy: 7 } }, 422, 'valid', 'metrics.accuracy'],
      [{ ...good, suite: 'other' }, 422, 'unknown_suite', 'suite'],
      [{ ...good, model: 'other' }, 422, 'unknown_model', 'model'],
    ] as const) {
      const response = await post(body);
      expect([response.statusCode, response.json().code]).toEqual([status, code]);
      if (field === undefined) continue;
      expect(response.json().reasons).toEqual([
        { code, field, problem: expect.any(String), mend: expect.stringMatching(/.{8}/) },
      ]);
    }
  });
});

describe('scores at the door', () => {
  test('show interval, revision and n; the history pages through every tick once, whatever the page', async () => {
    const { body } = await get('/v1/scores/ranker-v1?suite=search');
    const [last] = body.suites;
    expect(last).toMatchObject({ revision: 0, lower: expect.any(Number), upper: expect.any(Number) });
    expect(last.windows['1h']).toMatchObject({ n: expect.any(Number), revision: 0 });
    const whole = (await get('/v1/scores/ranker-v1?suite=search&history=true&limit=500')).body.items;
    expect(whole).toHaveLength(11);
    expect(whole[0]).toEqual(last);
    const seen: unknown[] = [];
    let cursor = '';
    do {
      const page = (await get(`/v1/scores/ranker-v1?suite=search&history=true&limit=4${cursor}`)).body;
      seen.push(...page.items);
      cursor = page.nextCursor === undefined ? '' : `&cursor=${page.nextCursor}`;
    } while (cursor !== '');
    expect(seen).toEqual(whole);
  });

  test('an explanation adds up to the composite that was published, at the last tick and at an earlier one', async () => {
    const history = (await get('/v1/scores/ranker-v2?suite=search&history=true')).body.items;
    for (const [path, score] of [
      ['/v1/scores/ranker-v2/explain', history[0]],
      [`/v1/scores/ranker-v2/explain?suite=search&at=${history[3].at}`, history[3]],
      [`/v1/scores/ranker-v2/explain?at=${encodeURIComponent(`${history[3].at.slice(0, 17)}59Z`)}`, history[3]],
    ] as const) {
      const { body } = await get(path);
      expect(body).toMatchObject({ suite: 'search', at: score.at, composite: score.composite, rank: score.rank });
      expect(Math.abs(body.sum - score.composite)).toBeLessThanOrEqual(body.tolerance);
      expect(body.windows[0].missing).toEqual(['rare']);
    }
  });

  test('a board of an earlier tick is the one that was published then', async () => {
    const now = (await get('/v1/leaderboards/search')).body;
    expect(now.models.map((model: { revision: number }) => model.revision)).toEqual([0, 0]);
    const atMs = EPOCH_MS + 4 * TICK_MS;
    const { body } = await get(`/v1/leaderboards/search?at=${new Date(atMs + 1000).toISOString()}`);
    expect(body.at).toBe(new Date(atMs).toISOString());
    for (const { revision, ...model } of body.models) {
      const history = (await get(`/v1/scores/${model.model}?suite=search&history=true`)).body.items;
      expect(history.find((score: { at: string }) => score.at === body.at)).toMatchObject({ ...model, revision });
    }
    expect((await get('/v1/leaderboards/search?at=2020-01-01T00:00:00Z')).body).toMatchObject({ at: null, models: [] });
  });

  test.each([
    ['/v1/scores/nobody', 404, 'not_found'],
    ['/v1/scores/nobody?suite=search&history=true', 404, 'not_found'],
    ['/v1/scores/nobody/explain', 404, 'not_found'],
    ['/v1/scores/ranker-v1?history=true', 422, 'required'],
    ['/v1/scores/ranker-v1?limit=3', 422, 'value'],
    ['/v1/scores/ranker-v1/explain?at=yesterday', 422, 'time_format'],
    ['/v1/leaderboards/search?at=1', 422, 'time_format'],
    ['/v1/leaderboards/search?tick=1', 422, 'unknown_field'],
  ])('%s is %i %s', async (path, status, code) => {
    const answer = await get(path);
    expect([answer.status, answer.body.code]).toEqual([status, code]);
  });
});

interface Received {
  readonly id: string | undefined;
  readonly type: string;
  readonly data: string | undefined;
}

/** Blocks of a stream until `enough` of them are events, or nothing comes for so long; then the reader goes. */
async function listen(
  query: string,
  after: string | undefined,
  enough: number,
  patienceMs = 30_000,
): Promise<readonly Received[]> {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), patienceMs);
  const headers = { ...auth, ...(after === undefined ? {} : { 'last-event-id': after }) };
  const blocks: Received[] = [];
  try {
    const response = await fetch(`${url}/v1/events${query}`, { headers, signal: stop.signal });
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/event-stream; charset=utf-8']);
    for await (const block of readBlocks(response.body!)) {
      timer.refresh();
      blocks.push(block);
      if (eventsOf(blocks).length >= enough) break;
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  }
  clearTimeout(timer);
  stop.abort();
  return blocks;
}

async function seal(): Promise<void> {
  await sequenceOnce(base.db, await currentEpoch(base.db), h.signer, systemClock);
}

async function storedTicks(): Promise<number> {
  const rows = await base.db.asTenant('acme', (tx) => tx.query<{ n: bigint }>('select count(*) as n from score_ticks'));
  return Number(rows[0]!.n);
}

const eventsOf = (blocks: readonly Received[]) => blocks.filter((block) => block.data !== undefined);

describe('GET /v1/events', () => {
  test('tells each published tick, late data, and each audit event, in order, to a reader from the first position on', async () => {
    await seal();
    await send([report(EPOCH_MS + 20 * MINUTE_MS)]);
    const blocks = eventsOf(await listen('', '0.0-0', (await storedTicks()) + 4));
    const ticks = blocks.filter(({ type }) => type === 'score.tick').map(({ data }) => JSON.parse(data!));
    const finals = ticks.filter(({ revised }) => !revised).map(({ tick }) => Date.parse(tick));
    expect(finals).toEqual(Array.from({ length: 11 }, (_, i) => EPOCH_MS + (i + 1) * TICK_MS));
    expect(ticks.some(({ revised }) => revised)).toBe(true);
    expect(ticks[0]).toMatchObject({ suite: 'search', suiteHash: suite.hash, models: 2, trace: expect.any(String) });
    const audits = blocks.filter(({ type }) => type !== 'score.tick').map(({ data }) => JSON.parse(data!));
    expect(audits.map(({ type }) => type)).toEqual([
      'suite.applied',
      'model.registered',
      'model.version',
      'model.version',
    ]);
    expect(audits.map(({ seq }) => seq)).toEqual([0, 1, 2, 3]);
  });

  test('loses and doubles nothing across reconnects, wherever a reader breaks off, while the consumer goes on', async () => {
    const start = (await listen('', '0.0-0', 1))[0]!.id!;
    const lastMs = EPOCH_MS + 60 * 3 * MINUTE_MS;
    let done = false;
    const writing = (async () => {
      for (let i = 0; i < 6; i++) await send([report(lastMs + (i + 1) * TICK_MS), report(lastMs + i * TICK_MS)]);
      done = true;
    })();
    const next = random(3);
    const broken: Received[] = [];
    let last = start;
    while (!done || broken.length < (await storedTicks()) - 1) {
      const some = await listen('?type=score.tick', last, 1 + Math.floor(next() * 3), 1_200);
      last = some.findLast(({ id }) => id !== undefined)?.id ?? last;
      broken.push(...eventsOf(some));
    }
    broken.push(...eventsOf(await listen('?type=score.tick', last, 1, 700)));
    await writing;
    const whole = eventsOf(await listen('?type=score.tick', start, broken.length));
    expect(broken.map(({ data }) => data)).toEqual(whole.map(({ data }) => data));
    expect(new Set(broken.map(({ data }) => data)).size).toBe(broken.length);
    expect(broken).toHaveLength((await storedTicks()) - 1);
  });

  test('never passes over a transaction that began earlier and commits later', async () => {
    const insert = `insert into score_ticks (tenant, suite, suite_hash, tick_ms, models, revised, trace_id) values ('acme', $1, '', 0, 1, false, '')`;
    const { position } = await base.db.asTenant('acme', async (tx) => ({ position: await positionNow(tx, 'acme') }));
    const read = async () => {
      const filter = { suite: undefined, types: ['score'] };
      const page = await base.db.asTenant('acme', (tx) => eventsAfter(tx, 'acme', position, filter));
      return page!.events.map(({ data }) => data.suite);
    };
    await base.db.asEngine(async (early) => {
      await early.execute(insert, ['early']);
      await base.db.asEngine((late) => late.execute(insert, ['late']));
      expect(await read()).toEqual([]);
    });
    await horizonPassed(base.db);
    expect(await read()).toEqual(['early', 'late']);
  });

  test('a filter takes a suite, and types by their beginnings; another tenant sees nothing of it', async () => {
    const types = (blocks: readonly Received[]) => new Set(eventsOf(blocks).map(({ type }) => type));
    expect(types(await listen('?suite=search&type=suite', '0.0-0', 1))).toEqual(new Set(['suite.applied']));
    expect(types(await listen('?suite=search&type=score,model', '0.0-0', 9))).toEqual(new Set(['score.tick']));
    expect(eventsOf(await listen('?suite=other', '0.0-0', 1, 700))).toEqual([]);
    const models = await listen('?type=model', '0.0-0', 3);
    expect(types(models)).toEqual(new Set(['model.registered', 'model.version']));
    const rest = await listen('?type=model', eventsOf(models)[0]!.id, 3, 700);
    expect(eventsOf(rest).map(({ data }) => data)).toEqual(
      eventsOf(models)
        .slice(1)
        .map(({ data }) => data),
    );
    const page = await base.db.asTenant('rival', (tx) =>
      eventsAfter(tx, 'rival', '0.0-0', { suite: undefined, types: undefined }),
    );
    expect(page).toEqual({ events: [], position: '0.0-0', more: false });
  });

  test('starts now where no id is sent, and gives one at once, so that nothing is lost before the first event', async () => {
    const stop = new AbortController();
    const response = await fetch(`${url}/v1/events?type=score`, { headers: auth, signal: stop.signal });
    const blocks = readBlocks(response.body!);
    const first = (await blocks.next()).value!;
    expect([first.id, first.data]).toEqual([expect.stringMatching(/^\d+\.\d+-\d+$/), undefined]);
    const told = blocks.next();
    await send([report(EPOCH_MS + 300 * MINUTE_MS)]);
    expect((await told).value).toMatchObject({ type: 'score.tick' });
    stop.abort();
  });

  test('an id that was never given out is refused before anything is sent', async () => {
    for (const id of ['x', '1.2', '-1.0-0', `${'9'.repeat(19)}.0-0`]) {
      const response = await fetch(`${url}/v1/events`, { headers: { ...auth, 'last-event-id': id } });
      expect([response.status, (await response.json()) as object]).toEqual([
        400,
        expect.objectContaining({ code: 'last_event_id' }),
      ]);
    }
    expect((await fetch(`${url}/v1/events`, { method: 'HEAD', headers: auth })).status).toBe(405);
  });

  test('at most 64 streams are open at a time, and those that were left are free again', async () => {
    const stop = new AbortController();
    const opened = await Promise.all(
      Array.from({ length: 64 }, () => fetch(`${url}/v1/events`, { headers: auth, signal: stop.signal })),
    );
    expect(opened.every(({ status }) => status === 200)).toBe(true);
    const refused = await fetch(`${url}/v1/events`, { headers: auth });
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
    ended.length = 0;
    stop.abort();
    await expect.poll(() => open).toBe(0);
    expect(ended).toEqual(Array(64).fill('left'));
  });

  test('every stream ends, whole, when the server stops, and does not hold it up', async () => {
    const own = server();
    await own.listen({ host: '127.0.0.1', port: 0 });
    const { port } = own.server.address() as { port: number };
    const response = await fetch(`http://127.0.0.1:${port}/v1/events`, { headers: auth });
    const whole = response.text();
    // The reader goes on reading: a close that waited for it would not end, and one that cut it would leave it without an end.
    await own.close();
    expect(await whole).toMatch(/^retry: 2000\nid: \d+\.\d+-\d+\n\n$/);
  });
});

/** Passes bytes on to the server until it is told to cut all connections. */
async function cuttingProxy(): Promise<{ readonly server: Server; readonly url: string; cut(): void }> {
  const sockets = new Set<Socket>();
  const target = new URL(url);
  const proxy = createServer((socket) => {
    const onward = connect(Number(target.port), target.hostname);
    for (const one of [socket, onward]) {
      sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => sockets.delete(one));
    }
    socket.pipe(onward).pipe(socket);
    socket.on('close', () => onward.destroy());
    onward.on('close', () => socket.destroy());
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const { port } = proxy.address() as { port: number };
  return {
    server: proxy,
    url: `http://127.0.0.1:${port}`,
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

function merit(at: string, ...args: string[]): ChildProcess {
  return spawn(process.execPath, ['--conditions=merit-source', MAIN, ...args], {
    cwd: home,
    env: { PATH: process.env.PATH ?? '', MERIT_URL: at, MERIT_TOKEN_FILE: join(home, 'token') },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function output(
  child: ChildProcess,
): Promise<{ readonly code: number | null; readonly out: string; readonly err: string }> {
  const texts = { out: '', err: '' };
  child.stdout?.on('data', (chunk) => {
    texts.out += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    texts.err += chunk;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...texts };
}

describe('the command line', () => {
  test('merit events goes on behind the last event when its connection is cut', async () => {
    const proxy = await cuttingProxy();
    const stored = await storedTicks();
    const count = String(stored + 2);
    const child = merit(
      proxy.url,
      'events',
      '--type',
      'score.tick',
      '--after',
      '0.0-0',
      '--count',
      count,
      '-o',
      'json',
    );
    let seen = '';
    child.stdout?.on('data', (chunk) => {
      seen += chunk;
    });
    const ending = output(child);
    await expect.poll(() => seen.split('\n').length, { timeout: 20_000 }).toBe(stored + 1);
    proxy.cut();
    const lastMs = EPOCH_MS + 500 * MINUTE_MS;
    await send([report(lastMs)]);
    const { code, out } = await ending;
    proxy.server.close();
    proxy.cut();
    expect(code).toBe(0);
    const events = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { id: string; type: string; data: object });
    const whole = eventsOf(await listen('?type=score.tick', '0.0-0', Number(count)));
    expect(events.map(({ type, data }) => [type, data])).toEqual(
      whole.map(({ type, data }) => [type, JSON.parse(data!)]),
    );
  });

  test('merit scores shows, explains and looks back; merit leaderboard shows an earlier tick', async () => {
    const [shown, explained, json, history, board] = await Promise.all([
      output(merit(url, 'scores', 'ranker-v1')),
      output(merit(url, 'scores', 'ranker-v1', '--explain')),
      output(
        merit(
          url,
          'scores',
          'ranker-v1',
          '--explain',
          '--at',
          new Date(EPOCH_MS + TICK_MS).toISOString(),
          '-o',
          'json',
        ),
      ),
      output(merit(url, 'scores', 'ranker-v1', '--history', '--suite', 'search', '--limit', '5')),
      output(merit(url, 'leaderboard', 'search', '--at', new Date(EPOCH_MS + 3 * TICK_MS).toISOString())),
    ]);
    expect([shown, explained, json, history, board].map(({ code, err }) => [code, err])).toEqual(
      Array(5).fill([0, '']),
    );
    expect(shown.out).toMatch(/^SUITE +AT +WINDOW +SCORE +LOWER +UPPER +N +REVISION\nsearch .* all /);
    expect(explained.out).toMatch(/made of +0\.\d{4} from reports \+ 0\.\d{4} from the prior\n/);
    expect(explained.out).toMatch(/\n1h +rare .* no_reports\n/);
    const answer = JSON.parse(json.out) as { sum: number; composite: number; at: string };
    expect(answer.at).toBe(new Date(EPOCH_MS + TICK_MS).toISOString());
    expect(history.out.trim().split('\n')).toHaveLength(6);
    expect(history.out).toMatch(/^AT +RANK +COMPOSITE +LOWER +UPPER +N +REVISION +STATUS\n/);
    expect(board.out).toMatch(/^RANK +MODEL +COMPOSITE +LOWER +UPPER +N +REVISION +STATUS\n(\d .*ranked\n){2}$/);
  });

  test('what cannot be asked ends with 2 or 3 and tells why', async () => {
    const cases = [
      [['scores', 'm', '--history'], 2],
      [['scores', 'ranker-v1', '--explain', '--at', 'noon'], 3],
      [['events', '--after', 'x', '--count', '1'], 3],
    ] as const;
    for (const [args, code] of cases) {
      const answer = await output(merit(url, ...args));
      expect([answer.code, answer.err]).toEqual([code, expect.stringMatching(/^merit: .{8}/)]);
    }
  });
});
