import { reportKey } from '../../core/eval-report.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { parseSuite, type Suite } from '../../core/suite.ts';
import type { EventLog } from '../../platform/event-log.ts';
import { createTopic } from '../../platform/event-log-postgres.ts';
import type { Database } from '../../platform/postgres.ts';
import type { ConsumerContext } from '../../scoring/context.ts';
import { Consumer, type ConsumerOptions } from '../../scoring/ingest/consumer.ts';
import { appendReports } from '../../scoring/ingest/pack-reports.ts';
import { ReaderThread } from '../../scoring/ingest/reader-thread.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { routesOf } from '../../scoring/ingest/shards.ts';
import { EPOCH_MS, type Harness, lineOf, random, type TestReport } from './scoring-online-support.ts';

/** Several readers of one log, each with a thread of its own, that are stepped, killed and replaced as a test wants it. */

export const READERS = 3;
const MINUTE_MS = 60_000;
const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

export function suiteOf(name: string): Suite {
  return parseSuite({
    apiVersion: 'merit/v1',
    kind: 'Suite',
    name,
    tick: '15m',
    minN: 2,
    metrics: {
      accuracy: { direction: 'higher', floor: 0, ceil: 1, required: true },
      latency_ms: { direction: 'lower', kind: 'quantile', quantile: 0.9, floor: 1000, ceil: 0 },
    },
  });
}

export function reportOf(suite: string, i: number, next: () => number): TestReport {
  return {
    schemaVersion: 1,
    reportId: `${suite}-${i}`,
    producer: i % 4 === 0 ? 'nightly' : 'ci',
    model: i % 3 === 0 ? 'ranker-v2' : 'ranker-v1',
    suite,
    observedAt: new Date(EPOCH_MS + i * MINUTE_MS + Math.floor(next() * 20_000)).toISOString(),
    sampleSize: 1 + Math.floor(next() * 50),
    metrics: { accuracy: next(), latency_ms: next() * 900 },
  };
}

/** Where a log of so many partitions has to have the report. */
export function partitionFor(tenant: string, report: TestReport, partitions: number): number {
  return routesOf(partitions)?.[reportKey(tenant, report)[0]!] ?? 0;
}

/** As whoever knows nothing of shards appends it. */
export async function appendTo(log: EventLog, tenant: string, partition: number, lines: string): Promise<void> {
  const value = Buffer.from(lines);
  const headers = { traceparent: TRACEPARENT };
  await log.append({ tenant, topic: REPORTS_TOPIC, key: tenant, value, headers, partition });
}

export async function appendRouted(log: EventLog, tenant: string, lines: string): Promise<void> {
  // A door that has not cached how many there are.
  const door = { append: log.append, partitions: log.partitions };
  await appendReports(door, [Buffer.from(lines)], { tenant, producer: undefined, traceparent: TRACEPARENT });
}

export async function raisePartitions(db: Database, count: number): Promise<void> {
  await db.asEngine((tx) => createTopic(tx, REPORTS_TOPIC, count));
}

/** One report for each partition, so that event time reaches it everywhere. */
export function closers(tenant: string, suite: string, partitions: number, atMs: number): TestReport[] {
  const found: TestReport[] = [];
  const missing = new Set(Array.from({ length: partitions }, (_, partition) => partition));
  for (let i = 0; missing.size > 0; i++) {
    const report: TestReport = {
      ...reportOf(suite, i, () => 0.5),
      reportId: `${suite}-end-${i}`,
      observedAt: new Date(atMs).toISOString(),
    };
    if (missing.delete(partitionFor(tenant, report, partitions))) found.push(report);
  }
  return found;
}

/** What dies by chance: a transaction before or after its commit, an append after it became durable. */
export function dying(ctx: ConsumerContext, chance: () => number, rate: number): ConsumerContext {
  const dies = (what: string) => {
    if (chance() < rate) throw new OperatingError('aborted', 'safe', `dying ${what}`);
  };
  const asFenced: Database['asFenced'] = async (fence, work) => {
    const result = await ctx.db.asFenced(fence, async (tx) => {
      const done = await work(tx);
      dies('before the commit');
      return done;
    });
    dies('after the commit');
    return result;
  };
  const append: EventLog['append'] = async (message) => {
    const appended = await ctx.eventLog.append(message);
    dies('after an append');
    return appended;
  };
  return { ...ctx, db: { ...ctx.db, asFenced }, eventLog: { ...ctx.eventLog, append } };
}

/** A reader that may die, and be replaced under another name or its own. */
export class Reader {
  readonly thread = new ReaderThread();
  readonly #ctx: ConsumerContext;
  readonly #options: ConsumerOptions;
  #lives = 0;
  #consumer: Consumer;

  constructor(h: Harness, name: string, options: ConsumerOptions, wrap: (ctx: ConsumerContext) => ConsumerContext) {
    this.#ctx = wrap(h.context({ reader: this.thread, holder: name }));
    this.#options = { lookMs: 0, member: name, ...options };
    this.#consumer = new Consumer(this.#ctx, this.#options);
  }

  get consumer(): Consumer {
    return this.#consumer;
  }

  /** Its memory is gone; who comes after it has another name, and waits until its lease is over. */
  die(): void {
    const member = `${this.#options.member}-${++this.#lives}`;
    this.#consumer = new Consumer(this.#ctx, { ...this.#options, member });
  }

  /** A fault is a death under the same name. */
  async step(): Promise<boolean> {
    try {
      return await this.#consumer.step(new AbortController().signal);
    } catch (error) {
      const cause = (error as { cause?: unknown }).cause;
      if (!(error instanceof OperatingError) && !(cause instanceof OperatingError)) throw error;
      this.#consumer = new Consumer(this.#ctx, this.#options);
      return true;
    }
  }

  async close(): Promise<void> {
    await this.#consumer.leave();
    await this.thread.close();
  }
}

/** Until no reader finds anything to do, several rounds long. */
export async function drainAll(h: Harness, readers: readonly Reader[]): Promise<void> {
  for (let quiet = 0; quiet < 3; ) {
    const progressed = [];
    for (const reader of readers) progressed.push(await reader.step());
    h.clock.pass(MINUTE_MS);
    quiet = progressed.includes(true) ? 0 : quiet + 1;
  }
}

export { lineOf, random };
