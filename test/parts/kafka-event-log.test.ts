import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EventLog } from '../../platform/event-log.ts';
import { KAFKA_CLIENTS } from '../../platform/event-log-config.ts';
import { ensureKafkaTopic } from '../../platform/kafka/topic.ts';
import { eventLogConformance, readOn } from '../support/event-log-conformance.ts';
import { type KafkaAdmin, type KafkaBroker, kafkaAdmin, openKafkaBroker } from '../support/kafka-broker.ts';
import {
  brokerConfig,
  type Compression,
  clientOf,
  foreignProducer,
  makeTopic,
  openLog,
} from '../support/kafka-logs.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { type KafkaFacts, kafka } from './kafka.ts';

const missing = partMissing(kafka);
const ALL: readonly Compression[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];

let topics = 0;
const topicName = () => `topic-${process.pid}-${Date.now()}-${topics++}`;
const texts = (messages: readonly { readonly value: Uint8Array | null }[]) =>
  messages.map(({ value }) => Buffer.from(value ?? []).toString());
const message = (topic: string, text: string) => ({
  tenant: 'acme',
  topic,
  key: 'k',
  value: Buffer.from(text),
  headers: {},
});
const read = (log: EventLog, topic: string, from = 0n) => log.read(topic, 0, from, 10_000, 1e7);

