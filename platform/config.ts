import { delimiter, dirname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { contentHash } from '../core/canonical.ts';
import { slugRefusal } from '../core/ids.ts';
import { RefusedInput } from '../core/refusal.ts';
import { type ConfigFile, Reader, readConfigFile } from './config-file.ts';
import {
  holdsPassword,
  nodeOptionRefusals,
  type Ruled,
  ruleDatabaseUrl,
  ruleDuration,
  ruleEndpoint,
  ruleKubernetesName,
  ruleRedisUrl,
} from './config-rules.ts';
import { FEATURES, type Feature } from './features.ts';
import { LOG_LEVELS, type LogLevel } from './log-level.ts';
import { isLoopbackHost } from './loopback.ts';
import type { TlsFiles } from './mtls.ts';
import { type ObjectStoreConfig, objectStoreConfig } from './object-store-config.ts';
import { Secret } from './secret.ts';
import { readSecretFile } from './secret-file.ts';
import { spiffeRefusal } from './spiffe.ts';

/** What a server process may do; all of them by default. */
export const SERVER_ROLES_ENABLED = ['api', 'ingest', 'scorer', 'recompute', 'allocator', 'reconciler'] as const;
export type EnabledRole = (typeof SERVER_ROLES_ENABLED)[number];

export const DEFAULT_PORT = 7460;

export interface PeerEndpoint {
  readonly origin: string;
  /** Whom its certificate must name; undefined on plain http to loopback. */
  readonly spiffeId: string | undefined;
}

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
    };

/** Who says which process leads; Postgres fences the leader in each case. */
export type NominatorConfig =
  | { readonly kind: 'postgres' }
  | { readonly kind: 'redis'; readonly url: Secret }
  | {
      readonly kind: 'kubernetes';
      /** undefined: the service account of the pod. */
      readonly kubeconfig: string | undefined;
      /** undefined: that of the pod, or of the kubeconfig's context. */
      readonly namespace: string | undefined;
      readonly leasePrefix: string;
    };

export interface Intervals {
  /** Between two looks of the planner when nothing woke it. */
  readonly planMs: number;
  /** Between two sweeps of the reconciler. */
  readonly reconcileMs: number;
  /** Between two signed audit checkpoints. */
  readonly checkpointMs: number;
  /** What the server waits for requests under way when it is told to end. */
  readonly drainMs: number;
  /** How long replies are kept for repeated requests. */
  readonly idempotencyRetentionMs: number;
}

export interface ServerConfig {
  readonly stateDir: string;
  readonly listen: { readonly host: string; readonly port: number };
  readonly database: DatabaseConfig;
  readonly maxConnections: number;
  readonly nominator: NominatorConfig;
  readonly tenant: string;
  /** undefined: the simulator that Merit brings along. */
  readonly peers: { readonly sentinelNet: PeerEndpoint | undefined; readonly finance: PeerEndpoint | undefined };
  /** undefined: certificates of the development authority. */
  readonly tls: TlsFiles | undefined;
  readonly objectStore: ObjectStoreConfig;
  /** `s3://bucket/prefix` that jobs may name for their outputs. */
  readonly s3Outputs: readonly string[];
  /** Full paths of packages that pools may name as their provider. */
  readonly providerPaths: readonly string[];
  readonly signerKeyFile: string;
  readonly roles: ReadonlySet<EnabledRole>;
  readonly features: ReadonlySet<Feature>;
  readonly intervals: Intervals;
  readonly log: { readonly level: LogLevel; readonly file: string | undefined };
  /** Of the file's values, whatever its line ends and comments; undefined without a file. */
  readonly fileHash: string | undefined;
}

/** The variables that override the file. One that is set to nothing is refused: it is a mistake more often than a wish. */
const VARIABLES = {
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
  MERIT_OBJECT_STORE: 'objectStore',
  MERIT_S3_OUTPUTS: 's3Outputs',
  MERIT_PROVIDER_PATHS: 'providerPaths',
  MERIT_ROLES: 'roles',
  MERIT_FEATURES: 'features',
  MERIT_LOG_LEVEL: 'log.level',
  MERIT_CONFIG: '',
} as const;

const DEFAULT_MAX_CONNECTIONS = 16;
const DEFAULT_LEASE_PREFIX = 'merit';
/** A label of Kubernetes (RFC 1123). */
const MAX_NAME = 63;
/** The seat's name comes after it. */
const MAX_LEASE_PREFIX = 50;
const HOUR_MS = 3_600_000;

