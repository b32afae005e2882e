import { OperatingError } from '../../core/operating-error.ts';
import type { Database, Tx } from '../../platform/postgres.ts';
import { withSpan } from '../../platform/trace.ts';
import { archivedLog } from '../archive/archived-log.ts';
import { generationOf } from '../archive/generation.ts';
import { type ConsumerContext, NO_METRICS } from '../context.ts';
import { Consumer } from '../ingest/consumer.ts';
import { loadPositions } from '../ingest/positions.sql.ts';
import { ReaderThread } from '../ingest/reader-thread.ts';
import { REPORTS_TOPIC } from '../ingest/report-log.ts';
import { type Era, erasUpTo, loadHistory } from '../ingest/topic-history.sql.ts';
import { isBefore, isWithin, messagesBetween, placeIn, type Vector, vectorOf } from '../ingest/vector.ts';
import { compareReplay } from './compare.ts';
import { askAgain, firstOpenings, NO_SIGNER, openChallenges, replayPolicy, takeTurns } from './contest.sql.ts';
import type { ReplayContext } from './context.ts';
import { paceOf } from './pace.ts';
import { COPY_TIMEOUT_MS, prepareShadow, type ReplayPlan } from './plan.sql.ts';
import { ReplayLog } from './replay-log.ts';
import { type Replay, saveCut, savePlan, tellProgress } from './replays.sql.ts';
import type { ReplayResult } from './result.ts';
import { type Claim, requireClaim, requireSameTables, StaleReplay, shadowDatabase } from './shadow-database.ts';
import { type Cut, inOrder, loadTimeline, NOTHING } from './timeline.sql.ts';
import { whileHeld } from './while-held.ts';

/** A claim that is not renewed for so long may be taken over. */
export const LEASE_MS = 60_000;
/** Where no progress is told, the lease is renewed this often in its time. */
const RENEWALS_PER_LEASE = 3;
/** Progress is told this often at most. */
const TELL_MS = 500;

/** Only the tests look at what comes between. */
export interface RunOptions {
  /** After each step of the consumer. */
  readonly onStep?: () => void;
  /** Places that are reached on the way, so that partitions are read in another order. */
  readonly stations?: readonly Vector[];
  readonly leaseMs?: number;
}

/**
 * Works a claimed replay off: the consumer itself, on tables of the replay's own, reads the log again from cut to cut; at each cut what was
 * taken up beside the log there is taken up again. So the bits are the live ones because it is the same code, and what is stored is always
 * a state that a consumer can go on from, after a crash too. Throws StaleReplay, AlteredSegment; aborted by `signal` it returns undefined, or throws
 * what that was aborted with, where it compares.
 */
export async function runReplay(
  ctx: ReplayContext,
  replay: Replay,
  claim: Claim,
  signal: AbortSignal,
  options: RunOptions = {},
): Promise<ReplayResult | undefined> {
  if (replay.plan !== null) await requireSameTables(ctx.db, claim);
  const plan = replay.plan ?? (await prepare(ctx, replay, claim));
  await requireSameLife(ctx, plan);
  const run = await ReplayRun.open(ctx, replay, plan, claim, signal, options);
  try {
    if (!(await run.read())) return undefined;
  } finally {
    await run.close();
  }
  const leaseMs = options.leaseMs ?? LEASE_MS;
  const hold = () => tell(ctx.db, claim, { messagesDone: plan.messages, reports: 0 }, leaseMs);
  await hold();
  await requireSameLife(ctx, plan);
  const startedMs = performance.now();
  const compare = (held: AbortSignal) => compareReplay(ctx, replay, plan, held);
  const of = { replay: replay.replayId, messages: plan.messages };
  const result = await withSpan('replay.compare', of, () =>
    whileHeld(hold, leaseMs / RENEWALS_PER_LEASE, signal, compare),
  );
  ctx.metrics.compared((performance.now() - startedMs) / 1000);
  return result;
}

/** Of a topic that was made anew meanwhile the places, and what was set aside, go by another name. */
async function requireSameLife({ db, eventLog }: ReplayContext, { generation }: ReplayPlan): Promise<void> {
  if ((await generationOf(db, eventLog, REPORTS_TOPIC)) === generation) return;
  throw new OperatingError('not-found', 'never', 'replaying the report log', {
    cause: 'the topic was made anew since the replay began',
    mend: 'end it with "merit replay cancel", then start another',
  });
}

async function prepare(ctx: ReplayContext, replay: Replay, claim: Claim): Promise<ReplayPlan> {
  const { db, store, eventLog } = ctx;
  const generation = await generationOf(db, eventLog, REPORTS_TOPIC);
  const source = archivedLog({ db, store, eventLog, prefer: replay.spec.source, generation });
  // One transaction, in which nothing can be told.
  await tell(db, claim, { messagesDone: 0, reports: 0 }, COPY_TIMEOUT_MS + LEASE_MS);
  return db.asEngine(async (tx) => {
    const firstOffset = (partition: number) => source.firstOffset(REPORTS_TOPIC, partition);
    const plan = await prepareShadow(tx, replay, { firstOffset, generation });
    await requireClaim(tx, claim);
    await savePlan(tx, claim, plan);
    return plan;
  });
}

