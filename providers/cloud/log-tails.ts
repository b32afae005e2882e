import { ProviderError } from '../provider.ts';

/** Logs whose place is remembered; of the others the next reading begins at their beginning. */
const TAILS_LIMIT = 256;
/** Pages of one reading; some hold nothing. */
const PAGES_LIMIT = 1_000;

/** A log that is read forward only. */
export interface LogSource {
  /** What comes next, also nothing; undefined: there is no more now. Throws ProviderError: one that passes has taken nothing, and what comes next is asked again. */
  more(signal: AbortSignal): Promise<Buffer | undefined>;
}

/** Logs by byte offsets, of services that keep lines: a place is kept where the last reading ended, so that a log which is followed is read once. */
export class LogTails {
  readonly #open: (key: string, signal: AbortSignal) => Promise<LogSource>;
  readonly #tails = new Map<string, Tail>();

  /** `open` throws ProviderError `not_found` for what has no log. */
  constructor(open: (key: string, signal: AbortSignal) => Promise<LogSource>) {
    this.#open = open;
  }

  /** At most `maxBytes` from `fromByte`; empty where there is no more now. Throws ProviderError. */
  async read(key: string, fromByte: number, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    let tail = this.#tails.get(key);
    // One that another call reads just now is left to it.
    if (tail === undefined || tail.isBusy || tail.begin > fromByte) tail = new Tail(key, await this.#open(key, signal));
    this.#tails.delete(key);
    this.#tails.set(key, tail);
    for (const oldest of this.#tails.keys()) {
      if (this.#tails.size <= TAILS_LIMIT) break;
      this.#tails.delete(oldest);
    }
    try {
      return await tail.take(fromByte, maxBytes, signal);
    } catch (error) {
      // Else a place that one call does not reach, as after a restart, is never reached. Any other error may have left it half read, or with a token that is taken no more.
      if (!passes(error) && this.#tails.get(key) === tail) this.#tails.delete(key);
      throw error;
    }
  }
}

function passes(error: unknown): boolean {
  return error instanceof ProviderError && (error.code === 'transient' || error.code === 'auth');
}

class Tail {
  /** Of the first byte that is held. */
  begin = 0;
  isBusy = false;
  #bytes = Buffer.alloc(0);
  readonly #key: string;
  readonly #source: LogSource;

  constructor(key: string, source: LogSource) {
    this.#key = key;
    this.#source = source;
  }

  async take(fromByte: number, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
    this.isBusy = true;
    try {
      this.#drop(fromByte);
      for (let page = 0; this.begin + this.#bytes.length < fromByte + maxBytes; page++) {
        if (page >= PAGES_LIMIT)
          throw new ProviderError('transient', `the log of ${this.#key} has more than ${PAGES_LIMIT} pages`);
        const more = await this.#source.more(signal);
        if (more === undefined) break;
        if (more.length > 0) this.#bytes = Buffer.concat([this.#bytes, more]);
        this.#drop(fromByte);
      }
      return fromByte > this.begin ? Buffer.alloc(0) : this.#bytes.subarray(0, maxBytes);
    } finally {
      this.isBusy = false;
    }
  }

  /** What lies before is not asked for again, or the log is read anew. */
  #drop(fromByte: number): void {
    const bytes = Math.min(fromByte - this.begin, this.#bytes.length);
    this.#bytes = this.#bytes.subarray(bytes);
    this.begin += bytes;
  }
}
