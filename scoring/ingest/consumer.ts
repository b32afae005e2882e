import { OperatingError } from '../../core/operating-error.ts';
import { isDatabaseAway, StaleLeader } from '../../platform/postgres.ts';
import { newTrace } from '../../platform/trace.ts';
import type { ScoringContext } from '../context.ts';
import { prepareSuites } from '../promotion/prepare-suites.ts';
import { type Settled, settleTick } from '../promotion/settle-tick.ts';
import { dropLeftovers, haveLeftovers } from '../rollout/leftovers.sql.ts';
import { ROLLOUTS_TO_TAKE_UP } from '../rollout/rollout-state.sql.ts';
import { advanceSuite } from './advance-suite.ts';
import { isInputFault } from './fault.ts';
import { type Flushed, flush, type LogEnds, OutdatedReading, quarantineMessage } from './flush.ts';
import { loadDedup } from './load-dedup.ts';
import { packMessages } from './packed-messages.ts';
import { resendParked } from './parked.sql.ts';
import { loadPositions, readOffsets, START, type StoredPosition } from './positions.sql.ts';
import type { Segment, TenantSuite } from './reader-tasks.ts';
import { REPORTS_TOPIC } from './report-log.ts';
import { loadActiveSuites, loadSuites, type SuiteRef, suiteKey } from './suite-state.sql.ts';

/** A flush takes at most this many lines; a tick that becomes final ends it earlier. */
export const MAX_FLUSH_LINES = 20_480;
/**
 * Read ahead from a partition at once: what is held in memory of its messages, but for the last, which may reach beyond. Where little waits
 * little is read, and flushed at once.
 */
const MAX_READ_MESSAGES = 1_024;
const MAX_READ_BYTES = 10 * 1024 * 1024;
/** A message whose handling throws this often is set aside. */
export const MAX_MESSAGE_TRIES = 3;
const RETRY_MS = 200;
const DATABASE_RETRY_MS = 1_000;
const SETTLE_RETRY_MS = 1_000;
/** A suite whose ticks cannot be published is left alone for this long. */
export const STUCK_RETRY_MS = 30_000;
/** The longest sleep: retries, idle partitions and candidates registered meanwhile are looked at this often. */
const IDLE_WAIT_MS = 1_000;

const NO_LINES: Segment = { lines: 0, firstOffset: 0n, ofFirst: 0, suites: [], models: [] };

/** What a test may set to other values; production runs on the defaults. */
export interface ConsumerOptions {
  readonly maxFlushLines?: number;
}

/**
 * Reads the report log and keeps scores and decisions, until `signal`. One of it runs, with the leader's epoch: StaleLeader ends it.
 * Everything it knows is rebuilt from Postgres when it starts.
 */
export async function runConsumer(
  ctx: ScoringContext,
  signal: AbortSignal,
  options: ConsumerOptions = {},
): Promise<void> {
  let consumer: Consumer | undefined;
  while (!signal.aborted) {
    try {
      consumer ??= await Consumer.start(ctx, options);
      const progressed = await consumer.step(signal);
      if (!progressed) await ctx.eventLog.wait(REPORTS_TOPIC, IDLE_WAIT_MS, signal);
    } catch (error) {
      if (error instanceof StaleLeader) throw error;
      // What is in memory may be ahead of or behind what is stored: start again from Postgres.
      consumer = undefined;
      const away = isDatabaseAway(error) || error instanceof OperatingError;
      ctx.log[away ? 'warn' : 'error']({ error: String(error) }, 'the report consumer starts again');
      await ctx.clock.sleep(away ? DATABASE_RETRY_MS : RETRY_MS, signal);
    }
  }
}

/** The consumer's memory and one step of its loop. */
export class Consumer {
  readonly #ctx: ScoringContext;
  readonly #maxFlushLines: number;
  /** Reports that the reader remembers, those forgotten meanwhile among them. */
  #known: number;
  #forgotten = 0;
  /** Hash of the version that the reader was told, by suite. */
  readonly #told = new Map<string, string>();
  readonly #positions: Map<number, StoredPosition>;
  /** Lines read and not yet flushed, by partition. */
  readonly #ahead = new Map<number, Segment>();
  /** Suites with ticks to publish or judge before the next line. */
  readonly #due = new Map<string, SuiteRef>();
  /** Suites with a tick to settle, and from when on. */
  readonly #unsettled = new Map<string, { readonly ref: SuiteRef; readonly fromMs: number }>();
  /** Suites whose ticks could not be published, and when that is tried again. */
  readonly #stuck = new Map<string, { readonly ref: SuiteRef; readonly fromMs: number }>();
  /** Rows of versions that are kept no more may be there. */
  #leftovers = false;
  readonly #failures = new Map<number, { readonly offset: bigint; readonly tries: number }>();