interface IntervalRule {
  readonly initial: string;
  readonly minMs: number;
  readonly maxMs: number;
}

/** An apply needs a trail younger than 5 s, so a checkpoint comes sooner; replies outlive the hours in which a client may repeat itself. */
const INTERVALS: Readonly<
  Record<'plan' | 'reconcile' | 'checkpoint' | 'drain' | 'idempotencyRetention', IntervalRule>
> = {
  plan: { initial: '500ms', minMs: 10, maxMs: 60_000 },
  reconcile: { initial: '15s', minMs: 100, maxMs: HOUR_MS },
  checkpoint: { initial: '1s', minMs: 10, maxMs: 4_000 },
  drain: { initial: '10s', minMs: 100, maxMs: 600_000 },
  idempotencyRetention: { initial: '24h', minMs: HOUR_MS, maxMs: 90 * 24 * HOUR_MS },
};

type Env = Readonly<Record<string, string | undefined>>;

/**
 * The server's configuration from its file (`file`, else MERIT_CONFIG, else ./merit.yaml where it exists) and the environment,
 * which wins. Throws RefusedInput with everything that is wrong at once; the CLI ends with 78. No value of a secret is told.
 */
export async function loadConfig(options: {
  readonly env: Env;
  readonly cwd: string;
  readonly file?: string;
}): Promise<ServerConfig> {
  const { env, cwd } = options;
  const reader = new Reader();
  for (const name of Object.keys(VARIABLES)) {
    if (env[name]?.trim() === '')
      reader.refuse('empty_override', name, 'is set to nothing', 'unset it, or give it a value');
  }
  reader.add(nodeOptionRefusals(env.NODE_OPTIONS));
  const named = options.file ?? (env.MERIT_CONFIG?.trim() === '' ? undefined : env.MERIT_CONFIG);
  const filePath = resolve(cwd, named ?? 'merit.yaml');
  const file = await readConfigFile(filePath, named !== undefined, reader);
  const config = await readValues({ env, cwd, file: file ?? {}, fileDir: dirname(filePath), reader });
  if (reader.refusals.length > 0) throw new RefusedInput(reader.refusals);
  return { ...config, fileHash: file === undefined ? undefined : contentHash(file) };
}

interface Sources {
  readonly env: Env;
  readonly cwd: string;
  readonly file: ConfigFile;
  readonly fileDir: string;
  readonly reader: Reader;
}

/** The variable where it is set; an empty one was refused already. */
function variable(env: Env, name: keyof typeof VARIABLES): string | undefined {
  const value = env[name];
  return value === undefined || value.trim() === '' ? undefined : value;
}

/** A path: of a variable from the working folder, of the file from the file's folder. */
function path(from: Sources, name: keyof typeof VARIABLES | undefined, inFile: string | undefined): string | undefined {
  const set = name === undefined ? undefined : variable(from.env, name);
  if (set !== undefined) return resolve(from.cwd, set);
  return inFile === undefined ? undefined : resolve(from.fileDir, inFile);
}

async function readValues(from: Sources): Promise<Omit<ServerConfig, 'fileHash'>> {
  const { env, file, reader } = from;
  const stateDir = path(from, 'MERIT_HOME', file.stateDir) ?? fileURLToPath(new URL('../.merit', import.meta.url));
  const tenant = variable(env, 'MERIT_TENANT') ?? file.tenant ?? 'default';
  const wrong = slugRefusal('tenant', tenant);
  if (wrong !== undefined) reader.add([wrong]);
  const tls = file.tls;
  return {
    stateDir,
    listen: readListen(from),
    database: await readDatabase(from),
    maxConnections: file.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
    nominator: await readNominator(from),
    tenant,
    peers: { sentinelNet: readPeer(from, 'sentinelNet'), finance: readPeer(from, 'finance') },
    tls:
      tls === undefined
        ? undefined
        : {
            certFile: resolve(from.fileDir, tls.certFile),
            keyFile: resolve(from.fileDir, tls.keyFile),
            caFile: resolve(from.fileDir, tls.caFile),
          },
    objectStore: objectStoreConfig(
      {
        variable: variable(env, 'MERIT_OBJECT_STORE'),
        file: file.objectStore,
        dir: path(from, undefined, file.objectStoreDir),
        defaultDir: join(stateDir, 'objects'),
        reader,
      },
      (named) => resolve(from.cwd, named),
    ),
    s3Outputs: readS3Outputs(from),
    providerPaths: readProviderPaths(from),
    signerKeyFile: path(from, undefined, file.signer?.keyFile) ?? join(stateDir, 'signer.pem'),
    roles: readRoles(from),
    features: readFeatures(from),
    intervals: readIntervals(from),
    log: readLog(from),
  };
}

