import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseSuite } from '../../core/suite.ts';
import { systemClock } from '../../platform/clock.ts';
import type { EventLog } from '../../platform/event-log.ts';
import { openKafkaEventLog } from '../../platform/kafka/event-log.ts';
import { Consumer } from '../../scoring/ingest/consumer.ts';
import { openRecord } from '../../scoring/ingest/open-record.ts';
import { appendReports, reportMessage } from '../../scoring/ingest/pack-reports.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { listQuarantine } from '../../scoring/read/quarantine.ts';
import {
  EPOCH_MS,
  type Harness,
  harness,
  lineOf,
  newTenant,
  READER,
  random,
  referenceChecksum,
  register,
  type TestReport,
  TRACE,
} from '../integration/scoring-online-support.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { foreignProducer, isReadToEnd, makeTopic, clientOf as openClient } from '../support/kafka-logs.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { kafka } from './kafka.ts';

const PREFIX = 'several.';
const PARTITIONS = 3;
const TRACEPARENT = `00-${TRACE}-b7ad6b7169203331-01`;
const missing = partMissing(kafka);
const suite = parseSuite({
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'search',
  tick: '1h',
  minN: 2,
  metrics: { accuracy: { direction: 'higher', floor: 0, ceil: 1, required: true } },
});

function reports(seed: number): readonly TestReport[] {
  const next = random(seed);
  return Array.from({ length: 60 }, (_, i) => ({
    schemaVersion: 1,
    // The same ids for every tenant: a report is its tenant's.
    reportId: `r-${i}`,
    producer: 'ci',
    model: next() < 0.5 ? 'one' : 'two',
    suite: 'search',
    observedAt: new Date(EPOCH_MS + i * 5 * 60_000).toISOString(),
    sampleSize: 1 + Math.floor(next() * 9),
    metrics: { accuracy: next() },
  }));
}
const linesOf = (some: readonly TestReport[]) => some.map(lineOf).join('');

describe.skipIf(missing !== undefined)(
  `a topic on Kafka of several tenants${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    let t: TestDatabase;
    let h: Harness;
    let log: EventLog;
    let foreign: Awaited<ReturnType<typeof foreignProducer>>;
    const closers: (() => Promise<unknown>)[] = [];

    beforeAll(async () => {
      const { plain } = await sharedPart(kafka);
      await makeTopic(plain, `${PREFIX}${REPORTS_TOPIC}`, PARTITIONS);
      const client = await openClient('platformatic', plain);
      const of = { tenant: 'acme', tenants: ['globex'] };
      log = openKafkaEventLog({ client, prefix: PREFIX, ...of, group: 'several', open: openRecord });
      closers.push(() => log.close());
      foreign = await foreignProducer(plain);
      closers.push(() => foreign.close());
      t = await testDatabase();
      closers.push(() => t.close());
      const inner = await harness(t);
      closers.push(() => inner.log.close());
      h = { ...inner, log, context: (more) => inner.context({ eventLog: log, clock: systemClock, ...more }) };
      for (const tenant of ['acme', 'globex', 'umbrella'])
        await register(t.db, await newTenant(t, tenant), suite, ['one', 'two']);
    }, 120_000);
    afterAll(async () => {
      for (const close of closers.toReversed()) await close().catch(() => {});
    }, 60_000);

    async function drain(): Promise<void> {
      const consumer = new Consumer(h.context(), READER);
      do while (await consumer.step(new AbortController().signal));
      while (!(await isReadToEnd(t.db, log)));
    }

    const acceptedOf = async (tenant: string) => {
      const rows = await t.db.asTenant(tenant, (tx) =>
        tx.query<{ n: number | null }>('select sum(accepted)::int as n from input_counters'),
      );
      return rows[0]!.n;
    };

    test('has each report counted for the tenant that its message names, whoever wrote it and wherever it lies', async () => {
      const of = { acme: reports(1), globex: reports(2) };
      const [door, astray] = [of.globex.slice(0, 20), of.globex.slice(20, 40)];
      const source = { tenant: 'globex', producer: undefined, traceparent: TRACEPARENT };
      await appendReports(log, [Buffer.from(linesOf(door))], source);
      // Most of its lines belong elsewhere, and are sent on as their tenant's.
      await log.append({ ...reportMessage(Buffer.from(linesOf(astray)), source), partition: 1 });
      const topic = `${PREFIX}${REPORTS_TOPIC}`;
      await foreign.send(topic, [linesOf(of.globex.slice(40))], 'none', { 'merit-tenant': 'globex' });
      await foreign.send(topic, [linesOf(of.acme)]);
      await foreign.send(topic, [linesOf(reports(3)), 'rubbish'], 'none', { 'merit-tenant': 'umbrella' });
      await drain();
      for (const [tenant, sent] of Object.entries(of)) {
        expect(await acceptedOf(tenant)).toBe(sent.length);
        const rows = await t.db.asTenant(tenant, (tx) =>
          tx.query<{ watermark_ms: bigint }>('select watermark_ms from suite_states'),
        );
        const checksum = await t.db.asTenant(tenant, (tx) => suiteChecksum(tx, tenant, suite.name));
        expect(checksum).toBe(referenceChecksum(suite, sent, Number(rows[0]!.watermark_ms)));
      }
      expect(await acceptedOf('umbrella')).toBeNull();
      const aside = await t.db.asTenant('acme', (tx) => listQuarantine(tx, 'acme'));
      expect(aside.map(({ reason }) => reason)).toEqual(['tenant', 'tenant']);
      for (const tenant of ['globex', 'umbrella'])
        expect(await t.db.asTenant(tenant, (tx) => listQuarantine(tx, tenant))).toEqual([]);
    }, 60_000);
  },
);
