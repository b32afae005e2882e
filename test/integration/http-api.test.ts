import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newBooking } from '../../core/booking.ts';
import { sequenceOnce } from '../../ledger/audit/sequencer.ts';
import { systemClock } from '../../platform/clock.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';

let world: HttpWorld;
const call: HttpWorld['call'] = (...args) => world.call(...args);
const count: HttpWorld['count'] = (table) => world.count(table);

beforeAll(async () => {
  world = await httpWorld(['suite-rollouts']);
  expect((await call('PUT', '/v1/pools/cpus', pool)).statusCode).toBe(201);
  expect((await call('PUT', '/v1/budgets/vision', budget)).statusCode).toBe(200);
});

afterAll(async () => {
  await world?.close();
});

const pool = {
  apiVersion: 'merit/v1',
  kind: 'Pool',
  name: 'cpus',
  provider: { kind: 'local' },
  flavours: [{ name: 'small', resource: 'cpu', capacity: 4, price: { currency: 'USD', perUnitHour: '0.50' } }],
  quotas: { vision: { small: 4 } },
};
const budget = { apiVersion: 'merit/v1', kind: 'Budget', division: 'vision', currency: 'USD', limit: '100.00' };
const job = {
  name: 'train',
  division: 'vision',
  resources: { cpus: 2 },
  pools: ['cpus'],
  lease: '1h',
  run: 'python train.py',
};

