import { type RayJob, type RayJobClient, RayJobError } from 'ray-job-submission-client';
import type { Clock } from '../../platform/clock.ts';
import { ProviderError } from '../provider.ts';
import { findJob } from './find-job.ts';
import type { LostNodes } from './lost-nodes.ts';
import { isLive } from './observation.ts';
import { assertOurs } from './ownership.ts';

const POLL_MS = 300;
/** A stop is sent again this often: Ray's answer to one is fire and forget. */
const STOP_AGAIN_MS = 5_000;
/** A job on the brink of starting turns RUNNING and then STOPPED within this; one still PENDING waits for resources. */
const PENDING_SETTLE_MS = 2_000;
/** What Ray may take beyond the job's own grace: SIGKILL, its 1 s monitor, a busy machine. */
const STOP_MARGIN_MS = 20_000;
/** Keys remembered as stopped while pending; the oldest are forgotten (Merit's sweep then releases them once more). */
const REMEMBERED_LIMIT = 10_000;

/**
 * Jobs that were stopped while they waited for resources. Ray answers `stopped: true` and keeps them PENDING: the stop waits in the
 * queue of a supervisor that does not exist yet, and takes effect the moment it does. They run nothing and hold nothing.
 */
export class StoppedPending {
  readonly #keys = new Set<string>();
  /** Asked to stop while pending, and since when: one on the brink of starting is not yet counted. */
  readonly #askedMs = new Map<string, number>();

  /** Its stop was taken while it was pending: counted once that has been so for a while. */
  asked(key: string, nowMs: number): void {
    const sinceMs = this.#askedMs.get(key) ?? nowMs;
    this.#askedMs.set(key, sinceMs);
    if (this.#askedMs.size > REMEMBERED_LIMIT)
      for (const oldest of this.#askedMs.keys()) return void this.#askedMs.delete(oldest);
    if (nowMs - sinceMs < PENDING_SETTLE_MS) return;
    this.#askedMs.delete(key);
    this.add(key);
  }

  add(key: string): void {
    this.#keys.add(key);
    if (this.#keys.size > REMEMBERED_LIMIT) for (const oldest of this.#keys) return void this.#keys.delete(oldest);
  }

  has(key: string, job: RayJob): boolean {
    if (!this.#keys.has(key)) return false;
    if (job.status === 'PENDING') return true;
    if (!isLive(job)) this.#keys.delete(key);
    return false;
  }
}

export interface ReleaseSettings {
  readonly client: RayJobClient;
  readonly clock: Clock;
  readonly stopGraceSeconds: number;
  readonly stopped: StoppedPending;
  readonly lostNodes: LostNodes;
}

/** Sends one stop. False: there is nothing to stop. Throws RayJobError or ProviderError. */
export async function stopOnce(settings: ReleaseSettings, key: string, signal: AbortSignal): Promise<boolean> {
  const job = await findJob(settings.client, key, signal);
  if (job === undefined) return false;
  assertOurs(key, job);
  if (!isLive(job)) return false;
  const taken = await stopAccepted(settings.client, key, signal);
  if (taken && job.status === 'PENDING') settings.stopped.asked(key, settings.clock.now());
  return taken;
}

/** Stops the job and returns once nothing of it runs; throws ProviderError `transient`, effect unknown, if that takes too long. */
export async function releaseAttempt(settings: ReleaseSettings, key: string, signal: AbortSignal): Promise<void> {
  const { client, clock, lostNodes } = settings;
  const deadlineMs = clock.now() + settings.stopGraceSeconds * 1000 + STOP_MARGIN_MS;
  let stoppedAtMs: number | undefined;
  let pendingSinceMs: number | undefined;
  for (;;) {
    const job = await findJob(client, key, signal);
    if (job === undefined) return;
    assertOurs(key, job);
    if (!isLive(job) || (await lostNodes.holds(job, signal))) return;
    const nowMs = clock.now();
    if (stoppedAtMs === undefined || nowMs - stoppedAtMs >= STOP_AGAIN_MS) {
      stoppedAtMs = (await stopAccepted(client, key, signal)) ? nowMs : undefined;
    }
    if (job.status !== 'PENDING' || stoppedAtMs === undefined) pendingSinceMs = undefined;
    else pendingSinceMs ??= nowMs;
    if (pendingSinceMs !== undefined && nowMs - pendingSinceMs >= PENDING_SETTLE_MS) return settings.stopped.add(key);
    if (nowMs >= deadlineMs)
      throw new ProviderError('transient', `Ray still shows ${key} as ${job.status}`, { effect: 'unknown' });
    await clock.sleep(POLL_MS, signal);
    signal.throwIfAborted();
  }
}

async function stopAccepted(client: RayJobClient, key: string, signal: AbortSignal): Promise<boolean> {
  try {
    return await client.stop(key, signal);
  } catch (error) {
    if (error instanceof RayJobError && error.code === 'not_found') return false;
    throw error;
  }
}
