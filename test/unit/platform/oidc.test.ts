import { createHmac, createPublicKey, type JsonWebKey } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Clock } from '../../../platform/clock.ts';
import type { OidcConfig } from '../../../platform/identity-config.ts';
import {
  type IssuerKeys,
  KEYS_COOLDOWN_MS,
  KEYS_MAX_AGE_MS,
  KEYS_REFRESH_MS,
  MAX_WAITING_FOR_KEYS,
  openIssuerKeys,
} from '../../../platform/issuer-keys.ts';
import { type OidcVerifier, oidcVerifier } from '../../../platform/oidc.ts';
import {
  AUDIENCE,
  type SigningKey,
  segment,
  startTestIssuer,
  type TestIssuer,
  tokenOf,
} from '../../support/test-issuer.ts';

let issuer: TestIssuer;
let key: SigningKey;
let rsa: SigningKey;
let keys: IssuerKeys;
let verify: OidcVerifier;
let config: OidcConfig;
let nowMs: number;
let told: unknown[];
const clock: Clock = { now: () => nowMs, sleep: async () => {} };

beforeAll(async () => {
  issuer = await startTestIssuer();
  key = await issuer.newKey('first', 'ES256', false);
  rsa = await issuer.newKey('rsa', 'RS256', false);
});
afterAll(() => issuer.close());

beforeEach(async () => {
  nowMs = Date.now();
  told = [];
  issuer.keys = [key.jwk, rsa.jwk];
  issuer.misbehave = undefined;
  config = {
    issuer: issuer.url,
    audience: AUDIENCE,
    caFile: undefined,
    algorithms: ['ES256', 'RS256'],
    clockToleranceMs: 30_000,
    personClaim: 'sub',
    groupsClaim: 'groups',
    roles: { research: ['submitter'], ops: ['operator', 'auditor'] },
    tenant: { claim: 'org', of: { 'acme-corp': 'acme', 'rival-inc': 'rival' } },
  };
  await open();
  await keys.renew();
  issuer.asked.length = 0;
});

async function open(over: Partial<OidcConfig> = {}): Promise<void> {
  const watch = { refreshed: () => {}, ageSeconds: () => {}, failed: (error: unknown) => void told.push(error) };
  keys = await openIssuerKeys({ issuer: issuer.url, ca: undefined, clock, watch });
  verify = await oidcVerifier({ ...config, ...over }, keys, clock);
}

const KNOWN = { org: 'acme-corp', groups: ['research'] };
const sound = (claims: object = {}, header: Readonly<Record<string, unknown>> = {}) =>
  tokenOf(issuer, key, { nowMs, claims: { ...KNOWN, ...claims }, header });
const why = async (token: string) => {
  const verdict = await verify(token);
  return verdict.kind === 'person' ? verdict.principal : `${verdict.kind}: ${verdict.why}`;
};

