import { ACCESS_ROLES, type AccessRole, functionsOf, isAccessRole } from '../core/access.ts';
import { slugRefusal } from '../core/ids.ts';
import { type Refusal, refuse } from '../core/refusal.ts';
import { type Static, Type } from '../core/schema.ts';
import type { Reader } from './config-file.ts';
import { type Ruled, ruleDuration } from './config-rules.ts';
import { hostInUrl, isLoopbackHost } from './loopback.ts';
import { spiffeRefusal } from './spiffe.ts';

/** Asymmetric ones only: with a shared secret whoever can check a token can make one. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const;
export type OidcAlgorithm = (typeof ALGORITHMS)[number];
const DEFAULT_ALGORITHMS: readonly OidcAlgorithm[] = ['RS256', 'PS256', 'ES256', 'EdDSA'];
const MAX_TOLERANCE_MS = 5 * 60_000;
const MAX_MAPPED = 1_000;
export const DEFAULT_SERVICE_PORT = 7461;

const Text = Type.String({ minLength: 1, maxLength: 2048 });
const Optional = Type.Optional;
const closed = { additionalProperties: false } as const;
const Roles = Type.Array(Text, { minItems: 1, maxItems: 16 });

/** `oidc` of merit.yaml. */
export const OidcFile = Type.Object(
  {
    issuer: Text,
    audience: Text,
    caFile: Optional(Text),
    algorithms: Optional(Type.Array(Text, { minItems: 1, maxItems: ALGORITHMS.length })),
    clockTolerance: Optional(Text),
    person: Optional(Text),
    groups: Optional(Text),
    roles: Type.Record(Type.String({ maxLength: 2048 }), Roles, { maxProperties: MAX_MAPPED }),
    tenant: Optional(Text),
    tenants: Optional(
      Type.Object(
        { claim: Text, of: Type.Record(Type.String({ maxLength: 2048 }), Text, { maxProperties: MAX_MAPPED }) },
        closed,
      ),
    ),
  },
  closed,
);

/** `services` of merit.yaml. */
export const ServicesFile = Type.Object(
  {
    listen: Optional(
      Type.Object({ host: Optional(Text), port: Optional(Type.Integer({ minimum: 0, maximum: 65_535 })) }, closed),
    ),
    hosts: Optional(Type.Array(Type.String({ pattern: '^[A-Za-z0-9.-]{1,253}$' }), { maxItems: 64 })),
    trustDomain: Text,
    callers: Type.Array(
      Type.Object(
        {
          spiffeId: Text,
          tenant: Text,
          roles: Roles,
          producers: Optional(
            Type.Union([Type.Literal('any'), Type.Array(Text, { minItems: 1, maxItems: MAX_MAPPED })]),
          ),
        },
        closed,
      ),
      { minItems: 1, maxItems: MAX_MAPPED },
    ),
  },
  closed,
);

export interface OidcConfig {
  readonly issuer: string;
  readonly audience: string;
  readonly caFile: string | undefined;
  readonly algorithms: readonly OidcAlgorithm[];
  readonly clockToleranceMs: number;
  /** The claim that names the person. */
  readonly personClaim: string;
  readonly groupsClaim: string;
  /** By group, each word for word. */
  readonly roles: Readonly<Record<string, readonly AccessRole[]>>;
  readonly tenant:
    | { readonly literal: string }
    | { readonly claim: string; readonly of: Readonly<Record<string, string>> };
}

/** A service that may call, known by the one SPIFFE id of its certificate. */
export interface ServiceCaller {
  readonly spiffeId: string;
  readonly tenant: string;
  readonly roles: readonly AccessRole[];
  readonly producers: 'any' | readonly string[];
}

export interface ServicesConfig {
  readonly listen: { readonly host: string; readonly port: number };
  /** That requests may name in their Host. */
  readonly hosts: readonly string[];
  readonly trustDomain: string;
  readonly callers: readonly ServiceCaller[];
}

/** An issuer as OpenID Connect has it: https with a path, where it has one; http on loopback. */
function ruleIssuer(field: string, text: string): Ruled<string> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const refused = (code: string, problem: string, mend: string): Ruled<string> => ({
    ok: false,
    refusal: refuse(code, field, problem, mend),
  });
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:'))
    return refused('endpoint', 'is not an https URL', 'write it as the issuer does');
  if (url.username !== '' || url.password !== '')
    return refused('endpoint_userinfo', 'holds a user name or password', 'take it out');
  if (url.protocol === 'http:' && !isLoopbackHost(url.hostname))
    return refused('endpoint_plain', 'is plain http to another machine', 'use https');
  if (url.search !== '' || url.hash !== '') return refused('endpoint', 'has a query or a fragment', 'take it out');
  return { ok: true, value: text };
}

