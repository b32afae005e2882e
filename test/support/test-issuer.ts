import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose';

/** A small OpenID Connect issuer for tests: it publishes keys, signs what it is told to, and misbehaves where it is told to. */
export interface TestIssuer {
  readonly url: string;
  /** What it publishes; change it at will. */
  keys: JWK[];
  /** Instead of its sound answer to one of its two documents. */
  misbehave: ((path: string, response: ServerResponse) => boolean) | undefined;
  /** Requests so far, by path. */
  readonly asked: string[];
  /** A new key, published unless told otherwise. */
  newKey(kid: string, alg?: string, publish?: boolean): Promise<SigningKey>;
  close(): Promise<void>;
}

export interface SigningKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly jwk: JWK;
}

export const AUDIENCE = 'merit';

export async function startTestIssuer(): Promise<TestIssuer> {
  const issuer: TestIssuer = {
    url: '',
    keys: [],
    misbehave: undefined,
    asked: [],
    newKey: async (kid, alg = 'ES256', publish = true) => {
      const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
      const jwk = { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' };
      if (publish) issuer.keys.push(jwk);
      return { kid, alg, privateKey, jwk };
    },
    close: () =>
      new Promise<void>((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  const server: Server = createServer((request, response) => {
    const path = request.url ?? '';
    issuer.asked.push(path);
    if (issuer.misbehave?.(path, response) === true) return;
    response.setHeader('content-type', 'application/json');
    if (path === '/realms/merit/.well-known/openid-configuration')
      response.end(JSON.stringify({ issuer: issuer.url, jwks_uri: `${issuer.url}/keys` }));
    else if (path === '/realms/merit/keys') response.end(JSON.stringify({ keys: issuer.keys }));
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/realms/merit`;
  return Object.assign(issuer, { url });
}

export interface TokenOptions {
  readonly claims?: JWTPayload;
  readonly header?: Readonly<Record<string, unknown>>;
  readonly nowMs?: number;
  /** Seconds from now. */
  readonly expiresIn?: number;
}

/** A token that is sound unless told otherwise. */
export async function tokenOf(issuer: TestIssuer, key: SigningKey, options: TokenOptions = {}): Promise<string> {
  const now = Math.floor((options.nowMs ?? Date.now()) / 1000);
  const claims = { iss: issuer.url, aud: AUDIENCE, sub: 'ann', iat: now, exp: now + (options.expiresIn ?? 300) };
  return new SignJWT({ ...claims, ...options.claims })
    .setProtectedHeader({ alg: key.alg, kid: key.kid, typ: 'JWT', ...options.header })
    .sign(key.privateKey);
}

export const segment = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
