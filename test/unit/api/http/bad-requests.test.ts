import type { FastifyInstance, LightMyRequestResponse } from 'fastify';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { buildHttpServer } from '../../../../api/http/server.ts';
import { type Fake, fakeServices, JOB_ID, TOKEN } from './fake-services.ts';

let fake: Fake;
let app: FastifyInstance;

beforeEach(() => {
  fake = fakeServices();
  app = buildHttpServer(fake.services);
});
afterEach(() => app.close());

const auth = { authorization: `Bearer ${TOKEN}`, host: '127.0.0.1:7070' };
const job = { name: 'train', division: 'vision', resources: { cpus: 1 }, pools: ['cpu'], run: 'true' };

function post(
  body: string | Buffer | object,
  headers: Record<string, string> = {},
  url = '/v1/jobs',
): Promise<LightMyRequestResponse> {
  const payload = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  return app.inject({
    method: 'POST',
    url,
    headers: { ...auth, 'content-type': 'application/json', 'idempotency-key': 'k', ...headers },
    payload,
  });
}

function expectProblem(response: LightMyRequestResponse, status: number, code: string): void {
  const problem = response.json();
  expect([response.statusCode, problem.code]).toEqual([status, code]);
  expect(response.headers['content-type']).toContain('application/problem+json');
  expect(problem).toMatchObject({
    type: `urn:merit:problem:${code}`,
    status,
    trace_id: expect.stringMatching(/^[0-9a-f]{32}$/),
    reasons: expect.any(Array),
  });
  expect(JSON.stringify(problem)).not.toMatch(/\bat .*\.ts:|node_modules|select /);
  expect(fake.rejected).toEqual([code]);
  expect(fake.submitted).toBe(0);
}

const bodies: readonly (readonly [string, string, string | Buffer, number, string])[] = [
  ['H01', 'an empty body', '', 400, 'body_required'],
  ['H02', 'null', 'null', 400, 'not_an_object'],
  ['H03', 'an array', '[]', 400, 'not_an_object'],
  ['H04', 'a truncated text', '{"gpus":', 400, 'json_syntax'],
  ['H06', 'a duplicate key', '{"gpus":1,"gpus":100}', 400, 'duplicate_key'],
  ['H07', '__proto__', '{"__proto__":{"role":"admin"}}', 400, 'forbidden_key'],
  ['H08', 'constructor.prototype', '{"constructor":{"prototype":{"x":1}}}', 400, 'forbidden_key'],
  ['H09', '100,000 nested arrays', '['.repeat(100_000), 400, 'depth'],
  ['H11', 'one byte more than 1 MiB', `"${'x'.repeat(1024 * 1024 - 1)}"`, 413, 'body_too_large'],
  [
    'H22',
    'invalid UTF-8 in a string',
    Buffer.concat([Buffer.from('{"name":"'), Buffer.of(0xc3, 0x28), Buffer.from('"}')]),
    400,
    'encoding',
  ],
  ['H23', 'a lone surrogate', '{"name":"\\ud800"}', 400, 'encoding'],
  ['H24', 'NUL in a text', '{"name":"\\u0000"}', 400, 'encoding'],
];

describe('a body that is not sound JSON is refused before it means anything', () => {
  test.each(bodies)('%s: %s', async (_row, _what, body, status, code) => {
    expectProblem(await post(body), status, code);
  });

  test('H04: the reply does not echo the body', async () => {
    const response = await post('{"secret-word":');
    expect(response.body).not.toContain('secret-word');
  });

  test('H07: no prototype is touched', async () => {
    await post('{"__proto__":{"role":"admin"}}');
    expect(({} as { role?: string }).role).toBeUndefined();
  });
});

describe('a quantity that is not one is refused by what is wrong with it', () => {
  const quantities: readonly (readonly [string, string, string])[] = [
    ['H26', '0', 'range'],
    ['H27', '1.5', 'integer'],
    ['H28', '1e400', 'finite'],
    ['H29', '9007199254740993', 'unsafe_integer'],
  ];
  test.each(quantities)('%s: cpus %s is 422 %s', async (_row, literal, code) => {
    const text = JSON.stringify(job).replace('"cpus":1', `"cpus":${literal}`);
    expectProblem(await post(text), 422, code);
  });
});

