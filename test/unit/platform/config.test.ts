import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../core/refusal.ts';
import { loadConfig, type ServerConfig } from '../../../platform/config.ts';

let cwd: string;
beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'merit-config-'));
});
afterEach(() => rm(cwd, { recursive: true }));

type Env = Readonly<Record<string, string>>;
const load = (env: Env = {}): Promise<ServerConfig> => loadConfig({ env, cwd });
const loadYaml = async (yaml: string, env: Env = {}) => {
  await writeFile(join(cwd, 'merit.yaml'), yaml);
  return load(env);
};
const refusals = async (loading: Promise<ServerConfig>) => {
  const error: unknown = await loading.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RefusedInput);
  return (error as RefusedInput).refusals;
};
const codes = async (loading: Promise<ServerConfig>) =>
  (await refusals(loading)).map((one) => `${one.field} ${one.code}`);

describe('what is not said is sensible', () => {
  test('without a file and variables Merit runs on what it brings along, on loopback', async () => {
    const config = await load();
    expect(config).toMatchObject({
      listen: { host: '127.0.0.1', port: 7460 },
      database: { kind: 'embedded' },
      tenant: 'default',
      peers: { sentinelNet: undefined, finance: undefined },
      intervals: {
        planMs: 500,
        reconcileMs: 15_000,
        checkpointMs: 1000,
        drainMs: 10_000,
        idempotencyRetentionMs: 86_400_000,
      },
      log: { level: 'info', file: undefined },
      fileHash: undefined,
    });
    expect(config.stateDir).toMatch(/\/\.merit$/);
    expect(config.objectStore).toEqual({ kind: 'files', dir: join(config.stateDir, 'objects') });
    expect([...config.roles]).toEqual(['api', 'ingest', 'scorer', 'recompute', 'allocator', 'reconciler']);
    expect([...config.features]).toEqual([]);
    expect(config.providerPaths).toEqual([]);
  });

  test('variables win over the file, and paths are resolved where they were written', async () => {
    const yaml =
      'stateDir: state\ntenant: acme\nlisten: {port: 1}\nlog: {level: warn, file: m.log}\nintervals: {plan: 2s}\nroles: [api]\n';
    const config = await loadYaml(yaml, {
      MERIT_PORT: '0',
      MERIT_TENANT: 'other',
      MERIT_OBJECT_STORE: 'objs',
      MERIT_ROLES: 'scorer, ingest',
      MERIT_FEATURES: 'suite-rollouts',
      MERIT_PROVIDER_PATHS: '/srv/one:/srv/two',
    });
    expect(config).toMatchObject({
      stateDir: join(cwd, 'state'),
      tenant: 'other',
      listen: { port: 0 },
      objectStore: { kind: 'files', dir: join(cwd, 'objs') },
      signer: { current: { kind: 'file', keyFile: join(cwd, 'state', 'signer.pem') }, next: undefined },
      log: { level: 'warn', file: join(cwd, 'm.log') },
      intervals: { planMs: 2000 },
    });
    expect([...config.roles]).toEqual(['scorer', 'ingest']);
    expect([...config.features]).toEqual(['suite-rollouts']);
    expect(config.providerPaths).toEqual(['/srv/one', '/srv/two']);
  });

  test('objects are kept in a bucket where one is named, and no credentials have a place', async () => {
    const yaml = 'objectStore: {s3: {bucket: models, prefix: prod/a, region: eu-central-1}}\n';
    const s3 = { kind: 's3', bucket: 'models', prefix: 'prod/a', region: 'eu-central-1', pathStyle: false };
    expect((await loadYaml(yaml)).objectStore).toMatchObject(s3);
    const other = 'objectStore: {s3: {bucket: models, endpoint: "https://s3.example:9000"}}\n';
    expect((await loadYaml(other)).objectStore).toMatchObject({
      endpoint: 'https://s3.example:9000',
      pathStyle: true,
      region: 'us-east-1',
    });
    expect((await loadYaml(other, { MERIT_OBJECT_STORE: 's3://there/below/' })).objectStore).toMatchObject({
      bucket: 'there',
      prefix: 'below',
      endpoint: 'https://s3.example:9000',
    });
    expect((await loadYaml(yaml, { MERIT_OBJECT_STORE: 'objs' })).objectStore).toEqual({
      kind: 'files',
      dir: join(cwd, 'objs'),
    });
    for (const [bad, field] of [
      ['objectStore: {s3: {bucket: Models}}', 'objectStore.s3.bucket'],
      ['objectStore: {s3: {bucket: models, prefix: ../x}}', 'objectStore.s3.prefix'],
      ['objectStore: {s3: {bucket: models, endpoint: "http://s3.example"}}', 'objectStore.s3.endpoint'],
      ['objectStore: {s3: {bucket: models, accessKeyId: AKIA}}', 'objectStore.s3.accessKeyId'],
      ['objectStoreDir: x\nobjectStore: {s3: {bucket: models}}', 'objectStoreDir'],
    ] as const)
      await expect(loadYaml(`${bad}\n`), bad).rejects.toMatchObject({ refusals: [{ field }] });
  });

  test('the trail is signed by a key file or a key in KMS, and the next one is named beside it', async () => {
    const kms = 'signer: {kms: {key: alias/merit, region: eu-central-1}, next: {keyFile: next.pem}}\n';
    expect((await loadYaml(kms)).signer).toEqual({
      current: { kind: 'kms', key: 'alias/merit', region: 'eu-central-1', endpoint: undefined, profile: undefined },
      next: { kind: 'file', keyFile: join(cwd, 'next.pem') },
    });
    const arn = 'arn:aws:kms:eu-central-1:000000000000:key/5f1c2b7e-0000-4000-8000-000000000000';
    const next = `signer: {keyFile: a.pem, next: {kms: {key: "${arn}", endpoint: "http://127.0.0.1:5000"}}}\n`;
    expect((await loadYaml(next)).signer).toMatchObject({
      current: { kind: 'file', keyFile: join(cwd, 'a.pem') },
      next: { kind: 'kms', key: arn, endpoint: 'http://127.0.0.1:5000' },
    });
    for (const [bad, field] of [
      ['signer: {keyFile: a.pem, kms: {key: k}}', 'signer.keyFile'],
      ['signer: {next: {}}', 'signer.next'],
      ['signer: {kms: {key: "a b"}}', 'signer.kms.key'],
      ['signer: {kms: {key: k, endpoint: "http://kms.example"}}', 'signer.kms.endpoint'],
      ['signer: {kms: {key: k, secretAccessKey: x}}', 'signer.kms.secretAccessKey'],
      ['signer: {next: {kms: {key: k, endpoint: "ftp://kms.example"}}}', 'signer.next.kms.endpoint'],
    ] as const)
      await expect(loadYaml(`${bad}\n`), bad).rejects.toMatchObject({ refusals: [{ field }] });
  });

  test('the witness is one place, a bucket or a folder; a retention is of a bucket', async () => {
    const YEAR_MS = 365 * 86_400_000;
    expect((await loadYaml('tenant: acme\n')).witness).toBeUndefined();
    expect((await loadYaml('witness: {s3: {bucket: seen, prefix: prod}, every: 10s}\n')).witness).toMatchObject({
      place: { kind: 's3', bucket: 'seen', prefix: 'prod', retentionMs: 10 * YEAR_MS },
      everyMs: 10_000,
    });
    expect((await loadYaml('witness: {dir: seen}\n')).witness).toEqual({
      place: { kind: 'files', dir: join(cwd, 'seen') },
      everyMs: 60_000,
    });
    for (const [bad, field] of [
      ['witness: {every: 1m}', 'witness'],
      ['witness: {dir: seen, s3: {bucket: seen}}', 'witness'],
      ['witness: {dir: seen, retention: 10d}', 'witness.retention'],
      ['witness: {s3: {bucket: seen}, retention: 1h}', 'witness.retention'],
      ['witness: {dir: seen, every: 2h}', 'witness.every'],
      ['witness: {s3: {bucket: Seen}}', 'witness.s3.bucket'],
    ] as const)
      await expect(loadYaml(`${bad}\n`), bad).rejects.toMatchObject({ refusals: [{ field }] });
  });

  test('line ends, a byte-order mark and comments do not change the hash; values do (G09)', async () => {
    const one = (await loadYaml('tenant: acme\nlog:\n  level: warn\n')).fileHash;
    expect((await loadYaml('\ufefftenant: acme\r\nlog:\r\n  level: warn\r\n')).fileHash).toBe(one);
    expect((await loadYaml('# ours\nlog: {level: warn}\ntenant: acme')).fileHash).toBe(one);
    expect((await loadYaml('tenant: acme2\nlog: {level: warn}')).fileHash).not.toBe(one);
  });
});

