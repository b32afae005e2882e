import type { TLSSocket } from 'node:tls';
import { functionsOf } from '../../core/access.ts';
import type { PersonRoles } from '../../peers/kernel/role-book.ts';
import type { Clock } from '../../platform/clock.ts';
import type { ServiceCaller } from '../../platform/identity-config.ts';
import { type PeerIdentity, peerIdentityNow } from '../../platform/mtls.ts';
import { looksLikeJwt, type OidcVerifier } from '../../platform/oidc.ts';
import type { RotatingTls } from '../../platform/tls-rotation.ts';
import type { Identity, Presented, Unidentified } from './services.ts';
import { bearerOf, tokenIdentifier } from './token.ts';

type Identify = (presented: Presented) => Promise<Identity | Unidentified>;

/** The ways of being known, each by itself: the installation's token, a person's token of the identity provider, a service's certificate. */
export function identifier(ways: {
  readonly local: { readonly token: string; readonly identity: Identity };
  /** undefined: no identity provider is configured. */
  readonly oidc: OidcVerifier | undefined;
  /** What Kernel lets a person do; undefined: it has no say here. */
  readonly kernel?: ((tenant: string, person: string) => Promise<PersonRoles>) | undefined;
  /** undefined: there is no door for services. */
  readonly service: ((socket: TLSSocket) => Identity | Unidentified) | undefined;
}): Identify {
  const { oidc, kernel, service } = ways;
  const local = tokenIdentifier(ways.local.token, ways.local.identity);
  return async (presented) => {
    const { authorization, tls } = presented;
    if (tls !== undefined) {
      if (service === undefined) return { refused: 'missing' };
      // A service that hands on somebody's token means to ask with that person's rights: it must not be given its own.
      if (authorization !== undefined)
        return { refused: 'invalid', why: 'this door knows its callers by certificate; send no Authorization header' };
      return service(tls);
    }
    const given = authorization === undefined ? undefined : bearerOf(authorization);
    if (oidc === undefined || given === undefined || !looksLikeJwt(given)) return local(presented);
    const verdict = await oidc(given);
    switch (verdict.kind) {
      case 'person': {
        const { principal, tenant, functions } = verdict;
        const person: Identity = { principal, tenant, functions, producers: 'any' };
        return kernel === undefined ? person : governed(person, await kernel(tenant, principal));
      }
      case 'stranger':
        return { refused: 'stranger', principal: verdict.principal, why: verdict.why };
      case 'invalid':
      case 'away':
        return { refused: verdict.kind, why: verdict.why };
    }
  };
}

/** What the person's roles here and those that Kernel tells both grant: neither widens the other. */
function governed(person: Identity, told: PersonRoles): Identity | Unidentified {
  if (told.kind === 'away') return { refused: 'away', why: told.why };
  const granted = functionsOf(told.roles);
  const functions = person.functions.filter((one) => granted.includes(one));
  if (functions.length > 0) return { ...person, functions };
  const why = 'Kernel grants this person no role that counts here';
  return { refused: 'stranger', principal: person.principal, why };
}

/** Callers by the one SPIFFE id of their certificate, word for word; whoever is not named has no role. */
export function serviceIdentifier(options: {
  readonly callers: readonly ServiceCaller[];
  readonly tls: Pick<RotatingTls, 'current'>;
  readonly clock: Pick<Clock, 'now'>;
}): (socket: TLSSocket) => Identity | Unidentified {
  const known = new Map(
    options.callers.map((caller): [string, Identity] => [
      caller.spiffeId,
      {
        principal: caller.spiffeId,
        tenant: caller.tenant,
        functions: functionsOf(caller.roles),
        producers: caller.producers,
      },
    ]),
  );
  return (socket) => {
    const peer: PeerIdentity = peerIdentityNow(socket, options.tls.current(), options.clock.now());
    if (!peer.ok) return { refused: 'invalid', why: `the certificate ${peer.problem}` };
    const identity = known.get(peer.spiffeId);
    if (identity !== undefined) return identity;
    return { refused: 'stranger', principal: peer.spiffeId, why: 'this service has no role here' };
  };
}