describe('what a body says is held to its schema', () => {
  test('H33: an unknown field is 422, never ignored', async () => {
    expectProblem(await post({ ...job, state: 'applied' }), 422, 'unknown_field');
  });
  test('H36: a pool id of 300 characters is 422 length', async () => {
    expectProblem(await post({ ...job, pools: ['a'.repeat(300)] }), 422, 'length');
  });
  test.each(['po\u202eol', 'po\u200bol', 'p\u043eol'])('H37: the pool id %j is 422 charset', async (pool) => {
    expectProblem(await post({ ...job, pools: [pool] }), 422, 'charset');
  });
  test('H39: a long text in a field with a pattern is refused by its length', async () => {
    expectProblem(await post({ ...job, name: `${'a'.repeat(50_000)}!` }), 422, 'length');
  });
  test('every refusal is told at once, each with its mend', async () => {
    const problem = (await post({ division: 'VISION', pools: [], run: '' })).json();
    expect(problem.reasons.length).toBeGreaterThanOrEqual(4);
    for (const reason of problem.reasons)
      expect(reason).toMatchObject({ code: expect.any(String), field: expect.any(String), mend: expect.any(String) });
  });
});

describe('encodings and character sets other than plain UTF-8 are refused unread', () => {
  test.each([
    ['H18', { 'content-encoding': 'br' }, 'encoding_unsupported'],
    ['H19', { 'content-encoding': 'gzip, gzip, gzip' }, 'encoding_unsupported'],
    ['H21', { 'content-type': 'application/json; charset=utf-16' }, 'charset'],
    ['no JSON', { 'content-type': 'text/xml' }, 'media_type'],
  ])('%s', async (_row, headers, code) => {
    expectProblem(await post(JSON.stringify(job), headers as Record<string, string>), 415, code);
  });
});

describe('paths, queries and methods mean what they say', () => {
  const get = (url: string, headers: Record<string, string> = {}) =>
    app.inject({ method: 'GET', url, headers: { ...auth, ...headers } });
  test.each([
    '/v1/jobs/..%2f..%2fadmin',
    '/v1/jobs/%2e%2e',
    '/v1/jobs/%zz',
    `/v1/jobs/${'x'.repeat(3000)}`,
    '/v1/nothing',
  ])('H34: %s is 404', async (url) => {
    expectProblem(await get(url), 404, 'not_found');
  });
  test('H36, H37: a pool that cannot be one is 422', async () => {
    expect((await get(`/v1/pools/${'a'.repeat(300)}`)).json().code).toBe('length');
    expect((await get(`/v1/pools/${encodeURIComponent('po\u202eol')}`)).json().code).toBe('charset');
  });
  test('H38: a filter is a literal', async () => {
    expect((await get(`/v1/jobs?state=${encodeURIComponent("' OR 1=1; drop table allocations--")}`)).statusCode).toBe(
      200,
    );
  });
  test.each(['1000000000', '-1', '1e2', '0', '', '1.0', '501'])('H41: limit=%s is 422', async (limit) => {
    expect((await get(`/v1/jobs?limit=${limit}`)).statusCode).toBe(422);
  });
  test('a query member that does not exist is 422', async () => {
    expectProblem(await get('/v1/jobs?limt=5'), 422, 'unknown_field');
  });
  test.each(['/v1/pools/east:drain', '/v1/models/ranker:retrain?x=1'])(
    'H53: PUT %s is 405, and not a thing of that name',
    async (url) => {
      const response = await app.inject({ method: 'PUT', url, headers: auth });
      expectProblem(response, 405, 'method');
      expect(response.headers.allow).toBe('POST');
    },
  );

  test('H53: a known path under another method is 405 and names the right ones', async () => {
    const response = await app.inject({ method: 'DELETE', url: '/v1/jobs', headers: auth });
    expectProblem(response, 405, 'method');
    expect(response.headers.allow).toBe('GET, POST');
  });
  test('a job that is another tenant’s or nobody’s is the same 404', async () => {
    const one = await get('/v1/jobs/01k00000000000000000000001');
    const other = await get('/v1/jobs/01k00000000000000000000002');
    expect(one.statusCode).toBe(404);
    expect({ ...one.json(), trace_id: '' }).toEqual({ ...other.json(), trace_id: '' });
  });
});

