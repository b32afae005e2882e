import { expect, test } from 'vitest';
import { type ReadinessOptions, readiness } from '../../../../api/roles/readiness.ts';
import { systemClock } from '../../../../platform/clock.ts';
import { type KafkaClient, KafkaFault } from '../../../../platform/kafka/client.ts';
import { openKafkaEventLog } from '../../../../platform/kafka/event-log.ts';
import type { Seat } from '../../../../platform/nominator.ts';

/** Only the log is there: what is looked at besides fails, each for itself. */
async function told(kafka: ReadinessOptions['kafka']) {
  const options = { kafka, clock: systemClock, leads: () => new Set() } as unknown as ReadinessOptions;
  return (await readiness(options)()).find(({ name }) => name === 'kafka');
}

function logOn(topic: KafkaClient['topic']) {
  const ends = new Map([[0, { firstOffset: 0n, endOffset: 0n }]]);
  const client = { topic, ends: async () => ends, lastTimes: async () => new Map(), close: async () => {} };
  return openKafkaEventLog({
    client: client as unknown as KafkaClient,
    prefix: '',
    tenant: 'acme',
    group: 'merit',
    open: ({ value }) => ({ key: '', value, headers: {} }),
  });
}

test('a server on Kafka is ready while the topic of reports answers, and says what mends it while Kafka is away', async () => {
  const there = logOn(async () => ({ id: 'one', partitions: [0] }));
  expect(await told(there)).toEqual({ name: 'kafka', ok: true, detail: 'answers' });
  const away = logOn(async () => {
    throw new KafkaFault('away', 'nobody listens there');
  });
  expect(await told(away)).toMatchObject({
    ok: false,
    detail: expect.stringContaining('nobody listens there'),
    mend: expect.stringContaining('eventLog.kafka.brokers'),
  });
});

test('a server that cannot stand for its seats is not ready, and says why of each cause once', async () => {
  const faults = new Map<Seat, string>([
    ['engine', 'Redis does not answer: refused'],
    ['reconciler', 'Redis does not answer: refused'],
  ]);
  const options = { clock: systemClock, leads: () => new Set(), faults: () => faults } as unknown as ReadinessOptions;
  expect((await readiness(options)()).find(({ name }) => name === 'engine')).toMatchObject({
    ok: false,
    detail: 'cannot stand for engine, reconciler: Redis does not answer: refused',
    mend: expect.stringContaining('mend what nominates'),
  });
});

test('the embedded log is no part of its own', async () => {
  expect(await told(undefined)).toBeUndefined();
});

test('a Kernel that is away is told of, and makes nothing unready', async () => {
  const kernel = { state: () => 'Kernel does not answer' };
  const options = { clock: systemClock, leads: () => new Set(), kernel } as unknown as ReadinessOptions;
  expect((await readiness(options)()).find(({ name }) => name === 'kernel')).toEqual({
    name: 'kernel',
    ok: true,
    detail: 'Kernel does not answer',
  });
});
