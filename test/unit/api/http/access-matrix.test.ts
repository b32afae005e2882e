import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { publicPath } from '../../../../api/http/openapi.ts';
import { buildHttpServer } from '../../../../api/http/server.ts';
import type { Identity } from '../../../../api/http/services.ts';
import { ACCESS_ROLES, type AccessRole, type ApiFunction, FUNCTIONS } from '../../../../core/access.ts';
import { devSpiffeId } from '../../../../platform/dev-ca.ts';
import { type KnownCallers, knownCallers, WAYS, type Way } from '../../../support/known-callers.ts';
import { fakeServices, TOKEN } from './fake-services.ts';

/** Every route × role × tenant × way of being known, with real tokens of an issuer and real certificates: exactly the table in docs/identity.md. */
const ROLES = Object.keys(ACCESS_ROLES) as AccessRole[];
const TENANTS = ['acme', 'rival'] as const;
type Tenant = (typeof TENANTS)[number];
/** Goes on as long as somebody listens. */
const ENDLESS = '/v1/events';
const serviceOf = (role: string, tenant: string) => `${tenant}-${role}`;

interface Route {
  readonly method: string;
  readonly url: string;
  readonly needs: readonly ApiFunction[];
}

let app: FastifyInstance;
let callers: KnownCallers;
const routes: Route[] = [];
const seen: Identity[] = [];
const fake = fakeServices();

beforeAll(async () => {
  const known = ROLES.flatMap((role) => TENANTS.map((tenant) => ({ role, tenant, name: serviceOf(role, tenant) })));
  callers = await knownCallers(known, TOKEN);
  app = buildHttpServer({
    ...fake.services,
    identify: callers.identify,
    limitRate: async (identity) => {
      seen.push(identity);
      return { allowed: true, limit: 9, remaining: 8, resetMs: 0, retryAfterMs: 0 };
    },
  });
  app.addHook('onRoute', ({ method, url, config }) => {
    if (config?.open === true) return;
    for (const one of [method].flat())
      if (one !== 'HEAD')
        routes.push({ method: one, url, needs: [config?.needs ?? 'read', ...(config?.alsoNeeds ?? [])] });
  });
  await callers.serve(app);
}, 60_000);
afterAll(async () => {
  await callers?.close();
  await app?.close();
});

interface Answer {
  readonly status: number;
  readonly body: string;
  /** Whom the server took the caller for. */
  readonly as: Identity | undefined;
}

async function ask(way: Way, name: string, { method, url }: Route): Promise<Answer> {
  const path = publicPath(url)
    .replaceAll(/:([a-z]+)(?=[/:]|$)/gi, (verb, word: string) => (url.includes(`::${word}`) ? verb : 'x'))
    .replace('*', 'x');
  seen.length = 0;
  const answer = await callers.ask(way, name, { method, path });
  return { ...answer, as: seen[0] };
}

const principalOf = (way: Way, name: string) => (way === 'oidc' ? `oidc:${name}` : devSpiffeId(name));