  private constructor(
    ctx: ScoringContext,
    options: ConsumerOptions,
    known: number,
    positions: ReadonlyMap<number, StoredPosition>,
  ) {
    this.#ctx = ctx;
    this.#maxFlushLines = options.maxFlushLines ?? MAX_FLUSH_LINES;
    this.#known = known;
    this.#positions = new Map(positions);
  }

  /** Rebuilds the reader's memory and finds what a crash left half done. */
  static async start(ctx: ScoringContext, options: ConsumerOptions = {}): Promise<Consumer> {
    await ctx.reader.open();
    const { known, positions, suites, leftovers } = await ctx.db.asEngine(async (tx) => ({
      known: await loadDedup(tx, (blocks) => ctx.reader.remember(blocks)),
      positions: await loadPositions(tx, REPORTS_TOPIC),
      suites: await loadSuites(tx, undefined),
      leftovers: await haveLeftovers(tx),
    }));
    const consumer = new Consumer(ctx, options, known, positions);
    consumer.#leftovers = leftovers;
    for (const { state } of suites)
      consumer.#due.set(suiteKey(state.tenant, state.suite.name), { tenant: state.tenant, name: state.suite.name });
    return consumer;
  }

  /** One round over what is due and every partition; false where there was nothing to do. */
  async step(signal: AbortSignal): Promise<boolean> {
    let progressed = await this.#finishTicks(signal);
    const partitions = await this.#ctx.eventLog.partitions(REPORTS_TOPIC);
    const ends = await this.#readEnds(partitions);
    for (const partition of partitions) {
      if (signal.aborted) return progressed;
      if (await this.#flushOne(partition, ends)) progressed = true;
      await this.#finishTicks(signal);
    }
    if (await this.#dropLeftovers()) progressed = true;
    return progressed || this.#takeUpChanges(signal);
  }

  /** Publishes, judges and settles all that may be done now. Lines wait for it, so that decisions have their place in the log. */
  async #finishTicks(signal: AbortSignal): Promise<boolean> {
    let progressed = false;
    for (const [key, { ref, fromMs }] of this.#stuck) {
      if (fromMs > this.#ctx.clock.now()) continue;
      this.#stuck.delete(key);
      this.#due.set(key, ref);
    }
    for (;;) {
      const suite = this.#due.values().next().value ?? this.#nextSettle();
      if (suite === undefined || signal.aborted) return progressed;
      progressed = true;
      const key = suiteKey(suite.tenant, suite.name);
      if (this.#due.has(key)) await this.#advance(key, suite);
      else await this.#settle(key, suite, signal);
    }
  }

  #nextSettle(): SuiteRef | undefined {
    const now = this.#ctx.clock.now();
    for (const { ref, fromMs } of this.#unsettled.values()) if (fromMs <= now) return ref;
    return undefined;
  }

  async #advance(key: string, ref: SuiteRef): Promise<void> {
    const ctx = this.#ctx;
    this.#due.delete(key);
    try {
      const advanced = await ctx.db.asLeader(ctx.epoch, async (tx) => {
        const read = readOffsets(await loadPositions(tx, REPORTS_TOPIC));
        const prepared = (await prepareSuites(tx, ctx, [ref], read))[0];
        if (prepared === undefined) return undefined;
        const { lanes } = prepared;
        const done = await advanceSuite(tx, ctx.clock, lanes, lanes.active.traceId ?? newTrace().traceId);
        const rolledBack = lanes.next !== null && done.lanes.next === null;
        return { ...done, rolledBack, leftovers: prepared.leftovers || rolledBack };
      });
      if (advanced?.leftovers === true) this.#leftovers = true;
      if (advanced?.rolledBack === true) this.#tellRolledBack([ref]);
      if (advanced?.more === true) this.#due.set(key, ref);
      if (advanced?.unsettled === true) this.#markUnsettled([ref]);
    } catch (error) {
      if (!isInputFault(error)) throw error;
      this.#markStuck(ref, error);
    }
  }

  #tellRolledBack(refs: readonly SuiteRef[]): void {
    if (refs.length > 0) this.#ctx.metrics.rolledBack(refs.length);
    for (const ref of refs) {
      this.#ctx.log.error(
        { tenant: ref.tenant, suite: ref.name },
        'a new version of a suite cannot be computed and was rolled back; its rollout says why',
      );
    }
  }

