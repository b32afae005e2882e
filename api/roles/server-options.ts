import type { PeerHttp } from '../../peers/peer-call.ts';
import type { Clock } from '../../platform/clock.ts';
import type { ServerConfig } from '../../platform/config.ts';
import type { DatabaseUrl } from '../../platform/pg-login.ts';
import type { RedisUrl } from '../../platform/redis.ts';
import type { RotatingTls } from '../../platform/tls-rotation.ts';
import type { Log } from '../../scheduler/apply/context.ts';
import type { ToldPeers } from './notices.ts';
import type { OwnRay } from './own-ray.ts';

export interface ServerOptions {
  readonly version: string;
  readonly stateDir: string;
  /** Names this installation at providers. */
  readonly instanceId: string;
  readonly appUrl: DatabaseUrl;
  readonly engineUrl: DatabaseUrl;
  /** Where rates are limited together with other processes, and leaders are nominated with `redis`; undefined: there is none. */
  readonly redisUrl: RedisUrl | undefined;
  readonly sentinelNet: PeerHttp;
  readonly finance: PeerHttp;
  readonly told: ToldPeers;
  /** Our certificate, which peers and services are shown. */
  readonly tls: RotatingTls;
  readonly ownRay: OwnRay;
  readonly config: Pick<
    ServerConfig,
    | 'listen'
    | 'tenant'
    | 'oidc'
    | 'services'
    | 'maxConnections'
    | 'nominator'
    | 'objectStore'
    | 'eventLog'
    | 'archive'
    | 'collection'
    | 's3Outputs'
    | 'providerPaths'
    | 'providerFiles'
    | 'rateLimits'
    | 'signer'
    | 'witness'
    | 'roles'
    | 'features'
    | 'downstream'
    | 'ingest'
    | 'intervals'
    | 'reportPartitions'
    | 'recomputeThreads'
  >;
  /** The bearer token that people and the CLI use. */
  readonly token: string;
  /** Why the trail may be shorter than its witness this once. */
  readonly restartWitness?: string | undefined;
  readonly clock: Clock;
  readonly log: Log;
}