function readListen(from: Sources): ServerConfig['listen'] {
  const { env, file, reader } = from;
  const host = variable(env, 'MERIT_HOST') ?? file.listen?.host ?? '127.0.0.1';
  if (!isLoopbackHost(host.includes(':') ? `[${host}]` : host)) {
    reader.refuse(
      'listen_host',
      'listen.host',
      'would serve other machines',
      'listen on 127.0.0.1 and put a TLS proxy before it',
    );
  }
  const text = variable(env, 'MERIT_PORT');
  if (text === undefined) return { host, port: file.listen?.port ?? DEFAULT_PORT };
  const port = /^(0|[1-9][0-9]{0,4})$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 65_535)) reader.refuse('range', 'MERIT_PORT', 'is not a port number', 'choose 0 to 65535');
  return { host, port };
}

async function readDatabase(from: Sources): Promise<DatabaseConfig> {
  const { reader } = from;
  const appUrl = await readDatabaseUrl(from, 'DATABASE_URL', 'databaseUrl');
  const engineUrl = await readDatabaseUrl(from, 'ENGINE_DATABASE_URL', 'engineDatabaseUrl');
  const migrateUrl = await readDatabaseUrl(from, 'MIGRATE_DATABASE_URL', 'migrateDatabaseUrl');
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
  if (appUrl === '' || engineUrl === '') return { kind: 'embedded' };
  const secret = (url: string | undefined) => (url === undefined || url === '' ? undefined : new Secret(url));
  return {
    kind: 'external',
    appUrl: new Secret(appUrl),
    engineUrl: new Secret(engineUrl),
    migrateUrl: secret(migrateUrl),
    adminUrl: secret(adminUrl),
  };
}

async function readNominator(from: Sources): Promise<NominatorConfig> {
  const kind = variable(from.env, 'MERIT_NOMINATOR') ?? from.file.nominator ?? 'postgres';
  if (kind !== 'postgres' && kind !== 'redis' && kind !== 'kubernetes') {
    from.reader.refuse('enum', 'nominator', 'is no nominator', 'use postgres, redis or kubernetes');
    return { kind: 'postgres' };
  }
  if (kind === 'postgres') return { kind };
  if (kind === 'kubernetes') return readKubernetes(from);
  const url = await readSecretUrl(from, 'REDIS_URL', 'redisUrl', ruleRedisUrl);
  if (url === undefined)
    from.reader.refuse('required', 'redisUrl', 'is missing: leaders are nominated by Redis', 'set REDIS_URL');
  return { kind, url: new Secret(url ?? '') };
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

async function readDatabaseUrl(
  from: Sources,
  name: 'DATABASE_URL' | 'ENGINE_DATABASE_URL' | 'MIGRATE_DATABASE_URL',
  field: 'databaseUrl' | 'engineDatabaseUrl' | 'migrateDatabaseUrl',
): Promise<string | undefined> {
  return readSecretUrl(from, name, field, ruleDatabaseUrl);
}

/** undefined: not set. '': set and refused. In the file a URL must not hold its password: a secret file does. */
async function readSecretUrl(
  from: Sources,
  name: keyof typeof VARIABLES,
  field: 'databaseUrl' | 'engineDatabaseUrl' | 'migrateDatabaseUrl' | 'redisUrl',
  rule: (field: string, text: string) => Ruled<string>,
): Promise<string | undefined> {
  const { file, reader } = from;
  const set = variable(from.env, name);
  if (set !== undefined) return reader.take(rule(name, set), '');
  const secretFile = file[`${field}File`];
  const inline = file[field];
  if (secretFile !== undefined && inline !== undefined) {
    reader.refuse('conflict', field, `stands beside ${field}File`, 'keep one of the two');
  }
  if (secretFile !== undefined) {
    try {
      const secret = await readSecretFile(resolve(from.fileDir, secretFile), `${field}File`);
      return reader.take(rule(`${field}File`, secret.reveal()), '');
    } catch (error) {
      if (error instanceof RefusedInput) reader.add(error.refusals);
      else reader.refuse('secret_file', `${field}File`, (error as Error).message, 'name a file that can be read');
      return '';
    }
  }
  if (inline === undefined) return undefined;
  if (holdsPassword(inline)) {
    reader.refuse(
      'inline_secret',
      field,
      'holds a password',
      `put the URL into a file of mode 600 and name it in ${field}File`,
    );
    return '';
  }
  return reader.take(rule(field, inline), '');
}

function readPeer(from: Sources, peer: 'sentinelNet' | 'finance'): PeerEndpoint | undefined {
  const { env, file, reader } = from;
  const inFile = file.peers?.[peer];
  const set = variable(env, peer === 'finance' ? 'MERIT_FINANCE_URL' : 'MERIT_SENTINELNET_URL');
  const text = set ?? inFile?.url;
  if (text === undefined) return undefined;
  const origin = reader.take(ruleEndpoint(`peers.${peer}.url`, text), '');
  const spiffeId = inFile?.spiffeId;
  const field = `peers.${peer}.spiffeId`;
  const wrong = spiffeId === undefined ? undefined : spiffeRefusal(field, spiffeId);
  if (wrong !== undefined) reader.add([wrong]);
  if (spiffeId === undefined && origin.startsWith('https:')) {
    reader.refuse(
      'required',
      field,
      'is missing: over TLS a peer is known by it',
      'write spiffe://<trust domain>/<service>',
    );
  }
  return { origin, spiffeId };
}

function readS3Outputs(from: Sources): readonly string[] {
  const given = variable(from.env, 'MERIT_S3_OUTPUTS')?.split(',') ?? from.file.s3Outputs ?? [];
  const prefixes = given.map((prefix) => prefix.trim());
  if (!prefixes.every((prefix) => /^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[A-Za-z0-9._/-]*)?$/.test(prefix)))
    from.reader.refuse(
      'uri',
      's3Outputs',
      'names what is no S3 prefix',
      'write s3://bucket/prefix, several with commas between',
    );
  return prefixes;
}

