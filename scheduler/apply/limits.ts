import type { JobSpec } from '../../core/job.ts';

/** A call to a peer or provider is given up after this; its effect is then unknown until looked up. */
export const PEER_TIMEOUT_MS = 10_000;
export const PROVIDER_TIMEOUT_MS = 30_000;
/** A booking that is still not applied this long after its reservation is undone and tried again. */
export const APPLY_DEADLINE_MS = 5 * 60_000;
/** Longer than any provider time-out with its retries, so that quota never frees under a request in flight. */
export const PENDING_TIMEOUT_MS = 2 * APPLY_DEADLINE_MS;
/** Between two tries of the same step: doubles from the first to the second. */
export const RETRY_MIN_MS = 200;
export const RETRY_MAX_MS = 15_000;
/** Between two attempts of a booking whose job failed or whose provider was away, where the job says nothing else. */
const ATTEMPT_BACKOFF_MIN_MS = 1_000;
const ATTEMPT_BACKOFF_MAX_MS = 5 * 60_000;

/** Doubles from attempt to attempt. */
export function attemptBackoffMs(spec: JobSpec, attempt: number): number {
  const first = spec.backoffMs ?? ATTEMPT_BACKOFF_MIN_MS;
  const most = spec.maxBackoffMs ?? Math.max(first, ATTEMPT_BACKOFF_MAX_MS);
  return Math.min(most, first * 2 ** Math.min(attempt - 1, 20));
}
/** `applied` needs every older audit event under a signed checkpoint that is not older than this. */
export const MAX_UNSEALED_MS = 5_000;
/** A draining job has this long to checkpoint and end by itself, where it does not say how long it needs. */
const DRAIN_GRACE_MS = 30_000;

export function graceMs(spec: JobSpec): number {
  return spec.graceMs ?? DRAIN_GRACE_MS;
}
/** How often a running job is looked at. */
export const OBSERVE_EVERY_MS = 1_000;
/** How often where so many jobs are missing at once that none is given up. */
export const HALTED_LOOK_MS = 5_000;
/** At most so many bookings are acted on at a time. */
export const MAX_STEPS_IN_FLIGHT = 64;
/** Of them in one pool of a tenant, and of one tenant: a provider that hangs keeps no more from the others, for PROVIDER_TIMEOUT_MS each. */
export const MAX_STEPS_IN_POOL = MAX_STEPS_IN_FLIGHT / 4;
export const MAX_STEPS_OF_TENANT = MAX_STEPS_IN_FLIGHT / 2;
