/**
 * The disaster drill: a database with its report log is lost, and restored into a fresh server from what is in the object store: a base backup, the
 * WAL that was archived since, and the archive of the log behind that. What the producers then send again fills what is still missing; at the
 * end the checksum is that of the original, and a replay of everything agrees. Prints what was lost (RPO) and how long it took (RTO).
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { parseSuite } from '../../core/suite.ts';
import { bootstrapDatabase } from '../../platform/bootstrap.ts';
import { systemClock } from '../../platform/clock.ts';
import { makeCluster } from '../../platform/embedded-postgres/cluster.ts';
import { freePort } from '../../platform/embedded-postgres/launch.ts';
import { ensureNativePostgres } from '../../platform/embedded-postgres/native.ts';
import type { EventLog } from '../../platform/event-log.ts';
import { createTopic, openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import { migrate } from '../../platform/migrate.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { type Database, openDatabase } from '../../platform/postgres.ts';
import { stateLayout } from '../../platform/state-layout.ts';
import { Archiver } from '../../scoring/archive/archiver.ts';
import { NO_ARCHIVE_METRICS } from '../../scoring/archive/context.ts';
import { type ConsumerContext, NO_METRICS, type ScoringContext } from '../../scoring/context.ts';
import { Consumer } from '../../scoring/ingest/consumer.ts';
import { appendReports } from '../../scoring/ingest/pack-reports.ts';
import { ReaderThread } from '../../scoring/ingest/reader-thread.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { parseModel } from '../../scoring/registry/model-document.ts';
import { addVersion, registerModel } from '../../scoring/registry/models.ts';
import { applySuite } from '../../scoring/registry/suites.ts';
import { NO_REPLAY_METRICS } from '../../scoring/replay/context.ts';
import { workOffOne } from '../../scoring/replay/replay-worker.ts';
import { getReplay, startReplay } from '../../scoring/replay/replays.sql.ts';
import { replaySpec } from '../../scoring/replay/spec.ts';
import { layOutBaseBackup, takeBaseBackup } from './base-backup.ts';
import { asAdmin, killCluster, killClusters, startCluster } from './cluster.ts';

const TENANT = 'default';
const BY = { tenant: TENANT, actor: 'drill', traceId: '0af7651916cd43dd8448eb211c80319c', nowMs: Date.now() };
const TRACEPARENT = `00-${BY.traceId}-b7ad6b7169203331-01`;
/** WAL that is not full is archived this often at the latest: what a crash may cost the database. */
const ARCHIVE_TIMEOUT_S = 30;
/** The report log's own. */
const SEGMENT_AGE_MS = 2_000;
const UPLOAD_EVERY_MS = 100;

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '20' }, rate: { type: 'string', default: '200' } },
});
const [SECONDS, RATE] = [amount('seconds', 3_600), amount('rate', 100_000)];
const COUNT = SECONDS * RATE;
/** Sent before the base backup begins. */
const HALF = Math.floor(COUNT / 2);

function amount(name: 'seconds' | 'rate', most: number): number {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value >= 1 && value <= most) return value;
  throw new Error(`--${name} ${values[name]} is no whole number from 1 to ${most}`);
}

const suite = parseSuite({
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'search',
  tick: '1m',
  minN: 5,
  metrics: { accuracy: { direction: 'higher', floor: 0, ceil: 1, valid: [0, 1], required: true } },
});

/** The same report for the same number, whenever it is sent. An hour of event time passes in a minute. */
const FIRST_MS = Date.now() - 2 * 86_400_000;
function line(i: number): string {
  const value = ((i * 2654435761) % 1000) / 1000;
  return `${JSON.stringify({
    schemaVersion: 1,
    reportId: `r-${i}`,
    producer: 'drill',
    model: i % 3 === 0 ? 'one' : 'two',
    suite: 'search',
    observedAt: new Date(FIRST_MS + Math.floor((i * 60_000) / RATE)).toISOString(),
    metrics: { accuracy: value },
  })}\n`;
}