describe('cursors belong to one tenant and one list', () => {
  const list = (query: string, token = TOKEN) =>
    app.inject({ method: 'GET', url: `/v1/jobs${query}`, headers: { ...auth, authorization: `Bearer ${token}` } });
  test('the cursor of a page leads to the next', async () => {
    const first = (await list('')).json();
    expect(first.nextCursor).toEqual(expect.any(String));
    const second = await list(`?cursor=${first.nextCursor}`);
    expect(second.json()).toEqual({ items: first.items });
  });
  test.each(['AAAA', 'x'.repeat(600), '%00'])('H42: the forged cursor %s is refused', async (cursor) => {
    expect((await list(`?cursor=${cursor}`)).statusCode).toBeGreaterThanOrEqual(400);
  });
  test('H42: a cursor with one bit changed is 400 cursor', async () => {
    const { nextCursor } = (await list('')).json() as { nextCursor: string };
    const bytes = Buffer.from(nextCursor, 'base64url');
    bytes[bytes.length - 1] = bytes.at(-1)! ^ 1;
    expectProblem(await list(`?cursor=${bytes.toString('base64url')}`), 400, 'cursor');
  });
  test('a cursor of one list is none for another filter', async () => {
    const { nextCursor } = (await list('')).json() as { nextCursor: string };
    expectProblem(await list(`?state=waiting&cursor=${nextCursor}`), 400, 'cursor');
  });
});

describe('who asks is proved before a body is read', () => {
  test.each([
    undefined,
    'Bearer wrong-wrong-wrong-wrong',
    'Basic abc',
    'bearer',
    `Bearer ${TOKEN} `,
    'Bearer eyJhbGciOiJub25lIn0.e30.',
  ])('H49: %s is 401', async (authorization) => {
    const headers: Record<string, string> = {
      host: 'localhost',
      ...(authorization === undefined ? {} : { authorization }),
    };
    const response = await app.inject({ method: 'POST', url: '/v1/jobs', headers, payload: '{' });
    expectProblem(response, 401, 'unauthenticated');
    expect(response.headers['www-authenticate']).toContain('Bearer');
  });
  test('H51: an identity without the function is 403', async () => {
    const reader = fakeServices({
      identify: async () => ({ principal: 'p', tenant: 't', functions: ['read'], producers: 'any' }),
    });
    const server = buildHttpServer(reader.services);
    const response = await server.inject({
      method: 'POST',
      url: '/v1/jobs',
      headers: { host: 'localhost', 'content-type': 'application/json' },
      payload: '{}',
    });
    expect([response.statusCode, response.json().code]).toEqual([403, 'forbidden']);
    await server.close();
  });
  test('H52: an identity forged in a header is none', async () => {
    const response = await app.inject({
      method: 'GET',
      url: '/v1/jobs',
      headers: { host: 'localhost', 'x-spiffe-id': 'spiffe://a/b', 'x-forwarded-client-cert': 'x' },
    });
    expectProblem(response, 401, 'unauthenticated');
  });
  test.each(['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example:80', '127.0.0.1@evil'])(
    'H56: the foreign Host %s is 421',
    async (host) => {
      expectProblem(await app.inject({ method: 'GET', url: '/healthz', headers: { host } }), 421, 'host');
    },
  );
});