describe('a job at the door', () => {
  test('whose options its pools’ providers do not know is told so before it is booked, and by plan', async () => {
    const odd = { ...job, options: { local: { gpus: 1 }, rya: { spread: 'strict' } } };
    for (const url of ['/v1/jobs', '/v1/jobs:plan']) {
      const refused = await call('POST', url, odd);
      expect(refused.statusCode).toBe(422);
      expect(refused.json().reasons.map(({ field }: { field: string }) => field)).toEqual([
        'options.local.gpus',
        'options.rya',
      ]);
    }
    expect((await call('POST', '/v1/jobs', { ...job, options: { local: {} } })).statusCode).toBe(202);
  });

  test('is booked with its audit event under the caller’s trace, and can be read in every way', async () => {
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const booked = await call('POST', '/v1/jobs', job, { traceparent });
    expect(booked.statusCode).toBe(202);
    const view = booked.json();
    expect(booked.headers.location).toBe(`/v1/jobs/${view.id}`);
    expect(view).toMatchObject({
      name: 'train',
      state: 'waiting',
      traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
      requester: 'token:acme',
    });
    expect((await call('GET', `/v1/jobs/${view.id}`)).json()).toEqual(view);
    expect((await call('GET', `/v1/allocations/${view.id}`)).json()).toEqual({ ...view, proposals: [] });
    const { items } = (await call('GET', `/v1/jobs/${view.id}/events`)).json();
    expect(items).toEqual([
      expect.objectContaining({ type: 'booking.created', n: 1, trace: view.traceId, actor: 'token:acme' }),
    ]);
    expect((await call('GET', `/v1/jobs/${view.id}/why`)).json()).toMatchObject({
      state: 'waiting',
      position: expect.any(Number),
      reasons: [expect.objectContaining({ mend: expect.any(String) })],
    });
    expect((await call('GET', `/v1/jobs/${view.id}/cost`)).json()).toMatchObject({ held: '0.00', spent: '0.00' });
    expect((await call('GET', `/v1/jobs/${view.id}/logs`)).statusCode).toBe(404);
    expect((await call('GET', `/v1/jobs/${view.id}/artifacts`)).statusCode).toBe(404);
    expect((await call('GET', `/v1/jobs/${view.id}/receipt`)).json()).toMatchObject({ status: 409, code: 'not_yet' });
    expect((await call('GET', `/v1/jobs/${view.id}/verification`)).json()).toMatchObject({
      status: 409,
      code: 'no_artifacts',
    });
  });

  test('tells that its provider is away, though its state itself has nothing against it', async () => {
    const { id } = (await call('POST', '/v1/jobs', { ...job, name: 'on-a-dead-cluster' })).json();
    const placed = {
      state: 'reserved',
      attempt: 1,
      placement: {
        pool: 'cpus',
        flavour: 'small',
        provider: 'local',
        gpuMilli: '0',
        cpuMilli: '2000',
        holdCents: '100',
        currency: 'USD',
        centsPerUnitHour: '50',
      },
      policy: { decisionId: 'd', policyVersion: 'v', requestHash: 'r', signatures: 0 },
    };
    await world.database.db.asEngine((tx) =>
      tx.execute("update bookings set state = 'reserved', data = $2 where booking_id = $1", [
        id,
        JSON.stringify(placed),
      ]),
    );
    expect((await call('GET', `/v1/jobs/${id}/why`)).json()).toMatchObject({ state: 'reserved', reasons: [] });
    world.provider.away = 'Ray is unreachable';
    expect((await call('GET', `/v1/jobs/${id}/why`)).json()).toMatchObject({
      reasons: [{ code: 'provider_away', text: 'the provider of pool cpus is away: Ray is unreachable' }],
    });
    world.provider.away = undefined;
    await world.database.db.asEngine((tx) =>
      tx.execute("update bookings set state = 'waiting', data = $2 where booking_id = $1", [
        id,
        JSON.stringify(newBooking()),
      ]),
    );
  });

  test('is planned by the server’s own planner, at what it can cost at most, without booking anything', async () => {
    const before = await count('bookings');
    const behind = (await call('POST', '/v1/jobs:plan', job)).json();
    expect(behind).toMatchObject({ verdict: 'wait', position: 4, eta: expect.any(String) });
    expect(behind.offers).toMatchObject([{ starts: behind.eta, wait: behind.reasons[0].code, quote: null }]);
    world.provider.offers = [{ flavour: 'small', spot: false, currency: 'USD', centsPerUnitHour: 75n }];
    const plan = (await call('POST', '/v1/jobs:plan', { ...job, priority: 5 })).json();
    expect(plan).toMatchObject({
      verdict: 'admit',
      position: 1,
      offers: [
        {
          pool: 'cpus',
          flavour: 'small',
          price: '0.50',
          maxCost: '1.00',
          free: '4',
          quotaLeft: '4',
          budgetLeft: '100.00',
          quote: '0.75 USD',
          starts: expect.any(String),
          chosen: true,
        },
      ],
    });
    const tooLarge = (await call('POST', '/v1/jobs:plan', { ...job, resources: { cpus: 5 } })).json();
    expect(tooLarge).toMatchObject({
      verdict: 'infeasible',
      reasons: [expect.objectContaining({ code: expect.any(String), mend: expect.any(String) })],
    });
    expect(await count('bookings')).toBe(before);
  });

  test('is seen by pool and division in what is used and waited for, and is listed by when it was booked', async () => {
    const top = (await call('GET', '/v1/top')).json();
    expect(top.flavours).toMatchObject([
      { pool: 'cpus', flavour: 'small', resource: 'cpu', capacity: '4', used: '0', free: '4' },
    ]);
    const [division] = top.divisions;
    expect(division).toMatchObject({ division: 'vision', nominal: '4', used: '0', borrowed: '0' });
    expect(division.waiting).toBeGreaterThan(0);
    const all = (await call('GET', '/v1/jobs?live=true')).json().items.length;
    const since = new Date(Date.now() - 3_600_000).toISOString();
    expect((await call('GET', `/v1/jobs?live=true&since=${since}`)).json().items).toHaveLength(all);
    const later = new Date(Date.now() + 3_600_000).toISOString();
    expect((await call('GET', `/v1/jobs?since=${later}`)).json().items).toEqual([]);
    expect((await call('GET', '/v1/jobs?since=yesterday')).statusCode).toBe(422);
  });

  test('that is held is not planned until it is let go, and only what waits can be held', async () => {
    const { id } = (await call('POST', '/v1/jobs', { ...job, name: 'hold-me' })).json();
    expect((await call('POST', `/v1/jobs/${id}:hold`)).json()).toMatchObject({
      state: 'waiting',
      reasons: [{ code: 'held' }],
    });
    expect((await call('GET', `/v1/jobs/${id}/why`)).json().reasons.map((one: { code: string }) => one.code)).toContain(
      'held',
    );
    expect((await call('POST', `/v1/jobs/${id}:release`)).json()).toMatchObject({ state: 'waiting', reasons: [] });
    await call('POST', `/v1/jobs/${id}:cancel`);
    const late = await call('POST', `/v1/jobs/${id}:hold`);
    expect([late.statusCode, late.json().code]).toEqual([409, 'not_waiting']);
    const types = (await call('GET', `/v1/jobs/${id}/events`)).json().items.map((one: { type: string }) => one.type);
    expect(types).toEqual(['booking.created', 'booking.held', 'booking.let_go', 'booking.cancelled']);
  });

  test('of an array is booked as its tasks, in one go', async () => {
    const before = await count('bookings');
    const booked = (
      await call('POST', '/v1/jobs', { ...job, name: 'sweep', array: { count: 3, max_parallel: 2 } })
    ).json();
    expect(booked.tasks).toHaveLength(3);
    expect(booked.tasks[0]).toBe(booked.id);
    const specs = await Promise.all(
      booked.tasks.map(async (id: string) => (await call('GET', `/v1/jobs/${id}`)).json().spec),
    );
    expect(specs.map((spec) => spec.array)).toEqual(
      [0, 1, 2].map((index) => ({ count: 3, maxParallel: 2, index, id: booked.id })),
    );
    expect(await count('bookings')).toBe(before + 3);
    const none = await call('POST', '/v1/jobs', { ...job, depends_on: ['01k00000000000000000000000'] });
    expect([none.statusCode, none.json().reasons[0].code]).toEqual([422, 'unknown_job']);
    for (const id of booked.tasks) await call('POST', `/v1/jobs/${id}:cancel`);
  });

  test('is cancelled once, however often it is asked', async () => {
    const { id } = (await call('POST', '/v1/jobs', { ...job, name: 'stop-me' })).json();
    expect((await call('POST', `/v1/jobs/${id}:cancel`)).json()).toMatchObject({
      state: 'cancelled',
      reasons: [expect.objectContaining({ code: 'cancelled' })],
    });
    expect((await call('POST', `/v1/jobs/${id}:cancel`)).statusCode).toBe(200);
    const { items } = (await call('GET', `/v1/jobs/${id}/events`)).json();
    expect(items.map((event: { type: string }) => event.type)).toEqual(['booking.created', 'booking.cancelled']);
  });

  test('of a division that does not exist, or with code that was never stored, is refused and leaves nothing', async () => {
    const before = [await count('bookings'), await count('audit_events'), await count('idempotency_keys')];
    expect((await call('POST', '/v1/jobs', { ...job, division: 'nowhere' })).json()).toMatchObject({
      status: 422,
      code: 'unknown_division',
    });
    expect((await call('POST', '/v1/jobs', { ...job, workdir: `code:${'a'.repeat(64)}` })).json()).toMatchObject({
      status: 422,
      code: 'unknown_code',
    });
    expect([await count('bookings'), await count('audit_events'), await count('idempotency_keys')]).toEqual(before);
  });

  test('H46: sent fifty times at once under one key is booked once, and every reply is the same bytes', async () => {
    const before = await count('bookings');
    const replies = await Promise.all(
      Array.from({ length: 50 }, () =>
        call('POST', '/v1/jobs', { ...job, name: 'once' }, { 'idempotency-key': 'the-one' }),
      ),
    );
    expect(new Set(replies.map((reply) => `${reply.statusCode} ${reply.headers.location} ${reply.body}`)).size).toBe(1);
    expect(await count('bookings')).toBe(before + 1);
    const [row] = await world.database.db.asEngine((tx) =>
      tx.query<{ hits: bigint }>("select hits from idempotency_keys where key = 'the-one'"),
    );
    expect(row?.hits).toBe(49n);
  });

  test('the same key belongs to each tenant alone', async () => {
    await call('PUT', '/v1/pools/cpus', pool, {}, 'rival');
    const mine = await call('POST', '/v1/jobs', job, { 'idempotency-key': 'shared' });
    const theirs = await call('POST', '/v1/jobs', job, { 'idempotency-key': 'shared' }, 'rival');
    expect([mine.statusCode, theirs.statusCode]).toEqual([202, 202]);
    expect(mine.json().id).not.toBe(theirs.json().id);
  });
});