interface Stand {
  readonly db: Database;
  readonly log: EventLog;
  readonly reader: ReaderThread;
  readonly ctx: ConsumerContext & ScoringContext;
}

async function open(urls: { readonly app: string; readonly engine: string }): Promise<Stand> {
  const db = openDatabase({ appUrl: urls.app, engineUrl: urls.engine, maxConnections: 8 });
  const log = openPostgresEventLog({ db, appendAs: 'engine' });
  const reader = new ReaderThread();
  const quiet = { info: () => {}, warn: () => {}, error: console.error };
  const rows = await db.asEngine((tx) =>
    tx.query<{ epoch: bigint }>(`select epoch from leader_epochs where name = 'archive'`),
  );
  const epoch = rows[0]!.epoch;
  const signer = {
    keyId: 'drill',
    algorithm: 'ed25519' as const,
    publicKey: new Uint8Array(32),
    sign: async () => new Uint8Array(64),
  };
  const policy = async () => ({ allow: true, decisionId: 'd', policyVersion: 'p', evidence: {} });
  const ctx = {
    db,
    epoch,
    holder: 'drill',
    clock: systemClock,
    eventLog: log,
    reader,
    signer,
    policy,
    rollouts: false,
    metrics: NO_METRICS,
    log: quiet,
  };
  return { db, log, reader, ctx };
}

/** Whoever comes after the restore has what there was. */
const READER = { member: 'drill' };

async function drain({ ctx }: Stand): Promise<void> {
  const consumer = new Consumer(ctx, READER);
  while (await consumer.step(new AbortController().signal));
}

function archiverOf({ ctx }: Stand, store: ObjectStore): Archiver {
  const policy = { segmentAgeMs: SEGMENT_AGE_MS, keepMs: null, logKeepMs: null };
  return new Archiver({ ...ctx, store, policy, metrics: NO_ARCHIVE_METRICS });
}

/** Consumes, and archives beside it, until told to stop. */
async function work(stand: Stand, store: ObjectStore, signal: AbortSignal): Promise<void> {
  const consume = async () => {
    const consumer = new Consumer(stand.ctx, READER);
    while (!signal.aborted) if (!(await consumer.step(signal))) await sleep(50);
  };
  const archive = async () => {
    const archiver = archiverOf(stand, store);
    while (!signal.aborted) if (!(await archiver.archive(signal))) await sleep(200);
  };
  await Promise.all([consume(), archive()]);
}

async function close({ db, log, reader }: Stand): Promise<void> {
  await log.close();
  await reader.close();
  await db.close();
}

/** Sends [from, to) at the rate; when each was durable. */
async function send({ log }: Stand, from: number, to: number): Promise<readonly number[]> {
  const durableMs: number[] = [];
  const perStep = Math.max(1, Math.floor(RATE / 20));
  for (let i = from; i < to; i += perStep) {
    const until = Math.min(to, i + perStep);
    const lines = Array.from({ length: until - i }, (_, n) => line(i + n)).join('');
    await appendReports(log, [Buffer.from(lines)], { tenant: TENANT, producer: undefined, traceparent: TRACEPARENT });
    for (let n = i; n < until; n++) durableMs.push(Date.now());
    await sleep(50);
  }
  return durableMs;
}

/** What archive_command left in the spool goes to the object store, and only then away. */
async function upload(spool: string, store: ObjectStore, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    for (const name of await readdir(spool)) {
      if (name.endsWith('.part')) continue;
      await store.put(`wal/${name}`, await readFile(join(spool, name)), { ifAbsent: true });
      await rm(join(spool, name));
    }
    await sleep(UPLOAD_EVERY_MS);
  }
}

