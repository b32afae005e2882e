import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import { ed25519KeyId } from '../../core/ed25519.ts';
import { readEvalReport } from '../../core/eval-report.ts';
import { jobSpec } from '../../core/job.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { parseSuite, type Suite } from '../../core/suite.ts';
import type { Clock } from '../../platform/clock.ts';
import type { EventLog } from '../../platform/event-log.ts';
import { createTopic, openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import type { Database } from '../../platform/postgres.ts';
import type { Signer } from '../../platform/signer.ts';
import { type ConsumerContext, NO_METRICS, type PromotionPolicy, type ScoringContext } from '../../scoring/context.ts';
import { Consumer, type ConsumerOptions } from '../../scoring/ingest/consumer.ts';
import { appendReports } from '../../scoring/ingest/pack-reports.ts';
import { ReaderThread } from '../../scoring/ingest/reader-thread.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { parseModel } from '../../scoring/registry/model-document.ts';
import { addVersion, registerModel } from '../../scoring/registry/models.ts';
import { applySuite, type Requester } from '../../scoring/registry/suites.ts';
import { checksumOf, checksumRows } from '../../scoring/rules/checksum.ts';
import { contribute, isContributionFault } from '../../scoring/rules/contribution.ts';
import { PaneTable } from '../../scoring/rules/pane-table.ts';
import { scoreModels } from '../../scoring/rules/score-models.ts';
import { tickAt } from '../../scoring/rules/watermark.ts';
import { windowSumsFromPanes } from '../../scoring/rules/window-sums.ts';
import { asAdmin, type TestDatabase } from '../support/db.ts';

export const EPOCH_MS = Date.parse('2026-01-05T09:00:00Z');
export const TRACE = '0af7651916cd43dd8448eb211c80319c';
const TRACEPARENT = `00-${TRACE}-b7ad6b7169203331-01`;

export interface TestReport {
  readonly schemaVersion: 1;
  readonly reportId: string;
  readonly producer: string;
  readonly model: string;
  readonly suite: string;
  readonly observedAt: string;
  readonly sampleSize?: number;
  readonly metrics: Readonly<Record<string, number>>;
}

export function lineOf(report: object): string {
  return `${JSON.stringify(report)}\n`;
}

/** A small generator of its own, so that a failure repeats (mulberry32). */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function shuffled<T>(list: readonly T[], seed: number): T[] {
  const next = random(seed);
  const out = [...list];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [out[i], out[j]] = [out[j]!, out[i]!];
  }
  return out;
}

export const RETRAIN_JOB = {
  name: 'ranker-retrain',
  division: 'vision',
  model: 'ranker',
  resources: { cpus: 1 },
  pools: ['local'],
  run: 'python train.py',
  parameters: { seed: 7, producer: 'overwritten' },
} as const;
jobSpec(RETRAIN_JOB);

export async function newTenant(test: TestDatabase, tenant: string): Promise<Requester> {
  await asAdmin(
    test.urls.admin,
    `insert into tenants (tenant) values ('${tenant}'); insert into divisions (tenant, division) values ('${tenant}', 'vision')`,
  );
  return { tenant, actor: 'tester', traceId: TRACE, nowMs: Date.now() };
}

/** A suite, a model `ranker` with a retrain job, and its versions. */
export async function register(db: Database, by: Requester, suite: Suite, versions: readonly string[]): Promise<void> {
  await db.asTenant(by.tenant, async (tx) => {
    await applySuite(tx, by, suite);
    await registerModel(
      tx,
      by,
      parseModel({
        apiVersion: 'merit/v1',
        kind: 'Model',
        name: 'ranker',
        division: 'vision',
        suite: suite.name,
        retrain: RETRAIN_JOB,
      }),
    );
    for (const version of versions) await addVersion(tx, by, { model: 'ranker', version });
  });
}

export function testSigner(): Signer {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32);
  const key = createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' }));
  return {
    keyId: ed25519KeyId(raw),
    algorithm: 'ed25519',
    publicKey: raw,
    sign: async (bytes) => sign(null, bytes, key),
  };
}

export const ALLOW: PromotionPolicy = async (question) => ({
  allow: true,
  decisionId: `d-${question.questionId}`,
  policyVersion: 'p1',
  evidence: { question, answer: 'allow' },
});

/** Time that stands still until it is told. */
export class TestClock implements Clock {
  #now = Date.now();
  now(): number {
    return this.#now;
  }
  pass(ms: number): void {
    this.#now += ms;
  }
  async sleep(): Promise<void> {}
}

export interface Harness {
  readonly log: EventLog;
  readonly signer: Signer;
  readonly clock: TestClock;
  context(overrides?: Partial<TestContext>): TestContext;
  send(tenant: string, lines: string, producer?: string): Promise<void>;
  /** Runs a fresh consumer until nothing is left to do now. */
  drain(ctx?: ConsumerContext, options?: ConsumerOptions): Promise<void>;
}