describe('the file', () => {
  test('one that was named and is missing, a folder and an empty one are refused by path (G01, G02)', async () => {
    const missing = await refusals(loadConfig({ env: {}, cwd, file: 'none.yaml' }));
    expect(missing).toMatchObject([{ code: 'config_file', problem: expect.stringContaining(join(cwd, 'none.yaml')) }]);
    expect(await codes(load({ MERIT_CONFIG: 'none.yaml' }))).toEqual([' config_file']);
    expect(await codes(loadConfig({ env: {}, cwd, file: '.' }))).toEqual([' config_file']);
    expect(await codes(loadYaml(''))).toEqual([' config_file']);
    expect(await codes(loadYaml('# nothing\n'))).toEqual([' config_file']);
  });

  test.each([
    ['tabs (G04)', 'listen:\n\tport: 1', 'line 2, column 1 yaml_syntax'],
    ['a custom tag (G06)', 'tenant: !!js/function x', 'line 1, column 9 yaml_syntax'],
    ['a key twice', 'tenant: a\ntenant: b', 'line 2, column 1 yaml_syntax'],
    ['a number with a leading zero (G08)', 'listen: {port: 0746}', 'line 1, column 16 ambiguous_number'],
    ['a hexadecimal number', 'listen: {port: 0x10}', 'line 1, column 16 ambiguous_number'],
    ['a number that is no integer (G11)', 'listen: {port: 1.5}', 'listen.port integer'],
    ['a number as text (G11)', 'listen: {port: "7460"}', 'listen.port integer'],
    ['a port beyond range', 'listen: {port: 65536}', 'listen.port range'],
    ['a list at the top', '- a', ' type'],
    ['a boolean for a name (G07)', 'tenant: true', 'tenant type'],
    ['an unknown field', 'lisen: {port: 1}', 'lisen unknown_field'],
    [
      'a path of a provider that depends on where the server runs',
      'providerPaths: [/srv/one, ./two]',
      'providerPaths format',
    ],
    ['a feature flag that does not exist (G51)', 'features: [suite-rollouts, x]', 'features feature'],
    [
      'a setting that weakens TLS (G31)',
      'tls: {certFile: a, keyFile: b, caFile: c, minVersion: TLSv1}',
      'tls.minVersion unknown_field',
    ],
    [
      'a setting by which any certificate is taken (G32)',
      'tls: {certFile: a, keyFile: b, caFile: c, rejectUnauthorized: false}',
      'tls.rejectUnauthorized unknown_field',
    ],
    // How long a lease lasts and when it is renewed is fixed, so that no two of them can contradict each other.
    ['the length of a lease (G17)', 'kubernetes: {leaseDuration: 10s}', 'kubernetes.leaseDuration unknown_field'],
    ['the renewal of a lease (G17)', 'kubernetes: {renewDeadline: 10s}', 'kubernetes.renewDeadline unknown_field'],
    ['the retry of a lease (G18)', 'kubernetes: {retryPeriod: 9s}', 'kubernetes.retryPeriod unknown_field'],
    ['a redaction list (G49)', 'log: {redact: []}', 'log.redact unknown_field'],
    ['level trace (G49)', 'log: {level: trace}', 'log.level enum'],
    ['an unknown role', 'roles: [api, god]', 'roles role'],
    ['a tenant of odd characters', 'tenant: ../x', 'tenant charset'],
    ['another machine to listen on', 'listen: {host: 0.0.0.0}', 'listen.host listen_host'],
  ])('%s is refused', async (_what, yaml, expected) => {
    expect(await codes(loadYaml(yaml))).toEqual([expected]);
  });

  test('an alias bomb is refused and takes no memory (G03)', async () => {
    const levels = Array.from(
      { length: 30 },
      (_, i) => `l${i + 1}: &l${i + 1} [${Array(9).fill(`*l${i}`).join(', ')}]`,
    );
    const before = process.memoryUsage().rss;
    expect(await codes(loadYaml(`l0: &l0 [x]\n${levels.join('\n')}`))).toEqual([' aliases']);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
  });

  test('everything that is wrong is told at once', async () => {
    const yaml = 'tenant: "A B"\nintervals: {plan: 30, checkpoint: 6s}\n'.replace('30', "'30'");
    expect(await codes(loadYaml(yaml, { MERIT_PORT: 'x', MERIT_LOG_LEVEL: 'loud', DATABASE_URL: '' }))).toEqual([
      'DATABASE_URL empty_override',
      'tenant charset',
      'MERIT_PORT range',
      'intervals.plan duration',
      'intervals.checkpoint range',
      'log.level enum',
    ]);
  });
});

