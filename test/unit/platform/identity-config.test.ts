import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../core/refusal.ts';
import { loadConfig } from '../../../platform/config.ts';

let cwd: string;
beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'merit-identity-'));
});
afterEach(() => rm(cwd, { recursive: true }));

const loadYaml = async (yaml: string) => {
  await writeFile(join(cwd, 'merit.yaml'), yaml);
  return loadConfig({ env: {}, cwd });
};
/** `field code` of each refusal, and never a value that was refused. */
const refused = async (yaml: string, hidden = 'hunter2') => {
  const error: unknown = await loadYaml(yaml).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RefusedInput);
  expect(String(error)).not.toContain(hidden);
  return (error as RefusedInput).refusals.map(({ field, code }) => `${field} ${code}`);
};

const oidc = (over: Readonly<Record<string, unknown>> = {}) =>
  `oidc: ${JSON.stringify({ issuer: 'https://login.example/r', audience: 'merit', tenant: 'acme', roles: { g: ['viewer'] }, ...over })}\n`;
const caller = { spiffeId: 'spiffe://example.org/kernel', tenant: 'acme', roles: ['viewer'] };
const services = (over: Readonly<Record<string, unknown>> = {}, ...callers: readonly object[]) =>
  `services: ${JSON.stringify({ trustDomain: 'example.org', callers: callers.length === 0 ? [caller] : callers, ...over })}\n`;

test('an issuer and services that are sound are read, with what is not said', async () => {
  const config = await loadYaml(oidc() + services());
  expect(config.oidc).toEqual({
    issuer: 'https://login.example/r',
    audience: 'merit',
    caFile: undefined,
    algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'],
    clockToleranceMs: 30_000,
    personClaim: 'sub',
    groupsClaim: 'groups',
    roles: { g: ['viewer'] },
    tenant: { literal: 'acme' },
  });
  expect(config.services).toEqual({
    listen: { host: '127.0.0.1', port: 7461 },
    hosts: [],
    trustDomain: 'example.org',
    callers: [{ ...caller, producers: [] }],
  });
});

describe('of people is refused', () => {
  test.each([
    ['plain http to another machine (G33)', { issuer: 'http://login.example' }, 'oidc.issuer endpoint_plain'],
    ['a password in the issuer (G34)', { issuer: 'https://u:hunter2@login.example' }, 'oidc.issuer endpoint_userinfo'],
    ['an issuer that is no URL', { issuer: 'login' }, 'oidc.issuer endpoint'],
    ['an issuer with a query', { issuer: 'https://login.example/?x=1' }, 'oidc.issuer endpoint'],
    ['an algorithm with a shared secret', { algorithms: ['HS256'] }, 'oidc.algorithms algorithm'],
    ['the algorithm none', { algorithms: ['none'] }, 'oidc.algorithms algorithm'],
    ['a role that does not exist (G28)', { roles: { g: ['root'] } }, 'oidc.roles.g role'],
    ['a role by its prototype', { roles: { g: ['constructor'] } }, 'oidc.roles.g role'],
    ['a wildcard for a group (G26)', { roles: { '*': ['admin'] } }, 'oidc.roles.* no_wildcards'],
    ['no tenant', { tenant: undefined }, 'oidc.tenant required'],
    ['two ways to a tenant', { tenants: { claim: 'org', of: { a: 'acme' } } }, 'oidc.tenant required'],
    ['a time without a unit (G19)', { clockTolerance: '30' }, 'oidc.clockTolerance duration'],
    ['clocks that differ by an hour', { clockTolerance: '1h' }, 'oidc.clockTolerance range'],
  ])('%s', async (_, over, expected) => {
    expect(await refused(oidc(over))).toEqual([expected]);
  });
});

