import { assert } from '../../core/assert.ts';
import type { Nominator } from '../../platform/nominator.ts';
import { kubernetesNominator } from '../../platform/nominator-kubernetes.ts';
import { postgresNominator } from '../../platform/nominator-postgres.ts';
import { redisNominator } from '../../platform/nominator-redis.ts';
import { type DatabaseUrl, urlNow } from '../../platform/pg-login.ts';
import type { RateLimiter } from '../../platform/rate-limit.ts';
import { type FailoverWatch, failingOpen } from '../../platform/rate-limit-failover.ts';
import { memoryRateLimiter } from '../../platform/rate-limit-memory.ts';
import { redisRateLimiter } from '../../platform/rate-limit-redis.ts';
import type { ServerOptions } from './server-options.ts';

/** What several processes of an installation ask, so that they act as one. Those on one Redis are told apart by their databases' names. */

/** Who says which of them leads. */
export async function openNominator({ config, engineUrl, redisUrl }: ServerOptions): Promise<Nominator> {
  const { nominator } = config;
  if (nominator.kind === 'postgres') return postgresNominator(engineUrl);
  if (nominator.kind === 'kubernetes') {
    const { kubeconfig, namespace, leasePrefix } = nominator;
    return kubernetesNominator({ kubeconfig }, { namespace, prefix: leasePrefix });
  }
  assert(redisUrl !== undefined, 'a configuration that nominates by Redis names one');
  return redisNominator(redisUrl, databaseOf(engineUrl));
}

/** How much callers may ask: together with other processes where there is a Redis, and by this one while it does not answer. */
export async function openLimiter({ engineUrl, redisUrl }: ServerOptions, watch: FailoverWatch): Promise<RateLimiter> {
  const own = memoryRateLimiter();
  if (redisUrl === undefined) return own;
  const shared = await redisRateLimiter(redisUrl, databaseOf(engineUrl));
  return failingOpen(shared, own, watch);
}

function databaseOf(url: DatabaseUrl): string {
  return new URL(urlNow(url)).pathname.slice(1);
}
