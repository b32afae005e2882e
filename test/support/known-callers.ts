import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { identifier, serviceIdentifier } from '../../api/http/identify.ts';
import { openServiceDoor } from '../../api/http/service-door.ts';
import type { Services } from '../../api/http/services.ts';
import { ACCESS_ROLES, type AccessRole, FUNCTIONS } from '../../core/access.ts';
import { systemClock } from '../../platform/clock.ts';
import { devSpiffeId, ensureDevCertificates } from '../../platform/dev-ca.ts';
import { type HttpClient, openHttpClient } from '../../platform/http-client.ts';
import { openIssuerKeys } from '../../platform/issuer-keys.ts';
import { clientTls, loadTls } from '../../platform/mtls.ts';
import { oidcVerifier } from '../../platform/oidc.ts';
import { openRotatingTls } from '../../platform/tls-rotation.ts';
import { AUDIENCE, startTestIssuer, tokenOf } from './test-issuer.ts';

/** The ways of being known, besides the installation's token. */
export const WAYS = ['oidc', 'mtls'] as const;
export type Way = (typeof WAYS)[number];

export interface Known {
  readonly name: string;
  readonly role: AccessRole;
  readonly tenant: string;
}

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

export interface KnownCallers {
  readonly identify: Services['identify'];
  /** Opens the door for services before these routes. Once. */
  serve(app: FastifyInstance): Promise<void>;
  /** The token of the person of this name; `nobody` has one of no group. */
  token(name: string): string | undefined;
  /** The connection of the service of this name; `nobody` is one that no configuration names. */
  client(name: string): HttpClient;
  ask(way: Way, name: string, asked: Asked): Promise<{ readonly status: number; readonly body: string }>;
  close(): Promise<void>;
}

const ROLES = Object.keys(ACCESS_ROLES) as AccessRole[];
const NOBODY = 'nobody';

/** A person with a token of an issuer and a service with a certificate of each of these names, both real. `token`: the installation's, which is acme's. */
export async function knownCallers(known: readonly Known[], token: string): Promise<KnownCallers> {
  const closers: (() => Promise<unknown>)[] = [];
  const dir = await mkdtemp(join(tmpdir(), 'merit-access-'));
  closers.unshift(() => rm(dir, { recursive: true }));
  const services = ['merit', NOBODY, ...known.map(({ name }) => name)];
  const files = await ensureDevCertificates({ dir, services, nowMs: Date.now() });
  const tls = await openRotatingTls(files.merit!, systemClock);

  const issuer = await startTestIssuer();
  closers.unshift(() => issuer.close());
  const key = await issuer.newKey('k');
  const watch = { refreshed: () => {}, ageSeconds: () => {}, failed: () => {} };
  const keys = await openIssuerKeys({ issuer: issuer.url, ca: undefined, clock: systemClock, watch });
  const tenants = [...new Set(known.map(({ tenant }) => tenant))];
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
      tenant: { claim: 'org', of: Object.fromEntries(tenants.map((tenant) => [tenant, tenant])) },
    },
    keys,
    systemClock,
  );
  const tokens = new Map<string, string>();
  for (const { role, tenant, name } of known)
    tokens.set(name, await tokenOf(issuer, key, { claims: { sub: name, org: tenant, groups: [`group-${role}`] } }));
  const stranger = { sub: NOBODY, org: tenants[0]!, groups: ['group-none'] };
  tokens.set(NOBODY, await tokenOf(issuer, key, { claims: stranger }));

  const callers = known.map(({ role, tenant, name }) => {
    const id = { spiffeId: devSpiffeId(name), tenant, roles: [role] };
    return { ...id, producers: 'any' as const };
  });
  const clients = new Map<string, HttpClient>();
  let app: FastifyInstance | undefined;
  const client = (name: string): HttpClient => {
    const found = clients.get(name);
    if (found === undefined) throw new Error(`nobody is called ${name}, or the door is not open`);
    return found;
  };
  return {
    identify: identifier({
      local: {
        token,
        identity: { principal: 'token:local', tenant: 'acme', functions: FUNCTIONS, producers: 'any' },
      },
      oidc,
      service: serviceIdentifier({ callers, tls, clock: systemClock }),
    }),
    serve: async (routes) => {
      app = routes;
      const door = await openServiceDoor({ app, tls, listen: { host: '127.0.0.1', port: 0 } });
      closers.unshift(() => door.close(0));
      for (const name of services) {
        const material = await loadTls(files[name]!, Date.now());
        const opened = openHttpClient({
          origin: door.url,
          tls: clientTls(material, [devSpiffeId('merit')]),
          maxConnections: 1,
        });
        clients.set(name, opened);
        closers.unshift(() => opened.close());
      }
    },
    token: (name) => tokens.get(name),
    client,
    ask: async (way, name, { method, path, headers = {}, body }) => {
      const sent = { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) };
      const payload = body === undefined ? undefined : JSON.stringify(body);
      if (way === 'oidc') {
        if (app === undefined) throw new Error('nothing is served');
        const { statusCode, body: text } = await app.inject({
          method: method as 'GET',
          url: path,
          headers: { host: 'localhost', authorization: `Bearer ${tokens.get(name)}`, ...sent },
          ...(payload === undefined ? {} : { payload }),
        });
        return { status: statusCode, body: text };
      }
      const reply = await client(name).send({
        method: method as 'GET',
        path,
        headers: sent,
        timeoutMs: 30_000,
        ...(payload === undefined ? {} : { body: Buffer.from(payload) }),
      });
      return { status: reply.status, body: Buffer.from(reply.body).toString() };
    },
    close: async () => {
      for (const close of closers) await close();
    },
  };
}