describe('durations', () => {
  test.each(["'0'", '0s', "'-1s'", 'forever', "'30'", '1.5s', '1h30m', '1S', '999999999999s'])(
    '%s is refused (G19)',
    async (text) => {
      expect(await codes(loadYaml(`intervals: {drain: ${text}}`))).toEqual([
        expect.stringMatching(/^intervals\.drain (duration|range)$/),
      ]);
    },
  );

  test('a checkpoint is never later than 5 s, and replies are kept as long as clients repeat (G21, G48)', async () => {
    expect((await loadYaml('intervals: {checkpoint: 4s}')).intervals.checkpointMs).toBe(4000);
    expect(await codes(loadYaml('intervals: {checkpoint: 5001ms, idempotencyRetention: 59m}'))).toEqual([
      'intervals.checkpoint range',
      'intervals.idempotencyRetention range',
    ]);
  });
});

describe('variables', () => {
  test.each(['MERIT_HOME', 'MERIT_PORT', 'DATABASE_URL', 'MERIT_CONFIG', 'MERIT_ROLES', 'MERIT_FINANCE_URL'])(
    '%s set to nothing is refused (G52)',
    async (name) => {
      expect(await codes(load({ [name]: '' }))).toEqual([`${name} empty_override`]);
      expect(await codes(load({ [name]: '  ' }))).toEqual([`${name} empty_override`]);
    },
  );

  test.each(['070', '0x10', '65536', '-1', '1e3', '80 80'])('%s is no port', async (port) => {
    expect(await codes(load({ MERIT_PORT: port }))).toEqual(['MERIT_PORT range']);
  });

  test.each([
    '--inspect=0.0.0.0',
    '--inspect=0.0.0.0:9229',
    '--max-old-space-size=100 --inspect-brk=10.0.0.1:1',
    '--inspect=[::]:9229',
  ])('a debugger for other machines is refused (%s, G53)', async (options) => {
    expect(await codes(load({ NODE_OPTIONS: options }))).toEqual(['NODE_OPTIONS inspect']);
  });

  test('Node’s switch by which any certificate is taken is refused (G32)', async () => {
    expect(await codes(load({ NODE_TLS_REJECT_UNAUTHORIZED: '0' }))).toEqual([
      'NODE_TLS_REJECT_UNAUTHORIZED tls_unverified',
    ]);
    await load({ NODE_TLS_REJECT_UNAUTHORIZED: '1' });
  });

  test.each([
    '--inspect',
    '--inspect=9229',
    '--inspect=127.0.0.1:9229',
    '--inspect=localhost',
    '--max-old-space-size=100',
  ])('a debugger for this machine is fine (%s)', async (options) => {
    await load({ NODE_OPTIONS: options });
  });
});

