import { createHash, timingSafeEqual } from 'node:crypto';
import type { Identity, Presented, Unidentified } from './services.ts';

/** As long as the header block lets a token be. */
const BEARER = /^Bearer ([A-Za-z0-9._~+/=-]{16,15872})$/;
const MAX_HEADER_LENGTH = 16 * 1024;

/** The token of an Authorization header; undefined where it holds none. */
export function bearerOf(authorization: string): string | undefined {
  return authorization.length > MAX_HEADER_LENGTH ? undefined : BEARER.exec(authorization)?.[1];
}

/** The one token of an installation (a file in the state folder) as an identifier for `Services.identify`. Compares in constant time. */
export function tokenIdentifier(
  token: string,
  identity: Identity,
): (presented: Presented) => Promise<Identity | Unidentified> {
  const expected = createHash('sha256').update(token).digest();
  return async ({ authorization }) => {
    if (authorization === undefined) return { refused: 'missing' };
    const given = bearerOf(authorization);
    if (given === undefined) return { refused: 'invalid', why: 'the Authorization header holds no bearer token' };
    const isOurs = timingSafeEqual(createHash('sha256').update(given).digest(), expected);
    return isOurs ? identity : { refused: 'invalid', why: 'the token is not of this installation' };
  };
}