  /** Its ticks wait; everything else goes on. */
  #markStuck(ref: SuiteRef, error: unknown): void {
    this.#ctx.log.error(
      { tenant: ref.tenant, suite: ref.name, error: String(error) },
      'a suite’s ticks cannot be published',
    );
    const fromMs = this.#ctx.clock.now() + STUCK_RETRY_MS;
    this.#stuck.set(suiteKey(ref.tenant, ref.name), { ref, fromMs });
  }

  async #settle(key: string, ref: SuiteRef, signal: AbortSignal): Promise<void> {
    let settled: Settled;
    try {
      settled = await settleTick(this.#ctx, ref, signal);
    } catch (error) {
      // The signer is away: like an unanswered policy question, it holds up this suite's decisions only.
      if (!(error instanceof OperatingError) || isDatabaseAway(error.cause)) throw error;
      this.#ctx.log.warn({ suite: ref.name, error: error.message }, 'a decision could not be signed yet');
      settled = { kind: 'waiting', untilMs: this.#ctx.clock.now() + SETTLE_RETRY_MS };
    }
    this.#unsettled.delete(key);
    if (settled.kind === 'waiting') this.#unsettled.set(key, { ref, fromMs: settled.untilMs });
    // Behind a judged tick there may be more.
    else if (settled.kind === 'judged') this.#due.set(key, ref);
  }

  #markUnsettled(refs: readonly SuiteRef[]): void {
    for (const ref of refs) {
      const key = suiteKey(ref.tenant, ref.name);
      // One that waits for its retry keeps its time.
      if (!this.#unsettled.has(key)) this.#unsettled.set(key, { ref, fromMs: 0 });
    }
  }

  async #readEnds(partitions: readonly number[]): Promise<LogEnds> {
    let logAppendMs = 0;
    const lastAppendMs = new Map<number, number>();
    const lagging: number[] = [];
    for (const partition of partitions) {
      const end = await this.#ctx.eventLog.end(REPORTS_TOPIC, partition);
      const at = this.#positions.get(partition) ?? START;
      logAppendMs = Math.max(logAppendMs, end.appendedAtMs);
      lastAppendMs.set(partition, at.appendedAtMs);
      if (at.offset < end.nextOffset) lagging.push(partition);
      const seconds =
        at.offset < end.nextOffset && at.appendedAtMs > 0 ? (end.appendedAtMs - at.appendedAtMs) / 1000 : 0;
      this.#ctx.metrics.ingestLag(partition, Number(end.nextOffset - at.offset), Math.max(0, seconds));
    }
    for (const partition of lagging) lastAppendMs.set(partition, logAppendMs);
    return { logAppendMs, lastAppendMs };
  }

  async #flushOne(partition: number, ends: LogEnds): Promise<boolean> {
    const from = this.#positions.get(partition) ?? START;
    const segment = await this.#segmentAt(partition, from);
    if (segment.lines === 0) return false;
    // After a failure one message at a time, so that only the one at fault is set aside.
    const lines = this.#failures.has(partition) ? segment.ofFirst : segment.lines;
    const input = { partition, from, segment, lines, ends, reader: this.#ctx.reader };
    const startedMs = performance.now();
    try {
      const flushed = await flush(this.#ctx, input);
      this.#failures.delete(partition);
      await this.#committed(partition, flushed);
      this.#ctx.metrics.processingLatency((performance.now() - startedMs) / 1000);
    } catch (error) {
      if (error instanceof OutdatedReading) await this.#readAgain(partition);
      else await this.#failedFlush(partition, from, segment, error);
    }
    return true;
  }

  async #committed(partition: number, flushed: Flushed): Promise<void> {
    const { effects } = flushed;
    this.#positions.set(partition, flushed.next);
    this.#ahead.set(partition, await this.#ctx.reader.done(partition, this.#maxFlushLines));
    for (const ref of flushed.more) this.#due.set(suiteKey(ref.tenant, ref.name), ref);
    this.#markUnsettled(flushed.unsettled);
    if (flushed.leftovers) this.#leftovers = true;
    this.#tellRolledBack(flushed.rolledBack);
    for (const { ref, error } of flushed.stuck) this.#markStuck(ref, error);
    const { metrics } = this.#ctx;
    for (const { counts } of effects.counters) {
      this.#known += counts.accepted;
      if (counts.accepted > 0) metrics.reports('accepted', counts.accepted);
      if (counts.quarantined > 0) metrics.reports('quarantined', counts.quarantined);
      if (counts.duplicates > 0) metrics.reports('duplicate', counts.duplicates);
      if (counts.conflicts > 0) metrics.reports('conflict', counts.conflicts);
    }
    for (const { next } of effects.suites) {
      if (next === null) continue;
      if (next.counted > 0) metrics.beside('counted', next.counted);
      if (next.refused > 0) metrics.beside('refused', next.refused);
      if (next.missed > 0) metrics.beside('missed', next.missed);
    }
    for (const { aside } of effects.asides) metrics.rejected(aside.code, 1);
    // What was forgotten leaves the index when it is read again; until then a duplicate is known for longer than it must.
    this.#forgotten += flushed.forgotten;
    if (this.#forgotten > 0 && this.#forgotten * 2 >= this.#known) {
      await this.#ctx.reader.forget();
      this.#known = await this.#ctx.db.asEngine((tx) => loadDedup(tx, (blocks) => this.#ctx.reader.remember(blocks)));
      this.#forgotten = 0;
    }
  }

  async #failedFlush(partition: number, from: StoredPosition, segment: Segment, error: unknown): Promise<void> {
    if (!isInputFault(error)) throw error;
    const offset = segment.firstOffset;
    const before = this.#failures.get(partition);
    const tries = before?.offset === offset ? before.tries + 1 : 1;
    this.#ctx.log.error(
      { partition, offset: String(offset), tries, error: String(error) },
      'handling a report message failed',
    );
    if (tries < MAX_MESSAGE_TRIES) {
      this.#failures.set(partition, { offset, tries });
      return;
    }
    const problem = `failed ${tries} times while being handled`;
    const givenUp = await this.#ctx.reader.giveUp(partition, problem, this.#maxFlushLines);
    const next = await quarantineMessage(this.#ctx, { partition, from }, givenUp);
    this.#failures.delete(partition);
    this.#positions.set(partition, next);
    this.#ahead.set(partition, givenUp.segment);
    this.#ctx.metrics.reports('quarantined', givenUp.asides.length);
    this.#ctx.metrics.rejected('handler_failed', givenUp.asides.length);
  }

  /** Lines from the position on; reads further messages where none are left. */
  async #segmentAt(partition: number, from: StoredPosition): Promise<Segment> {
    const ahead = this.#ahead.get(partition);
    if (ahead !== undefined && ahead.lines > 0) return ahead;
    const { eventLog, reader } = this.#ctx;
    const messages = await eventLog.read(REPORTS_TOPIC, partition, from.offset, MAX_READ_MESSAGES, MAX_READ_BYTES);
    const first = messages[0];
    if (first === undefined) return NO_LINES;
    const suites = await this.#changedSuites();
    const packed = packMessages(messages, first.offset === from.offset ? from.line : 0);
    const segment = await reader.load({ partition, suites, packed, maxLines: this.#maxFlushLines });
    this.#ahead.set(partition, segment);
    return segment;
  }

  /** Active versions that the reader was not told of yet. */
  async #changedSuites(): Promise<readonly TenantSuite[]> {
    const active = await this.#ctx.db.asEngine(loadActiveSuites);
    const changed = active.filter(({ tenant, suite }) => this.#told.get(suiteKey(tenant, suite.name)) !== suite.hash);
    for (const { tenant, suite } of changed) this.#told.set(suiteKey(tenant, suite.name), suite.hash);
    return changed;
  }

  /** A request has changed a suite since its lines were read. */
  async #readAgain(partition: number): Promise<void> {
    await this.#ctx.reader.clear(partition);
    this.#ahead.delete(partition);
  }

  /** A few rows a round, so that reports never wait for it. */
  async #dropLeftovers(): Promise<boolean> {
    if (!this.#leftovers) return false;
    this.#leftovers = await this.#ctx.db.asLeader(this.#ctx.epoch, dropLeftovers);
    return this.#leftovers;
  }

  /**
   * When nothing is to be read: candidates, suites and rollouts that requests registered are taken up, and lines that waited for
   * them are appended to the log again. True where there is now something to read.
   */
  async #takeUpChanges(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false;
    const ctx = this.#ctx;
    const refs = await ctx.db.asEngine((tx) =>
      tx.query<SuiteRef>(
        `select tenant, suite as name from candidates where state = 'registered'
         union
         select s.tenant, s.suite from suites s left join suite_states t using (tenant, suite)
         where s.active and s.suite_hash is distinct from t.suite_hash
         union ${ROLLOUTS_TO_TAKE_UP}`,
      ),
    );
    for (const ref of refs) this.#due.set(suiteKey(ref.tenant, ref.name), ref);
    if (refs.length > 0) await this.#finishTicks(signal);
    return resendParked(ctx);
  }
}
