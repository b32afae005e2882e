import { delimiter, resolve } from 'node:path';
import { ruleDatabaseUrl, ruleKubernetesName } from './config-rules.ts';
import { path, type Sources, type VariableName, variable } from './config-sources.ts';
import { Secret } from './secret.ts';
import { readSecretUrl, type SecretReading, type SecretUrl } from './secret-url.ts';

/** Which Postgres, as whom. */
export type DatabaseConfig =
  /** The Postgres that Merit brings along. */
  | { readonly kind: 'embedded' }
  | {
      readonly kind: 'external';
      readonly appUrl: Secret;
      readonly engineUrl: Secret;
      /** The owner's, for `merit migrate` and the migration at start; without it the server does not migrate. */
      readonly migrateUrl: Secret | undefined;
      /** An administrator's, to make the roles. */
      readonly adminUrl: Secret | undefined;
      /** How the first two are read again, where they can change. */
      readonly readings: { readonly app: SecretReading | undefined; readonly engine: SecretReading | undefined };
    };

/** Who says which process leads; Postgres fences the leader in each case. */
export type NominatorConfig =
  | { readonly kind: 'postgres' }
  /** On the Redis of the configuration. */
  | { readonly kind: 'redis' }
  | {
      readonly kind: 'kubernetes';
      /** undefined: the service account of the pod. */
      readonly kubeconfig: string | undefined;
      /** undefined: that of the pod, or of the kubeconfig's context. */
      readonly namespace: string | undefined;
      readonly leasePrefix: string;
    };

const DEFAULT_LEASE_PREFIX = 'merit';
/** A label of Kubernetes (RFC 1123). */
const MAX_NAME = 63;
/** The seat's name comes after it. */
const MAX_LEASE_PREFIX = 50;

export async function readDatabase(from: Sources): Promise<DatabaseConfig> {
  const { reader } = from;
  const appUrl = await secretUrl(from, 'DATABASE_URL', 'databaseUrl', ruleDatabaseUrl);
  const engineUrl = await secretUrl(from, 'ENGINE_DATABASE_URL', 'engineDatabaseUrl', ruleDatabaseUrl);
  const migrateUrl = await secretUrl(from, 'MIGRATE_DATABASE_URL', 'migrateDatabaseUrl', ruleDatabaseUrl);
  const adminText = variable(from.env, 'ADMIN_DATABASE_URL');
  const adminUrl =
    adminText === undefined ? undefined : reader.take(ruleDatabaseUrl('ADMIN_DATABASE_URL', adminText), '');
  if (appUrl === undefined && engineUrl === undefined) {
    if (migrateUrl !== undefined || adminUrl !== undefined) {
      reader.refuse(
        'required',
        'databaseUrl',
        'is missing, though other database URLs are set',
        'set DATABASE_URL and ENGINE_DATABASE_URL too',
      );
    }
    return { kind: 'embedded' };
  }
  if (appUrl === undefined || engineUrl === undefined) {
    const missing = appUrl === undefined ? 'databaseUrl' : 'engineDatabaseUrl';
    reader.refuse(
      'required',
      missing,
      'is missing: the server works as two database users',
      'set DATABASE_URL (merit_app) and ENGINE_DATABASE_URL (merit_engine)',
    );
    return { kind: 'embedded' };
  }
  // Refused already: nothing of this is used.
  if (appUrl.secret === undefined || engineUrl.secret === undefined) return { kind: 'embedded' };
  return {
    kind: 'external',
    appUrl: appUrl.secret,
    engineUrl: engineUrl.secret,
    migrateUrl: migrateUrl?.secret,
    adminUrl: adminUrl === undefined || adminUrl === '' ? undefined : new Secret(adminUrl),
    readings: { app: appUrl.reading, engine: engineUrl.reading },
  };
}

export function readNominator(from: Sources, redis: SecretUrl | undefined): NominatorConfig {
  const kind = variable(from.env, 'MERIT_NOMINATOR') ?? from.file.nominator ?? 'postgres';
  if (kind !== 'postgres' && kind !== 'redis' && kind !== 'kubernetes') {
    from.reader.refuse('enum', 'nominator', 'is no nominator', 'use postgres, redis or kubernetes');
    return { kind: 'postgres' };
  }
  if (kind === 'postgres') return { kind };
  if (kind === 'kubernetes') return readKubernetes(from);
  if (redis === undefined)
    from.reader.refuse('required', 'redisUrl', 'is missing: leaders are nominated by Redis', 'set REDIS_URL');
  return { kind };
}

function readKubernetes(from: Sources): NominatorConfig {
  const { env, file, reader } = from;
  // Kubernetes' own variable, which others set too: to nothing, it is as good as unset.
  const set = env.KUBECONFIG?.trim() === '' ? undefined : env.KUBECONFIG;
  if (set?.includes(delimiter) === true)
    reader.refuse(
      'kubeconfig',
      'KUBECONFIG',
      'names several files',
      'name one; kubectl config view --flatten makes one',
    );
  const kubeconfig = set === undefined ? path(from, undefined, file.kubernetes?.kubeconfig) : resolve(from.cwd, set);
  if (kubeconfig === undefined && (env.KUBERNETES_SERVICE_HOST ?? '') === '') {
    reader.refuse(
      'required',
      'kubernetes.kubeconfig',
      'is missing: leaders are nominated by Kubernetes, and this runs in no pod',
      'set KUBECONFIG, or run in a pod with a service account',
    );
  }
  const namespace = variable(env, 'MERIT_KUBERNETES_NAMESPACE') ?? file.kubernetes?.namespace;
  const prefix = variable(env, 'MERIT_LEASE_PREFIX') ?? file.kubernetes?.leasePrefix ?? DEFAULT_LEASE_PREFIX;
  if (namespace !== undefined) reader.take(ruleKubernetesName('kubernetes.namespace', namespace, MAX_NAME), '');
  reader.take(ruleKubernetesName('kubernetes.leasePrefix', prefix, MAX_LEASE_PREFIX), '');
  return { kind: 'kubernetes', kubeconfig, namespace, leasePrefix: prefix };
}

export function secretUrl(
  from: Sources,
  name: VariableName,
  field: 'databaseUrl' | 'engineDatabaseUrl' | 'migrateDatabaseUrl' | 'redisUrl',
  rule: typeof ruleDatabaseUrl,
): Promise<SecretUrl | undefined> {
  const set = variable(from.env, name);
  return readSecretUrl({
    variable: set === undefined ? undefined : [name, set],
    field,
    inFile: from.file[field],
    secretFile: from.file[`${field}File`],
    resolveFile: (named) => resolve(from.fileDir, named),
    rule,
    reader: from.reader,
  });
}
