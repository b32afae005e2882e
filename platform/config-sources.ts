import { resolve } from 'node:path';
import type { ConfigFile, Reader } from './config-file.ts';

/** The variables that override the file. One that is set to nothing is refused: it is a mistake more often than a wish. */
export const VARIABLES = {
  MERIT_HOME: 'stateDir',
  MERIT_HOST: 'listen.host',
  MERIT_PORT: 'listen.port',
  DATABASE_URL: 'databaseUrl',
  ENGINE_DATABASE_URL: 'engineDatabaseUrl',
  MIGRATE_DATABASE_URL: 'migrateDatabaseUrl',
  ADMIN_DATABASE_URL: 'adminDatabaseUrl',
  MERIT_NOMINATOR: 'nominator',
  REDIS_URL: 'redisUrl',
  MERIT_KUBERNETES_NAMESPACE: 'kubernetes.namespace',
  MERIT_LEASE_PREFIX: 'kubernetes.leasePrefix',
  MERIT_TENANT: 'tenant',
  MERIT_SENTINELNET_URL: 'peers.sentinelNet.url',
  MERIT_FINANCE_URL: 'peers.finance.url',
  MERIT_AGENT_MANAGER_URL: 'peers.agentManager.url',
  MERIT_REASONING_GRAPH_URL: 'peers.reasoningGraph.url',
  MERIT_KERNEL_URL: 'peers.kernel.url',
  MERIT_OBJECT_STORE: 'objectStore',
  KAFKA_BROKERS: 'eventLog.kafka.brokers',
  MERIT_S3_OUTPUTS: 's3Outputs',
  MERIT_PROVIDER_PATHS: 'providerPaths',
  MERIT_PROVIDER_FILES: 'providerFiles',
  MERIT_ROLES: 'roles',
  MERIT_FEATURES: 'features',
  MERIT_LOG_LEVEL: 'log.level',
  MERIT_CONFIG: '',
} as const;

export type VariableName = keyof typeof VARIABLES;

export type Env = Readonly<Record<string, string | undefined>>;

/** What the configuration is read from, and who is told what is wrong in it. */
export interface Sources {
  readonly env: Env;
  readonly cwd: string;
  readonly file: ConfigFile;
  readonly fileDir: string;
  readonly reader: Reader;
}

/** The variable where it is set; an empty one was refused already. */
export function variable(env: Env, name: VariableName): string | undefined {
  const value = env[name];
  return value === undefined || value.trim() === '' ? undefined : value;
}

/** A path: of a variable from the working folder, of the file from the file's folder. */
export function path(from: Sources, name: VariableName | undefined, inFile: string | undefined): string | undefined {
  const set = name === undefined ? undefined : variable(from.env, name);
  if (set !== undefined) return resolve(from.cwd, set);
  return inFile === undefined ? undefined : resolve(from.fileDir, inFile);
}
