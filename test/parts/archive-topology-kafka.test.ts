import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import type { EventLog, LogMessage } from '../../platform/event-log.ts';
import { openKafkaEventLog } from '../../platform/kafka/event-log.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { archivedLog } from '../../scoring/archive/archived-log.ts';
import { Archiver } from '../../scoring/archive/archiver.ts';
import { NO_ARCHIVE_METRICS } from '../../scoring/archive/context.ts';
import { archivedRanges } from '../../scoring/archive/segments.sql.ts';
import { verifyArchive } from '../../scoring/archive/verify-archive.ts';
import { Consumer } from '../../scoring/ingest/consumer.ts';
import { ingestStatus } from '../../scoring/ingest/ingest-status.sql.ts';
import { openRecord } from '../../scoring/ingest/open-record.ts';
import { reportMessage } from '../../scoring/ingest/pack-reports.ts';
import { LogAway } from '../../scoring/ingest/partition-feed.ts';
import { loadPositions } from '../../scoring/ingest/positions.sql.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { workOffOne } from '../../scoring/replay/replay-worker.ts';
import { archiveAll, askFor, replay, replayContext, replayed, rewriteSegment } from '../integration/replay-support.ts';
import {
  currentEpoch,
  EPOCH_MS,
  type Harness,
  harness,
  lineOf,
  newTenant,
  parseSuite,
  READER,
  random,
  register,
  TRACE,
} from '../integration/scoring-online-support.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { type KafkaAdmin, kafkaAdmin } from '../support/kafka-broker.ts';
import { isReadToEnd, clientOf as kafkaClient, makeTopic } from '../support/kafka-logs.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { kafka } from './kafka.ts';

const TENANT = 'acme';
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const missing = partMissing(kafka);
const suite = parseSuite({
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'search',
  tick: '2h',
  minN: 3,
  metrics: { accuracy: { direction: 'higher', floor: 0, ceil: 1, valid: [0, 1], required: true } },
});

