import { type RayJob, type RayJobClient, RayJobError } from 'ray-job-submission-client';
import type { Clock } from '../../platform/clock.ts';
import { ProviderError } from '../provider.ts';
import { FirstSeen } from './first-seen.ts';
import { isLive, saysWhyItDied } from './observation.ts';

/** What Ray says of its nodes is told to all who ask within this: each running job is looked at once a second. */
const LOOK_MS = 5_000;
/** Ray tells that a job's supervisor died at once, and that its node did after 14 s (measured). A job that ran on is not waited for longer. */
const VERDICT_MS = 30_000;
/** Nodes and jobs remembered; the oldest are forgotten, and waited for anew. */
const REMEMBERED_LIMIT = 10_000;

/**
 * What a node's death means for its jobs, by Ray's list of nodes. Ray's own word on a job cannot be relied on for that: it is written by whichever of
 * its agents watches the job and looks first. One that began to watch after the death finds no supervisor and says only that; the watch of a
 * job may also end with its agent, and then the job stays RUNNING.
 */
export class LostNodes {
  readonly #client: Pick<RayJobClient, 'labels'>;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #givesUpMs: number;
  readonly #gone = new FirstSeen(REMEMBERED_LIMIT);
  readonly #unexplained = new FirstSeen(REMEMBERED_LIMIT);
  #look: { readonly atMs: number; readonly alive: Promise<ReadonlySet<string> | undefined> } | undefined;

  /** A node that Ray gave up may still run what it had, until it gives up itself. */
  constructor(client: Pick<RayJobClient, 'labels'>, clock: Pick<Clock, 'now'>, nodeGivesUpMs: number) {
    this.#client = client;
    this.#clock = clock;
    this.#givesUpMs = Math.max(nodeGivesUpMs, VERDICT_MS);
  }

  /** Ray says that the job runs, and its node died so long ago that nothing of it does. */
  async holds(job: RayJob, signal: AbortSignal): Promise<boolean> {
    if (job.nodeId === undefined || !isLive(job)) return false;
    const alive = await this.#alive(signal);
    if (alive === undefined) return false;
    const nowMs = this.#clock.now();
    if (!alive.has(job.nodeId)) return nowMs - this.#gone.at(job.nodeId, nowMs) >= this.#givesUpMs;
    this.#gone.forget(job.nodeId);
    return false;
  }

  /**
   * The job went down with its node, whatever Ray says of it. Throws ProviderError `transient` while its supervisor has died and its node may yet be
   * found dead.
   */
  async took(key: string, job: RayJob, signal: AbortSignal): Promise<boolean> {
    if (job.status !== 'FAILED' || job.nodeId === undefined || saysWhyItDied(job)) return this.holds(job, signal);
    const alive = await this.#alive(signal);
    if (alive !== undefined && !alive.has(job.nodeId)) return true;
    const nowMs = this.#clock.now();
    const leftMs = this.#unexplained.at(key, nowMs) + VERDICT_MS - nowMs;
    if (leftMs <= 0) return false;
    throw new ProviderError('transient', `Ray says that ${key} died, and not yet whether its node did`, {
      retryAfterMs: Math.min(leftMs, LOOK_MS),
    });
  }

  /** undefined: nothing is known of them now. */
  #alive(signal: AbortSignal): Promise<ReadonlySet<string> | undefined> {
    const nowMs = this.#clock.now();
    if (this.#look !== undefined && nowMs - this.#look.atMs < LOOK_MS) return this.#look.alive;
    const look = { atMs: nowMs, alive: this.#read(signal) };
    this.#look = look;
    return look.alive;
  }

  async #read(signal: AbortSignal): Promise<ReadonlySet<string> | undefined> {
    try {
      const alive = new Set((await this.#client.labels(signal)).keys());
      // A cluster has its head at least: none means that Ray has not counted yet.
      return alive.size === 0 ? undefined : alive;
    } catch (error) {
      if (error instanceof RayJobError || signal.aborted) return undefined;
      throw error;
    }
  }
}