describe('tenants see their own and nothing else', () => {
  test('H48: another tenant’s job is the same 404 as none, in every route', async () => {
    const { id } = (await call('POST', '/v1/jobs', job)).json();
    const nobody = '01k00000000000000000000000';
    for (const part of [
      '',
      '/why',
      '/events',
      '/cost',
      '/metrics',
      '/artifacts',
      '/logs',
      '/receipt',
      '/verification',
    ]) {
      const theirs = await call('GET', `/v1/jobs/${id}${part}`, undefined, {}, 'rival');
      const none = await call('GET', `/v1/jobs/${nobody}${part}`, undefined, {}, 'rival');
      expect([part, theirs.statusCode]).toEqual([part, 404]);
      expect({ ...theirs.json(), trace_id: '' }).toEqual({ ...none.json(), trace_id: '' });
    }
    expect((await call('POST', `/v1/jobs/${id}:cancel`, undefined, {}, 'rival')).statusCode).toBe(404);
    expect((await call('GET', `/v1/jobs/${id}`)).json().state).toBe('waiting');
  });

  test('H42: a cursor given to one tenant is none for another', async () => {
    const { nextCursor } = (await call('GET', '/v1/jobs?limit=1')).json();
    expect((await call('GET', `/v1/jobs?limit=1&cursor=${nextCursor}`, undefined, {}, 'rival')).json()).toMatchObject({
      status: 400,
      code: 'cursor',
    });
  });
});

