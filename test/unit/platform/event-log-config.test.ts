import { chmod, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../core/refusal.ts';
import { loadConfig, type ServerConfig } from '../../../platform/config.ts';
import { ensureDevCertificates } from '../../../platform/dev-ca.ts';
import { openKafkaCredentials } from '../../../platform/kafka/credentials.ts';

let cwd: string;
beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'merit-event-log-'));
});
afterEach(() => rm(cwd, { recursive: true }));

async function load(yaml: string, env: Readonly<Record<string, string>> = {}): Promise<ServerConfig> {
  await writeFile(join(cwd, 'merit.yaml'), yaml);
  return loadConfig({ env, cwd });
}
const kafka = (inside: string) => load(`eventLog: {kafka: {brokers: ["127.0.0.1:9092"], ${inside}}}\n`);
async function refusals(loading: Promise<unknown>) {
  const error: unknown = await loading.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RefusedInput);
  return (error as RefusedInput).refusals;
}

test('without a word the log is the embedded one; brokers that are named, in the file or by a variable, are Kafka', async () => {
  expect((await load('{}')).eventLog).toEqual({ kind: 'embedded' });
  expect((await load('{}', { KAFKA_BROKERS: 'localhost:9092, 127.0.0.1:9093' })).eventLog).toEqual({
    kind: 'kafka',
    brokers: ['localhost:9092', '127.0.0.1:9093'],
    client: 'platformatic',
    topicPrefix: '',
    tenants: [],
    group: 'merit',
    partitions: 6,
    replicas: -1,
    tls: undefined,
    sasl: undefined,
  });
});

test('all of it can be said, and files lie beside the file that names them', async () => {
  const { merit } = await ensureDevCertificates({ dir: cwd, services: ['merit'], nowMs: Date.now() });
  await writeFile(join(cwd, 'secret'), 'hunter2', { mode: 0o600 });
  const { eventLog } = await load(`
eventLog:
  kafka:
    brokers: [kafka-1.example:9093, "[::1]:9093"]
    client: kafkajs
    topicPrefix: prod.
    tenants: [acme, globex, acme]
    group: scorers
    partitions: 12
    replicationFactor: 3
    enable.auto.commit: false
    isolation.level: read_committed
    acks: all
    tls: {caFile: ca.crt, certFile: merit.crt, keyFile: merit.key}
    sasl: {mechanism: SCRAM-SHA-512, username: merit, passwordFile: secret}
`);
  expect(eventLog).toEqual({
    kind: 'kafka',
    brokers: ['kafka-1.example:9093', '[::1]:9093'],
    client: 'kafkajs',
    topicPrefix: 'prod.',
    tenants: ['acme', 'globex'],
    group: 'scorers',
    partitions: 12,
    replicas: 3,
    tls: merit,
    sasl: {
      mechanism: 'SCRAM-SHA-512',
      username: 'merit',
      secret: { kind: 'file', path: join(cwd, 'secret'), member: undefined },
    },
  });
});

describe('what is refused', () => {
  const refused: Readonly<Record<string, readonly [string, string]>> = {
    'G46 positions on a timer': ['enable.auto.commit: true', 'eventLog.kafka.enable.auto.commit fixed'],
    'G46 what may be aborted': ['isolation.level: read_uncommitted', 'eventLog.kafka.isolation.level fixed'],
    'writes that one replica takes': ['acks: 1', 'eventLog.kafka.acks fixed'],
    'writes that may be stored twice': ['enable.idempotence: false', 'eventLog.kafka.enable.idempotence fixed'],
    'a client that is none': ['client: librdkafka', 'eventLog.kafka.client enum'],
    'a tenant that is no name': ['tenants: [acme, Globex]', 'eventLog.kafka.tenants[1] charset'],
    'a prefix that is no name': ['topicPrefix: "a b"', 'eventLog.kafka.topicPrefix name'],
    'half a pair': ['tls: {certFile: a}', 'eventLog.kafka.tls.keyFile required'],
    'a mechanism that nobody speaks': [
      'sasl: {mechanism: GSSAPI, username: a, passwordFile: b}',
      'eventLog.kafka.sasl.mechanism enum',
    ],
    'a password in a token’s place': [
      'sasl: {mechanism: OAUTHBEARER, passwordFile: b}',
      'eventLog.kafka.sasl secret_file',
    ],
    'a secret that is named twice': [
      'sasl: {mechanism: PLAIN, username: a, passwordFile: b, secret: {file: b}}',
      'eventLog.kafka.sasl secret_file',
    ],
    'no secret': ['sasl: {mechanism: PLAIN, username: a}', 'eventLog.kafka.sasl secret_file'],
    'a service of secrets over plain http': [
      'sasl: {mechanism: PLAIN, username: a, secret: {awsSecret: x, endpoint: "http://secrets.example"}}',
      'eventLog.kafka.sasl.secret.endpoint endpoint_plain',
    ],
    'no user': ['sasl: {mechanism: PLAIN, passwordFile: b}', 'eventLog.kafka.sasl.username required'],
    'G38 a password in the file': [
      'sasl: {mechanism: PLAIN, username: a, password: hunter2}',
      'eventLog.kafka.sasl.password unknown_field',
    ],
    'G38 a secret in the file': [
      'sasl: {mechanism: PLAIN, username: a, secret: hunter2}',
      'eventLog.kafka.sasl.secret enum',
    ],
  };
  test.each(Object.entries(refused))('%s', async (_, [inside, expected]) => {
    const found = await refusals(kafka(inside));
    expect(found.map(({ field, code }) => `${field} ${code}`)).toContain(expected);
    expect(JSON.stringify(found)).not.toContain('hunter2');
  });

  test('files that are not there or cannot serve', async () => {
    await writeFile(join(cwd, 'ca'), 'none');
    const found = await refusals(kafka('tls: {caFile: ca}, sasl: {mechanism: PLAIN, username: a, passwordFile: b}'));
    expect(found.map(({ field, code }) => `${field} ${code}`)).toEqual([
      'eventLog.kafka.tls.caFile tls',
      'eventLog.kafka secret_file',
    ]);
  });

  test('another machine without TLS, brokers that are none, and all else, at once', async () => {
    const yaml =
      'eventLog: {kafka: {brokers: [kafka.example:9092, "user:hunter2@b:1:2"], client: x, enable.auto.commit: true}}\n';
    const found = await refusals(load(yaml));
    expect(found.map(({ code }) => code).toSorted()).toEqual(['broker', 'enum', 'fixed', 'kafka_plain']);
    expect(JSON.stringify(found)).not.toContain('hunter2');
    expect(await refusals(load('eventLog: {kafka: {}}\n'))).toMatchObject([{ code: 'required' }]);
    expect(await refusals(load('{}', { KAFKA_BROKERS: 'kafka.example:9092' }))).toMatchObject([
      { code: 'kafka_plain' },
    ]);
  });
});