/** A command as an operator gives it; what it says. */
async function merit(args: readonly string[], env: Readonly<Record<string, string>>): Promise<string> {
  const cli = fileURLToPath(new URL('../../bin/merit.mjs', import.meta.url));
  const { stderr } = await promisify(execFile)(process.execPath, [cli, ...args], {
    env: { PATH: process.env.PATH, ...env },
  });
  return stderr.trim();
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
const reports = async ({ db }: Stand) => {
  const rows = await db.asEngine((tx) =>
    tx.query<{ value: Buffer }>('select value from log_messages where topic = $1 order by log_offset', [REPORTS_TOPIC]),
  );
  return rows.reduce((sum, { value }) => sum + value.toString().split('\n').length - 1, 0);
};

/** Leaves nothing behind, also where it is stopped or breaks off. */
async function main(): Promise<void> {
  const stopped = new Promise<never>((_resolve, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'])
      process.once(signal, () => reject(new Error(`the drill was stopped by ${signal}`)));
  });
  const folder = await mkdtemp(join(tmpdir(), 'merit-drill-'));
  try {
    await Promise.race([drill(folder), stopped]);
  } finally {
    await killClusters();
    await rm(folder, { recursive: true, force: true });
  }
}

/** What it comes to is looked at later: until then a failure ends nothing. */
function beside<T>(work: Promise<T>): Promise<T> {
  work.catch(() => {});
  return work;
}

async function drill(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  const stateDir = join(folder, 'state');
  await mkdir(stateDir);
  const layout = await stateLayout({ stateDir, dataDir: join(folder, 'pg-original') });
  const user = layout.postgresUser;
  const native = await ensureNativePostgres(layout.nativeRoot);
  const password = randomBytes(12).toString('hex');
  const folderOf = async (name: string) => {
    const path = join(folder, name);
    await mkdir(path, { mode: 0o700 });
    if (user !== undefined) await chown(path, user.uid, user.gid);
    return path;
  };
  const [spool, wal] = [await folderOf('spool'), await folderOf('wal')];
  const store = await openFileObjectStore({ root: join(folder, 'objects') });
  const port = await freePort();
  const passwords = { merit_owner: password, merit_app: password, merit_engine: password };
  const url = (role: string, at: number) => `postgres://${role}:${password}@127.0.0.1:${at}/merit`;
  await makeCluster({ dataDir: layout.dataDir, postgresUser: user }, native, password);
  const original = await startCluster(native, user, layout.dataDir, {
    port,
    password,
    settings: {
      wal_level: 'replica',
      archive_mode: 'on',
      archive_timeout: String(ARCHIVE_TIMEOUT_S),
      archive_command: `test ! -f ${spool}/%f && cp %p ${spool}/%f.part && mv ${spool}/%f.part ${spool}/%f`,
    },
  });
  await bootstrapDatabase({ adminUrl: original.adminUrl, passwords, database: 'merit' });
  await migrate({ ownerUrl: url('merit_owner', port) });
  const live = await open({ app: url('merit_app', port), engine: url('merit_engine', port) });
  await live.db.asEngine(async (tx) => {
    await tx.execute('insert into tenants (tenant) values ($1)', [TENANT]);
    await tx.execute(`insert into divisions (tenant, division) values ($1, 'research')`, [TENANT]);
    await createTopic(tx, REPORTS_TOPIC, 1);
  });
  await live.db.asTenant(TENANT, async (tx) => {
    await applySuite(tx, BY, suite);
    const model = { apiVersion: 'merit/v1', kind: 'Model', name: 'any', division: 'research', suite: 'search' };
    await registerModel(tx, BY, parseModel(model));
    for (const version of ['one', 'two']) await addVersion(tx, BY, { model: 'any', version });
  });
  const stop = new AbortController();
  const uploading = beside(upload(spool, store, stop.signal));
  const working = beside(work(live, store, stop.signal));
  console.log(`writing ${COUNT} reports at ${RATE}/s; a base backup half-way; then the database is lost`);
  await send(live, 0, HALF);
  const backupFrom = performance.now();
  const backing = beside(
    asAdmin(original.adminUrl, (client) => takeBaseBackup(client, layout.dataDir, store, 'base/1.zst')).then(
      ({ size }) => ({ size, ms: performance.now() - backupFrom }),
    ),
  );
  const durable = await send(live, HALF, COUNT);
  const backup = await backing;
  // The original's word, for later: the disaster does not wait for what is archived.
  stop.abort();
  await working;
  await drain(live);
  const checksum = await live.db.asTenant(TENANT, (tx) => suiteChecksum(tx, TENANT, 'search'));
  const lostAtMs = Date.now();
  await close(live);
  await killCluster(original);
  await uploading;
  await rm(layout.dataDir, { recursive: true });
  await rm(spool, { recursive: true });

  const from = performance.now();
  const dataDir = join(folder, 'pg-restored');
  let walFiles = 0;
  for await (const { key } of store.list('wal/')) {
    const stream = await store.get(key);
    const parts: Buffer[] = [];
    for await (const part of stream!) parts.push(part as Buffer);
    await writeFile(join(wal, key.slice('wal/'.length)), Buffer.concat(parts), { mode: 0o644 });
    walFiles++;
  }
  await layOutBaseBackup(store, 'base/1.zst', dataDir, user, { 'recovery.signal': '' });
  const fetchedMs = performance.now() - from;
  const again = await freePort();
  await startCluster(native, user, dataDir, {
    port: again,
    password,
    settings: { restore_command: `cp ${wal}/%f %p`, recovery_target_timeline: 'latest' },
  });
  const recoveredMs = performance.now() - from;
  const stand = await open({ app: url('merit_app', again), engine: url('merit_engine', again) });
  const inDatabase = await reports(stand);
  const tail = await merit(['restore-log'], {
    DATABASE_URL: url('merit_app', again),
    ENGINE_DATABASE_URL: url('merit_engine', again),
    MERIT_OBJECT_STORE: join(folder, 'objects'),
    MERIT_HOME: stateDir,
  });
  const inLog = await reports(stand);
  await drain(stand);
  const servedMs = performance.now() - from;
  const missing = (n: number) => (n === COUNT ? 0 : lostAtMs - durable[n - HALF]!);
  // Producers send again what they are not sure of; what is known is a duplicate.
  await send(stand, Math.max(0, inLog - RATE), COUNT);
  await drain(stand);
  await sleep(SEGMENT_AGE_MS);
  while (await archiverOf(stand, store).archive(new AbortController().signal));
  const after = await stand.db.asTenant(TENANT, (tx) => suiteChecksum(tx, TENANT, 'search'));
  const verdict = await proof(stand, store);
  await close(stand);
  console.log(`
base backup      ${(backup.size / 1024 / 1024).toFixed(1)} MB in ${seconds(backup.ms)}, while ${RATE} reports/s were written
restored         base and ${walFiles} WAL files fetched in ${seconds(fetchedMs)}, taking writes after ${seconds(recoveredMs)}
RPO, database    ${COUNT - inDatabase} of ${COUNT} reports: the last ${seconds(missing(inDatabase))} (archive_timeout ${ARCHIVE_TIMEOUT_S} s)
RPO, with archive ${COUNT - inLog} of ${COUNT} reports: the last ${seconds(missing(inLog))}; ${tail}
RTO              ${seconds(servedMs)} until all of it was consumed again, so that a server that starts serves its scores
checksum         ${after === checksum ? 'that of the original' : 'ANOTHER THAN THE ORIGINAL'}, once producers had sent again
replay of all    ${verdict}`);
  if (after !== checksum || verdict !== 'equal') process.exitCode = 10;
}

async function proof({ db, log }: Stand, store: ObjectStore): Promise<string> {
  const { replay } = await db.asTenant(TENANT, (tx) =>
    startReplay(tx, { ...BY, nowMs: Date.now() }, replaySpec({ into: 'shadow' })),
  );
  const quiet = { info: () => {}, warn: console.error, error: console.error };
  const ctx = { db, clock: systemClock, eventLog: log, log: quiet, store, holder: 'drill', metrics: NO_REPLAY_METRICS };
  await workOffOne(ctx, new AbortController().signal);
  const ended = (await db.asTenant(TENANT, (tx) => getReplay(tx, TENANT, replay.replayId)))!;
  return ended.result === null
    ? `${ended.state}: ${ended.failure?.problem}`
    : ended.result.equal
      ? 'equal'
      : 'DIFFERENT';
}

await main();
process.exit();