describe('lists', () => {
  test('page through every row once, whatever the size of a page', async () => {
    for (let i = 0; i < 5; i++) await call('POST', '/v1/jobs', { ...job, name: `row-${i}` });
    for (const path of ['/v1/jobs?', '/v1/audit/events?', '/v1/pools?', '/v1/allocations?']) {
      const whole = (await call('GET', `${path}limit=500`)).json().items;
      const seen: unknown[] = [];
      let cursor = '';
      for (;;) {
        const page = (await call('GET', `${path}limit=2${cursor}`)).json();
        seen.push(...page.items);
        if (page.nextCursor === undefined) break;
        cursor = `&cursor=${page.nextCursor}`;
      }
      expect(seen).toEqual(whole);
    }
  });

  test('H38: a filter that is a piece of SQL finds nothing and harms nothing', async () => {
    const filter = encodeURIComponent("' OR 1=1; drop table bookings--");
    for (const path of [
      `/v1/jobs?name=${filter}`,
      `/v1/audit/events?subject=${filter}`,
      `/v1/quotas?division=${filter}`,
    ]) {
      expect((await call('GET', path)).json().items).toEqual([]);
    }
    expect(await count('bookings')).toBeGreaterThan(0);
  });
});

describe('pools and suites are changed by whoever read them last', () => {
  test('H47: If-Match of an older version changes nothing', async () => {
    const read = await call('GET', '/v1/pools/cpus');
    const larger = { ...pool, flavours: [{ ...pool.flavours[0], capacity: 8 }] };
    expect((await call('PUT', '/v1/pools/cpus', larger, { 'if-match': String(read.headers.etag) })).headers.etag).toBe(
      '"2"',
    );
    expect((await call('PUT', '/v1/pools/cpus', pool, { 'if-match': String(read.headers.etag) })).json()).toMatchObject(
      { status: 412, code: 'stale' },
    );
    expect((await call('GET', '/v1/pools/cpus')).json().flavours[0].capacity).toBe('8');
    expect((await call('PUT', '/v1/pools/cpus', pool, { 'if-none-match': '*' })).statusCode).toBe(412);
  });

  test('a suite is made, read back under its hash, and listed', async () => {
    const suite = {
      apiVersion: 'merit/v1',
      kind: 'Suite',
      name: 'digits',
      metrics: { accuracy: { direction: 'higher', floor: 0, ceil: 1 } },
    };
    const made = await call('PUT', '/v1/suites/digits', suite);
    expect(made.statusCode).toBe(201);
    expect(made.headers.etag).toBe(`"${made.json().hash}"`);
    expect((await call('PUT', '/v1/suites/digits', suite)).statusCode).toBe(200);
    expect((await call('GET', '/v1/suites')).json().items).toHaveLength(1);
    expect((await call('GET', '/v1/leaderboards/digits')).json()).toMatchObject({ suite: 'digits', models: [] });
    expect((await call('GET', '/v1/leaderboards/none')).statusCode).toBe(404);
    expect((await call('PUT', '/v1/suites/other', suite)).json()).toMatchObject({ status: 422, code: 'name' });
    const model = { apiVersion: 'merit/v1', kind: 'Model', name: 'digits', division: 'vision', suite: 'digits' };
    expect((await call('PUT', '/v1/models/digits', model)).statusCode).toBe(201);
    expect((await call('PUT', '/v1/models/digits/versions/digits-v1', { seat: true })).statusCode).toBe(200);
    expect((await call('PUT', '/v1/models/digits/aliases/live', { version: 'digits-v1' })).statusCode).toBe(200);
    expect((await call('GET', '/v1/models/digits')).json()).toMatchObject({
      versions: ['digits-v1'],
      aliases: { live: 'digits-v1' },
    });
    expect((await call('GET', '/v1/scores/digits-v1')).statusCode).toBe(404);
    expect((await call('GET', '/v1/promotions')).json()).toEqual({ items: [] });
  });
});

