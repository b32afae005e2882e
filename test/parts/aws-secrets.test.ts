import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateSecretCommand, PutSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readAwsSecret } from '../../platform/aws-secrets.ts';
import { systemClock } from '../../platform/clock.ts';
import { loadConfig } from '../../platform/config.ts';
import { openKafkaCredentials } from '../../platform/kafka/credentials.ts';
import { rotatingSecret } from '../../platform/rotating-secret.ts';
import { AGAIN_AFTER_MS, tokenReader } from '../../providers/ray/token-reader.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { moto } from './moto.ts';

const missing = partMissing(moto);

/** Shapes only: that AWS turns secrets by itself, and refuses by policy, moto does not show. */
describe.skipIf(missing !== undefined)(`AWS Secrets Manager${missing === undefined ? '' : ` (${missing})`}`, () => {
  let endpoint: string;
  let dir: string;
  let aws: SecretsManagerClient;
  const place = (id: string) => ({ id, region: 'us-east-1', endpoint, profile: undefined });
  const make = async (name: string, SecretString: string) =>
    (await aws.send(new CreateSecretCommand({ Name: `${name}-${Date.now()}`, SecretString }))).ARN ?? '';

  beforeAll(async () => {
    process.env.AWS_ACCESS_KEY_ID = 'test';
    process.env.AWS_SECRET_ACCESS_KEY = 'test';
    ({ url: endpoint } = await sharedPart(moto));
    dir = await mkdtemp(join(tmpdir(), 'merit-secrets-'));
    aws = new SecretsManagerClient({ endpoint, region: 'us-east-1' });
  });
  afterAll(() => rm(dir, { recursive: true }));

  test('gives the login of the database, and its next one when it is turned', async () => {
    const login = (password: string) => JSON.stringify({ engine: 'postgres', username: 'app', password, port: 5432 });
    const arn = await make('login', login('p@ss:1/'));
    const named = `{at: "postgres://127.0.0.1/merit", login: {awsSecret: "${arn}", region: us-east-1, endpoint: "${endpoint}"}}`;
    await writeFile(join(dir, 'merit.yaml'), `databaseUrl: ${named}\nengineDatabaseUrl: ${named}\n`);
    const { database } = await loadConfig({ env: {}, cwd: dir });
    if (database.kind !== 'external') throw new Error('the login was not read');
    const { appUrl, readings } = database;
    expect(new URL(appUrl.reveal()).password).toBe(encodeURIComponent('p@ss:1/'));
    const secret = rotatingSecret({ initial: appUrl, read: readings.app!.read, everyMs: 1e9, clock: systemClock });
    await aws.send(new PutSecretValueCommand({ SecretId: arn, SecretString: login('second') }));
    expect(await secret.renew(appUrl)).toBe(true);
    expect(new URL(secret.now().reveal()).password).toBe('second');
    // P52: what lacks the member keeps the old one.
    const kept = secret.now();
    await aws.send(new PutSecretValueCommand({ SecretId: arn, SecretString: '{"username":"app"}' }));
    await systemClock.sleep(600);
    expect(await secret.renew(kept)).toBe(false);
    expect(secret.now()).toBe(kept);
  });

  test('gives Kafka its password, and the next connection the one that it was turned to', async () => {
    const arn = await make('kafka', JSON.stringify({ password: 'one' }));
    const secret = `{awsSecret: "${arn}", field: password, region: us-east-1, endpoint: "${endpoint}"}`;
    const kafka = `{brokers: ["127.0.0.1:9"], sasl: {mechanism: PLAIN, username: merit, secret: ${secret}}}`;
    await writeFile(join(dir, 'merit.yaml'), `eventLog: {kafka: ${kafka}}\n`);
    const { eventLog } = await loadConfig({ env: {}, cwd: dir });
    if (eventLog.kind !== 'kafka') throw new Error('the log is not on Kafka');
    const faults: unknown[] = [];
    const credentials = await openKafkaCredentials(eventLog, (error) => faults.push(error));
    expect(credentials.sasl?.secret()).toBe('one');
    await aws.send(new PutSecretValueCommand({ SecretId: arn, SecretString: '{"password":"two"}' }));
    await credentials.refresh();
    expect(credentials.sasl?.secret()).toBe('two');
    // P52
    await aws.send(new PutSecretValueCommand({ SecretId: arn, SecretString: '{"user":"merit"}' }));
    await credentials.refresh();
    expect(credentials.sasl?.secret()).toBe('two');
    expect(faults).toMatchObject([{ refusals: [{ code: 'secret_file', field: 'eventLog.kafka.sasl' }] }]);
    credentials.close();
    // What cannot be read keeps the server from starting, and says what to do.
    await writeFile(join(dir, 'merit.yaml'), `eventLog: {kafka: ${kafka.replace(arn, 'nobody')}}\n`);
    await expect(loadConfig({ env: {}, cwd: dir })).rejects.toMatchObject({
      refusals: [{ code: 'secret_file', mend: expect.stringContaining('name a secret that is there') }],
    });
  });

  test('gives a Ray its token, and another one once Ray refuses it, but no sooner than 5 s later', async () => {
    const arn = await make('ray', JSON.stringify({ token: 'one' }));
    let nowMs = Date.now();
    const clock = { now: () => nowMs };
    const named = { field: 'token', region: 'us-east-1', endpoint };
    const read = tokenReader({ tokenSecret: { awsSecret: arn, ...named } }, clock)!;
    expect(await read()).toBe('one');
    await aws.send(new PutSecretValueCommand({ SecretId: arn, SecretString: '{"token":"two"}' }));
    expect(await read()).toBe('one');
    nowMs += AGAIN_AFTER_MS;
    expect(await read()).toBe('two');
    const failing = (over: object) => tokenReader({ tokenSecret: { awsSecret: arn, ...named, ...over } }, clock)!();
    await expect(failing({ awsSecret: 'nobody' })).rejects.toMatchObject({ name: 'RayJobError', code: 'auth' });
    await expect(failing({ field: 'password' })).rejects.toMatchObject({ code: 'auth' });
    await expect(failing({ endpoint: 'http://127.0.0.1:1' })).rejects.toMatchObject({ code: 'unreachable' });
  });

  test('that has no such secret is told with what to do', async () => {
    await expect(readAwsSecret(place('nobody'))).rejects.toMatchObject({
      code: 'auth',
      mend: expect.stringContaining('name a secret that is there'),
    });
  });

  test('that cannot be reached is told, and not as a matter of rights', async () => {
    const away = { ...place('x'), endpoint: 'http://127.0.0.1:1' };
    await expect(readAwsSecret(away)).rejects.toMatchObject({ code: 'unreachable' });
  });
});
