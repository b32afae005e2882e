import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildHttpServer } from '../../../../api/http/server.ts';
import type { ApiFunction } from '../../../../core/access.ts';
import { fakeServices } from './fake-services.ts';

/** Every route with every set of functions: what an identity may do is exactly what its routes need, and nobody may what is not said. */
const ALL: readonly ApiFunction[] = ['read', 'submit', 'report', 'operate', 'audit'];
/** Answered without an identity. */
const OPEN = ['/healthz', '/metrics', '/openapi.json', '/readyz'];
/** What each route needs, by method: a route that is added or changed is looked at here. */
const NEEDS: readonly (readonly [ApiFunction | readonly ApiFunction[], RegExp])[] = [
  // What jobs counted is believed as reports are.
  [['operate', 'report'], /^POST \/v1\/suites\/:name\/rollout::(claim|merge|release)$/],
  ['operate', /^POST \/v1\/allocations\/.*::revoke$/],
  [
    'submit',
    /^POST \/v1\/(jobs(::plan)?|allocations)$|^POST \/v1\/(jobs|allocations|proposals)\/:id.*::[a-z]+$|^PUT \/v1\/code$/,
  ],
  ['report', /^POST \/v1\/eval-reports/],
  ['audit', /^GET \/v1\/audit\/(bundle|state|witness|witness-records)$|^POST \/v1\/audit\//],
  ['read', /^GET |^POST \/v1\/scores::compute$/],
  ['operate', /./],
];
/** Goes on as long as somebody listens. */
const ENDLESS = '/v1/events';

interface Route {
  readonly method: string;
  readonly url: string;
  readonly needs: readonly ApiFunction[];
  readonly open: boolean;
}

let app: FastifyInstance;
const routes: Route[] = [];

beforeAll(async () => {
  app = buildHttpServer({
    ...fakeServices().services,
    identify: async ({ authorization }) => {
      const functions = (authorization ?? '').replace('Bearer ', '').split('+') as ApiFunction[];
      return authorization === undefined
        ? { refused: 'missing' }
        : { principal: 'token:some', tenant: 'acme', functions, producers: 'any' };
    },
  });
  app.addHook('onRoute', ({ method, url, config }) => {
    for (const one of [method].flat())
      if (one !== 'HEAD')
        routes.push({
          method: one,
          url,
          needs: [config?.needs ?? 'read', ...(config?.alsoNeeds ?? [])],
          open: config?.open === true,
        });
  });
  await app.ready();
});
afterAll(() => app.close());

async function statusOf({ method, url }: Route, functions: readonly ApiFunction[] | undefined): Promise<number> {
  const path = url
    .replaceAll('::', ';')
    .replaceAll(/:[a-z]+(\([^)]*\))?/gi, 'x')
    .replaceAll(';', ':');
  const { statusCode } = await app.inject({
    method: method as 'GET',
    url: path.replace('*', 'x'),
    headers: {
      host: 'localhost',
      ...(functions === undefined ? {} : { authorization: `Bearer ${functions.join('+')}` }),
    },
  });
  return statusCode;
}

describe('what an identity may do', () => {
  test('is written down for every route', () => {
    expect(routes.length).toBeGreaterThan(60);
    const wrong = routes
      .filter(({ open }) => !open)
      .filter(({ method, url, needs }) => {
        const [said] = NEEDS.find(([, pattern]) => pattern.test(`${method} ${url}`)) ?? [];
        return [said].flat().join() !== needs.join();
      });
    expect(wrong).toEqual([]);
    expect([...new Set(routes.filter(({ open }) => open).map(({ url }) => url))].sort()).toEqual(OPEN);
  });

  test('is refused to who lacks one of its functions and has every other, and let through to who has only those', async () => {
    const wrong: unknown[] = [];
    for (const route of routes) {
      if (route.open) continue;
      for (const lacking of route.needs) {
        const others = await statusOf(
          route,
          ALL.filter((one) => one !== lacking),
        );
        if (others !== 403) wrong.push([route, lacking, others]);
      }
      const alone = route.url === ENDLESS ? 200 : await statusOf(route, route.needs);
      if (alone === 403 || alone === 401) wrong.push([route, alone]);
    }
    expect(wrong).toEqual([]);
  });

  test('is nothing to who is not known', async () => {
    const wrong: unknown[] = [];
    for (const route of routes) {
      if (route.open) continue;
      const status = await statusOf(route, undefined);
      if (status !== 401) wrong.push([route, status]);
    }
    expect(wrong).toEqual([]);
  });
});
