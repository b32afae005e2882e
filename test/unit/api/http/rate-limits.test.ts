import { afterEach, expect, test } from 'vitest';
import { limitIdentities } from '../../../../api/http/rate-limits.ts';
import { buildHttpServer } from '../../../../api/http/server.ts';
import { memoryRateLimiter } from '../../../../platform/rate-limit-memory.ts';
import { fakeServices, TOKEN } from './fake-services.ts';

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

const slow = (burst: number) => ({ perSecond: 0.001, burst });

function world(limits: { readonly identity: number; readonly tenant: number }) {
  const limiter = memoryRateLimiter();
  const limitRate = limitIdentities(limiter, { identity: slow(limits.identity), tenant: slow(limits.tenant) });
  const known = fakeServices().services;
  const fake = fakeServices({
    limitRate,
    // Three people of one tenant.
    identify: async ({ authorization }) => {
      const identity = await known.identify({ authorization: `Bearer ${TOKEN}`, tls: undefined });
      const principal = /^Bearer (ann|bob|cat)$/.exec(authorization ?? '')?.[1];
      return 'refused' in identity || principal === undefined ? { refused: 'missing' } : { ...identity, principal };
    },
  });
  const app = buildHttpServer(fake.services);
  closers.push(() => app.close());
  const get = (as: string, url = '/v1/jobs') =>
    app.inject({ url, headers: { host: 'localhost', authorization: `Bearer ${as}` } });
  return { get, fake };
}

test('an identity that sends too much is told when to come again, and others of its tenant are not', async () => {
  const { get, fake } = world({ identity: 2, tenant: 100 });
  const first = await get('ann');
  expect([first.statusCode, first.headers['ratelimit-limit'], first.headers['ratelimit-remaining']]).toEqual([
    200,
    '2',
    '1',
  ]);
  await get('ann');
  const refused = await get('ann');
  expect(refused.statusCode).toBe(429);
  expect(refused.json()).toMatchObject({ code: 'rate_limited', trace_id: expect.any(String) });
  expect(Number(refused.headers['retry-after'])).toBeGreaterThan(900);
  expect(Number(refused.headers['retry-after'])).toBeLessThanOrEqual(1_000);
  expect(refused.headers['ratelimit-remaining']).toBe('0');
  expect((await get('bob')).statusCode).toBe(200);
  expect(fake.rejected).toEqual(['rate_limited']);
  expect(fake.errors).toEqual([]);
});

test('a tenant is held to its own limit, whoever of it asks', async () => {
  const { get } = world({ identity: 2, tenant: 3 });
  const codes = [];
  for (const who of ['ann', 'bob', 'cat', 'ann']) codes.push((await get(who)).statusCode);
  expect(codes).toEqual([200, 200, 200, 429]);
});

test('what needs no identity, and what proves none, takes nothing from anybody', async () => {
  const { get } = world({ identity: 1, tenant: 1 });
  for (let i = 0; i < 3; i++) {
    expect((await get('ann', '/healthz')).statusCode).toBe(200);
    expect((await get('nobody')).statusCode).toBe(401);
  }
  expect((await get('ann')).statusCode).toBe(200);
});
