import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { identifier, serviceIdentifier } from '../../../../api/http/identify.ts';
import { publicPath } from '../../../../api/http/openapi.ts';
import { buildHttpServer } from '../../../../api/http/server.ts';
import { openServiceDoor } from '../../../../api/http/service-door.ts';
import type { Identity } from '../../../../api/http/services.ts';
import { ACCESS_ROLES, type AccessRole, type ApiFunction, FUNCTIONS } from '../../../../core/access.ts';
import { systemClock } from '../../../../platform/clock.ts';
import { devSpiffeId, ensureDevCertificates } from '../../../../platform/dev-ca.ts';
import { type HttpClient, openHttpClient } from '../../../../platform/http-client.ts';
import { openIssuerKeys } from '../../../../platform/issuer-keys.ts';
import { clientTls, loadTls } from '../../../../platform/mtls.ts';
import { oidcVerifier } from '../../../../platform/oidc.ts';
import { openRotatingTls } from '../../../../platform/tls-rotation.ts';
import { AUDIENCE, startTestIssuer, tokenOf } from '../../../support/test-issuer.ts';
import { fakeServices, TOKEN } from './fake-services.ts';

/** Every route × role × tenant × way of being known, with real tokens of an issuer and real certificates: exactly the table in docs/identity.md. */
const ROLES = Object.keys(ACCESS_ROLES) as AccessRole[];
const TENANTS = ['acme', 'rival'] as const;
const WAYS = ['oidc', 'mtls'] as const;
type Tenant = (typeof TENANTS)[number];
type Way = (typeof WAYS)[number];
/** Goes on as long as somebody listens. */
const ENDLESS = '/v1/events';
const serviceOf = (role: string, tenant: string) => `${tenant}-${role}`;

interface Route {
  readonly method: string;
  readonly url: string;
  readonly needs: readonly ApiFunction[];
}

let app: FastifyInstance;
const routes: Route[] = [];
const closers: (() => Promise<unknown>)[] = [];
const tokens = new Map<string, string>();
const clients = new Map<string, HttpClient>();
const seen: Identity[] = [];
const fake = fakeServices();

beforeAll(async () => {
  const dir = await mkdtemp(join(tmpdir(), 'merit-access-'));
  closers.push(() => rm(dir, { recursive: true }));
  const people = ROLES.flatMap((role) => TENANTS.map((tenant) => ({ role, tenant, name: serviceOf(role, tenant) })));
  const services = ['merit', 'nobody', ...people.map(({ name }) => name)];
  const files = await ensureDevCertificates({ dir, services, nowMs: Date.now() });
  const tls = await openRotatingTls(files.merit!, systemClock);

  const issuer = await startTestIssuer();
  closers.push(() => issuer.close());
  const key = await issuer.newKey('k');
  const watch = { refreshed: () => {}, ageSeconds: () => {}, failed: () => {} };
  const keys = await openIssuerKeys({ issuer: issuer.url, ca: undefined, clock: systemClock, watch });
  const oidc = await oidcVerifier(
    {
      issuer: issuer.url,
      audience: AUDIENCE,
      caFile: undefined,
      algorithms: ['ES256'],
      clockToleranceMs: 1_000,
      personClaim: 'sub',
      groupsClaim: 'groups',
      roles: Object.fromEntries(ROLES.map((role) => [`group-${role}`, [role]])),
      tenant: { claim: 'org', of: { acme: 'acme', rival: 'rival' } },
    },
    keys,
    systemClock,
  );
  for (const { role, tenant, name } of people)
    tokens.set(name, await tokenOf(issuer, key, { claims: { sub: name, org: tenant, groups: [`group-${role}`] } }));
  tokens.set('nobody', await tokenOf(issuer, key, { claims: { sub: 'nobody', org: 'acme', groups: ['group-none'] } }));

  const callers = people.map(({ role, tenant, name }) => {
    const id = { spiffeId: devSpiffeId(name), tenant, roles: [role] };
    return { ...id, producers: 'any' as const };
  });
  app = buildHttpServer({
    ...fake.services,
    identify: identifier({
      local: {
        token: TOKEN,
        identity: { principal: 'token:local', tenant: 'acme', functions: FUNCTIONS, producers: 'any' },
      },
      oidc,
      service: serviceIdentifier({ callers, tls, clock: systemClock }),
    }),
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
  const door = await openServiceDoor({ app, tls, listen: { host: '127.0.0.1', port: 0 } });
  closers.unshift(() => door.close(0));
  for (const name of services) {
    const material = await loadTls(files[name]!, Date.now());
    const client = openHttpClient({
      origin: door.url,
      tls: clientTls(material, [devSpiffeId('merit')]),
      maxConnections: 1,
    });
    clients.set(name, client);
    closers.unshift(() => client.close());
  }
}, 60_000);
afterAll(async () => {
  for (const close of closers) await close();
  await app.close();
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
  if (way === 'oidc') {
    const headers = { host: 'localhost', authorization: `Bearer ${tokens.get(name)}` };
    const { statusCode, body } = await app.inject({ method: method as 'GET', url: path, headers });
    return { status: statusCode, body, as: seen[0] };
  }
  const { status, body } = await clients.get(name)!.send({ method: method as 'GET', path, timeoutMs: 30_000 });
  return { status, body: Buffer.from(body).toString(), as: seen[0] };
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
  const reply = await clients.get('acme-admin')!.send({
    method: 'GET',
    path: '/v1/jobs',
    headers: { authorization: `Bearer ${tokens.get('acme-viewer')}` },
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
  const reply = await clients
    .get('rival-viewer')!
    .send({ method: 'POST', path: '/v1/jobs', headers: forged, timeoutMs: 30_000 });
  expect(reply.status).toBe(403);
});

test('why a token is not taken is told as RFC 6750 has it, and no part of the token', async () => {
  const expired = `${tokens.get('acme-viewer')}`.replace(/\.[^.]+$/, '.AAAA');
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
    headers: { host: 'localhost', authorization: `Bearer ${tokens.get('acme-viewer')}` },
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
