import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type PoolTrust, trustRefusals } from '../../../../api/roles/pool-trust.ts';

let home: string;
let trust: PoolTrust;

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'merit-trust-'));
  for (const name of ['state', 'shared', 'own']) mkdirSync(join(home, name));
  writeFileSync(join(home, 'state', 'token'), 'the token');
  symlinkSync(join(home, 'state', 'token'), join(home, 'shared', 'link'));
  trust = { tenant: 'default', stateDir: join(home, 'state'), files: [join(home, 'shared')] };
});

afterAll(() => rmSync(home, { recursive: true, force: true }));

const ray = (path: string) => ({
  kind: 'ray',
  config: { address: 'https://elsewhere.example', tokenFile: join(home, path) },
});
const fields = (provider: { kind: string; config?: Record<string, unknown> }, tenant: string) =>
  trustRefusals(provider, tenant, trust).map(({ field }) => field);

describe('a pool of the installation’s tenant', () => {
  test('may run jobs on this machine, and name any file but those of the state', () => {
    expect(fields({ kind: 'local' }, 'default')).toEqual([]);
    expect(fields({ kind: 'ray' }, 'default')).toEqual([]);
    expect(fields(ray('own/token'), 'default')).toEqual([]);
  });

  test.each(['state/token', 'state', 'own/../state/token', 'shared/link', 'state/not-there-yet', 'state/..token'])(
    'may not name %s',
    (path) => {
      expect(fields(ray(path), 'default')).toEqual(['provider.config.tokenFile']);
    },
  );
});

describe('a pool of another tenant', () => {
  test('names no secret that the server would read with its own identity; the installation’s own may', () => {
    const provider = {
      kind: 'ray',
      config: { address: 'https://elsewhere.example', tokenSecret: { awsSecret: 'merit/app' } },
    };
    expect(fields(provider, 'acme')).toEqual(['provider.config.tokenSecret']);
    expect(fields({ kind: 'x', config: { deep: [{ login: { awsSecret: 'x' } }] } }, 'acme')).toEqual([
      'provider.config.deep.0.login',
    ]);
    expect(fields(provider, 'default')).toEqual([]);
  });

  test('runs nothing on this machine', () => {
    expect(fields({ kind: 'local' }, 'acme')).toEqual(['provider.kind']);
    expect(fields({ kind: 'ray' }, 'acme')).toEqual(['provider.kind']);
  });

  test('names files in listed folders only, also deep in its config', () => {
    expect(fields(ray('shared/acme/token'), 'acme')).toEqual([]);
    expect(fields(ray('own/token'), 'acme')).toEqual(['provider.config.tokenFile']);
    expect(fields(ray('shared/link'), 'acme')).toEqual(['provider.config.tokenFile']);
    expect(fields(ray('shared/../own/token'), 'acme')).toEqual(['provider.config.tokenFile']);
    expect(fields({ kind: 'x', config: { deep: [{ kubeconfig: '/etc/kubeconfig' }] } }, 'acme')).toEqual([
      'provider.config.deep.0.kubeconfig',
    ]);
  });
});