describe.skipIf(missing !== undefined)(`the event log on Kafka${missing === undefined ? '' : ` (${missing})`}`, () => {
  let facts: KafkaFacts;
  let admin: KafkaAdmin;
  beforeAll(async () => {
    facts = await sharedPart(kafka);
    admin = kafkaAdmin(facts.plain);
  });
  afterAll(() => admin?.close());

  describe.each(KAFKA_CLIENTS)('by %s', (name) => {
    const withLog = async (work: (log: EventLog) => Promise<void>, more: Parameters<typeof openLog>[2] = {}) => {
      const { log } = await openLog(name, facts.plain, more);
      try {
        await work(log);
      } finally {
        await log.close();
      }
    };
    const newTopic = async (partitions = 1) => {
      const topic = topicName();
      await makeTopic(facts.plain, topic, partitions);
      return topic;
    };

    eventLogConformance(() => ({
      open: async () => (await openLog(name, facts.plain)).log,
      makeTopic: (topic, partitions) => makeTopic(facts.plain, topic, partitions),
    }));

    test('K41 what was aborted is invisible, however many fetches it spans', () =>
      withLog(async (log) => {
        const topic = await newTopic();
        const foreign = await foreignProducer(facts.plain, topicName());
        const big = Array.from({ length: 4 }, (_, i) => [`aborted ${i} ${'x'.repeat(400_000)}`]);
        await foreign.transact(topic, [['one']], 'commit');
        await foreign.transact(topic, big, 'abort');
        await foreign.transact(topic, [['two'], ['three']], 'commit');
        await foreign.transact(topic, big, 'abort');
        await foreign.close();
        const found: string[] = [];
        let at = 0n;
        // Markers of transactions are written after their end was told.
        while (found.length < 3) {
          const some = await log.read(topic, 0, at, 1, 500_000);
          found.push(...texts(some));
          at = (some.at(-1)?.offset ?? at - 1n) + 1n;
        }
        expect(found).toEqual(['one', 'two', 'three']);
        expect(await log.read(topic, 0, at, 10, 500_000)).toEqual([]);
        // Behind it there are only markers and what was aborted: nothing lags.
        await expect.poll(() => log.end(topic, 0)).toMatchObject({ firstOffset: 0n, nextOffset: at });
        await log.append(message(topic, 'four'));
        expect(texts(await readOn(log, topic, 1, at))).toEqual(['four']);
      }));

    test('what others wrote with any compression is read', () =>
      withLog(async (log) => {
        const topic = await newTopic();
        const foreign = await foreignProducer(facts.plain);
        for (const compression of ALL)
          await foreign.send(topic, [compression, `${compression} ${'x'.repeat(5_000)}`], compression);
        await foreign.close();
        const found = await readOn(log, topic, 2 * ALL.length);
        expect(texts(found).map((text) => text.split(' ')[0])).toEqual(ALL.flatMap((one) => [one, one]));
        expect(texts(await read(log, topic, 3n))[0]).toMatch(/^gzip x/);
      }));

    test('what retention took is told by the first offset, and reading goes on behind it', () =>
      withLog(async (log) => {
        const topic = await newTopic();
        for (const text of ['a', 'b', 'c']) await log.append(message(topic, text));
        expect(texts(await log.read(topic, 0, 0n, 1, 1e6))).toEqual(['a']);
        await admin.deleteRecords(topic, 0, 2n);
        const { log: later } = await openLog(name, facts.plain);
        expect(texts(await read(later, topic))).toEqual(['c']);
        await expect.poll(() => log.end(topic, 0)).toMatchObject({ firstOffset: 2n, nextOffset: 3n });
        expect(await read(later, topic, 77n)).toEqual([]);
        await later.close();
      }));

    test('a topic that was made anew is another one, and nothing of the old one is served', () =>
      withLog(async (log) => {
        const topic = await newTopic();
        for (let i = 0; i < 20; i++) await log.append(message(topic, `old ${i}`));
        expect(texts(await log.read(topic, 0, 0n, 3, 1e6))).toEqual(['old 0', 'old 1', 'old 2']);
        const before = await log.identity(topic);
        await admin.deleteTopic(topic);
        await expect.poll(() => log.identity(topic).catch((error: { code: string }) => error.code)).toBe('not-found');
        await makeTopic(facts.plain, topic, 1);
        await expect.poll(() => log.append(message(topic, 'new')).catch(() => undefined)).toMatchObject({ offset: 0n });
        await expect.poll(async () => texts(await read(log, topic).catch(() => []))).toEqual(['new']);
        const after = await log.identity(topic);
        expect([typeof before, typeof after, after === before]).toEqual(['string', 'string', false]);
      }));

    test('how far a reader is, is told to a group that has no members', () =>
      withLog(
        async (log) => {
          const topic = await newTopic(2);
          for (const partition of [0, 1]) await log.append({ ...message(topic, 'x'), partition });
          log.consumed(topic, 0, 0n);
          log.consumed(topic, 0, 1n);
          const committed = () => admin.committed(`group-${name}`, topic);
          await expect.poll(committed).toEqual(new Map([[0, 1n]]));
          log.consumed(topic, 1, 1n);
          await log.close();
          expect(await committed()).toEqual(
            new Map([
              [0, 1n],
              [1, 1n],
            ]),
          );
        },
        { group: `group-${name}` },
      ));

    describe('its topic', () => {
      const ensured = async (topic: string) => {
        const client = await clientOf(name, facts.plain);
        try {
          return await ensureKafkaTopic(client, { name: topic, partitions: 3, replicas: -1 });
        } finally {
          await client.close();
        }
      };

      test('is made where it is missing, fit for the largest message, with the broker’s times', async () => {
        const topic = topicName();
        expect(await ensured(topic)).toBe(true);
        expect(await ensured(topic)).toBe(true);
        const config = await brokerConfig(facts.plain, topic);
        expect(['max.message.bytes', 'message.timestamp.type', 'cleanup.policy'].map((one) => config.get(one))).toEqual(
          ['2097152', 'LogAppendTime', 'delete'],
        );
        await withLog(async (log) => expect(await log.partitions(topic)).toEqual([0, 1, 2]));
      });

      test('is refused with all that is wrong and the command that mends it', async () => {
        const topic = topicName();
        await admin.createTopic(topic, 1, { 'max.message.bytes': '1000000', 'cleanup.policy': 'compact' });
        await expect(ensured(topic)).rejects.toMatchObject({
          code: 'part-missing',
          message: expect.stringMatching(/max\.message\.bytes is 1000000.*timestamp\.type is CreateTime.*cleanup/),
          mend: `kafka-configs --alter --topic ${topic} --add-config max.message.bytes=2097152,message.timestamp.type=LogAppendTime,cleanup.policy=delete`,
        });
      });
    });

    describe('who is let in', () => {
      const tls = async () => {
        const { caFile, certFile, keyFile } = facts.files;
        const [ca, cert, key] = await Promise.all([caFile, certFile, keyFile].map((file) => readFile(file)));
        return { ca: ca!, cert: cert!, key: key! };
      };
      const appends = async (broker: string, more: Parameters<typeof openLog>[2]) => {
        const topic = await newTopic();
        const { log } = await openLog(name, broker, more);
        try {
          await log.append(message(topic, 'x'));
          return texts(await readOn(log, topic, 1));
        } finally {
          await log.close();
        }
      };
      const sasl = (mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512', secret = facts.password) => ({
        mechanism,
        username: facts.user,
        secret: () => secret,
      });

      test('by a client certificate', async () => {
        expect(await appends(facts.tls, { tls: await tls() })).toEqual(['x']);
      });

      test('nobody without one, and a broker of another authority is not believed', async () => {
        const { ca } = await tls();
        await expect(appends(facts.tls, { tls: { ca } })).rejects.toMatchObject({ name: 'OperatingError' });
        await expect(appends(facts.saslTls, { tls: {}, sasl: sasl('PLAIN') })).rejects.toMatchObject({
          code: 'auth',
          mend: expect.stringContaining('eventLog.kafka.tls'),
        });
      });

      test.each(['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const)(
        'by %s, alone and over TLS',
        async (mechanism) => {
          const { ca } = await tls();
          expect(await appends(facts.sasl, { sasl: sasl(mechanism) })).toEqual(['x']);
          expect(await appends(facts.saslTls, { tls: { ca }, sasl: sasl(mechanism) })).toEqual(['x']);
        },
      );

      test('by a bearer token', async () => {
        const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
        const now = Math.floor(Date.now() / 1000);
        const token = `${part({ alg: 'none' })}.${part({ sub: 'merit', iat: now, exp: now + 600 })}.`;
        const bearer = { mechanism: 'OAUTHBEARER', username: '', secret: () => token } as const;
        expect(await appends(facts.sasl, { sasl: bearer })).toEqual(['x']);
      });

      test.each(['PLAIN', 'SCRAM-SHA-512'] as const)(
        'nobody with a wrong password, which is told nowhere (%s)',
        async (mechanism) => {
          const error: unknown = await appends(facts.sasl, { sasl: sasl(mechanism, 'hunter2') }).catch(
            (one: unknown) => one,
          );
          expect(error).toMatchObject({ code: 'auth', mend: expect.stringContaining('eventLog.kafka.sasl') });
          expect(String(error)).not.toContain('hunter2');
        },
      );
    });
  });
});

