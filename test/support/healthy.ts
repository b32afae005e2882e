import type { PoolHealth } from '../../pools/pool-health.ts';

/** Of a provider that answers, and does not say what it has; `away`: why it does not answer. */
export async function healthy(away?: string): Promise<PoolHealth> {
  return { away, there: [] };
}