describe('database URLs', () => {
  const pair = (url: string): Env => ({ DATABASE_URL: url, ENGINE_DATABASE_URL: 'postgres://e:p@127.0.0.1/m' });

  test('two users of one database are taken, and shown nowhere', async () => {
    const config = await load({
      DATABASE_URL: 'postgres://app:hunter2@db.example:5432/merit?sslmode=verify-full',
      ENGINE_DATABASE_URL: 'postgresql://engine:hunter2@[::1]/merit',
      MIGRATE_DATABASE_URL: 'postgres://owner:hunter2@%2Fvar%2Frun%2Fpostgresql/merit',
      ADMIN_DATABASE_URL: 'postgres://admin:hunter2@localhost/postgres',
    });
    if (config.database.kind !== 'external') throw new Error('it is external');
    expect(config.database.appUrl.reveal()).toContain('app:hunter2@db.example');
    expect(config.database.adminUrl?.reveal()).toContain('admin:hunter2');
    expect(`${inspect(config, { depth: 9 })} ${JSON.stringify(config)}`).not.toContain('hunter2');
  });

  test.each([
    ['postgres://u:hunter2@db.example/m?sslmode=disable', 'dsn_tls'],
    ['postgres://u:hunter2@db.example/m?sslmode=prefer', 'dsn_tls'],
    ['postgres://u:hunter2@db.example/m?sslmode=require', 'dsn_tls'],
    ['postgres://u:hunter2@db.example/m', 'dsn_tls'],
    ['postgres://u:hunter2@localhost.evil.example/m', 'dsn_tls'],
    ['postgres://u:hunter2@127.0.0.1/m?host=db.example', 'dsn'],
    ['postgres://u:hunter2@db.example/m?sslmode=verify-full&ssl=0', 'dsn'],
    ['postgres://u:hunter2@db.example/m?sslmode=verify-full&sslmode=disable', 'dsn'],
    ['mysql://u:hunter2@127.0.0.1/m', 'dsn'],
    ['postgres://127.0.0.1/m', 'dsn'],
    ['postgres://u:hunter2@127.0.0.1', 'dsn'],
    ['hunter2', 'dsn'],
  ])('%s is refused, and its password not told (G42)', async (url, code) => {
    const told = await refusals(load(pair(url)));
    expect(told).toMatchObject([{ code, field: 'DATABASE_URL' }]);
    expect(JSON.stringify(told)).not.toContain('hunter2');
  });

  test('one without the other is refused', async () => {
    expect(await codes(load({ DATABASE_URL: 'postgres://a:b@127.0.0.1/m' }))).toEqual(['engineDatabaseUrl required']);
    expect(await codes(load({ ENGINE_DATABASE_URL: 'postgres://a:b@127.0.0.1/m' }))).toEqual(['databaseUrl required']);
    expect(await codes(load({ MIGRATE_DATABASE_URL: 'postgres://a:b@127.0.0.1/m' }))).toEqual(['databaseUrl required']);
  });

  test('in the file a password is refused; a file of its own holds it', async () => {
    const inline = await refusals(
      loadYaml('databaseUrl: postgres://a:hunter2@127.0.0.1/m\nengineDatabaseUrl: postgres://e@127.0.0.1/m'),
    );
    expect(inline).toMatchObject([{ code: 'inline_secret', field: 'databaseUrl' }]);
    expect(JSON.stringify(inline)).not.toContain('hunter2');
    await writeFile(join(cwd, 'app'), 'postgres://a:hunter2@127.0.0.1/m\n', { mode: 0o600 });
    await writeFile(join(cwd, 'engine'), 'postgres://e:hunter2@127.0.0.1/m', { mode: 0o644 });
    const yaml = 'databaseUrlFile: app\nengineDatabaseUrlFile: engine\n';
    expect(await codes(loadYaml(yaml))).toEqual(['engineDatabaseUrlFile secret_file']);
    const config = await loadYaml(yaml.replace('engine\n', 'app\n'));
    expect(config.database.kind === 'external' && config.database.appUrl.reveal()).toBe(
      'postgres://a:hunter2@127.0.0.1/m',
    );
    expect(await codes(loadYaml('password: hunter2'))).toEqual(['password unknown_field']);
  });
});

