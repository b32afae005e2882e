import { Producer } from '@platformatic/kafka';
import { Kafka, logLevel } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { appendAudit } from '../../ledger/audit/append.ts';
import { sequenceOnce } from '../../ledger/audit/sequencer.ts';
import { ALLOCATIONS_TOPIC, AUDIT_TOPIC } from '../../ledger/outbox/cloud-event.ts';
import { enqueue } from '../../ledger/outbox/outbox.ts';
import { runPublisher } from '../../ledger/outbox/publisher.ts';
import { type Clock, systemClock } from '../../platform/clock.ts';
import type { EventLog, LogMessage } from '../../platform/event-log.ts';
import { KAFKA_CLIENTS } from '../../platform/event-log-config.ts';
import type { KafkaRecord } from '../../platform/kafka/client.ts';
import { openKafkaEventLog } from '../../platform/kafka/event-log.ts';
import { Reporter, reportKey, shardOf, kafka as toKafka } from '../../scoring/merit-reporter/src/index.ts';
import { PROMOTIONS_TOPIC } from '../../scoring/promotion/commit-decision.ts';
import { TRACE, testSigner } from '../integration/scoring-online-support.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { clientOf, makeTopic } from '../support/kafka-logs.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { type KafkaFacts, kafka } from './kafka.ts';

const missing = partMissing(kafka);
const PARTITIONS = 3;