describe('credentials', () => {
  const sasl = () => {
    const secret = { kind: 'file', path: join(cwd, 'secret'), member: undefined } as const;
    return { mechanism: 'PLAIN', username: 'merit', secret } as const;
  };
  const write = async (text: string, atS: number) => {
    await writeFile(join(cwd, 'secret'), text, { mode: 0o600 });
    await utimes(join(cwd, 'secret'), atS, atS);
  };

  test('a secret and a certificate that are renewed are used by the next connection; what cannot serve changes nothing', async () => {
    await write('one\n', 1);
    const { merit } = await ensureDevCertificates({ dir: join(cwd, 'tls'), services: ['merit'], nowMs: Date.now() });
    const faults: unknown[] = [];
    const credentials = await openKafkaCredentials({ tls: merit, sasl: sasl() }, (error) => faults.push(error));
    const { tls } = credentials;
    expect(credentials.sasl?.secret()).toBe('one');
    await write('two\n', 2);
    await rm(merit.certFile);
    await rm(merit.keyFile);
    await ensureDevCertificates({ dir: join(cwd, 'tls'), services: ['merit'], nowMs: Date.now() });
    const before = tls?.cert;
    await credentials.refresh();
    expect(credentials.sasl?.secret()).toBe('two');
    expect(tls?.cert).not.toEqual(before);
    await write('three\n', 3);
    await chmod(join(cwd, 'secret'), 0o644);
    await credentials.refresh();
    expect(credentials.sasl?.secret()).toBe('two');
    expect(faults).toMatchObject([{ refusals: [{ code: 'secret_file' }] }]);
    credentials.close();
  });

  test('a secret may be a member of a JSON; one that lacks it changes nothing', async () => {
    await write(JSON.stringify({ username: 'merit', password: 'one' }), 1);
    const secret = { kind: 'file', path: join(cwd, 'secret'), member: 'password' } as const;
    const faults: unknown[] = [];
    const files = { tls: undefined, sasl: { ...sasl(), secret } };
    const credentials = await openKafkaCredentials(files, (error) => faults.push(error));
    expect(credentials.sasl?.secret()).toBe('one');
    await write(JSON.stringify({ username: 'merit' }), 2);
    await credentials.refresh();
    expect(credentials.sasl?.secret()).toBe('one');
    expect(faults).toHaveLength(1);
    await write(JSON.stringify({ password: 'two' }), 3);
    await credentials.refresh();
    expect(credentials.sasl?.secret()).toBe('two');
    credentials.close();
  });

  test('G39 a secret that others may read, a key of another certificate and no certificate are refused', async () => {
    await write('one', 1);
    await chmod(join(cwd, 'secret'), 0o640);
    expect(await refusals(openKafkaCredentials({ tls: undefined, sasl: sasl() }))).toMatchObject([
      { code: 'secret_file' },
    ]);
    const made = await ensureDevCertificates({
      dir: join(cwd, 'tls'),
      services: ['merit', 'other'],
      nowMs: Date.now(),
    });
    const mixed = { ...made.merit, keyFile: made.other.keyFile };
    expect(await refusals(openKafkaCredentials({ tls: mixed, sasl: undefined }))).toMatchObject([
      { field: 'eventLog.kafka.tls.keyFile' },
    ]);
    const none = { ...made.merit, caFile: made.merit.keyFile };
    expect(await refusals(openKafkaCredentials({ tls: none, sasl: undefined }))).toMatchObject([
      { field: 'eventLog.kafka.tls.caFile' },
    ]);
  });
});
