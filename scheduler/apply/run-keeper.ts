import { attemptKey } from '../../core/ids.ts';
import type { Provider } from '../../providers/provider.ts';
import type { Booking } from './booking-store.ts';
import type { SagaContext } from './context.ts';
import { attemptOf, keyOf } from './log-book.ts';
import type { RunBook, RunOf, RunRecord } from './run-book.ts';
import { newSeries, type UsageSeries, withReading } from './usage-series.ts';

export interface RunLimits {
  /** Between two readings of one attempt. */
  readonly everyMs: number;
  /** Between two savings of one that runs: what another leader does not know of it at most. */
  readonly saveEveryMs: number;
  /** Attempts read at once, beside the steps of bookings. */
  readonly maxAtATime: number;
  readonly timeoutMs: number;
}

export const RUN_LIMITS: RunLimits = { everyMs: 10_000, saveEveryMs: 60_000, maxAtATime: 4, timeoutMs: 5_000 };

interface Following {
  nextMs: number;
  savedMs: number;
  reading: Promise<unknown> | undefined;
  /** undefined: what is kept of it was not looked at yet. */
  usage: UsageSeries | undefined;
}

/** How the run of an attempt ended, as far as anybody saw. */
export type RunEnd = Pick<RunRecord, 'beganAtMs' | 'exitCode'> & { readonly endedAtMs: number };

/**
 * Reads now and then what running attempts use, where their providers tell it, and keeps it with when they began and ended and by which exit code.
 * A reading that fails is left out: nothing that is told here holds a booking up.
 */
export class RunKeeper {
  readonly #ctx: Pick<SagaContext, 'clock' | 'log'>;
  readonly #book: RunBook;
  readonly #limits: RunLimits;
  readonly #following = new Map<string, Following>();
  #reading = 0;

  constructor(ctx: Pick<SagaContext, 'desk' | 'clock' | 'log'>, limits: RunLimits = RUN_LIMITS) {
    this.#ctx = ctx;
    this.#book = ctx.desk.runs;
    this.#limits = limits;
  }

  /** Told at each look at a running attempt: begins a reading when it is time. Waits for nothing. */
  follow(booking: Booking, attempt: number, provider: Provider, beganAtMs: number): void {
    if (provider.usage === undefined) return;
    const of = attemptOf(booking, attempt);
    const nowMs = this.#ctx.clock.now();
    const following = this.#of(of);
    if (following.reading !== undefined || nowMs < following.nextMs || this.#reading >= this.#limits.maxAtATime) return;
    following.nextMs = nowMs + this.#limits.everyMs;
    this.#reading++;
    following.reading = this.#look(of, following, provider, beganAtMs)
      .catch((error: unknown) => this.#note(of, error))
      .finally(() => {
        this.#reading--;
        following.reading = undefined;
      });
  }

  /** Once no reading that was begun is under way. */
  async settled(): Promise<void> {
    await Promise.all([...this.#following.values()].map(({ reading }) => reading));
  }

  /** Takes a last reading and keeps how the run ended; once. */
  async complete(booking: Booking, attempt: number, provider: Provider, end: RunEnd): Promise<void> {
    const of = attemptOf(booking, attempt);
    const following = this.#of(of);
    await following.reading;
    const kept = await this.#book.read(of);
    if (kept?.endedAtMs === undefined) {
      following.usage ??= kept?.usage;
      await this.#read(of, following, provider, end.beganAtMs, end.endedAtMs).catch((error) => this.#note(of, error));
      await this.#book.save(of, { ...end, usage: following.usage ?? newSeries(this.#limits.everyMs) });
    }
    this.#following.delete(keyOf(of));
  }

  #of(of: RunOf): Following {
    const key = keyOf(of);
    const known = this.#following.get(key) ?? { nextMs: 0, savedMs: 0, reading: undefined, usage: undefined };
    this.#following.set(key, known);
    return known;
  }

  async #look(of: RunOf, following: Following, provider: Provider, beganAtMs: number): Promise<void> {
    following.usage ??= (await this.#book.read(of))?.usage ?? newSeries(this.#limits.everyMs);
    const nowMs = this.#ctx.clock.now();
    await this.#read(of, following, provider, beganAtMs, nowMs);
    if (following.usage.points.length === 0 || nowMs - following.savedMs < this.#limits.saveEveryMs) return;
    await this.#book.save(of, { beganAtMs, endedAtMs: undefined, exitCode: undefined, usage: following.usage });
    following.savedMs = nowMs;
  }

  async #read(of: RunOf, following: Following, provider: Provider, beganAtMs: number, atMs: number): Promise<void> {
    const key = attemptKey(of.bookingId as Booking['bookingId'], of.attempt);
    const reading = await provider.usage?.(key, AbortSignal.timeout(this.#limits.timeoutMs));
    if (reading === undefined) return;
    following.usage = withReading(following.usage ?? newSeries(this.#limits.everyMs), beganAtMs, atMs, reading);
  }

  #note({ bookingId: booking, attempt }: RunOf, error: unknown): void {
    const why = error instanceof Error ? error.message : String(error);
    this.#ctx.log.warn({ booking, attempt, error: why }, 'what a job uses was not read');
  }
}