/** For the consumer, and for what its seat's epoch fences. */
export type TestContext = ConsumerContext & ScoringContext;

/** Whoever comes after a reader that died has what it had. */
export const READER: ConsumerOptions = { member: 'reader' };

export async function harness(test: TestDatabase, partitions = 1): Promise<Harness> {
  const log = openPostgresEventLog({ db: test.db, appendAs: 'engine' });
  await test.db.asEngine((tx) => createTopic(tx, REPORTS_TOPIC, partitions));
  const signer = testSigner();
  const clock = new TestClock();
  const reader = new ReaderThread();
  const epoch = await currentEpoch(test.db);
  const quiet = { info: () => {}, warn: () => {}, error: () => {} };
  const context = (overrides: Partial<TestContext> = {}): TestContext => ({
    db: test.db,
    epoch,
    holder: 'test',
    clock,
    eventLog: log,
    reader,
    signer,
    policy: ALLOW,
    rollouts: true,
    metrics: NO_METRICS,
    log: quiet,
    ...overrides,
  });
  return {
    log,
    signer,
    clock,
    context,
    send: async (tenant, lines, producer) => {
      await appendReports(log, [Buffer.from(lines)], { tenant, producer, traceparent: TRACEPARENT });
    },
    drain: async (ctx = context(), options = {}) => {
      const consumer = new Consumer(ctx, { ...READER, ...options });
      const { signal } = new AbortController();
      while (await consumer.step(signal));
    },
  };
}

export interface DyingDatabase {
  readonly db: Database;
  /** Deaths so far: before the commit (nothing is stored), after it (nobody hears of it). */
  readonly deaths: { before: number; after: number };
}

/** A database under which the consumer's process dies by chance, on either side of a commit. */
export function dyingDatabase(db: Database, seed: number): DyingDatabase {
  const chance = random(seed);
  const deaths = { before: 0, after: 0 };
  const asFenced: Database['asFenced'] = async (fence, work) => {
    const result = await db.asFenced(fence, async (tx) => {
      const done = await work(tx);
      if (chance() < 0.2 && ++deaths.before > 0) throw new OperatingError('aborted', 'safe', 'dying before the commit');
      return done;
    });
    if (chance() < 0.15 && ++deaths.after > 0) throw new OperatingError('aborted', 'safe', 'dying after the commit');
    return result;
  };
  return { db: { ...db, asFenced }, deaths };
}

/** Consumers one after the other, each until its death, until one finds nothing left to do. */
export async function drainDying(h: Harness, dying: DyingDatabase, options: ConsumerOptions): Promise<void> {
  const { signal } = new AbortController();
  const total = () => dying.deaths.before + dying.deaths.after;
  for (;;) {
    const before = total();
    const consumer = new Consumer(h.context({ db: dying.db }), { ...READER, ...options });
    let progressed = true;
    while (progressed && total() === before) {
      progressed = await consumer.step(signal).catch((error: unknown) => {
        if (!(error instanceof OperatingError)) throw error;
        return true;
      });
      // A settled wait is a matter of time, not of this consumer.
      h.clock.pass(60_000);
    }
    if (!progressed) return;
  }
}

export async function currentEpoch(db: Database): Promise<bigint> {
  const rows = await db.asEngine((tx) =>
    tx.query<{ epoch: bigint }>(`select epoch from leader_epochs where name = 'engine'`),
  );
  return rows[0]!.epoch;
}

/** The checksum that the pure rules give for these reports (ticks up to `finalMs` only): what every order, batching and crash must come to. */
export function referenceChecksum(
  suite: Suite,
  reports: readonly object[],
  finalMs = Number.POSITIVE_INFINITY,
): string {
  const table = new PaneTable(suite.hash);
  let watermarkMs = Number.NEGATIVE_INFINITY;
  for (const report of reports) {
    const reading = readEvalReport(Buffer.from(JSON.stringify(report)));
    if (!reading.ok) throw new Error(reading.quarantine.problem);
    const contribution = contribute(suite, reading.report);
    if (isContributionFault(contribution)) throw new Error(contribution.problem);
    table.add(contribution);
    watermarkMs = Math.max(watermarkMs, reading.report.observedAtMs);
  }
  const panes = table.rows();
  const rows: string[] = [];
  const first = Math.min(...panes.map((pane) => pane.paneStartMs));
  for (let tick = tickAt(first, suite.tickMs); tick <= Math.min(watermarkMs, finalMs); tick += suite.tickMs) {
    const models = scoreModels({ suite, atMs: tick, models: windowSumsFromPanes(suite, tick, panes) });
    for (const model of models) rows.push(...checksumRows(suite, tick, model));
  }
  return checksumOf(rows);
}

export { parseSuite };
