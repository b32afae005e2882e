import { createHash, timingSafeEqual } from 'node:crypto';
import type { Identity } from './services.ts';

const BEARER = /^Bearer ([A-Za-z0-9._~+/=-]{16,512})$/;
const MAX_HEADER_LENGTH = 1024;

/** The one token of an installation (a file in the state folder) as an identifier for `Services.identify`. Compares in constant time. */
export function tokenIdentifier(
  token: string,
  identity: Identity,
): (authorization: string | undefined) => Promise<Identity | undefined> {
  const expected = createHash('sha256').update(token).digest();
  return async (authorization) => {
    if (authorization === undefined || authorization.length > MAX_HEADER_LENGTH) return undefined;
    const given = BEARER.exec(authorization)?.[1];
    if (given === undefined) return undefined;
    return timingSafeEqual(createHash('sha256').update(given).digest(), expected) ? identity : undefined;
  };
}