describe.skipIf(missing !== undefined)(`downstream on Kafka${missing === undefined ? '' : ` (${missing})`}`, () => {
  let facts: KafkaFacts;
  let own: TestDatabase;
  const signer = testSigner();

  beforeAll(async () => {
    facts = await sharedPart(kafka);
    own = await testDatabase();
    await own.db.asEngine((tx) => tx.execute("insert into tenants (tenant) values ('acme')"));
  });
  afterAll(() => own?.close());

  async function logOf(name: (typeof KAFKA_CLIENTS)[number], prefix: string): Promise<EventLog> {
    const client = await clientOf(name, facts.plain);
    // As it stands there: what a stranger would read.
    const open = ({ key, value, headers }: KafkaRecord) => ({
      key: Buffer.from(key ?? []).toString(),
      value,
      headers: Object.fromEntries(headers.map(([header, text]) => [header, Buffer.from(text ?? []).toString()])),
    });
    return openKafkaEventLog({ client, prefix, tenant: 'acme', group: 'g', open });
  }

  async function everything(log: EventLog, topic: string) {
    const all: LogMessage[] = [];
    for (const partition of await log.partitions(topic)) {
      const { nextOffset } = await log.end(topic, partition);
      for (let from = 0n; from < nextOffset; ) {
        const read = await log.read(topic, partition, from, 10_000, 1e8);
        all.push(...read);
        from = (read.at(-1)?.offset ?? from - 1n) + 1n;
      }
    }
    return all;
  }

  test.each(KAFKA_CLIENTS)('by %s: CloudEvents, of each key in order on one partition, none missing', async (name) => {
    const prefix = `d-${name}-${process.pid}-${Date.now()}-`;
    for (const topic of [PROMOTIONS_TOPIC, ALLOCATIONS_TOPIC, AUDIT_TOPIC])
      await makeTopic(facts.plain, `${prefix}${topic}`, PARTITIONS);
    for (let i = 0; i < 60; i++) {
      const subject = `booking/${name}-${i % 7}`;
      await own.db.asTenant('acme', (tx) =>
        appendAudit(tx, {
          tenant: 'acme',
          subject,
          type: 'booking.waiting',
          at: '2026-01-05T09:00:00.000Z',
          actor: 't',
          trace: TRACE,
          data: {},
        }),
      );
      await own.db.asTenant('acme', (tx) =>
        enqueue(tx, {
          tenant: 'acme',
          topic: PROMOTIONS_TOPIC,
          key: `${name}-${i % 5}`,
          body: { type: 'decision.review', i },
        }),
      );
    }
    while ((await sequenceOnce(own.db, 0n, signer, systemClock)).more);
    const log = await logOf(name, prefix);
    try {
      const stop = new AbortController();
      let published = 0;
      const clock: Clock = {
        now: () => systemClock.now(),
        sleep: async (_ms, signal) => {
          if (published >= 60 * 3) stop.abort();
          await systemClock.sleep(10, signal);
        },
      };
      const failed: unknown[] = [];
      const watch = {
        published: () => void published++,
        waiting: () => {},
        failed: (error: unknown) => void failed.push(error),
      };
      await runPublisher(
        { db: own.db, epoch: 0n, clock, eventLog: log, installation: 'here', tenants: ['acme'], watch },
        stop.signal,
      );
      expect(failed).toEqual([]);
      const promotions = await everything(log, PROMOTIONS_TOPIC);
      expect(promotions).toHaveLength(60);
      expect(promotions[0]!.headers['content-type']).toBe('application/cloudevents+json; charset=UTF-8');
      const events = promotions.map(({ partition, key, value }) => ({
        partition,
        key,
        event: JSON.parse(Buffer.from(value!).toString()) as { subject: string; data: { i: number } },
      }));
      for (const subject of new Set(events.map(({ event }) => event.subject))) {
        const ofKey = events.filter(({ event }) => event.subject === subject);
        expect(new Set(ofKey.map(({ partition }) => partition)).size).toBe(1);
        expect(ofKey.every(({ key }) => key === subject)).toBe(true);
        const order = ofKey.map(({ event }) => event.data.i);
        expect(order).toEqual([...order].sort((a, b) => a - b));
      }
      expect(await everything(log, ALLOCATIONS_TOPIC)).toHaveLength(60);
      expect(await everything(log, AUDIT_TOPIC)).toHaveLength(60);
    } finally {
      await log.close();
    }
  });

  test('merit-reporter hands reports to either client, each to the partition that serves its shard', async () => {
    const prefix = `r-${process.pid}-${Date.now()}-`;
    const platformatic = new Producer({ clientId: 'svc', bootstrapBrokers: [facts.plain] });
    const kafkajs = new Kafka({ clientId: 'svc', brokers: [facts.plain], logLevel: logLevel.NOTHING }).producer();
    await kafkajs.connect();
    const log = await logOf('platformatic', prefix);
    const sends = {
      a: toKafka({
        partitions: PARTITIONS,
        send: (messages) =>
          platformatic.send({
            messages: messages.map(({ partition, key, value, headers }) => ({
              topic: `${prefix}a`,
              ...(partition === undefined ? {} : { partition }),
              key: Buffer.from(key),
              value,
              headers: new Map(
                Object.entries(headers).map(([header, text]) => [Buffer.from(header), Buffer.from(text)]),
              ),
            })),
          }),
      }),
      b: toKafka({
        partitions: PARTITIONS,
        send: (messages) =>
          kafkajs.send({
            topic: `${prefix}b`,
            acks: -1,
            messages: messages.map((one) => ({ ...one, partition: one.partition! })),
          }),
      }),
    };
    try {
      for (const [topic, to] of Object.entries(sends)) {
        await makeTopic(facts.plain, `${prefix}${topic}`, PARTITIONS);
        const reporter = new Reporter({ to, producer: 'svc', tenant: 'acme' });
        const ids = new Set<string>();
        for (let i = 0; i < 200; i++)
          ids.add(await reporter.send({ model: 'm', suite: 's', observedAt: new Date(0), metrics: { a: i } }));
        await reporter.close();
        for (const { partition, value, headers } of await everything(log, topic)) {
          expect(headers['content-type']).toBe('application/x-ndjson');
          for (const line of Buffer.from(value!).toString().trim().split('\n')) {
            const { reportId } = JSON.parse(line) as { reportId: string };
            expect(shardOf(reportKey('acme', 'svc', reportId)) % PARTITIONS).toBe(partition);
            ids.delete(reportId);
          }
        }
        expect(ids.size).toBe(0);
      }
    } finally {
      await log.close();
      await platformatic.close(true);
      await kafkajs.disconnect();
    }
  });
});
