import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseSuite } from '../../core/suite.ts';
import { systemClock } from '../../platform/clock.ts';
import type { EventLog } from '../../platform/event-log.ts';
import { openKafkaEventLog } from '../../platform/kafka/event-log.ts';
import { type ConsumerContext, NO_METRICS, type ScoringMetrics } from '../../scoring/context.ts';
import { ingestStatus } from '../../scoring/ingest/ingest-status.sql.ts';
import { openRecord } from '../../scoring/ingest/open-record.ts';
import { appendReports } from '../../scoring/ingest/pack-reports.ts';
import { ReaderThread } from '../../scoring/ingest/reader-thread.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { runConsumer } from '../../scoring/ingest/run-consumer.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { EPOCH_MS, newTenant, random, register } from '../integration/scoring-online-support.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { type KafkaAdmin, type KafkaBroker, kafkaAdmin, openKafkaBroker } from '../support/kafka-broker.ts';
import { clientOf, isReadToEnd, makeTopic } from '../support/kafka-logs.ts';
import { partMissing } from './harness/use.ts';
import { kafka } from './kafka.ts';

/** `npm run test:ingest`: 1,000,000 reports; `npm run test:parts` sends a tenth of them (MERIT_INGEST=N: N thousand). */
const SCALE = process.env.MERIT_INGEST;
const REPORTS = SCALE === 'whole' ? 1_000_000 : Number(SCALE ?? 100) * 1_000;
const PARTITIONS = 6;
const CONSUMERS = 3;
const MIN_CHUNK = 500;
const CHUNK = Math.max(MIN_CHUNK, REPORTS / 100);
/** So that there is something to break while they come. */
const CHUNK_EVERY_MS = 500;
const KILL_EVERY_MS = 4_000;
const FROZEN_FOR_MS = 20_000;
const LIMIT_MS = 1_200_000;
const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const MODELS = Array.from({ length: 8 }, (_, i) => `ranker-v${i + 1}`);
const missing = partMissing(kafka);

const suite = parseSuite({
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'stream',
  tick: '15m',
  // The shortest only: a late report has the ticks of its windows published again, and one in twenty is late.
  windows: { '1h': 1 },
  minN: 5,
  metrics: {
    accuracy: { direction: 'higher', floor: 0, ceil: 1, valid: [0, 1], required: true },
    latency_ms: { direction: 'lower', kind: 'quantile', quantile: 0.95, scale: 3, floor: 1000, ceil: 0 },
    cost: { direction: 'lower', scale: 4, floor: 10, ceil: 0 },
  },
});
/** All within so much event time, whatever their number. */
const SPAN_MS = 24 * 3_600_000;

interface Chunk {
  readonly lines: readonly string[];
  readonly accepted: number;
  readonly duplicates: number;
  readonly poison: number;
}

function lineAt(i: number, count: number, next: () => number): string {
  // One in twenty comes up to two hours late.
  const late = next() < 0.05 ? next() * 2 * 3_600_000 : 0;
  const atMs = Math.max(EPOCH_MS, EPOCH_MS + Math.floor((i / count) * SPAN_MS - late));
  return `${JSON.stringify({
    schemaVersion: 1,
    reportId: `r-${i}`,
    producer: `ci-${i % 5}`,
    model: MODELS[Math.floor(next() * MODELS.length)],
    suite: suite.name,
    observedAt: new Date(atMs).toISOString(),
    sampleSize: 1 + Math.floor(next() * 100),
    metrics: {
      accuracy: next(),
      latency_ms: Math.floor(next() * 900_000) / 1000,
      cost: Math.floor(next() * 90_000) / 1e4,
    },
    labels: { commit: i.toString(16).padStart(40, '0'), runner: 'pool-a' },
  })}\n`;
}

/** A tenth of the reports twice, a thousandth of the lines spoilt. */
function* chunksOf(count: number, seed: number, size: number): Generator<Chunk> {
  const next = random(seed);
  let recent: string[] = [];
  for (let from = 0; from < count; from += size) {
    const lines: string[] = [];
    let [accepted, duplicates, poison] = [0, 0, 0];
    for (let i = from; i < Math.min(count, from + size); i++) {
      const line = lineAt(i, count, next);
      lines.push(line);
      accepted++;
      if (next() < 0.1) {
        lines.push(recent.length > 0 ? recent[Math.floor(next() * recent.length)]! : line);
        duplicates++;
      }
      if (next() < 0.001) {
        lines.push(`{"schemaVersion":1,"reportId":"broken-${i}"\n`);
        poison++;
      }
    }
    recent = lines.filter((line) => line.startsWith('{"schemaVersion":1,"reportId":"r-'));
    yield { lines, accepted, duplicates, poison };
  }
}

