import type { FastifyInstance } from 'fastify';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { problemOf } from '../../../../api/http/problem.ts';
import { buildHttpServer } from '../../../../api/http/server.ts';
import { ProviderError } from '../../../../providers/provider.ts';
import { type Fake, fakeServices, JOB_ID, TOKEN } from './fake-services.ts';

let fake: Fake;
let app: FastifyInstance;

beforeEach(() => {
  fake = fakeServices();
  app = buildHttpServer(fake.services);
});
afterEach(() => app.close());

const headers = { authorization: `Bearer ${TOKEN}`, host: '127.0.0.1:7070' };
const get = (url: string) => app.inject({ method: 'GET', url, headers });

test.each(['/v1/jobs?state=%00', '/v1/promotions/%00', '/v1/audit/events?subject=a%00b', '/v1/models/%00'])(
  'H24: NUL in a path or query is refused before Postgres sees it: %s',
  async (url) => {
    const reply = await get(url);
    expect([reply.statusCode, reply.json().code]).toEqual([400, 'encoding']);
    expect(fake.errors).toEqual([]);
  },
);

test('H53: QUERY, which fastify knows and no route takes, is a method that is not allowed', async () => {
  const reply = await app.inject({ method: 'QUERY' as 'GET', url: '/v1/jobs', headers });
  expect([reply.statusCode, reply.json().code, reply.headers.allow]).toEqual([405, 'method', 'GET, POST']);
  expect(fake.errors).toEqual([]);
});

test('a provider that is away is told as away, and its hosts are not', () => {
  const told = problemOf(new ProviderError('transient', 'Ray at 10.0.0.7 is unreachable'), 't');
  expect([told.status, told.code, told.headers['retry-after']]).toEqual([503, 'provider_away', '1']);
  expect(JSON.stringify(told.document)).not.toContain('10.0.0.7');
  expect(problemOf(new ProviderError('not_found', 'x'), 't').status).toBe(404);
  expect(problemOf(new ProviderError('auth', 'x'), 't').status).toBe(502);
});

test('the requests are measured by the path that people write', async () => {
  await app.inject({
    method: 'POST',
    url: `/v1/jobs/${JOB_ID}:cancel`,
    headers: { ...headers, 'idempotency-key': 'k' },
  });
  expect(fake.requests).toEqual(['POST /v1/jobs/:id:cancel 2xx']);
});

interface Operation {
  readonly operationId?: string;
  readonly responses: Readonly<Record<string, unknown>>;
  readonly parameters?: readonly { readonly in: string; readonly name: string }[];
}

test('the published document has every route, each with a name of its own, its problems, and the headers it heeds', async () => {
  const routed = new Set<string>();
  const other = buildHttpServer(fakeServices().services);
  other.addHook('onRoute', ({ method, url }) => {
    for (const one of [method].flat())
      if (one !== 'HEAD') routed.add(`${one.toLowerCase()} ${url.replaceAll(/\([^)]*\)/g, '')}`);
  });
  await other.ready();
  await other.close();
  const { paths } = (await get('/openapi.json')).json() as { paths: Record<string, Record<string, Operation>> };
  const operations = Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method, operation })),
  );
  const published = operations.map(({ path, method }) => `${method} ${path}`).sort();
  const expected = [...routed].map((route) =>
    route
      .replaceAll('::', '\u0000')
      .replaceAll(/:([a-z]+)/gi, '{$1}')
      .replaceAll('\u0000', ':')
      .replace('/*', '/{path}'),
  );
  expect(published).toEqual(expected.sort());
  const ids = operations.map(({ operation }) => operation.operationId);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids).not.toContain(undefined);
  for (const { operation } of operations) expect(operation.responses).toHaveProperty('default');
  const named = (path: string, method: string) =>
    (paths[path]?.[method]?.parameters ?? []).filter((one) => one.in === 'header').map((one) => one.name);
  expect(named('/v1/jobs', 'post')).toEqual(['Idempotency-Key']);
  expect(named('/v1/pools/{name}', 'put')).toEqual(['If-Match']);
});
