import type { JWTPayload, JWTVerifyResult } from 'jose';
import { type AccessRole, functionsOf } from '../core/access.ts';
import { OperatingError } from '../core/operating-error.ts';
import { ownOf } from '../core/own.ts';
import type { Clock } from './clock.ts';
import type { OidcConfig } from './identity-config.ts';
import type { IssuerKeys } from './issuer-keys.ts';

/** Of a token that is looked at; access tokens have 1 to 4 KiB. */
const MAX_TOKEN_LENGTH = 12 * 1024;
/** Groups of one person that are looked at: those of a large directory are more, and cannot be told from an attack. */
const MAX_GROUPS = 1_000;
/** How a person may be called: it goes into audit events and into lists of who may sign. */
const PERSON = /^[\x21-\x7e]{1,250}$/;
/** Media types of tokens that prove who asks (RFC 7519, RFC 9068); `logout+jwt`, `dpop+jwt` and the like prove something else. */
const TYPES: ReadonlySet<string> = new Set(['jwt', 'at+jwt', 'application/at+jwt']);
const JWT_FORM = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/;

/** Who a token is of and what the configuration grants, or why nobody is let in. `why` is one of a closed list of texts. */
export type OidcVerdict =
  | {
      readonly kind: 'person';
      readonly principal: string;
      readonly tenant: string;
      readonly functions: ReturnType<typeof functionsOf>;
    }
  | { readonly kind: 'stranger'; readonly principal: string; readonly why: string }
  | { readonly kind: 'invalid'; readonly why: string }
  | { readonly kind: 'away'; readonly why: string };

export type OidcVerifier = (token: string) => Promise<OidcVerdict>;

export function looksLikeJwt(token: string): boolean {
  return JWT_FORM.test(token);
}

/** Tokens of the configured issuer, checked as RFC 7519, RFC 8725 and OpenID Connect Core 3.1.3.7 ask. No part of a token is ever told. */
export async function oidcVerifier(config: OidcConfig, keys: IssuerKeys, clock: Clock): Promise<OidcVerifier> {
  const jose = await import('jose');
  const verify = (token: string): Promise<JWTVerifyResult> =>
    jose.jwtVerify(token, keys.keyOf, {
      issuer: config.issuer,
      audience: config.audience,
      algorithms: [...config.algorithms],
      clockTolerance: config.clockToleranceMs / 1000,
      currentDate: new Date(clock.now()),
      requiredClaims: ['exp', config.personClaim],
    });
  return async (token) => {
    if (token.length > MAX_TOKEN_LENGTH || !looksLikeJwt(token)) return invalid('the token is malformed');
    try {
      const result = await verify(token).catch(async (error: unknown) => {
        // A key that was added, or replaced under its id, since they were read.
        if (!isOfUnknownKey(error) || !(await keys.renew())) throw error;
        return verify(token);
      });
      return granted(config, result);
    } catch (error) {
      if (error instanceof OperatingError)
        return { kind: 'away', why: 'the keys of the identity provider cannot be read now; come back' };
      return invalid(whyInvalid(error));
    }
  };
}

const invalid = (why: string): OidcVerdict => ({ kind: 'invalid', why });

function isOfUnknownKey(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return code === 'ERR_JWKS_NO_MATCHING_KEY' || code === 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED';
}

const CLAIM_FAULTS: Readonly<Record<string, string>> = {
  iss: 'the token is of another issuer',
  aud: 'the token is for another audience',
  nbf: 'the token is not valid yet',
  exp: 'the token has no end',
};

function whyInvalid(error: unknown): string {
  const { code, claim } = error as { code?: unknown; claim?: unknown };
  switch (code) {
    case 'ERR_JWT_EXPIRED':
      return 'the token has expired';
    case 'ERR_JWT_CLAIM_VALIDATION_FAILED':
      return ownOf(CLAIM_FAULTS, String(claim)) ?? 'a claim of the token is missing or wrong';
    case 'ERR_JOSE_ALG_NOT_ALLOWED':
      return 'the token is signed with an algorithm that is not allowed';
    case 'ERR_JWKS_NO_MATCHING_KEY':
    case 'ERR_JWKS_MULTIPLE_MATCHING_KEYS':
    case 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED':
      return 'the token is not signed with a key of the issuer';
    default:
      return 'the token is malformed';
  }
}

function granted(config: OidcConfig, { payload, protectedHeader }: JWTVerifyResult): OidcVerdict {
  if (protectedHeader.typ !== undefined && !TYPES.has(protectedHeader.typ.toLowerCase()))
    return invalid('the token is of another type');
  // It is bound to a key that its sender would have to show (RFC 7800): taken without, whoever stole it could use it.
  if (payload.cnf !== undefined) return invalid('the token is bound to a key, which is not looked at here');
  const name = payload[config.personClaim];
  if (typeof name !== 'string' || !PERSON.test(name)) return invalid('the token names nobody');
  const principal = `oidc:${name}`;
  const tenant = tenantOf(config, payload);
  if (tenant === undefined) return { kind: 'stranger', principal, why: 'this person has no tenant here' };
  const functions = functionsOf(rolesOf(config, payload));
  if (functions.length === 0) return { kind: 'stranger', principal, why: 'this person has no role here' };
  return { kind: 'person', principal, tenant, functions };
}

/** One, or nobody's: who is of two tenants would have to say which. */
function tenantOf({ tenant }: OidcConfig, payload: JWTPayload): string | undefined {
  if ('literal' in tenant) return tenant.literal;
  const tenants = new Set(textsOf(payload[tenant.claim]).flatMap((text) => ownOf(tenant.of, text) ?? []));
  const [only] = tenants;
  return tenants.size === 1 ? only : undefined;
}

function rolesOf({ groupsClaim, roles }: OidcConfig, payload: JWTPayload): ReadonlySet<AccessRole> {
  return new Set(textsOf(payload[groupsClaim]).flatMap((group) => ownOf(roles, group) ?? []));
}

/** A claim that holds a text or several; none where it is anything else. */
function textsOf(claim: unknown): readonly string[] {
  const all = Array.isArray(claim) ? claim : [claim];
  return all.length > MAX_GROUPS ? [] : all.filter((one) => typeof one === 'string');
}
