import type { Nominator } from '../../platform/nominator.ts';
import { kubernetesNominator } from '../../platform/nominator-kubernetes.ts';
import { postgresNominator } from '../../platform/nominator-postgres.ts';
import { redisNominator } from '../../platform/nominator-redis.ts';

export type NominatorKind = 'postgres' | 'redis' | 'kubernetes';

/** `at`: the URL of Redis, or the path of a kubeconfig; Postgres is asked where the database is. */
export async function nominatorFor(
  kind: NominatorKind,
  engineUrl: string,
  at: string,
  leaseMs: number,
): Promise<Nominator> {
  const installation = new URL(engineUrl).pathname.slice(1);
  switch (kind) {
    case 'postgres':
      return postgresNominator(engineUrl, leaseMs);
    case 'redis':
      return redisNominator(at, installation, leaseMs);
    case 'kubernetes': {
      const prefix = installation.toLowerCase().replaceAll(/[^a-z0-9-]/g, '-');
      return kubernetesNominator({ kubeconfig: at }, { namespace: undefined, prefix }, leaseMs);
    }
  }
}
