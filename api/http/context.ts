import type { FastifyInstance } from 'fastify';
import type { Idempotency } from './idempotency.ts';
import type { Services } from './services.ts';

/** What every route file gets. */
export interface RouteContext {
  readonly app: FastifyInstance;
  readonly services: Services;
  readonly idempotency: Idempotency;
}