describe('a token of the issuer', () => {
  test('says who asks, and the configuration what that person may and where', async () => {
    expect(await verify(await sound())).toEqual({
      kind: 'person',
      principal: 'oidc:ann',
      tenant: 'acme',
      functions: ['read', 'submit'],
    });
    const both = await verify(await sound({ groups: ['ops', 'research', 'unknown'], org: 'rival-inc' }));
    expect(both).toMatchObject({ tenant: 'rival', functions: ['read', 'submit', 'operate', 'audit'] });
    expect(await why(await tokenOf(issuer, rsa, { nowMs, claims: KNOWN }))).toBe('oidc:ann');
  });

  test('is taken with a group or audience that is one text, and of every type that proves who asks', async () => {
    expect(await why(await sound({ groups: 'research', aud: ['other', AUDIENCE] }))).toBe('oidc:ann');
    for (const typ of [undefined, 'at+jwt', 'application/at+jwt', 'jwt'])
      expect(await why(await sound({}, { typ }))).toBe('oidc:ann');
    expect(await why(await sound({}, { typ: 'logout+jwt' }))).toBe('invalid: the token is of another type');
  });

  test('of a person without a group or a tenant that is named word for word lets nobody in, and says who it is', async () => {
    const stranger = async (claims: object) => {
      const verdict = await verify(await sound(claims));
      return verdict.kind === 'stranger' ? `${verdict.principal}: ${verdict.why}` : verdict.kind;
    };
    for (const groups of [undefined, [], ['Research'], ['research '], [['research']], { research: true }, 'toString'])
      expect([groups, await stranger({ groups })]).toEqual([groups, 'oidc:ann: this person has no role here']);
    for (const org of [undefined, 'acme', 'ACME-CORP', ['acme-corp', 'rival-inc'], { of: 'acme-corp' }, 'constructor'])
      expect([org, await stranger({ org })]).toEqual([org, 'oidc:ann: this person has no tenant here']);
    const many = [...Array.from({ length: 1_000 }, () => 'x'), 'research'];
    expect(await stranger({ groups: many })).toContain('no role');
  });

  test.each([
    ['it has expired', { exp: -60 }, 'the token has expired'],
    ['it is not valid yet', { nbf: 60 }, 'the token is not valid yet'],
    ['it never ends', { exp: undefined }, 'the token has no end'],
    ['it is of another issuer', { iss: 'https://evil.example' }, 'the token is of another issuer'],
    ['it is for another audience', { aud: 'billing' }, 'the token is for another audience'],
    ['it is for nobody', { aud: undefined }, 'the token is for another audience'],
    ['it names nobody', { sub: undefined }, 'a claim of the token is missing or wrong'],
    ['it names a number', { sub: 7 }, 'the token names nobody'],
    ['its name would break lines', { sub: 'ann\nroot' }, 'the token names nobody'],
    ['its name has no end', { sub: 'a'.repeat(256) }, 'the token names nobody'],
    [
      'it is bound to a key that is not shown',
      { cnf: { jkt: 'x' } },
      'the token is bound to a key, which is not looked at here',
    ],
  ])('is refused where %s', async (_, claims, reason) => {
    const at = (seconds: unknown) => (typeof seconds === 'number' ? Math.floor(nowMs / 1000) + seconds : undefined);
    const times = Object.fromEntries(
      Object.entries(claims).map(([name, value]) => [name, ['exp', 'nbf'].includes(name) ? at(value) : value]),
    );
    expect(await why(await sound(times))).toBe(`invalid: ${reason}`);
  });

  test('may be as much too late or too early as clocks may differ', async () => {
    const second = Math.floor(nowMs / 1000);
    expect(await why(await sound({ exp: second - 29, nbf: second + 29 }))).toBe('oidc:ann');
    expect(await why(await sound({ exp: second - 31 }))).toBe('invalid: the token has expired');
  });
});

