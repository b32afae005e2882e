import { createHash } from 'node:crypto';
import { sha256Hex } from '../../core/canonical.ts';
import { attemptKey, type BookingId } from '../../core/ids.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { type Provider, ProviderError } from '../../providers/provider.ts';
import type { Booking } from './booking-store.ts';
import type { SagaContext } from './context.ts';
import { PROVIDER_TIMEOUT_MS } from './limits.ts';
import {
  attemptOf,
  chunkKey,
  type KeptLog,
  keyOf,
  type LogBook,
  type LogEnd,
  type LogOf,
  readChunk,
} from './log-book.ts';

export interface LogLimits {
  /** What is asked of a provider at once; a chunk has at most this and MIN_CHUNK_BYTES. */
  readonly chunkBytes: number;
  /** A last chunk shorter than this is written anew, longer, until it is: a slow log makes few objects and little traffic. */
  readonly minChunkBytes: number;
  /** Between two copyings of one attempt: what is lost at most when a node goes with its log. */
  readonly everyMs: number;
  /** A longer log is cut, and says so. */
  readonly maxBytes: number;
  /** Attempts copied beside the steps of bookings; each holds two chunks. */
  readonly maxAtATime: number;
  /** How long after a job's end its log is asked of a provider that does not answer. */
  readonly patienceMs: number;
}

export const LOG_LIMITS: LogLimits = {
  chunkBytes: 1024 ** 2,
  minChunkBytes: 64 * 1024,
  everyMs: 10_000,
  maxBytes: 1024 ** 3,
  maxAtATime: 4,
  patienceMs: 30_000,
};

/** Chunks whose rows are read at once when a log is read back. */
const CHUNKS_A_READ = 100;

interface Following {
  nextMs: number;
  copying: Promise<unknown> | undefined;
  /** When the provider first did not give the log of a job that had ended. */
  refusedSinceMs: number | undefined;
}

/** Thrown inside, where another writer was faster or what is kept is not what was thought: look again. */
class LogMoved extends Error {
  override name = 'LogMoved';
}

/**
 * Copies the logs of attempts into the object store while they run, and ends them when they ended, so that they outlive job, node and provider.
 * Where it is, is in Postgres: a new leader goes on at the byte that is kept. An object is written before its row, and a row names only what is there.
 */
export class LogKeeper {
  readonly #ctx: Pick<SagaContext, 'store' | 'clock' | 'log'>;
  readonly #book: LogBook;
  readonly #limits: LogLimits;
  readonly #following = new Map<string, Following>();
  #copying = 0;

  constructor(ctx: Pick<SagaContext, 'desk' | 'store' | 'clock' | 'log'>, limits: LogLimits = LOG_LIMITS) {
    this.#ctx = ctx;
    this.#book = ctx.desk.logs;
    this.#limits = limits;
  }

