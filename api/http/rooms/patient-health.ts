import type { PoolHealth } from '../../../pools/pool-health.ts';
import type { RoomPorts } from './base.ts';

/** A caller's patience; whoever answers later than this is told as silent. */
const TIMEOUT_MS = 1_500;

/** What a pool's provider says, to whom does not wait for long. Asked outside of any transaction. */
export function patientHealth({ providers }: RoomPorts, tenant: string, pool: string): Promise<PoolHealth> {
  const silent = new Promise<PoolHealth>((resolve) => {
    const away = `it did not answer within ${TIMEOUT_MS} ms`;
    setTimeout(() => resolve({ away, there: [] }), TIMEOUT_MS).unref();
  });
  return Promise.race([providers.health(tenant, pool), silent]);
}