describe('a forged token', () => {
  test('without a signature proves nothing (H49: alg none)', async () => {
    const claims = { iss: issuer.url, aud: AUDIENCE, sub: 'ann', exp: Math.floor(nowMs / 1000) + 300, ...KNOWN };
    for (const alg of ['none', 'None', 'NONE', ''])
      for (const signature of ['', 'AAAA'])
        expect(await why(`${segment({ alg, kid: 'first' })}.${segment(claims)}.${signature}`)).toMatch(/^invalid: /);
    const [, body, signature] = (await sound()).split('.');
    expect(await why(`${segment({ alg: 'none', kid: 'first' })}.${body}.${signature}`)).toMatch(/^invalid: /);
  });

  test('with the public key as a shared secret proves nothing (H49: HS256)', async () => {
    const published = createPublicKey({ key: rsa.jwk as JsonWebKey, format: 'jwk' });
    const pem = published.export({ type: 'spki', format: 'pem' }).toString();
    const der = published.export({ type: 'spki', format: 'der' });
    for (const secret of [pem, pem.trim(), der, JSON.stringify(rsa.jwk)]) {
      const claims = { iss: issuer.url, aud: AUDIENCE, sub: 'ann', exp: Math.floor(nowMs / 1000) + 300, ...KNOWN };
      const signed = `${segment({ alg: 'HS256', kid: 'rsa' })}.${segment(claims)}`;
      const token = `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
      expect(await why(token)).toBe('invalid: the token is signed with an algorithm that is not allowed');
    }
  });

  test('with a shared secret that the issuer publishes proves nothing, even where the algorithm were let through', async () => {
    const k = Buffer.alloc(32, 7).toString('base64url');
    issuer.keys = [key.jwk, { kty: 'oct', kid: 'shared', alg: 'HS256', k }];
    await open({ algorithms: ['ES256', 'HS256' as 'RS256'] });
    await keys.renew();
    const token = await new SignJWT({ sub: 'ann', ...KNOWN })
      .setProtectedHeader({ alg: 'HS256', kid: 'shared' })
      .setIssuer(issuer.url)
      .setAudience(AUDIENCE)
      .setExpirationTime(new Date(nowMs + 60_000))
      .sign(Buffer.from(k, 'base64url'));
    expect(await why(token)).toMatch(/^invalid: /);
  });

  test.each([
    ['a kid that climbs', { kid: '../../x' }],
    ['a kid that the issuer has not', { kid: 'other' }],
    ['a key of its own', { kid: 'other', jwk: { kty: 'oct', k: 'AAAA' } }],
    ['an address for its key', { kid: 'other', jku: 'http://127.0.0.1:1/keys', x5u: 'http://127.0.0.1:1/x' }],
    ['an algorithm of another key', { kid: 'rsa' }],
    ['a header that must be understood', { crit: ['exp'], exp: 1 }],
  ])('with %s proves nothing (H49)', async (_, header) => {
    const [, body, signature] = (await sound()).split('.');
    const token = `${segment({ alg: 'ES256', typ: 'JWT', kid: 'first', ...header })}.${body}.${signature}`;
    expect(await why(token)).toMatch(/^invalid: /);
    expect(issuer.asked.filter((path) => !path.startsWith('/realms/merit/'))).toEqual([]);
  });

  test('of another key under a kid of the issuer’s proves nothing', async () => {
    const mine = await issuer.newKey('first', 'ES256', false);
    expect(await why(await tokenOf(issuer, mine, { nowMs, claims: KNOWN }))).toBe(
      'invalid: the token is not signed with a key of the issuer',
    );
  });

  test.each([
    ['nothing', ''],
    ['two parts', 'a.b'],
    ['five parts', 'a.b.c.d.e'],
    ['no JSON', 'e30.####.AAAA'],
    ['more than may be', `${'a'.repeat(13_000)}.e30.AAAA`],
    ['a header that is a list', `${segment([])}.e30.AAAA`],
    ['a deep header', `${Buffer.from('['.repeat(9_000)).toString('base64url')}.e30.AAAA`],
  ])('that is %s is malformed', async (_, token) => {
    expect(await why(token)).toBe('invalid: the token is malformed');
  });
});

describe('the issuer’s keys', () => {
  test('that were added are read at the first token that names one, and then not again for a while', async () => {
    const second = await issuer.newKey('second');
    const token = await tokenOf(issuer, second, { nowMs, claims: KNOWN });
    // Just read: a flood of unknown keys asks the issuer nothing.
    expect(await why(token)).toMatch(/^invalid/);
    expect(issuer.asked).toEqual([]);
    nowMs += KEYS_COOLDOWN_MS;
    expect(await why(token)).toBe('oidc:ann');
    const asked = issuer.asked.length;
    const floods = Array.from({ length: 200 }, (_, i) => sound({}, { kid: `flood-${i}` }).then(why));
    expect(new Set(await Promise.all(floods))).toEqual(
      new Set(['invalid: the token is not signed with a key of the issuer']),
    );
    expect(issuer.asked.length).toBe(asked);
  });

  test('that were replaced under one id are read again, and those that were withdrawn prove nothing from then on', async () => {
    const replaced = await issuer.newKey('first', 'ES256', false);
    issuer.keys = [replaced.jwk];
    nowMs += KEYS_COOLDOWN_MS;
    const old = await sound();
    expect(await why(await tokenOf(issuer, replaced, { nowMs, claims: KNOWN }))).toBe('oidc:ann');
    expect(await why(old)).toBe('invalid: the token is not signed with a key of the issuer');
  });

  test('are followed without any token', async () => {
    const stop = new AbortController();
    let looks = 0;
    const following = openIssuerKeys({
      issuer: issuer.url,
      ca: undefined,
      clock: {
        now: () => nowMs,
        sleep: async () => {
          nowMs += KEYS_REFRESH_MS / 2;
          if (++looks === 4) stop.abort();
        },
      },
      watch: { refreshed: () => {}, ageSeconds: () => {}, failed: () => {} },
    });
    await (await following).follow(stop.signal);
    expect(issuer.asked.filter((path) => path.endsWith('/keys')).length).toBe(2);
  });

  test.each([
    ['answers with an error', (r: ServerResponse) => void r.writeHead(503).end()],
    ['sends elsewhere', (r: ServerResponse) => void r.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()],
    ['sends more than may be', (r: ServerResponse) => void r.end(' '.repeat(300_000))],
    ['sends no JSON', (r: ServerResponse) => void r.end('<html>')],
    ['sends another document', (r: ServerResponse) => void r.end('{"keys":[]}')],
    ['breaks off', (r: ServerResponse) => void r.destroy()],
  ])('go on for a day where it %s, and then nobody is let in', async (_, answer) => {
    issuer.misbehave = (_path, response) => {
      answer(response);
      return true;
    };
    nowMs += KEYS_REFRESH_MS;
    expect(await keys.renew()).toBe(false);
    expect(told.length).toBe(1);
    expect(await why(await sound())).toBe('oidc:ann');
    expect(keys.state()).toMatch(/^2 keys, read 300 s ago; the issuer does not answer$/);
    nowMs += KEYS_MAX_AGE_MS;
    expect(await why(await sound())).toBe('away: the keys of the identity provider cannot be read now; come back');
    expect(() => keys.state()).toThrow('reading the keys of');
    issuer.misbehave = undefined;
    nowMs += KEYS_COOLDOWN_MS;
    expect(await why(await sound())).toBe('oidc:ann');
    expect(told.length).toBe(1);
  });

  test('of a discovery document of another issuer, or at an address that is not safe, are not taken', async () => {
    for (const document of [
      { issuer: 'https://evil.example', jwks_uri: `${issuer.url}/keys` },
      { issuer: issuer.url, jwks_uri: 'http://203.0.113.7/keys' },
      { issuer: issuer.url, jwks_uri: 'file:///etc/passwd' },
      { issuer: issuer.url },
    ]) {
      issuer.misbehave = (path, response) => {
        if (path.endsWith('/keys')) return false;
        response.end(JSON.stringify(document));
        return true;
      };
      await open();
      expect(await keys.renew()).toBe(false);
      expect(told.length).toBeGreaterThan(0);
      expect(await why(await sound())).toMatch(/^away/);
    }
  });

  test('while their reading hangs those that are known go on, and few wait for one that is not', async () => {
    const hanging: ServerResponse[] = [];
    issuer.misbehave = (_path, response) => {
      hanging.push(response);
      return true;
    };
    nowMs += KEYS_COOLDOWN_MS;
    const unknown = await sound({}, { kid: 'other' });
    const verdicts: string[] = [];
    const asking = Array.from(
      { length: MAX_WAITING_FOR_KEYS + 50 },
      async () => void verdicts.push(await why(unknown)),
    );
    while (hanging.length === 0 || verdicts.length < 50) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await why(await sound())).toBe('oidc:ann');
    expect(hanging.length).toBe(1);
    expect(verdicts.length).toBe(50);
    for (const response of hanging) response.destroy();
    await Promise.all(asking);
    expect(new Set(verdicts)).toEqual(new Set(['invalid: the token is not signed with a key of the issuer']));
  });
});