  /** Told at each look at a running attempt: begins to copy what was written since, when it is time. Waits for nothing. */
  follow(booking: Booking, attempt: number, provider: Provider): void {
    if (!provider.capabilities.logs) return;
    const nowMs = this.#ctx.clock.now();
    const following = this.#of(booking, attempt, nowMs);
    if (following.copying !== undefined || nowMs < following.nextMs || this.#copying >= this.#limits.maxAtATime) return;
    following.nextMs = nowMs + this.#limits.everyMs;
    this.#copying++;
    following.copying = this.#copyAll(attemptOf(booking, attempt), provider, false)
      .catch((error: unknown) => this.#note(booking, attempt, error))
      .finally(() => {
        this.#copying--;
        following.copying = undefined;
      });
  }

  /** Once nothing that was begun is under way. */
  async settled(): Promise<void> {
    await Promise.all([...this.#following.values()].map(({ copying }) => copying));
  }

  /**
   * Copies the rest, reads all of it back, and ends it. `gone`: the provider does not know the attempt any more. A provider that does not answer is
   * asked again for a while (throws ProviderError); what cannot be had then is noted, and holds the booking up no longer.
   */
  async complete(booking: Booking, attempt: number, provider: Provider, gone = false): Promise<void> {
    if (!provider.capabilities.logs) return;
    const of = attemptOf(booking, attempt);
    const following = this.#of(booking, attempt, 0);
    await following.copying;
    try {
      if ((await this.#book.read(of)).ended !== undefined) return void this.#following.delete(keyOf(of));
      const lost = gone || (await this.#rest(of, following, provider));
      await this.#seal(of, provider, lost ? 'lost' : 'complete');
      this.#following.delete(keyOf(of));
    } catch (error) {
      if (!(error instanceof LogMoved)) throw error;
      throw new OperatingError('conflict', 'safe', `ending the log of ${keyOf(of)}`, { cause: error });
    }
  }

  #of(booking: Booking, attempt: number, nextMs: number): Following {
    const key = keyOf(attemptOf(booking, attempt));
    const known = this.#following.get(key) ?? { nextMs, copying: undefined, refusedSinceMs: undefined };
    this.#following.set(key, known);
    return known;
  }

  #note(booking: Booking, attempt: number, error: unknown): void {
    const why = error instanceof Error ? error.message : String(error);
    this.#ctx.log.warn(
      { booking: booking.bookingId, attempt, error: why },
      'the log was not copied; it is tried again',
    );
  }

  /** True: the provider will not give the rest. */
  async #rest(of: LogOf, following: Following, provider: Provider): Promise<boolean> {
    try {
      await this.#copyAll(of, provider, true);
      return false;
    } catch (error) {
      if (!(error instanceof ProviderError)) throw error;
      const nowMs = this.#ctx.clock.now();
      following.refusedSinceMs ??= nowMs;
      const patient = error.code === 'transient' && nowMs - following.refusedSinceMs < this.#limits.patienceMs;
      if (patient) throw error;
      this.#ctx.log.warn({ log: keyOf(of), error: error.message }, 'the rest of a log could not be had');
      return true;
    }
  }

  /** Everything that the provider has now. */
  async #copyAll(of: LogOf, provider: Provider, atEnd: boolean): Promise<void> {
    let kept = await this.#book.read(of);
    while (kept.ended === undefined) {
      const room = this.#limits.maxBytes - kept.bytes;
      if (room <= 0) return this.#truncate(of, kept);
      const key = attemptKey(of.bookingId as BookingId, of.attempt);
      const most = Math.min(this.#limits.chunkBytes, room);
      const bytes = await provider.logs(key, kept.bytes, most, AbortSignal.timeout(PROVIDER_TIMEOUT_MS));
      if (bytes.length === 0) return;
      kept = await this.#keep(of, kept, Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, most)));
      // While the job runs a short piece is all there was: the next look finds more.
      if (!atEnd && bytes.length < this.#limits.minChunkBytes) return;
    }
  }

  /** Puts the bytes behind what is kept; where the last chunk is short, one chunk of both takes its place. */
  async #keep(of: LogOf, kept: KeptLog, bytes: Buffer): Promise<KeptLog> {
    const { last } = kept;
    const short = last !== undefined && last.size < this.#limits.minChunkBytes ? last : undefined;
    const before = short === undefined ? undefined : await readChunk(this.#ctx.store, short);
    const content = before === undefined ? bytes : Buffer.concat([before, bytes]);
    const fromByte = before === undefined || short === undefined ? kept.bytes : short.fromByte;
    const sha256 = sha256Hex(content);
    const chunk = { fromByte, size: content.length, sha256, objectKey: chunkKey(of, fromByte, sha256) };
    await this.#ctx.store.put(chunk.objectKey, content);
    if (!(await this.#book.append(of, kept, chunk))) throw new LogMoved('another one was faster');
    if (before !== undefined && short !== undefined) await this.#ctx.store.delete(short.objectKey).catch(() => {});
    return { bytes: fromByte + content.length, ended: undefined, last: chunk };
  }

  async #truncate(of: LogOf, kept: KeptLog): Promise<void> {
    const notice = `\n[the log was cut here: a log is kept up to ${this.#limits.maxBytes} bytes]\n`;
    const cut = await this.#keep(of, kept, Buffer.from(notice));
    const back = await this.#readBack(of, cut);
    await this.#end(of, cut, 'truncated', back.damagedAt === undefined ? back.sha256 : undefined);
  }

  /** Ends the log once all of it was read back; what does not come back as it was written is copied once more. */
  async #seal(of: LogOf, provider: Provider, end: LogEnd): Promise<void> {
    for (let tries = 1; ; tries++) {
      const kept = await this.#book.read(of);
      if (kept.ended !== undefined) return;
      const back = await this.#readBack(of, kept);
      if (back.damagedAt === undefined) {
        return this.#end(of, kept, end, back.sha256);
      }
      this.#ctx.log.error({ log: keyOf(of), byte: back.damagedAt }, 'a chunk of a log is not as it was stored');
      if (end === 'lost' || tries > 1) {
        return this.#end(of, kept, 'lost', undefined);
      }
      if (!(await this.#book.cut(of, kept, back.damagedAt))) throw new LogMoved('another one was faster');
      await this.#copyAll(of, provider, true);
    }
  }

  async #end(of: LogOf, kept: KeptLog, end: LogEnd, sha256: string | undefined): Promise<void> {
    const ended = await this.#book.end(of, kept, end, sha256, this.#ctx.clock.now());
    if (!ended) throw new LogMoved('another one was faster');
  }

  async #readBack(
    of: LogOf,
    kept: KeptLog,
  ): Promise<{ readonly sha256: string; readonly damagedAt: number | undefined }> {
    const hash = createHash('sha256');
    let at = 0;
    while (at < kept.bytes) {
      const chunks = await this.#book.chunks(of, at, CHUNKS_A_READ);
      for (const chunk of chunks) {
        const bytes = chunk.fromByte === at ? await readChunk(this.#ctx.store, chunk) : undefined;
        if (bytes === undefined) return { sha256: '', damagedAt: at };
        hash.update(bytes);
        at += bytes.length;
      }
      if (chunks.length === 0) return { sha256: '', damagedAt: at };
    }
    return { sha256: hash.digest('hex'), damagedAt: undefined };
  }
}