describe('of services is refused', () => {
  test.each([
    ['a wildcard (G26)', { spiffeId: 'spiffe://example.org/*' }, 'spiffeId no_wildcards'],
    ['upper case in the domain (G27)', { spiffeId: 'spiffe://Example.org/kernel' }, 'spiffeId spiffe_id'],
    ['a port (G27)', { spiffeId: 'spiffe://example.org:1/kernel' }, 'spiffeId spiffe_id'],
    ['a query (G27)', { spiffeId: 'spiffe://example.org/kernel?x' }, 'spiffeId spiffe_id'],
    ['dots (G27)', { spiffeId: 'spiffe://example.org/../kernel' }, 'spiffeId spiffe_id'],
    ['another trust domain', { spiffeId: 'spiffe://example.com/kernel' }, 'spiffeId trust_domain'],
    ['a trust domain that begins alike', { spiffeId: 'spiffe://example.org.evil/kernel' }, 'spiffeId trust_domain'],
    ['a role that does not exist (G28)', { roles: ['root'] }, 'roles role'],
    ['a reporter without producers', { roles: ['reporter'] }, 'producers required'],
  ])('%s', async (_, over, expected) => {
    expect(await refused(services({}, { ...caller, ...over }))).toEqual([`services.callers.0.${expected}`]);
  });

  test('one service twice (G24), and a door to other machines without certificates', async () => {
    expect(await refused(services({}, caller, caller))).toEqual(['services.callers.1.spiffeId duplicate_principal']);
    expect(await refused(services({ listen: { host: '0.0.0.0' } }))).toEqual(['tls required']);
  });
});

describe('a secret of the configuration', () => {
  const both = (named: string) => `databaseUrl: ${named}\nengineDatabaseUrl: {file: engine}\n`;
  const at = 'postgres://127.0.0.1/merit';
  beforeEach(async () => {
    await writeFile(join(cwd, 'engine'), 'postgres://e:p@127.0.0.1/merit\n', { mode: 0o600 });
    await writeFile(join(cwd, 'login'), '{"username":"u@x","password":"p:/?#1","n":1,"empty":""}\n', { mode: 0o600 });
  });

  test('is a file, whole or a member of it, or a URL and a login beside each other', async () => {
    const urlOf = async (named: string) => {
      const { database } = await loadYaml(both(named));
      return database.kind === 'external' ? database.appUrl.reveal() : undefined;
    };
    expect(await urlOf('{file: engine}')).toBe('postgres://e:p@127.0.0.1/merit');
    expect(await urlOf(`{at: "${at}", login: {file: login}}`)).toBe('postgres://u%40x:p%3A%2F%3F%231@127.0.0.1/merit');
    await writeFile(join(cwd, 'json'), '{"url":"postgres://j:p@127.0.0.1/merit"}', { mode: 0o600 });
    expect(await urlOf('{file: json, field: url}')).toBe('postgres://j:p@127.0.0.1/merit');
  });

  test.each([
    ['written into it (G38)', '"postgres://a:hunter2@127.0.0.1/m"', 'databaseUrl inline_secret'],
    ['written beside a login', `{at: "postgres://a:hunter2@127.0.0.1/m", login: {file: login}}`, 'databaseUrl dsn'],
    ['absent', '{file: nowhere}', 'databaseUrl secret_file'],
    ['a member that is not there', '{file: login, field: url}', 'databaseUrl secret_file'],
    ['a member that is a number', '{file: login, field: n}', 'databaseUrl secret_file'],
    ['a member that is empty', '{file: login, field: empty}', 'databaseUrl secret_file'],
    ['a member of what is no JSON', '{file: engine, field: url}', 'databaseUrl secret_file'],
    ['a member by its prototype', '{file: login, field: constructor}', 'databaseUrl secret_file'],
    ['no URL of a database', '{file: login, field: password}', 'databaseUrl dsn'],
    [
      'to another machine without TLS (G42)',
      `{at: "postgres://db.example/m", login: {file: login}}`,
      'databaseUrl dsn_tls',
    ],
    [
      'a plain endpoint of AWS (G33)',
      '{awsSecret: x, endpoint: "http://aws.example"}',
      'databaseUrl.endpoint endpoint_plain',
    ],
  ])('that is %s is refused', async (_, named, expected) => {
    expect(await refused(both(named))).toEqual([expected]);
  });

  test('that others may read is refused (G39)', async () => {
    await chmod(join(cwd, 'engine'), 0o644);
    expect(await refused(both('{file: login, field: password}'))).toContain('engineDatabaseUrl secret_file');
  });
});