describe('a mutation happens once for its key', () => {
  test('H43: without a key it is refused', async () => {
    const response = await app.inject({
      method: 'POST',
      url: '/v1/jobs',
      headers: { ...auth, 'content-type': 'application/json' },
      payload: JSON.stringify(job),
    });
    expectProblem(response, 400, 'idempotency_key_required');
  });
  test.each([
    ['10 KB', 'k'.repeat(10_240)],
    ['a control character', 'a\tb'],
  ])('H44: a key of %s is refused', async (_what, key) => {
    expectProblem(await post(job, { 'idempotency-key': key }), 400, 'idempotency_key');
  });
  test('H46: 50 at once have one effect and get the same bytes', async () => {
    const replies = await Promise.all(Array.from({ length: 50 }, () => post(job)));
    expect(new Set(replies.map((reply) => `${reply.statusCode} ${reply.body}`)).size).toBe(1);
    expect([fake.submitted, fake.keys.hits]).toEqual([1, 49]);
    expect(replies.filter((reply) => reply.headers['idempotent-replayed'] === 'true')).toHaveLength(49);
    expect(replies[0]!.headers.location).toBe(`/v1/jobs/${JOB_ID}`);
  });
  test('another body under the same key is 422', async () => {
    await post(job);
    const other = await post({ ...job, name: 'other' });
    expect([other.statusCode, other.json().code]).toEqual([422, 'idempotency_key_reused']);
  });
  test('a refused request leaves no trace, so that the mended one may use its key', async () => {
    const refusing = fakeServices();
    const failing = {
      ...refusing.services,
      jobs: { ...refusing.services.jobs, submit: async () => Promise.reject(new Error('no')) },
    };
    const server = buildHttpServer(failing);
    const response = await server.inject({
      method: 'POST',
      url: '/v1/jobs',
      headers: { ...auth, 'content-type': 'application/json', 'idempotency-key': 'k' },
      payload: JSON.stringify(job),
    });
    expect(response.statusCode).toBe(500);
    expect(refusing.keys.rows.size).toBe(0);
    await server.close();
  });
});

describe('versions guard changes', () => {
  const putSuite = (headers: Record<string, string>) =>
    app.inject({
      method: 'PUT',
      url: '/v1/suites/s',
      headers: { ...auth, 'content-type': 'application/json', ...headers },
      payload: '{"name":"s"}',
    });
  test('H47: a stale If-Match is 412', async () => {
    expectProblem(await putSuite({ 'if-match': '"2"' }), 412, 'stale');
  });
  test('a current If-Match passes and gives the new ETag', async () => {
    const response = await putSuite({ 'if-match': '"3"' });
    expect([response.statusCode, response.headers.etag]).toEqual([200, '"4"']);
  });
  test.each(['W/"3"', '"3", "4"', '3'])('the If-Match %s is 400', async (tag) => {
    expectProblem(await putSuite({ 'if-match': tag }), 400, 'if_match');
  });
  test('a GET with the version already held is 304', async () => {
    const response = await app.inject({
      method: 'GET',
      url: '/v1/suites/s',
      headers: { ...auth, 'if-none-match': '"3"' },
    });
    expect([response.statusCode, response.body]).toEqual([304, '']);
  });
});

describe('traces go through', () => {
  const trace = async (header: string) =>
    (await app.inject({ method: 'GET', url: '/v1/nothing', headers: { ...auth, traceparent: header } })).json()
      .trace_id as string;
  test('the caller’s trace id is kept', async () => {
    expect(await trace('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01')).toBe(
      '4bf92f3577b34da6a3ce929d0e0e4736',
    );
  });
  test.each([
    '',
    'x',
    `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
    `00-${'a'.repeat(10_000)}`,
    '00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01',
  ])('H54: the malformed traceparent %.20s gets a fresh one', async (header) => {
    expect(await trace(header)).toMatch(/^[0-9a-f]{32}$/);
    expect(await trace(header)).not.toBe(await trace(header));
  });
});

describe('an error of ours tells nothing of itself', () => {
  test('an unknown error is 500 internal without its text, and is in the log under its trace', async () => {
    const failing = fakeServices();
    const server = buildHttpServer({
      ...failing.services,
      readiness: () => Promise.reject(new Error('select password from users')),
    });
    const response = await server.inject({ method: 'GET', url: '/readyz', headers: { host: 'localhost' } });
    expect([response.statusCode, response.json().code]).toEqual([500, 'internal']);
    expect(response.body).not.toContain('password');
    expect(failing.errors).toEqual([expect.objectContaining({ trace: response.json().trace_id })]);
    await server.close();
  });
});