describe('leaders nominated by Kubernetes', () => {
  const kubernetes = { MERIT_NOMINATOR: 'kubernetes' };

  test('are so by the account of the pod, where the leases of one installation have one prefix', async () => {
    const config = await load({ ...kubernetes, KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBECONFIG: '' });
    expect(config.nominator).toEqual({
      kind: 'kubernetes',
      kubeconfig: undefined,
      namespace: undefined,
      leasePrefix: 'merit',
    });
  });

  test('are so by a kubeconfig, found where it was written; variables win', async () => {
    const yaml = 'nominator: kubernetes\nkubernetes: {kubeconfig: kube.yaml, namespace: ml, leasePrefix: merit-eu}\n';
    const named = { kind: 'kubernetes', namespace: 'ml', leasePrefix: 'merit-eu' };
    expect((await loadYaml(yaml)).nominator).toEqual({ ...named, kubeconfig: join(cwd, 'kube.yaml') });
    const env = { KUBECONFIG: '/etc/kube.yaml', MERIT_KUBERNETES_NAMESPACE: 'other', MERIT_LEASE_PREFIX: 'm2' };
    expect((await load(env)).nominator).toEqual({
      kind: 'kubernetes',
      namespace: 'other',
      leasePrefix: 'm2',
      kubeconfig: '/etc/kube.yaml',
    });
  });

  test('need a way to Kubernetes, and names that it takes', async () => {
    expect(await codes(load(kubernetes))).toEqual(['kubernetes.kubeconfig required']);
    const env = {
      ...kubernetes,
      KUBECONFIG: 'a.yaml:b.yaml',
      MERIT_KUBERNETES_NAMESPACE: 'No_Name',
      MERIT_LEASE_PREFIX: 'x'.repeat(51),
    };
    expect(await codes(load(env))).toEqual([
      'KUBECONFIG kubeconfig',
      'kubernetes.namespace kubernetes_name',
      'kubernetes.leasePrefix kubernetes_name',
    ]);
  });
});

