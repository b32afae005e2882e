import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import type { EventLog } from '../../platform/event-log.ts';
import { openKafkaEventLog } from '../../platform/kafka/event-log.ts';
import { openS3ObjectStore } from '../../platform/object-store/s3.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { archivedLog } from '../../scoring/archive/archived-log.ts';
import { decodeSegment, encodeSegment, pack, unpack } from '../../scoring/archive/segment-codec.ts';
import { readObject } from '../../scoring/archive/stored-segment.ts';
import { Consumer } from '../../scoring/ingest/consumer.ts';
import { openRecord } from '../../scoring/ingest/open-record.ts';
import { reportMessage } from '../../scoring/ingest/pack-reports.ts';
import { loadPositions } from '../../scoring/ingest/positions.sql.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { getRollout, rollBack } from '../../scoring/registry/rollouts.ts';
import type { Requester } from '../../scoring/registry/suites.ts';
import type { Replay } from '../../scoring/replay/replays.sql.ts';
import { archiveAll, replay, replayContext } from '../integration/replay-support.ts';
import { recompute, recomputeContext } from '../integration/scoring-batch-support.ts';
import {
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
import { beside } from '../integration/scoring-rollout-support.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { type KafkaAdmin, kafkaAdmin } from '../support/kafka-broker.ts';
import { isReadToEnd, clientOf as kafkaClient, makeTopic } from '../support/kafka-logs.ts';
import { clientOf, newBucket, storeConfig, useCredentials } from '../support/versitygw-store.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { kafka } from './kafka.ts';
import { versitygw } from './versitygw.ts';

const PARTITIONS = 3;
const PREFIX = 'replayed.';
const TENANT = 'acme';
const MESSAGES = 12;
const missing = partMissing(kafka) ?? partMissing(versitygw);
const document = {
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'search',
  tick: '30m',
  minN: 3,
  metrics: {
    accuracy: { direction: 'higher', floor: 0, ceil: 1, valid: [0, 1], required: true },
    latency_ms: { direction: 'lower', kind: 'quantile', quantile: 0.9, floor: 1000, ceil: 100, valid: [0, 900] },
  },
};
const suite = parseSuite(document);
const NEXT = parseSuite({ ...document, shrinkage: { kappa: 5, prior: 0.4 } });

describe.skipIf(missing !== undefined)(
  `a log on Kafka that lets go of what was archived${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    let t: TestDatabase;
    let h: Harness;
    let log: EventLog;
    let admin: KafkaAdmin;
    let store: ObjectStore;
    let root: string;
    let by: Requester;
    const closers: (() => Promise<unknown>)[] = [];

    beforeAll(async () => {
      const { plain } = await sharedPart(kafka);
      const s3 = await sharedPart(versitygw);
      useCredentials(s3);
      const bucket = await newBucket(clientOf(s3.url));
      store = await openS3ObjectStore(storeConfig(s3.url, bucket));
      root = join(s3.dir, bucket, 'prod');
      admin = kafkaAdmin(plain);
      closers.push(() => admin.close());
      await makeTopic(plain, `${PREFIX}${REPORTS_TOPIC}`, PARTITIONS);
      const client = await kafkaClient('platformatic', plain);
      log = openKafkaEventLog({ client, prefix: PREFIX, tenant: TENANT, group: 'replayed', open: openRecord });
      closers.push(() => log.close());
      t = await testDatabase();
      closers.push(() => t.close());
      const inner = await harness(t);
      closers.push(() => inner.log.close());
      h = { ...inner, log, context: (overrides) => inner.context({ eventLog: log, clock: systemClock, ...overrides }) };
      by = await newTenant(t, TENANT);
      await register(t.db, by, suite, ['one', 'two']);
    }, 120_000);
    afterAll(async () => {
      for (const close of closers.toReversed()) await close().catch(() => {});
    }, 60_000);

    /** To every partition the same hours: repeats, rubbish, late ones; most lines lie astray, as of somebody who knows nothing of shards. */
    async function send(from: number, to: number): Promise<void> {
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const next = random(100 * from + partition);
        for (let i = from; i < to; i++) {
          const lines = Array.from({ length: 6 }, (_, n) => {
            const lateMs = next() < 0.1 ? next() * 3_600_000 : 0;
            const report = {
              schemaVersion: 1,
              reportId: `r-${next() < 0.1 ? Math.max(0, i - 1) : i}-${n}`,
              producer: `p${partition}`,
              model: next() < 0.5 ? 'one' : 'two',
              suite: 'search',
              observedAt: new Date(EPOCH_MS + i * 14 * 60_000 + n * 60_000 - lateMs).toISOString(),
              sampleSize: 1 + Math.floor(next() * 9),
              metrics: { accuracy: next(), latency_ms: next() * 1000 },
            };
            return next() < 0.03 ? '{\n' : lineOf(report);
          });
          const source = { tenant: TENANT, producer: undefined, traceparent: `00-${TRACE}-b7ad6b7169203331-01` };
          await log.append({ ...reportMessage(Buffer.from(lines.join('')), source), partition });
        }
      }
      await drain();
    }

    const positions = () => t.db.asEngine((tx) => loadPositions(tx, REPORTS_TOPIC));

    async function drain(): Promise<void> {
      const consumer = new Consumer(h.context(), READER);
      const { signal } = new AbortController();
      do while (await consumer.step(signal));
      while (!(await isReadToEnd(t.db, log)));
    }

    /** As retention does. */
    async function letGo(): Promise<void> {
      for (const [partition, { offset }] of await positions()) {
        await admin.deleteRecords(`${PREFIX}${REPORTS_TOPIC}`, partition, offset);
        await expect
          .poll(async () => (await log.end(REPORTS_TOPIC, partition)).firstOffset, { timeout: 20_000 })
          .toBe(offset);
      }
    }

    const again = (wish: Parameters<typeof replay>[3] = {}): Promise<Replay> =>
      replay(t, replayContext(t, h, store), TENANT, wish);

    test('is replayed from the archive, with what it still holds, to what was live', async () => {
      await send(0, MESSAGES);
      await archiveAll(t, h, store, 4_000);
      await letGo();
      await send(MESSAGES, MESSAGES + 6);
      const { failure, result, reports } = await again();
      expect(failure).toBeNull();
      expect(result).toMatchObject({ equal: true, first: null, notes: [] });
      expect(result!.scores.live).toBeGreaterThan(10);
      expect(reports).toBeGreaterThan(200);
    });

    test('is replayed from the archive alone, and read from the log where that is preferred, to the same', async () => {
      await archiveAll(t, h, store, 4_000);
      await letGo();
      const { result } = await again();
      expect(result).toMatchObject({ equal: true });
      expect(result!.archive!.segments).toBeGreaterThan(3 * PARTITIONS);
      const other = await again({ source: 'log' });
      expect(other.result).toMatchObject({ equal: true, archive: null, checksums: result!.checksums });
    });

    test('and of which a report was altered or removed in the archive has its replay end with the object, the offset and the line', async () => {
      const generation = (await log.identity(REPORTS_TOPIC))!;
      const folder = `archive/${REPORTS_TOPIC}/${generation}/1`;
      const names = (await readdir(join(root, folder))).filter((name) => name.endsWith('.zst')).sort();
      const key = `${folder}/${names[1]!}`;
      const kept = (await readObject(store, key))!;
      let offset = 0n;
      /** As somebody who may write there and knows the form: the store's own sums are right. */
      const change = async (lineAt: (lines: string[]) => void) => {
        const read = decodeSegment((await unpack(kept))!);
        const messages = [...read.messages];
        const at = messages.findIndex(({ value }) => value !== null && value.length > 500);
        offset = messages[at]!.offset;
        const lines = Buffer.from(messages[at]!.value!).toString().split('\n');
        lineAt(lines);
        messages[at] = { ...messages[at]!, value: Buffer.from(lines.join('\n')) };
        await put(await pack(encodeSegment({ ...read.stretch!, messages })));
      };
      const put = (bytes: Buffer) => store.put(key, bytes, { size: bytes.length });
      const expectFault = async (line: number, problem: string) => {
        const { failure, state } = await again();
        expect(state).toBe('failed');
        expect(failure).toMatchObject({
          code: 'archive',
          fault: { object: key, offset: String(offset), line, problem },
        });
      };
      await change((lines) => {
        lines[2] = lines[2]!.replace(/"accuracy":0\.[0-9]/, '"accuracy":0.5');
      });
      await expectFault(3, 'the line was altered');
      await change((lines) => lines.splice(3, 1));
      await expectFault(4, 'the line is missing');
      await store.delete(key);
      expect((await again()).failure?.fault).toMatchObject({ object: key, problem: 'the segment is missing' });
      await put(kept);
      // Where it lies, behind the store's back.
      const changed = await readFile(join(root, key));
      changed[30] = changed[30]! ^ 1;
      await writeFile(join(root, key), changed);
      expect((await again()).failure?.fault).toMatchObject({ object: key });
      await put(kept);
      expect((await again()).result).toMatchObject({ equal: true });
    });

    test('fills in a new version of a suite from what the archive holds: the scores of a replay under it', async () => {
      await beside(t.db, by, NEXT);
      await send(MESSAGES + 6, MESSAGES + 14);
      const { read } = archivedLog({ db: t.db, store, eventLog: log, prefer: 'log' });
      await recompute({ ...recomputeContext(h.context()), eventLog: { ...log, read } });
      await drain();
      const rollout = await t.db.asTenant(TENANT, (tx) => getRollout(tx, TENANT, 'search'));
      expect(rollout).toMatchObject({ complete: true, recompute: { state: 'done', failure: null, late: 0 } });
      expect(rollout!.recompute!.counted).toBeGreaterThan(200);
      // Its first tick whose window of 7 days begins at a whole hour, behind what was read before it.
      const fromMs = Date.parse(rollout!.completeFrom!);
      expect(fromMs % 3_600_000).toBe(0);
      const { replayId } = await again({ suite: NEXT.document });
      const scores = await scoresIn('public', fromMs);
      expect(scores.length).toBeGreaterThan(2);
      expect(scores).toEqual(await scoresIn(`replay_${replayId.toLowerCase()}`, fromMs));
      await t.db.asTenant(TENANT, (tx) => rollBack(tx, by, 'search'));
      await drain();
    });

    /** Of the new version; without how often they were published. */
    async function scoresIn(schema: string, fromMs: number) {
      const rows = await asAdmin(
        t.urls.admin,
        `select tick_ms, model, body::text as body from ${schema}.scores where suite_hash = '${NEXT.hash}' and tick_ms >= ${fromMs}
         order by tick_ms, model`,
      );
      return rows.map((row) => ({ ...row, body: String(row.body).replaceAll(/"revision": ?\d+/g, '') }));
    }
  },
);