describe.each(WAYS)('whoever is known by %s', (way) => {
  test.each(ROLES)('as %s may exactly what the table says, in the own tenant', async (role) => {
    expect(routes.length).toBeGreaterThan(60);
    const wrong: unknown[] = [];
    for (const [i, route] of routes.entries()) {
      const granted: readonly ApiFunction[] = ACCESS_ROLES[role];
      const isGranted = route.needs.every((one) => granted.includes(one));
      if (isGranted && route.url === ENDLESS) continue;
      // Who is granted is asked for in turn, whoever is refused in both: that costs little.
      const tenants: readonly Tenant[] = isGranted ? [TENANTS[i % 2]!] : TENANTS;
      for (const tenant of tenants) {
        const name = serviceOf(role, tenant);
        const { status, as, body } = await ask(way, name, route);
        const isRefused = status === 403 && JSON.parse(body).code === 'forbidden';
        const isRight = isGranted ? status !== 401 && status !== 403 : isRefused;
        if (!isRight || as?.tenant !== tenant || as.principal !== principalOf(way, name))
          wrong.push([route, tenant, status, as]);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('and has no role gets the same answer everywhere, whatever is there', async () => {
    const answers = new Set<string>();
    for (const route of routes) {
      const { status, body, as } = await ask(way, 'nobody', route);
      expect(as).toBe(undefined);
      answers.add(`${status} ${body.replace(/"trace_id":"[0-9a-f]+"/, '')}`);
    }
    expect([...answers].map((answer) => answer.slice(0, 3))).toEqual(['403']);
    expect(fake.denied.at(-1)).toMatchObject({
      why: 'stranger',
      principal: principalOf(way, 'nobody'),
      tenant: undefined,
    });
  });
});

test('what is denied is told with who, where and what for, and not with ids', async () => {
  const route = { method: 'POST', url: '/v1/jobs/:id::cancel', needs: ['submit' as const] };
  await ask('mtls', 'rival-viewer', route);
  expect(fake.denied.at(-1)).toMatchObject({
    why: 'function',
    tenant: 'rival',
    principal: devSpiffeId('rival-viewer'),
    route: '/v1/jobs/:id:cancel',
    method: 'POST',
    needs: 'submit',
  });
});

test('a service that hands on a token is not given its own rights: it is refused', async () => {
  const reply = await callers.client('acme-admin').send({
    method: 'GET',
    path: '/v1/jobs',
    headers: { authorization: `Bearer ${callers.token('acme-viewer')}` },
    timeoutMs: 30_000,
  });
  expect(reply.status).toBe(401);
  expect(reply.headers['www-authenticate']).toContain('error="invalid_token"');
});

test('headers in which a proxy would tell of a certificate change nothing (H52)', async () => {
  const forged = {
    'x-forwarded-client-cert': `URI=${devSpiffeId('acme-admin')}`,
    'x-spiffe-id': devSpiffeId('acme-admin'),
    'x-forwarded-user': 'ann',
  };
  const inject = await app.inject({ url: '/v1/jobs', headers: { host: 'localhost', ...forged } });
  expect(inject.statusCode).toBe(401);
  const reply = await callers
    .client('rival-viewer')
    .send({ method: 'POST', path: '/v1/jobs', headers: forged, timeoutMs: 30_000 });
  expect(reply.status).toBe(403);
});

test('why a token is not taken is told as RFC 6750 has it, and no part of the token', async () => {
  const expired = `${callers.token('acme-viewer')}`.replace(/\.[^.]+$/, '.AAAA');
  const reply = await app.inject({
    url: '/v1/jobs',
    headers: { host: 'localhost', authorization: `Bearer ${expired}` },
  });
  expect(reply.statusCode).toBe(401);
  expect(reply.headers['www-authenticate']).toBe(
    'Bearer realm="merit", error="invalid_token", error_description="the token is not signed with a key of the issuer"',
  );
  for (const part of expired.split('.').slice(0, 2))
    expect(reply.body + JSON.stringify(reply.headers)).not.toContain(part);
  const none = await app.inject({ url: '/v1/jobs', headers: { host: 'localhost' } });
  expect(none.headers['www-authenticate']).toBe('Bearer realm="merit"');
  const lacking = await app.inject({
    method: 'POST',
    url: '/v1/jobs',
    headers: { host: 'localhost', authorization: `Bearer ${callers.token('acme-viewer')}` },
  });
  expect(lacking.headers['www-authenticate']).toContain('error="insufficient_scope"');
});

test('the table in docs/identity.md is what the code does', () => {
  const text = readFileSync(fileURLToPath(new URL('../../../../docs/identity.md', import.meta.url)), 'utf8');
  const row = (role: AccessRole) => {
    const granted: readonly ApiFunction[] = ACCESS_ROLES[role];
    return `| \`${role}\` | ${FUNCTIONS.map((one) => (granted.includes(one) ? 'yes' : 'no')).join(' | ')} |`;
  };
  const table = [
    `| role | ${FUNCTIONS.map((one) => `\`${one}\``).join(' | ')} |`,
    '|---|---|---|---|---|---|',
    ...ROLES.map(row),
  ];
  expect(text).toContain(`${table.join('\n')}\n`);
});