describe.skipIf(missing !== undefined)(
  `a topic on Kafka under its archive${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    let broker: string;
    let admin: KafkaAdmin;
    let t: TestDatabase;
    let h: Harness;
    let log: EventLog;
    let store: ObjectStore;
    let root: string;
    let topic: string;
    let serial = 0;
    let closers: (() => Promise<unknown>)[] = [];
    const { signal } = new AbortController();

    beforeAll(async () => {
      broker = (await sharedPart(kafka)).plain;
      admin = kafkaAdmin(broker);
    }, 120_000);
    afterAll(() => admin?.close());

    beforeEach(async () => {
      const prefix = `life${serial++}.`;
      topic = `${prefix}${REPORTS_TOPIC}`;
      await makeTopic(broker, topic, 3);
      const client = await kafkaClient('platformatic', broker);
      log = openKafkaEventLog({ client, prefix, tenant: TENANT, group: prefix, open: openRecord });
      closers.push(() => log.close());
      root = await mkdtemp(join(tmpdir(), 'merit-lives-'));
      closers.push(() => rm(root, { recursive: true }));
      store = await openFileObjectStore({ root });
      t = await testDatabase();
      closers.push(() => t.close());
      const inner = await harness(t);
      closers.push(() => inner.log.close());
      h = { ...inner, log, context: (more) => inner.context({ eventLog: log, clock: systemClock, ...more }) };
      await register(t.db, await newTenant(t, TENANT), suite, ['one', 'two']);
    }, 60_000);
    afterEach(async () => {
      for (const close of closers.toReversed()) await close().catch(() => {});
      closers = [];
    }, 60_000);

    /** Messages to every partition in turn, as of somebody who knows nothing of shards: repeats, rubbish, late ones. */
    async function send(messages: number, fromMs: number, stepMs: number): Promise<void> {
      const next = random(fromMs % 1_000_003);
      const partitions = (await log.partitions(REPORTS_TOPIC)).length;
      for (let i = 0; i < messages; i++) {
        const lines = Array.from({ length: 6 }, (_, n) => {
          const report = {
            schemaVersion: 1,
            reportId: `r-${fromMs}-${next() < 0.1 ? Math.max(0, i - 1) : i}-${n}`,
            producer: `p${i % 4}`,
            model: next() < 0.5 ? 'one' : 'two',
            suite: 'search',
            observedAt: new Date(fromMs + i * stepMs - Math.floor(next() < 0.1 ? next() * HOUR_MS : 0)).toISOString(),
            sampleSize: 1 + Math.floor(next() * 9),
            metrics: { accuracy: next() },
          };
          return next() < 0.03 ? '{\n' : lineOf(report);
        });
        const source = { tenant: TENANT, producer: undefined, traceparent: `00-${TRACE}-b7ad6b7169203331-01` };
        await log.append({ ...reportMessage(Buffer.from(lines.join('')), source), partition: i % partitions });
      }
    }

    async function drain(): Promise<void> {
      const consumer = new Consumer(h.context(), READER);
      do
        try {
          while (await consumer.step(signal));
        } catch (error) {
          // Of partitions that are new a client hears late.
          if (!(error instanceof LogAway)) throw error;
          await pause(500);
        }
      while (!(await isReadToEnd(t.db, log)));
    }

    const again = () => replay(t, replayContext(t, h, store), TENANT);
    const rangesOf = (generation: string) =>
      t.db.asEngine(async (tx) =>
        (await archivedRanges(tx, REPORTS_TOPIC)).filter((range) => range.generation === generation),
      );
    const status = () => t.db.asEngine((tx) => ingestStatus(tx, REPORTS_TOPIC));

    async function messagesOf(read: EventLog['read'], partition: number, to: bigint): Promise<readonly LogMessage[]> {
      const found: LogMessage[] = [];
      for (let at = 0n; at < to; ) {
        const messages = await read(REPORTS_TOPIC, partition, at, 100, 1_000_000);
        if (messages.length === 0) break;
        found.push(...messages.filter(({ offset }) => offset < to));
        at = messages.at(-1)!.offset + 1n;
      }
      return found;
    }

    test('whose partitions are raised while reports come is replayed to what was live, from the archive and from the log', async () => {
      await send(30, EPOCH_MS, 20 * 60_000);
      const consumer = new Consumer(h.context(), { ...READER, maxFlushLines: 5 });
      for (let i = 0; i < 6; i++) await consumer.step(signal);
      await admin.raisePartitions(topic, 5);
      await expect.poll(() => log.partitions(REPORTS_TOPIC), { timeout: 20_000 }).toHaveLength(5);
      await drain();
      // Some of what is known, where it is served now, and what is new.
      await send(30, EPOCH_MS, 20 * 60_000);
      await send(30, EPOCH_MS + 10 * HOUR_MS, 20 * 60_000);
      await drain();
      await archiveAll(t, h, store, 4_000);
      const { failure, result } = await again();
      expect(failure).toBeNull();
      expect(result).toMatchObject({ equal: true, first: null, notes: [] });
      expect(result!.scores.live).toBeGreaterThan(10);
      const other = await replay(t, replayContext(t, h, store), TENANT, { source: 'log' });
      expect(other.result).toMatchObject({ equal: true, archive: null, checksums: result!.checksums });
    }, 120_000);

    test('that is deleted and made anew has its archive beside the new one’s, and what neither has is told', async () => {
      await send(20, EPOCH_MS, 10 * 60_000);
      await drain();
      await archiveAll(t, h, store, 1_500);
      const earlier = (await log.identity(REPORTS_TOPIC))!;
      const kept = await rangesOf(earlier);
      const sent = new Map<number, readonly LogMessage[]>();
      for (const { partition, next } of kept) sent.set(partition, await messagesOf(log.read, partition, next));
      // Read, and not archived before the end.
      await send(6, EPOCH_MS + 4 * HOUR_MS, 10 * 60_000);
      await drain();
      const read = await t.db.asEngine((tx) => loadPositions(tx, REPORTS_TOPIC));
      const begun = await askFor(t, TENANT, { source: 'log' });
      const stop = new AbortController();
      await workOffOne(replayContext(t, h, store), stop.signal, { onStep: () => stop.abort() });
      expect(await replayed(t, begun)).toMatchObject({ state: 'queued', plan: { generation: earlier } });

      await admin.deleteTopic(topic);
      await pause(2_000);
      await makeTopic(broker, topic, 2);
      const isAnew = async () => (await log.identity(REPORTS_TOPIC).catch(() => earlier)) !== earlier;
      await expect.poll(isAnew, { timeout: 20_000 }).toBe(true);
      await send(24, EPOCH_MS + 9 * DAY_MS, 2 * HOUR_MS);
      // The positions are still the old one's.
      const policy = { segmentAgeMs: -DAY_MS, keepMs: null, logKeepMs: null };
      const metrics = NO_ARCHIVE_METRICS;
      const epoch = await currentEpoch(t.db);
      const archiver = new Archiver({ ...h.context(), epoch, store, policy, metrics });
      expect(await archiver.archive(signal)).toBe(false);

      await workOffOne(replayContext(t, h, store), signal);
      expect(await replayed(t, begun)).toMatchObject({
        state: 'failed',
        failure: { code: 'gone', problem: expect.stringMatching(/made anew since the replay began/) },
      });

      await drain();
      const unarchived = kept.map(
        ({ partition, next }) => `${next} to ${read.get(partition)!.offset - 1n} of partition ${partition}`,
      );
      expect(unarchived).toHaveLength(3);
      expect(await status()).toContain('ATTENTION');
      expect(await status()).toContain('the topic was made anew (it has another identity)');
      expect(await status()).toContain(
        `of ${REPORTS_TOPIC}.g0 messages were read that no archive has: ${unarchived.join(', ')}`,
      );

      await archiveAll(t, h, store, 1_500);
      const later = (await log.identity(REPORTS_TOPIC))!;
      expect(await rangesOf(earlier)).toEqual(kept);
      expect((await rangesOf(later)).map(({ from }) => from)).toEqual([0n, 0n]);
      const old = archivedLog({ db: t.db, store, eventLog: log, prefer: 'archive', generation: earlier });
      for (const { partition, next, ...place } of kept) {
        expect(await messagesOf(old.read, partition, next)).toEqual(sent.get(partition));
        // What it has no more is not taken from the new one.
        await expect(old.read(REPORTS_TOPIC, partition, next, 1, 1)).rejects.toThrow(/made anew/);
        const range = { from: 0n, to: next };
        expect(await verifyArchive(t.db, store, { ...place, partition }, range, signal)).toMatchObject({ fault: null });
      }

      // As if it had been made anew a week before what it holds was observed.
      const atMs = EPOCH_MS + 6 * HOUR_MS;
      await asAdmin(
        t.urls.admin,
        `update ingest_alerts set at = to_timestamp(${atMs / 1000}) where kind = 'recreated';
         update suite_turns set turned_at = to_timestamp(${EPOCH_MS / 1000})`,
      );
      const { failure, result } = await again();
      expect(failure).toBeNull();
      expect(result).toMatchObject({ equal: true, first: null, decisions: null });
      expect(result!.scores.live).toBeGreaterThan(10);
      expect(result!.notes).toEqual([
        expect.stringMatching(/^what was read up to 2026-01-05T15:00.* \(the topic was made anew/),
      ]);
      const rows = await asAdmin(t.urls.admin, 'select count(*)::int as n from archive_segments');
      expect(result!.archive!.segments).toBe(Number(rows[0]!.n));

      const key = `archive/${REPORTS_TOPIC}/${earlier}/1/${'0'.repeat(19)}.zst`;
      await rewriteSegment(root, key, (messages) => {
        const text = Buffer.from(messages[0]!.value!).toString().replace('"sampleSize":', '"sampleSize":1');
        messages[0] = { ...messages[0]!, value: Buffer.from(text) };
      });
      const altered = await again();
      expect(altered).toMatchObject({
        state: 'failed',
        failure: { code: 'archive', fault: { object: key, offset: '0' } },
      });
    }, 180_000);
  },
);