describe('reports', () => {
  const report = {
    schemaVersion: 1,
    reportId: 'r1',
    producer: 'ci',
    model: 'digits-v1',
    suite: 'digits',
    observedAt: '2026-11-23T10:00:00Z',
    metrics: { accuracy: 0.9 },
  };
  const lines = async () => {
    const { nextOffset } = await world.eventLog.end(REPORTS_TOPIC, 0);
    const messages = await world.eventLog.read(REPORTS_TOPIC, 0, 0n, Number(nextOffset) + 1, 1 << 30);
    return messages.flatMap((message) =>
      Buffer.from(message.value ?? [])
        .toString('utf8')
        .split('\n')
        .filter((line) => line !== ''),
    );
  };

  test('one is durable in the log when it is accepted, on one line, without an idempotency key', async () => {
    const response = await world.app.inject({
      method: 'POST',
      url: '/v1/eval-reports',
      headers: {
        host: 'localhost',
        authorization: 'Bearer token-of-acme-0123456789',
        'content-type': 'application/json',
      },
      payload: JSON.stringify(report, null, 2),
    });
    expect([response.statusCode, response.json().status]).toEqual([202, 'accepted']);
    expect((await lines()).map((line) => JSON.parse(line))).toEqual([report]);
  });

  test('a bad one is refused with its reason and not stored', async () => {
    const before = (await lines()).length;
    for (const bad of [
      { ...report, metrics: { accuracy: 'NaN' } },
      { ...report, observedAt: 'yesterday' },
      { ...report, reportId: '' },
    ]) {
      expect((await call('POST', '/v1/eval-reports', bad)).statusCode).toBe(422);
    }
    expect((await lines()).length).toBe(before);
  });

  test('a batch of any size is streamed, plain or gzipped', async () => {
    const before = (await lines()).length;
    const body = Array.from({ length: 5000 }, (_, i) => JSON.stringify({ ...report, reportId: `b${i}` })).join('\n');
    const send = (payload: string | Buffer, headers: Record<string, string>) =>
      world.app.inject({
        method: 'POST',
        url: '/v1/eval-reports:batch',
        headers: {
          host: 'localhost',
          authorization: 'Bearer token-of-acme-0123456789',
          'content-type': 'application/x-ndjson',
          ...headers,
        },
        payload,
      });
    expect((await send(body, {})).statusCode).toBe(202);
    expect((await send(gzipSync(body), { 'content-encoding': 'gzip' })).statusCode).toBe(202);
    expect((await lines()).length).toBe(before + 10_000);
    expect((await send('not gzip', { 'content-encoding': 'gzip' })).json()).toMatchObject({
      status: 400,
      code: 'gzip',
    });
    expect((await send(body, { 'content-encoding': 'br' })).statusCode).toBe(415);
  });
});