describe('peers', () => {
  test('a service is known by its SPIFFE id over TLS; plain http is for loopback', async () => {
    const config = await loadYaml(
      'peers: {finance: {url: "https://finance.example:8443", spiffeId: "spiffe://corp/finance"}, sentinelNet: {url: "http://127.0.0.1:9"}}',
    );
    expect(config.peers).toEqual({
      finance: { origin: 'https://finance.example:8443', spiffeId: 'spiffe://corp/finance' },
      sentinelNet: { origin: 'http://127.0.0.1:9', spiffeId: undefined },
    });
  });

  test('Kernel is named as the others are', async () => {
    const set = await load({ MERIT_KERNEL_URL: 'http://127.0.0.1:9' });
    expect(set.peers.kernel).toEqual({ origin: 'http://127.0.0.1:9', spiffeId: undefined });
    expect(await codes(load({ MERIT_KERNEL_URL: 'http://kernel.example' }))).toEqual([
      'peers.kernel.url endpoint_plain',
    ]);
    expect(await codes(loadYaml('peers: {kernel: {url: "https://kernel"}}'))).toEqual([
      'peers.kernel.spiffeId required',
    ]);
    const { peers } = await loadYaml('peers: {kernel: {url: "https://kernel", spiffeId: "spiffe://corp/kernel"}}');
    expect(peers.kernel).toEqual({ origin: 'https://kernel', spiffeId: 'spiffe://corp/kernel' });
  });

  test.each([
    ['http://finance.example', 'endpoint_plain'],
    ['https://u:hunter2@finance.example', 'endpoint_userinfo'],
    ['https://finance.example/path', 'endpoint'],
    ['ftp://finance.example', 'endpoint'],
    ['finance', 'endpoint'],
  ])('%s is refused, and no password told', async (url, code) => {
    const told = await refusals(load({ MERIT_FINANCE_URL: url }));
    expect(told[0]).toMatchObject({ code, field: 'peers.finance.url' });
    expect(JSON.stringify(told)).not.toContain('hunter2');
  });

  test.each([
    ['spiffe://td/*', 'no_wildcards'],
    ['spiffe://TD/x', 'spiffe_id'],
  ])('%s is no name of a service', async (id, code) => {
    expect(await codes(loadYaml(`peers: {finance: {url: "https://f", spiffeId: "${id}"}}`))).toEqual([
      `peers.finance.spiffeId ${code}`,
    ]);
    expect(await codes(loadYaml('peers: {finance: {url: "https://f"}}'))).toEqual(['peers.finance.spiffeId required']);
  });
});
