import type { FastifyReply } from 'fastify';
import type { RateLimits } from '../../platform/config-doors.ts';
import type { Metrics } from '../../platform/metrics.ts';
import type { RateLimiter, RateVerdict } from '../../platform/rate-limit.ts';
import type { FailoverWatch } from '../../platform/rate-limit-failover.ts';
import { HttpProblem } from './problem.ts';
import type { HttpLog, Identity } from './services.ts';

/** Asked once a request: from the tenant's bucket and from the identity's own, of both or of neither. */
export function limitIdentities(
  limiter: RateLimiter,
  { tenant: ofTenant, identity: ofIdentity }: RateLimits,
): (identity: Identity) => Promise<RateVerdict> {
  return ({ tenant, principal }) =>
    limiter.take([
      { key: `tenant ${tenant}`, rate: ofTenant },
      { key: `identity ${tenant} ${principal}`, rate: ofIdentity },
    ]);
}

/** Tells what is left in the headers of the answer (draft-ietf-httpapi-ratelimit-headers-06); throws HttpProblem 429 where nothing is. */
export function tellRate(reply: FastifyReply, verdict: RateVerdict): void {
  reply.header('ratelimit-limit', String(verdict.limit));
  reply.header('ratelimit-remaining', String(verdict.remaining));
  reply.header('ratelimit-reset', String(Math.ceil(verdict.resetMs / 1000)));
  if (verdict.allowed) return;
  throw new HttpProblem(429, 'rate_limited', 'more requests than this identity, or its tenant, may send; come back', {
    headers: { 'retry-after': String(Math.max(1, Math.ceil(verdict.retryAfterMs / 1000))) },
  });
}

/** The API's limits fail open; that they do is counted, and told once each time. */
export function failoverWatch(metrics: Metrics, log: HttpLog): FailoverWatch {
  const decided = metrics.counter(
    'merit_rate_limit_decisions_total',
    'Requests by who decided whether their sender may: Redis for all processes, or this process alone since it did not answer',
    { by: ['shared', 'alone'] },
  );
  return {
    decided: (by) => decided({ by }),
    changed: (away, error) => {
      if (away)
        log.warn(
          { error: String(error) },
          'Redis does not answer: request rates are limited by this process alone, so a caller may do as much at each',
        );
      else log.info({}, 'Redis answers again: request rates are limited for all processes together');
    },
  };
}