export function oidcConfig(
  file: Static<typeof OidcFile> | undefined,
  resolveFile: (path: string) => string,
  reader: Reader,
): OidcConfig | undefined {
  if (file === undefined) return undefined;
  const { clockTolerance = '30s' } = file;
  return {
    issuer: reader.take(ruleIssuer('oidc.issuer', file.issuer), ''),
    audience: file.audience,
    caFile: file.caFile === undefined ? undefined : resolveFile(file.caFile),
    algorithms: algorithmsOf(file.algorithms, reader),
    clockToleranceMs: reader.take(ruleDuration('oidc.clockTolerance', clockTolerance, 1, MAX_TOLERANCE_MS), 1),
    personClaim: file.person ?? 'sub',
    groupsClaim: file.groups ?? 'groups',
    roles: Object.fromEntries(
      Object.entries(file.roles).map(([group, names]) => {
        const field = `oidc.roles.${group}`;
        if (group.includes('*')) reader.add([noWildcards(field)]);
        return [group, rolesOf(field, names, reader)];
      }),
    ),
    tenant: tenantOf(file, reader),
  };
}

const noWildcards = (field: string): Refusal =>
  refuse('no_wildcards', field, 'has a wildcard', 'name each, word for word');

function algorithmsOf(named: readonly string[] | undefined, reader: Reader): readonly OidcAlgorithm[] {
  if (named === undefined) return DEFAULT_ALGORITHMS;
  return named.flatMap((name) => {
    const known = ALGORITHMS.find((one) => one === name);
    if (known === undefined)
      reader.refuse(
        'algorithm',
        'oidc.algorithms',
        'names an algorithm that is not asymmetric, or not known',
        `use ${ALGORITHMS.join(', ')}`,
      );
    return known ?? [];
  });
}

function rolesOf(field: string, names: readonly string[], reader: Reader): readonly AccessRole[] {
  const wrong = names.filter((name) => !isAccessRole(name));
  if (wrong.length > 0)
    reader.refuse('role', field, 'names a role that does not exist', `use ${Object.keys(ACCESS_ROLES).join(', ')}`);
  return names.filter(isAccessRole);
}

function tenantOf(file: Static<typeof OidcFile>, reader: Reader): OidcConfig['tenant'] {
  const { tenant, tenants } = file;
  if ((tenant === undefined) === (tenants === undefined))
    reader.refuse(
      'required',
      'oidc.tenant',
      tenant === undefined ? 'is missing: people are of a tenant' : 'stands beside oidc.tenants',
      'write one of tenant: NAME and tenants: {claim: CLAIM, of: {VALUE: NAME}}',
    );
  if (tenants !== undefined) {
    for (const [value, name] of Object.entries(tenants.of)) ruleTenant(`oidc.tenants.of.${value}`, name, reader);
    return { claim: tenants.claim, of: tenants.of };
  }
  if (tenant !== undefined) ruleTenant('oidc.tenant', tenant, reader);
  return { literal: tenant ?? '' };
}

function ruleTenant(field: string, name: string, reader: Reader): void {
  const wrong = slugRefusal(field, name);
  if (wrong !== undefined) reader.add([wrong]);
}

export function servicesConfig(
  file: Static<typeof ServicesFile> | undefined,
  hasCertificates: boolean,
  reader: Reader,
): ServicesConfig | undefined {
  if (file === undefined) return undefined;
  const { host = '127.0.0.1', port = DEFAULT_SERVICE_PORT } = file.listen ?? {};
  if (!hasCertificates && !isLoopbackHost(hostInUrl(host)))
    reader.refuse(
      'required',
      'tls',
      'is missing: services on other machines are known by certificates',
      'name the files',
    );
  const seen = new Set<string>();
  const callers = file.callers.map((caller, i): ServiceCaller => {
    const field = `services.callers.${i}`;
    const wrong = spiffeRefusal(`${field}.spiffeId`, caller.spiffeId);
    if (wrong !== undefined) reader.add([wrong]);
    else if (!caller.spiffeId.startsWith(`spiffe://${file.trustDomain}/`))
      reader.refuse('trust_domain', `${field}.spiffeId`, 'is of another trust domain', 'name services of trustDomain');
    if (seen.has(caller.spiffeId))
      reader.refuse('duplicate_principal', `${field}.spiffeId`, 'is there already', 'one service, one entry');
    seen.add(caller.spiffeId);
    ruleTenant(`${field}.tenant`, caller.tenant, reader);
    const roles = rolesOf(`${field}.roles`, caller.roles, reader);
    if (caller.producers === undefined && functionsOf(roles).includes('report'))
      reader.refuse(
        'required',
        `${field}.producers`,
        'is missing: this service posts reports',
        'name the producers whose reports it may post, or write any',
      );
    return { spiffeId: caller.spiffeId, tenant: caller.tenant, roles, producers: caller.producers ?? [] };
  });
  return { listen: { host, port }, hosts: file.hosts ?? [], trustDomain: file.trustDomain, callers };
}
