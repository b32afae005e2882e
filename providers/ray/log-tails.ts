import { type RayJobClient, RayJobError } from 'ray-job-submission-client';
import type { Clock } from '../../platform/clock.ts';
import { findJob } from './find-job.ts';
import type { LostNodes } from './lost-nodes.ts';
import { isLive } from './observation.ts';

/** What is asked of Ray. */
export type LogSource = Pick<RayJobClient, 'tail' | 'logs' | 'get'>;

/** Logs that are followed at once; beyond, the one read longest ago is let go and costs a whole reading next time. */
const TAILS_LIMIT = 256;
/** One that nobody reads is let go after this, once another log is read. */
const IDLE_LIMIT_MS = 60_000;
/** What a tail takes in beyond what was asked for; then its socket is paused. */
const AHEAD_LIMIT_BYTES = 1024 * 1024;
/** A log that says nothing for this long has nothing more now. Ray looks at the file each second. */
const QUIET_MS = 400;

/**
 * Logs read piece by piece. Ray has no ranges: each of its readings sends the whole log, and so does a tail at its beginning. So a tail stays open
 * between two pieces, and a log that is read as it grows passes over the wire once. Ray closes a tail alike when the job has ended and when
 * its node has died, so the end of a log is always a whole reading: it is there that a dead node answers 500.
 */
export class LogTails {
  readonly #client: LogSource;
  readonly #clock: Clock;
  readonly #lostNodes: Pick<LostNodes, 'holds'>;
  readonly #tails = new Map<string, Tail>();

  constructor(client: LogSource, clock: Clock, lostNodes: Pick<LostNodes, 'holds'>) {
    this.#client = client;
    this.#clock = clock;
    this.#lostNodes = lostNodes;
  }

  /** At most `maxBytes` from `fromByte`; empty where there is no more now. Throws RayJobError. */
  async read(key: string, fromByte: number, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    const tail = this.#tailAt(key, fromByte);
    const bytes = await tail.take(fromByte, maxBytes, signal);
    // Another reader of the same byte was first, and the tail is past it.
    if (bytes === undefined) return this.#client.logs(key, { fromByte, maxBytes }, signal);
    if (bytes.length > 0) return bytes;
    if (!tail.ended) {
      const job = await findJob(this.#client, key, signal);
      // The tail of a machine that lost its power stays open and silent.
      if (job !== undefined && isLive(job) && !(await this.#lostNodes.holds(job, signal))) return bytes;
    }
    this.#letGo(key);
    try {
      return await this.#client.logs(key, { fromByte, maxBytes }, signal);
    } catch (error) {
      // Too long to be read whole: then its tail's end has to do.
      if (tail.endedWell && error instanceof RayJobError && error.code === 'too_large') return bytes;
      throw error;
    }
  }

  close(): void {
    for (const key of [...this.#tails.keys()]) this.#letGo(key);
  }

  #tailAt(key: string, fromByte: number): Tail {
    const nowMs = this.#clock.now();
    const known = this.#tails.get(key);
    if (known?.position !== fromByte) this.#letGo(key);
    const tail = this.#tails.get(key) ?? new Tail(this.#client, key, fromByte);
    this.#tails.delete(key);
    this.#tails.set(key, tail);
    tail.readAtMs = nowMs;
    for (const [other, { readAtMs }] of this.#tails) {
      if (this.#tails.size <= TAILS_LIMIT && nowMs - readAtMs <= IDLE_LIMIT_MS) break;
      this.#letGo(other);
    }
    return tail;
  }

  #letGo(key: string): void {
    this.#tails.get(key)?.stop();
    this.#tails.delete(key);
  }
}

class Tail {
  /** Of the next byte that `take` gives. */
  position: number;
  readAtMs = 0;
  /** Nothing comes after what is held: it was closed, well or not. */
  ended = false;
  endedWell = false;
  readonly #stop = new AbortController();
  #held: Buffer = Buffer.alloc(0);
  #waiting: (() => void)[] = [];

  constructor(client: LogSource, key: string, fromByte: number) {
    this.position = fromByte;
    void this.#follow(client, key, fromByte);
  }

  stop(): void {
    this.#stop.abort();
    this.#changed();
  }

  async #follow(client: LogSource, key: string, fromByte: number): Promise<void> {
    try {
      for await (const part of client.tail(key, { fromByte }, this.#stop.signal)) {
        this.#held = Buffer.concat([this.#held, part]);
        this.#changed();
        while (this.#held.length >= AHEAD_LIMIT_BYTES && !this.#stop.signal.aborted) await this.#change();
      }
      this.endedWell = !this.#stop.signal.aborted;
    } catch {
      // A whole reading comes next, which says what is wrong.
    }
    this.ended = true;
    this.#changed();
  }

  /** Undefined where the tail moved on from `fromByte` while it was waited for. */
  async take(fromByte: number, maxBytes: number, signal: AbortSignal): Promise<Buffer | undefined> {
    const quiet = AbortSignal.any([signal, AbortSignal.timeout(QUIET_MS)]);
    const wake = () => this.#changed();
    quiet.addEventListener('abort', wake, { once: true });
    while (this.#held.length === 0 && !this.ended && !quiet.aborted) await this.#change();
    quiet.removeEventListener('abort', wake);
    signal.throwIfAborted();
    if (this.position !== fromByte) return undefined;
    const bytes = this.#held.subarray(0, maxBytes);
    this.#held = this.#held.subarray(bytes.length);
    this.position += bytes.length;
    this.#changed();
    return bytes;
  }

  /** Until something is taken in, taken out, or over. */
  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #changed(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
