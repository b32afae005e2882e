import type { RayJobClient } from 'ray-job-submission-client';
import type { Clock } from '../../platform/clock.ts';
import { ProviderError } from '../provider.ts';
import { providerErrorOf } from './errors.ts';

/** How long an answer holds: a cluster may be started anew without a token behind the same address. */
const PROOF_AGE_LIMIT_MS = 600_000;

/**
 * Keeps Merit from a Ray that asks for no token. Its Jobs API runs whatever anybody who reaches it sends (CVE-2023-48022), so
 * work and secrets placed there are not ours alone. Asked without our token, and before it is ever sent.
 */
export class ClosedDoor {
  readonly #client: RayJobClient;
  readonly #clock: Clock;
  readonly #allowed: boolean;
  #provenAtMs: number | undefined;

  constructor(client: RayJobClient, clock: Clock, allowUnauthenticated: boolean) {
    this.#client = client;
    this.#clock = clock;
    this.#allowed = allowUnauthenticated;
  }

  /** Throws ProviderError: `auth` for an open cluster, `transient` when it cannot be asked now. */
  async check(signal: AbortSignal): Promise<void> {
    if (this.#allowed) return;
    const nowMs = this.#clock.now();
    if (this.#provenAtMs !== undefined && nowMs - this.#provenAtMs < PROOF_AGE_LIMIT_MS) return;
    let status: number;
    try {
      status = await this.#client.statusWithoutToken(signal);
    } catch (error) {
      throw providerErrorOf(error, 'none');
    }
    if (status === 401 || status === 403) {
      this.#provenAtMs = nowMs;
      return;
    }
    if (status === 429 || status >= 500)
      throw new ProviderError('transient', `Ray answered ${status} when asked without a token`);
    throw new ProviderError(
      'auth',
      `refused: Ray answered ${status} to a caller without a token, so anybody who reaches it can run code there; start it with ` +
        'RAY_AUTH_MODE=token, or name the risk with allowUnauthenticated: true',
    );
  }
}
