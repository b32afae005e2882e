import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startFinanceSimulator } from '../../peers/finance/simulator.ts';
import { startSentinelSimulator } from '../../peers/sentinelnet/simulator.ts';
import { testDatabase } from '../support/db.ts';
import { kafkaAdmin } from '../support/kafka-broker.ts';
import { foreignProducer } from '../support/kafka-logs.ts';
import { type ServerProcess, startServerProcess } from '../support/server-process.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { type KafkaFacts, kafka } from './kafka.ts';

const missing = partMissing(kafka);

const report = (id: string) =>
  JSON.stringify({
    schemaVersion: 1,
    reportId: id,
    producer: 'trainer',
    model: 'nobody',
    suite: 'none',
    observedAt: new Date().toISOString(),
    sampleSize: 1,
    metrics: { accuracy: 1 },
  });

describe.skipIf(missing !== undefined)(`a server on Kafka${missing === undefined ? '' : ` (${missing})`}`, () => {
  let facts: KafkaFacts;
  let root: string;
  let start: (yaml: string) => Promise<ServerProcess>;
  const closers: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    facts = await sharedPart(kafka);
    root = await mkdtemp(join(tmpdir(), 'merit-kafka-'));
    closers.push(() => rm(root, { recursive: true, force: true }));
    const database = await testDatabase();
    closers.push(() => database.close());
    const sentinel = await startSentinelSimulator();
    closers.push(() => sentinel.close());
    const finance = await startFinanceSimulator({ journalPath: join(root, 'finance.jsonl') });
    closers.push(() => finance.close());
    await writeFile(join(root, 'secret'), facts.password, { mode: 0o600 });
    let count = 0;
    start = async (yaml) => {
      const stateDir = join(root, `state-${count++}`);
      await mkdir(stateDir);
      await writeFile(join(root, 'merit.yaml'), `signer: {keyFile: ${join(root, 'signer.pem')}}\n${yaml}`);
      return startServerProcess({
        stateDir,
        env: {
          MERIT_ROLES: 'api,ingest',
          MERIT_NO_PYTHON: 'no Ray is needed here',
          MERIT_CONFIG: join(root, 'merit.yaml'),
          MERIT_OBJECT_STORE: join(root, 'objects'),
          DATABASE_URL: database.urls.app,
          ENGINE_DATABASE_URL: database.urls.engine,
          MERIT_SENTINELNET_URL: sentinel.url,
          MERIT_FINANCE_URL: finance.url,
        },
      });
    };
  }, 120_000);
  afterAll(async () => {
    for (const close of closers.toReversed()) await close();
  });

  const yaml = (prefix: string) => `
eventLog:
  kafka:
    brokers: ["${facts.saslTls}"]
    topicPrefix: ${prefix}
    partitions: 2
    group: ${prefix}group
    tls: {caFile: ${facts.files.caFile}}
    sasl: {mechanism: SCRAM-SHA-512, username: ${facts.user}, passwordFile: secret}
`;

  test('takes reports over HTTP and from others’ producers, and sets aside what it cannot open, with its place', async () => {
    const prefix = `server-${randomUUID()}.`;
    const server = await start(yaml(prefix));
    closers.push(() => server.stop());
    const headers = { authorization: `Bearer ${server.token}`, 'content-type': 'application/x-ndjson' };
    const body = [randomUUID(), randomUUID()].map(report).join('\n');
    const sent = await fetch(`${server.url}/v1/eval-reports:batch`, { method: 'POST', headers, body });
    expect(sent.status).toBe(202);
    const foreign = await foreignProducer(facts.plain);
    await foreign.send(`${prefix}merit.reports`, [report(randomUUID())]);
    await foreign.send(`${prefix}merit.reports`, ['{"specversion":"0.1"}'], 'none', {
      'content-type': 'application/cloudevents+json',
      tenant: 'umbrella',
    });
    await foreign.close();
    const listed = async () => {
      const reply = await fetch(`${server.url}/v1/quarantine?limit=50`, {
        headers: { authorization: headers.authorization },
      });
      const { items } = (await reply.json()) as { items: { reason: string; topic: string; partition: number }[] };
      return items.map(({ reason, topic }) => `${topic} ${reason}`).toSorted();
    };
    const unknown = 'merit.reports unknown_suite';
    await expect.poll(listed).toEqual(['merit.reports envelope', unknown, unknown, unknown]);
    // Told by the consumer, and found by whoever looks at the group: three messages, and lines that another partition knows.
    const admin = kafkaAdmin(facts.plain);
    const read = async () => [...(await admin.committed(`${prefix}group`, `${prefix}merit.reports`)).values()];
    await expect.poll(async () => Number((await read()).reduce((sum, one) => sum + one, 0n))).toBeGreaterThanOrEqual(3);
    await admin.close();
  });

  test('does not start on a topic that is unfit, and says the command that mends it', async () => {
    const prefix = `unfit-${randomUUID()}.`;
    const admin = kafkaAdmin(facts.plain);
    await admin.createTopic(`${prefix}merit.reports`, 1);
    await admin.close();
    const error: unknown = await start(yaml(prefix)).catch((one: unknown) => one);
    expect(String(error)).toMatch(
      /exit 78.*message\.timestamp\.type is CreateTime[\s\S]*kafka-configs --alter --topic/,
    );
  });
});