describe.skipIf(missing !== undefined)('a broker that breaks', () => {
  let broker: KafkaBroker;
  beforeAll(async () => {
    broker = await openKafkaBroker();
  });
  afterAll(() => broker?.close());

  test.each(KAFKA_CLIENTS)(
    'is killed twice and frozen once while %s writes and reads: nothing is lost, all heals',
    async (name) => {
      const topic = topicName();
      await makeTopic(broker.facts.plain, topic, 1);
      const faults: string[] = [];
      const { log } = await openLog(name, broker.facts.plain, { watch: { fault: (kind) => faults.push(kind) } });
      const ending = new AbortController();
      let writing = true;
      const written: string[] = [];
      const found = new Set<string>();
      const write = (async () => {
        for (let i = 0; !ending.signal.aborted; i++) {
          // A write that failed may have happened all the same: it is repeated, as its sender does.
          while (
            await log.append(message(topic, `${i}`)).then(
              () => false,
              () => true,
            )
          )
            await sleep(100);
          written.push(`${i}`);
          await sleep(5);
        }
      })();
      const reading = (async () => {
        for (let at = 0n; writing || found.size < written.length; ) {
          const some = await log.read(topic, 0, at, 100, 1e6).catch(() => []);
          for (const text of texts(some)) found.add(text);
          at = (some.at(-1)?.offset ?? at - 1n) + 1n;
          if (some.length === 0) await log.wait(topic, 500, ending.signal);
          if (some.length === 0 && ending.signal.aborted) await sleep(100);
        }
      })();
      const more = async () => {
        const before = written.length;
        await expect.poll(() => written.length).toBeGreaterThan(before + 20);
      };
      await more();
      await broker.kill();
      await sleep(1_000);
      await broker.start();
      await more();
      broker.freeze();
      await sleep(2_000);
      broker.thaw();
      await more();
      await broker.kill();
      await broker.start();
      await more();
      ending.abort();
      await write;
      writing = false;
      await reading;
      expect([...found].toSorted((a, b) => Number(a) - Number(b))).toEqual(written);
      // In order of their first appearance, which is that of writing.
      expect([...found]).toEqual(written);
      expect(faults.filter((kind) => kind !== 'away' && kind !== 'timeout')).toEqual([]);
      await log.close();
    },
  );

  test('K40 bytes that are not what was written stop the partition with an error that names the place, every time', async () => {
    const topic = topicName();
    await makeTopic(broker.facts.plain, topic, 1);
    const first = await openLog('platformatic', broker.facts.plain);
    for (const text of ['good', 'to be corrupted', 'behind']) await first.log.append(message(topic, text));
    await first.log.close();
    await broker.stop();
    const folder = join(broker.facts.data, `${topic}-0`);
    const segment = join(folder, (await readdir(folder)).find((one) => one.endsWith('.log'))!);
    const bytes = await readFile(segment);
    bytes.write('TO', bytes.indexOf('to be corrupted'));
    await writeFile(segment, bytes);
    await broker.start();
    const faults: string[] = [];
    const { log } = await openLog('platformatic', broker.facts.plain, {
      watch: { fault: (kind) => faults.push(kind) },
    });
    for (let i = 0; i < 3; i++) {
      await expect(log.read(topic, 0, 1n, 10, 1e6)).rejects.toMatchObject({
        code: 'bad-reply',
        retry: 'never',
        message: expect.stringContaining('partition 0, offset 1 has another CRC'),
        mend: expect.stringContaining('stands still'),
      });
    }
    expect(faults).toEqual(['corrupt', 'corrupt', 'corrupt']);
    await log.close();
  });
});