/** What all of it came to. */
async function effects(base: TestDatabase, tenant: string) {
  const checksum = await base.db.asTenant(tenant, (tx) => suiteChecksum(tx, tenant, suite.name));
  const [counts] = await base.db.asTenant(tenant, (tx) =>
    tx.query(`select sum(accepted)::text as accepted, sum(duplicates)::text as duplicates, sum(conflicts)::text as conflicts,
                sum(quarantined)::text as quarantined, sum(late_archived)::text as late from input_counters`),
  );
  const quarantined = await base.db.asTenant(tenant, (tx) =>
    tx.query(
      'select reason, partition, log_offset, line, raw_sha256 from quarantine order by partition, log_offset, line',
    ),
  );
  const [panes] = await base.db.asTenant(tenant, (tx) =>
    tx.query(
      `select count(*) as rows, sum(n)::text as n, sum(weight)::text as weight, sum(sum_wq)::text as wq, sum(sum_wq2)::text as wq2 from panes`,
    ),
  );
  return { checksum, counts, quarantined, panes };
}

async function counted(base: TestDatabase): Promise<number> {
  const rows = await base.db.asEngine((tx) =>
    tx.query<{ n: string | null }>(
      'select sum(accepted + duplicates + conflicts + quarantined)::text as n from input_counters',
    ),
  );
  return Number(rows[0]?.n ?? 0);
}

/** So that the one knows the strays of the other for what they are. */
async function shareStrayKey(from: TestDatabase, to: TestDatabase): Promise<void> {
  const rows = await from.db.asEngine((tx) => tx.query<{ secret: Uint8Array }>('select secret from ingest_keys'));
  expect(rows).toHaveLength(1);
  const insert = 'insert into ingest_keys (topic, secret) values ($1, $2)';
  await to.db.asEngine((tx) => tx.execute(insert, [REPORTS_TOPIC, rows[0]!.secret]));
}

