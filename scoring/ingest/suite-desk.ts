import { OperatingError } from '../../core/operating-error.ts';
import { isDatabaseAway } from '../../platform/postgres.ts';
import { newTrace } from '../../platform/trace.ts';
import type { ConsumerContext } from '../context.ts';
import { prepareSuites } from '../promotion/prepare-suites.ts';
import { type Settled, type Settler, settleTick } from '../promotion/settle-tick.ts';
import { advanceSuite } from './advance-suite.ts';
import { isInputFault } from './fault.ts';
import { SuiteHeld, type SuiteRef, suiteKey } from './suite-state.sql.ts';

const SETTLE_RETRY_MS = 1_000;
/** Another reader has the suite in hand. */
const HELD_RETRY_MS = 100;
/** A suite whose ticks cannot be published is left alone for this long. */
export const STUCK_RETRY_MS = 30_000;

interface Later {
  readonly ref: SuiteRef;
  readonly fromMs: number;
}

/**
 * What a reader still has to do for suites: ticks to publish and to judge that a flush left, decisions to settle. It is memory only: what a reader
 * leaves behind is found in Postgres by whoever takes its partitions over.
 */
export class SuiteDesk {
  readonly #ctx: ConsumerContext;
  /** Asked for each transaction: the fence changes with the layout. */
  readonly #by: () => Settler;
  /** Suites with ticks to publish or judge before the next line. */
  readonly #due = new Map<string, SuiteRef>();
  /** Suites with a tick to settle, and from when on. */
  readonly #unsettled = new Map<string, Later>();
  /** Suites whose ticks could not be published, and when that is tried again. */
  readonly #later = new Map<string, Later>();
  /** Rows of versions that are kept no more may be there. */
  leftovers = false;

  constructor(ctx: ConsumerContext, by: () => Settler) {
    this.#ctx = ctx;
    this.#by = by;
  }

  markDue(refs: readonly SuiteRef[]): void {
    for (const ref of refs) this.#due.set(suiteKey(ref.tenant, ref.name), ref);
  }

  markUnsettled(refs: readonly SuiteRef[]): void {
    for (const ref of refs) {
      const key = suiteKey(ref.tenant, ref.name);
      // One that waits for its retry keeps its time.
      if (!this.#unsettled.has(key)) this.#unsettled.set(key, { ref, fromMs: 0 });
    }
  }

  /** Its ticks wait; everything else goes on. */
  markStuck(ref: SuiteRef, error: unknown): void {
    this.#ctx.log.error(
      { tenant: ref.tenant, suite: ref.name, error: String(error) },
      'a suite’s ticks cannot be published',
    );
    this.#tryLater(ref, STUCK_RETRY_MS);
  }

  tellRolledBack(refs: readonly SuiteRef[]): void {
    if (refs.length > 0) this.#ctx.metrics.rolledBack(refs.length);
    for (const ref of refs) {
      this.#ctx.log.error(
        { tenant: ref.tenant, suite: ref.name },
        'a new version of a suite cannot be computed and was rolled back; its rollout says why',
      );
    }
  }

  #tryLater(ref: SuiteRef, ms: number): void {
    this.#later.set(suiteKey(ref.tenant, ref.name), { ref, fromMs: this.#ctx.clock.now() + ms });
  }

  /** Publishes, judges and settles all that may be done now. Lines wait for it, so that decisions have their place in the log. */
  async finish(signal: AbortSignal): Promise<boolean> {
    let progressed = false;
    for (const [key, { ref, fromMs }] of this.#later) {
      if (fromMs > this.#ctx.clock.now()) continue;
      this.#later.delete(key);
      this.#due.set(key, ref);
    }
    for (;;) {
      const suite = this.#due.values().next().value ?? this.#nextSettle();
      if (suite === undefined || signal.aborted) return progressed;
      const key = suiteKey(suite.tenant, suite.name);
      const done = this.#due.has(key) ? await this.#advance(key, suite) : await this.#settle(key, suite, signal);
      if (done) progressed = true;
    }
  }

  #nextSettle(): SuiteRef | undefined {
    const now = this.#ctx.clock.now();
    for (const { ref, fromMs } of this.#unsettled.values()) if (fromMs <= now) return ref;
    return undefined;
  }

  async #advance(key: string, ref: SuiteRef): Promise<boolean> {
    const ctx = this.#ctx;
    this.#due.delete(key);
    const { member, fence } = this.#by();
    try {
      const advanced = await ctx.db.asFenced(fence, async (tx) => {
        const prepared = (await prepareSuites(tx, ctx, [ref], member))[0];
        if (prepared === undefined) return undefined;
        const { lanes } = prepared;
        const done = await advanceSuite(tx, ctx.clock, lanes, lanes.active.traceId ?? newTrace().traceId);
        const rolledBack = lanes.next !== null && done.lanes.next === null;
        return { ...done, rolledBack, leftovers: prepared.leftovers || rolledBack };
      });
      if (advanced?.leftovers === true) this.leftovers = true;
      if (advanced?.rolledBack === true) this.tellRolledBack([ref]);
      if (advanced?.more === true) this.#due.set(key, ref);
      if (advanced?.unsettled === true) this.markUnsettled([ref]);
      return true;
    } catch (error) {
      if (error instanceof SuiteHeld) this.#tryLater(ref, HELD_RETRY_MS);
      else if (isInputFault(error)) this.markStuck(ref, error);
      else throw error;
      return false;
    }
  }

  async #settle(key: string, ref: SuiteRef, signal: AbortSignal): Promise<boolean> {
    let settled: Settled;
    try {
      settled = await settleTick(this.#ctx, this.#by(), ref, signal);
    } catch (error) {
      if (error instanceof SuiteHeld) settled = { kind: 'waiting', untilMs: this.#ctx.clock.now() + HELD_RETRY_MS };
      else {
        // The signer is away: like an unanswered policy question, it holds up this suite's decisions only.
        if (!(error instanceof OperatingError) || isDatabaseAway(error.cause)) throw error;
        this.#ctx.log.warn({ suite: ref.name, error: error.message }, 'a decision could not be signed yet');
        settled = { kind: 'waiting', untilMs: this.#ctx.clock.now() + SETTLE_RETRY_MS };
      }
    }
    this.#unsettled.delete(key);
    if (settled.kind === 'waiting') this.#unsettled.set(key, { ref, fromMs: settled.untilMs });
    // Behind a judged tick there may be more.
    else if (settled.kind === 'judged') this.#due.set(key, ref);
    return true;
  }
}