describe('proof', () => {
  test('the roots name the signing key with the time from which it counts', async () => {
    expect((await call('GET', '/v1/audit/roots')).json()).toMatchObject({
      format: 'merit-roots/1',
      keys: [{ algorithm: 'ed25519', keyId: expect.stringMatching(/^ed25519:/), validTo: null }],
    });
  });
  test('a key is followed by the one that the configuration names next, once', async () => {
    const keys = async () => (await call('GET', '/v1/audit/keys')).json().items;
    expect(await keys()).toMatchObject([{ state: 'in_use' }]);
    const asked = await call('POST', '/v1/audit/keys:rotate');
    expect(asked.statusCode).toBe(202);
    expect(asked.json()).toMatchObject({ state: 'asked_for', validFrom: null });
    expect((await call('POST', '/v1/audit/keys:rotate')).json()).toEqual(asked.json());
    expect(await keys()).toMatchObject([{ state: 'in_use' }, { id: asked.json().id, state: 'asked_for' }]);
    // It does not count before it is in use.
    expect((await call('GET', '/v1/audit/roots')).json().keys).toHaveLength(1);
  });

  test('the witness tells what it has seen, sees more when it is asked to, and hands its records out', async () => {
    const { db } = world.database;
    const epoch = await db.asEngine(
      async (tx) => (await tx.query<{ epoch: bigint }>('select epoch from leader_epochs'))[0]!.epoch,
    );
    while ((await sequenceOnce(db, epoch, world.signer, systemClock)).more);
    const before = (await call('GET', '/v1/audit/witness')).json();
    expect(before).toMatchObject({ witnessed: 0, generation: null, verdict: 'holds' });
    const { json, statusCode } = await call('POST', '/v1/audit/witness:push');
    expect(statusCode).toBe(200);
    expect(json()).toMatchObject({ pushed: true, generation: 1, verdict: 'holds', lagEvents: 0 });
    expect(json().witnessed).toBe(json().trail);
    const records = (await call('GET', '/v1/audit/witness-records')).body
      .split('\n')
      .filter((line: string) => line !== '');
    expect(records.map((line: string) => JSON.parse(line).format)).toEqual(['merit-witness/1']);
    const state = (await call('GET', '/v1/audit/state')).body.split('\n');
    expect(JSON.parse(state[0]!)).toMatchObject({ format: 'merit-state/1' });
    expect(state.at(-2)).toContain('"type":"end"');
  });

  test('the published document names every route that answers', async () => {
    const { paths, openapi } = (await call('GET', '/openapi.json')).json();
    expect(openapi).toBe('3.1.0');
    expect(Object.keys(paths)).toEqual(
      expect.arrayContaining([
        '/v1/jobs',
        '/v1/jobs:plan',
        '/v1/jobs/{id}:cancel',
        '/v1/eval-reports:batch',
        '/v1/jobs/{id}/receipt',
      ]),
    );
  });
});
