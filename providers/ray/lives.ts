import type { RayJobClient } from 'ray-job-submission-client';
import type { Clock } from '../../platform/clock.ts';
import { type Handle, type Observation, ProviderError } from '../provider.ts';
import { FirstSeen } from './first-seen.ts';

/** A look at what the cluster is called holds this long where only a handle is named by it. */
const NAME_AGE_LIMIT_MS = 30_000;
/** Ray forgets no job by itself: within one life, one that is missing is believed to be gone only after this. */
const MISSING_MS = 30_000;
/** Keys remembered as missing; the oldest are forgotten, and then looked at anew. */
const MISSING_LIMIT = 10_000;

interface Life {
  readonly session: string;
  /** When this process first met it: it began then, or before. */
  readonly metAtMs: number;
}

/**
 * A cluster has a life from the start of its head to the next one, and all of its jobs are of one: the head keeps their table. Its session's name
 * tells lives apart, and is part of each handle's uid, so that a job which Ray does not know can be told to be lost with an earlier life.
 */
export class Lives {
  readonly #client: RayJobClient;
  readonly #clock: Clock;
  readonly #nodeGivesUpMs: number;
  #current: (Life & { readonly readAtMs: number }) | undefined;
  readonly #missing = new FirstSeen(MISSING_LIMIT);

  constructor(client: RayJobClient, clock: Clock, nodeGivesUpMs: number) {
    this.#client = client;
    this.#clock = clock;
    this.#nodeGivesUpMs = nodeGivesUpMs;
  }

  /** The session's name, at most 30 s old. Throws RayJobError. */
  async session(signal: AbortSignal): Promise<string> {
    const known = this.#current;
    const isFresh = known !== undefined && this.#clock.now() - known.readAtMs < NAME_AGE_LIMIT_MS;
    return (isFresh ? known : await this.#read(signal)).session;
  }

  /** Ray holds the key. */
  seen(key: string): void {
    this.#missing.forget(key);
  }

  /**
   * What it means that Ray does not know a key. `known` is the attempt's stored handle: without one nothing was ever seen of it. A job of an
   * earlier life is gone for certain once the nodes of that life have given up: they run on for a minute without their head. Throws
   * ProviderError `transient` while nothing can be said, or RayJobError.
   */
  async absence(key: string, known: Handle | undefined, signal: AbortSignal): Promise<Observation> {
    const was = sessionOf(known);
    if (was === undefined) return { state: 'absent' };
    const life = await this.#read(signal);
    const nowMs = this.#clock.now();
    if (life.session !== was) {
      this.#missing.forget(key);
      const leftMs = life.metAtMs + this.#nodeGivesUpMs - nowMs;
      if (leftMs <= 0) return { state: 'absent', certain: true };
      const text = `Ray was started anew and does not know ${key}: nodes of its earlier life may run it for ${Math.ceil(leftMs / 1000)} s more`;
      throw new ProviderError('transient', text, { retryAfterMs: leftMs });
    }
    const sinceMs = this.#missing.at(key, nowMs);
    if (nowMs - sinceMs >= MISSING_MS) return { state: 'absent' };
    throw new ProviderError('transient', `Ray does not know ${key} although it was not started anew`, {
      retryAfterMs: sinceMs + MISSING_MS - nowMs,
    });
  }

  async #read(signal: AbortSignal): Promise<Life> {
    const { sessionName: session } = await this.#client.version(signal);
    const nowMs = this.#clock.now();
    const metAtMs = this.#current?.session === session ? this.#current.metAtMs : nowMs;
    this.#current = { session, metAtMs, readAtMs: nowMs };
    return this.#current;
  }
}

/** `<session>/<submit time>`; undefined for a handle of a Merit that did not write it yet. */
function sessionOf(handle: Handle | undefined): string | undefined {
  const at = handle?.uid?.lastIndexOf('/') ?? -1;
  return at > 0 ? handle?.uid?.slice(0, at) : undefined;
}