describe.skipIf(missing !== undefined)(`reports on Kafka${missing === undefined ? '' : ` (${missing})`}`, () => {
  const tell = (figure: string) => process.stderr.write(`${figure}\n`);
  let broker: KafkaBroker;
  let admin: KafkaAdmin;
  const closers: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    broker = await openKafkaBroker();
    admin = kafkaAdmin(broker.facts.plain);
  }, 120_000);
  afterAll(async () => {
    for (const close of closers.reverse()) await close().catch(() => {});
    await admin?.close();
    await broker?.close();
  }, 60_000);

  const client = () => clientOf('platformatic', broker.facts.plain);

  async function openLog(tenant: string): Promise<EventLog> {
    const log = openKafkaEventLog({
      client: await client(),
      prefix: '',
      tenant,
      group: `group-${tenant}`,
      open: openRecord,
    });
    closers.push(() => log.close());
    return log;
  }

  async function database(tenant: string): Promise<TestDatabase> {
    const base = await testDatabase();
    closers.push(() => base.close());
    await register(base.db, await newTenant(base, tenant), suite, MODELS);
    return base;
  }

  /** A new one, whatever another test left under its name. */
  async function makeAnew(partitions: number): Promise<void> {
    const own = await client();
    if ((await own.topic(REPORTS_TOPIC)) !== undefined) {
      await admin.deleteTopic(REPORTS_TOPIC);
      await pause(2_000);
    }
    await own.close();
    await makeTopic(broker.facts.plain, REPORTS_TOPIC, partitions);
  }

  function contextOf(base: TestDatabase, log: EventLog, holder: string, metrics: Partial<ScoringMetrics> = {}) {
    const reader = new ReaderThread();
    closers.push(() => reader.close());
    const quiet = { info: () => {}, warn: () => {}, error: () => {} };
    const context: ConsumerContext = {
      db: base.db,
      holder,
      clock: systemClock,
      eventLog: log,
      reader,
      signer: undefined as never,
      policy: () => Promise.reject(new Error('nobody is promoted here')),
      rollouts: false,
      metrics: { ...NO_METRICS, ...metrics },
      log: quiet,
    };
    return context;
  }

  async function untilRead(base: TestDatabase, log: EventLog): Promise<void> {
    const until = performance.now() + LIMIT_MS;
    for (let quiet = 0; quiet < 3; ) {
      if (performance.now() > until) throw new Error(`not all was read in time: ${await counted(base)} lines`);
      await pause(300);
      quiet = (await isReadToEnd(base.db, log).catch(() => false)) ? quiet + 1 : 0;
    }
  }

  test(
    'have one effect each, whatever is frozen, killed and broken: the same as with one reader in peace',
    async () => {
      const tenant = 'acme';
      await makeAnew(PARTITIONS);
      const [base, log] = [await database(tenant), await openLog(tenant)];
      const argument = JSON.stringify({
        appUrl: base.urls.app,
        engineUrl: base.urls.engine,
        broker: broker.facts.plain,
        tenant,
        group: 'merit',
      });
      const children = new Set<ChildProcess>();
      let [starts, kills, frozen, thaws] = [0, 0, 0, 0];
      let sleeper: ChildProcess | undefined;
      const startOne = () => {
        const script = new URL('../support/ingest-child.ts', import.meta.url).pathname;
        const child = spawn(process.execPath, ['--conditions=merit-source', script, argument], {
          stdio: ['pipe', 'pipe', process.env.MERIT_INGEST_LOG === undefined ? 'ignore' : 'inherit'],
        });
        child.stdin.on('error', () => {});
        child.stdout.on('data', (data: Buffer) => {
          if (String(data).includes('frozen')) frozen++;
        });
        child.once('exit', () => children.delete(child));
        children.add(child);
        starts++;
      };
      closers.push(async () => {
        for (const child of children) child.kill('SIGKILL');
      });
      for (let i = 0; i < CONSUMERS; i++) startOne();
      const startedMs = performance.now();
      const sent = { accepted: 0, duplicates: 0, poison: 0 };
      let sending = true;
      const trouble = (async () => {
        for (let round = 0; sending || round < 6; round++) {
          await pause(KILL_EVERY_MS);
          if (round === 1) {
            [sleeper] = children;
            sleeper?.stdin?.write('freeze\n');
          }
          if (round === 2 || round === 4) {
            await broker.kill();
            await pause(1_500);
            await persistently(() => broker.start())();
          } else {
            const victim = [...children].find((child) => child !== sleeper);
            victim?.kill('SIGKILL');
            kills++;
            await pause(500);
            startOne();
          }
          if (sleeper !== undefined && frozen > 0 && round * KILL_EVERY_MS > FROZEN_FOR_MS) {
            sleeper.kill('SIGCONT');
            thaws++;
            sleeper = undefined;
          }
        }
        sleeper?.kill('SIGCONT');
      })();
      const next = random(99);
      for (const chunk of chunksOf(REPORTS, 5, CHUNK)) {
        const source = { tenant, producer: undefined, traceparent: TRACEPARENT };
        // One chunk in ten comes from somebody who knows nothing of shards.
        const partition = next() < 0.1 ? Math.floor(next() * PARTITIONS) : undefined;
        const door = { partitions: persistently(log.partitions), append: appending(log, partition) };
        await appendReports(door, [Buffer.from(chunk.lines.join(''))], source);
        for (const key of ['accepted', 'duplicates', 'poison'] as const) sent[key] += chunk[key];
        await pause(CHUNK_EVERY_MS);
      }
      sending = false;
      await trouble;
      await untilRead(base, log);
      const seconds = (performance.now() - startedMs) / 1000;
      for (const child of [...children]) {
        child.kill('SIGTERM');
        child.kill('SIGCONT');
        await once(child, 'exit');
      }
      const found = await effects(base, tenant);
      expect(found.counts).toMatchObject({
        accepted: String(sent.accepted),
        quarantined: String(sent.poison),
        conflicts: '0',
      });
      expect({ frozen, thaws }).toEqual({ frozen: 1, thaws: 1 });
      expect(kills).toBeGreaterThan(3);

      const quiet = await database(tenant);
      await shareStrayKey(base, quiet);
      const stop = new AbortController();
      const quietMs = performance.now();
      const running = runConsumer(contextOf(quiet, await openLog(tenant), 'quiet'), stop.signal);
      await untilRead(quiet, log);
      stop.abort();
      await running;
      expect(found).toEqual(await effects(quiet, tenant));
      tell(
        `${REPORTS} reports, ${sent.duplicates} twice, ${sent.poison} spoilt, over ${PARTITIONS} partitions: ${kills} kills of ${starts} readers, ` +
          `1 frozen inside its transaction, the broker killed twice: ${seconds.toFixed(0)} s; one reader in peace ${((performance.now() - quietMs) / 1000).toFixed(1)} s; checksum ${found.checksum.slice(0, 16)}`,
      );
    },
    2 * LIMIT_MS,
  );

  test(
    'of partitions that are raised while they come are neither skipped nor counted twice',
    async () => {
      await makeAnew(2);
      const tenant = 'grown';
      const [base, log] = [await database(tenant), await openLog(tenant)];
      const layouts: string[] = [];
      const metrics = { layoutChanged: (kind: string) => void layouts.push(kind) };
      const stop = new AbortController();
      const running = ['one', 'two'].map(async (name) =>
        runConsumer(contextOf(base, await openLog(tenant), name, metrics), stop.signal),
      );
      const chunks = [...chunksOf(5_000, 17, MIN_CHUNK)];
      let accepted = 0;
      for (const [i, chunk] of chunks.entries()) {
        if (i === 3) await admin.raisePartitions(REPORTS_TOPIC, 5);
        const source = { tenant, producer: undefined, traceparent: TRACEPARENT };
        await appendReports(log, [Buffer.from(chunk.lines.join(''))], source);
        accepted += chunk.accepted;
        await pause(300);
      }
      // By now every client knows of all of them.
      await pause(8_000);
      const source = { tenant, producer: undefined, traceparent: TRACEPARENT };
      await appendReports(log, [Buffer.from(chunks.flatMap((chunk) => chunk.lines).join(''))], source);
      await untilRead(base, log);
      stop.abort();
      await Promise.all(running);
      const { counts } = await effects(base, tenant);
      expect(counts).toMatchObject({ accepted: String(accepted), conflicts: '0' });
      expect(layouts).toEqual(['raised']);
    },
    LIMIT_MS,
  );

  test(
    'of a topic that was made anew are read from its start, and everybody is told',
    async () => {
      const tenant = 'anew';
      await makeAnew(3);
      const [base, log] = [await database(tenant), await openLog(tenant)];
      const layouts: string[] = [];
      const errors: string[] = [];
      const context = contextOf(base, log, 'one', { layoutChanged: (kind: string) => void layouts.push(kind) });
      const log2 = { ...context.log, error: (_fields: object, message: string) => void errors.push(message) };
      const stop = new AbortController();
      const running = runConsumer({ ...context, log: log2 }, stop.signal);
      const chunks = [...chunksOf(4_000, 23, MIN_CHUNK)];
      const source = { tenant, producer: undefined, traceparent: TRACEPARENT };
      const send = async (some: readonly Chunk[]) =>
        appendReports(
          { partitions: persistently(log.partitions), append: appending(log, undefined) },
          [Buffer.from(some.flatMap((chunk) => chunk.lines).join(''))],
          source,
        );
      await send(chunks.slice(0, 4));
      await untilRead(base, log);
      await makeAnew(3);
      await pause(6_000);
      // Some of what is known, and all that is new.
      await send(chunks.slice(2));
      await untilRead(base, log);
      expect(layouts).toEqual(['recreated']);
      expect(errors.some((message) => message.includes('made anew'))).toBe(true);
      const status = await base.db.asEngine((tx) => ingestStatus(tx, REPORTS_TOPIC));
      expect(status).toContain('ATTENTION: the topic was made anew');
      stop.abort();
      await running;
      const { counts } = await effects(base, tenant);
      expect(counts).toMatchObject({ accepted: '4000', conflicts: '0' });
    },
    LIMIT_MS,
  );
});

/** As a producer asks that does not give up while the broker is away. What it sends twice is found by id. */
function persistently<Given extends readonly unknown[], T>(ask: (...given: Given) => Promise<T>) {
  return async (...given: Given): Promise<T> => {
    const until = performance.now() + 120_000;
    for (;;) {
      try {
        return await ask(...given);
      } catch (error) {
        if (performance.now() > until) throw error;
        await pause(500);
      }
    }
  };
}

function appending(log: EventLog, partition: number | undefined): EventLog['append'] {
  return persistently((message) => log.append(partition === undefined ? message : { ...message, partition }));
}