function readProviderPaths(from: Sources): readonly string[] {
  const paths = variable(from.env, 'MERIT_PROVIDER_PATHS')?.split(delimiter) ?? from.file.providerPaths ?? [];
  if (!paths.every(isAbsolute))
    from.reader.refuse(
      'format',
      'providerPaths',
      'names what is no full path',
      `write full paths of packages, several with ${delimiter} between`,
    );
  return paths;
}

function readRoles(from: Sources): ReadonlySet<EnabledRole> {
  const named = variable(from.env, 'MERIT_ROLES')?.split(',') ?? from.file.roles ?? SERVER_ROLES_ENABLED;
  const roles = new Set<EnabledRole>();
  for (const name of named) {
    const role = SERVER_ROLES_ENABLED.find((known) => known === name.trim());
    if (role !== undefined) roles.add(role);
    else
      from.reader.refuse('role', 'roles', 'names a role that does not exist', `use ${SERVER_ROLES_ENABLED.join(', ')}`);
  }
  return roles;
}

function readFeatures(from: Sources): ReadonlySet<Feature> {
  const features = new Set<Feature>();
  for (const name of variable(from.env, 'MERIT_FEATURES')?.split(',') ?? from.file.features ?? []) {
    const feature = FEATURES.find((known) => known === name.trim());
    if (feature !== undefined) features.add(feature);
    else
      from.reader.refuse(
        'feature',
        'features',
        'names a feature that does not exist',
        `use ${FEATURES.join(', ')}, or none`,
      );
  }
  return features;
}

function readIntervals(from: Sources): Intervals {
  const read = (name: keyof typeof INTERVALS): number => {
    const rule = INTERVALS[name];
    const text = from.file.intervals?.[name] ?? rule.initial;
    return from.reader.take(ruleDuration(`intervals.${name}`, text, rule.minMs, rule.maxMs), rule.minMs);
  };
  return {
    planMs: read('plan'),
    reconcileMs: read('reconcile'),
    checkpointMs: read('checkpoint'),
    drainMs: read('drain'),
    idempotencyRetentionMs: read('idempotencyRetention'),
  };
}

function readLog(from: Sources): ServerConfig['log'] {
  const text = variable(from.env, 'MERIT_LOG_LEVEL') ?? from.file.log?.level ?? 'info';
  const level = LOG_LEVELS.find((known) => known === text);
  if (level === undefined) from.reader.refuse('enum', 'log.level', 'is no level', `use ${LOG_LEVELS.join(', ')}`);
  return { level: level ?? 'info', file: path(from, undefined, from.file.log?.file) };
}