async function tell(
  db: Database,
  claim: Claim,
  progress: Parameters<typeof tellProgress>[2],
  leaseMs: number,
): Promise<void> {
  if (!(await db.asEngine((tx) => tellProgress(tx, claim, progress, leaseMs))))
    throw new StaleReplay(`the replay ${claim.replayId} is not ours any more`);
}

class ReplayRun {
  readonly #ctx: ReplayContext;
  readonly #replay: Replay;
  readonly #plan: ReplayPlan;
  readonly #claim: Claim;
  readonly #signal: AbortSignal;
  readonly #options: RunOptions;
  readonly #shadow: Database;
  readonly #log: ReplayLog;
  readonly #reader = new ReaderThread();
  readonly #cuts: readonly Cut[];
  /** That the topic had where it begins. */
  readonly #partitions: number;
  readonly #first: ReturnType<typeof firstOpenings>;
  /** undefined: what is stored was changed behind it. */
  #consumer: Consumer | undefined;
  #promotedHere: ReadonlySet<string> = new Set();
  #toldMs = Number.NEGATIVE_INFINITY;
  #reportsTold = 0;

  private constructor(
    ctx: ReplayContext,
    replay: Replay,
    plan: ReplayPlan,
    claim: Claim,
    signal: AbortSignal,
    options: RunOptions,
    cuts: readonly Cut[],
    partitions: number,
  ) {
    this.#ctx = ctx;
    this.#replay = replay;
    this.#plan = plan;
    this.#claim = claim;
    this.#signal = signal;
    this.#options = options;
    this.#cuts = cuts;
    this.#partitions = partitions;
    this.#first = firstOpenings(cuts);
    this.#shadow = shadowDatabase(ctx.db, claim);
    const { clock, db, eventLog, store } = ctx;
    this.#log = new ReplayLog({
      db,
      source: archivedLog({ db, store, eventLog, prefer: replay.spec.source, generation: plan.generation }),
      topic: REPORTS_TOPIC,
      tenant: replay.tenant,
      partitions,
      whole: plan.whole,
      pace: paceOf(clock, replay.spec.rate, signal),
    });
  }

  static async open(
    ctx: ReplayContext,
    replay: Replay,
    plan: ReplayPlan,
    claim: Claim,
    signal: AbortSignal,
    options: RunOptions,
  ): Promise<ReplayRun> {
    const until = vectorOf(plan.until);
    const all = await ctx.db.asEngine((tx) => loadTimeline(tx, replay.tenant, until, plan.begins));
    const { eras } = await ctx.db.asEngine((tx) => loadHistory(tx, REPORTS_TOPIC));
    const start = vectorOf(plan.start);
    const cuts = plan.whole ? all : withoutContest(all, start);
    const stations = (options.stations ?? []).map((at) => ({ at, ...NOTHING }));
    const raised = raises(erasUpTo(eras, until), start, until);
    const stops = [...inOrder([...cuts, ...raised.cuts, ...stations]), { at: until, ...NOTHING }];
    return new ReplayRun(ctx, replay, plan, claim, signal, options, stops, raised.first);
  }

  /** To the end; false where it was aborted. */
  async read(): Promise<boolean> {
    if (this.#replay.cutsDone === 0) await this.#place(vectorOf(this.#plan.start));
    for (let i = this.#replay.cutsDone; i < this.#cuts.length; i++) {
      const before = this.#cuts.slice(0, i).findLast(({ partitions }) => partitions !== null);
      if (this.#log.raiseTo(before?.partitions ?? this.#partitions)) this.#consumer = undefined;
      if (!(await this.#readToCut(this.#cuts[i]!))) return false;
      await this.#ctx.db.asEngine((tx) => saveCut(tx, this.#claim, i + 1));
    }
    await this.#tell(true);
    return true;
  }

  async close(): Promise<void> {
    await this.#reader.close();
  }

  /** Reads up to a cut, then does what was done there: promotions first, which were drawn from what had been read; then versions; then who came. */
  async #readToCut(cut: Cut): Promise<boolean> {
    const { spec, tenant } = this.#replay;
    this.#promotedHere = new Set();
    await this.#allow(cut.at);
    if (!(await this.#consume())) return false;
    // It knows places, and questions that wait, by heart.
    if ((await this.#place(cut.at)) || cut.promotions.length > 0) this.#consumer = undefined;
    await this.#allow(cut.at);
    const phases: ((tx: Tx) => Promise<void>)[] = [];
    if (cut.promotions.length > 0) {
      this.#promotedHere = new Set(cut.promotions);
      phases.push(askAgain);
    }
    if (cut.turns.length > 0) phases.push((tx) => takeTurns(tx, tenant, spec, cut.turns));
    if (cut.opened.length > 0)
      phases.push((tx) => openChallenges(tx, tenant, spec, cut.opened, (one) => this.#first.has(one)));
    for (const phase of phases) {
      await this.#shadow.asLeader(0n, phase);
      if (!(await this.#consume())) return false;
    }
    return true;
  }

  async #allow(limit: Vector): Promise<void> {
    this.#log.readTo(limit, await this.#positions());
  }

  /** Until there is nothing left to do; false where it was aborted. */
  async #consume(): Promise<boolean> {
    // Under one name: what it had is its own again, also after a crash.
    this.#consumer ??= new Consumer(this.#context(), { member: this.#claim.replayId, replays: true });
    do {
      while (await this.#consumer.step(this.#signal)) {
        this.#options.onStep?.();
        if (this.#signal.aborted) return false;
        await this.#tell(false);
      }
      if (this.#signal.aborted) return false;
    } while (this.#log.moveFront());
    return true;
  }

  #context(): ConsumerContext {
    const { clock, log } = this.#ctx;
    return {
      db: this.#shadow,
      holder: this.#claim.worker,
      clock,
      eventLog: this.#log,
      reader: this.#reader,
      signer: NO_SIGNER,
      policy: replayPolicy(this.#replay.spec, () => this.#promotedHere),
      rollouts: false,
      metrics: NO_METRICS,
      log: { info: () => {}, warn: () => {}, error: (fields, message) => log.error(fields, message) },
    };
  }

  /** Where the consumer stands becomes exactly the cut: what lies between was of others, or blank. True where it stood elsewhere. */
  async #place(at: Vector): Promise<boolean> {
    const stood = await this.#positions();
    const moved = [...at].filter(([partition, place]) => {
      const { offset, line } = placeIn(stood, partition);
      return offset !== place.offset || line !== place.line;
    });
    if (moved.length === 0) return false;
    await this.#shadow.asLeader(0n, async (tx) => {
      for (const [partition, { offset, line }] of moved) {
        await tx.execute(
          `insert into consumer_offsets (topic, partition, next_offset, next_line, appended_at_ms) values ($1, $2, $3, $4, 0)
           on conflict (topic, partition) do update set next_offset = excluded.next_offset, next_line = excluded.next_line`,
          [REPORTS_TOPIC, partition, offset, line],
        );
      }
    });
    return true;
  }

  #positions(): Promise<Vector> {
    return this.#shadow.asEngine((tx) => loadPositions(tx, REPORTS_TOPIC));
  }

  async #tell(now: boolean): Promise<void> {
    const nowMs = performance.now();
    if (!now && nowMs - this.#toldMs < TELL_MS) return;
    this.#toldMs = nowMs;
    const at = await this.#positions();
    const start = vectorOf(this.#plan.start);
    const { reports } = this.#log;
    this.#ctx.metrics.reports(reports - this.#reportsTold);
    this.#reportsTold = reports;
    const progress = { messagesDone: messagesBetween(start, at), reports: this.#replay.reports + reports };
    await tell(this.#ctx.db, this.#claim, progress, this.#options.leaseMs ?? LEASE_MS);
  }
}

/** Where the partitions became more, and how many there were where it begins. */
function raises(
  eras: readonly Era[],
  start: Vector,
  until: Vector,
): { readonly first: number; readonly cuts: readonly Cut[] } {
  const begun = eras.filter((era) => era.until === null || !isWithin(era.until, start));
  const cuts = begun.slice(1).map(({ partitions }, i) => {
    const at = new Map(
      Array.from(begun[i]!.until!, ([partition, place]) => {
        const end = placeIn(until, partition);
        return [partition, isBefore(end, place) ? end : place];
      }),
    );
    return { ...NOTHING, at, partitions };
  });
  return { first: begun[0]?.partitions ?? eras.at(-1)!.partitions, cuts };
}

/** Of a replay that begins later only the versions: those that hold where it begins, then those that come. */
function withoutContest(cuts: readonly Cut[], start: Vector): readonly Cut[] {
  const isBeforeStart = ({ at }: Cut) =>
    Array.from(start).every(([partition, place]) => !isBefore(place, placeIn(at, partition)));
  const held = new Map<string, Cut['turns'][number]>();
  for (const cut of cuts.filter(isBeforeStart)) for (const turn of cut.turns) held.set(turn.suite, turn);
  const first: Cut = { ...NOTHING, at: start, turns: [...held.values()] };
  const rest = cuts.filter((cut) => !isBeforeStart(cut) && cut.turns.length > 0);
  return [first, ...rest.map((cut) => ({ ...cut, opened: [], promotions: [] }))];
}
