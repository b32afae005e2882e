import { delimiter, dirname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { contentHash } from '../core/canonical.ts';
import { slugRefusal } from '../core/ids.ts';
import { RefusedInput } from '../core/refusal.ts';
import { type ArchiveConfig, archiveConfig } from './archive-config.ts';
import { type CollectionConfig, collectionConfig } from './collection-config.ts';
import {
  type DatabaseConfig,
  type NominatorConfig,
  readDatabase,
  readNominator,
  secretUrl,
} from './config-database.ts';
import {
  type DownstreamConfig,
  downstreamConfig,
  type IngestConfig,
  ingestConfig,
  type RateLimits,
  rateLimits,
} from './config-doors.ts';
import { Reader, readConfigFile } from './config-file.ts';
import { nodeOptionRefusals, ruleDuration, ruleEndpoint, ruleRedisUrl, tlsCheckRefusals } from './config-rules.ts';
import { type Env, path, type Sources, VARIABLES, variable } from './config-sources.ts';
import { type EventLogConfig, eventLogConfig } from './event-log-config.ts';
import { FEATURES, type Feature } from './features.ts';
import { type OidcConfig, oidcConfig, type ServicesConfig, servicesConfig } from './identity-config.ts';
import { LOG_LEVELS, type LogLevel } from './log-level.ts';
import { hostInUrl, isLoopbackHost } from './loopback.ts';
import type { TlsFiles } from './mtls.ts';
import { type ObjectStoreConfig, objectStoreConfig } from './object-store-config.ts';
import type { Secret } from './secret.ts';
import type { SecretReading } from './secret-url.ts';
import { type SignerConfigs, signerConfig } from './signer-config.ts';
import { spiffeRefusal } from './spiffe.ts';
import { type WitnessConfig, witnessConfig } from './witness-config.ts';

/** What a server process may do; all of them by default. */
export const SERVER_ROLES_ENABLED = ['api', 'ingest', 'scorer', 'recompute', 'allocator', 'reconciler'] as const;
export type EnabledRole = (typeof SERVER_ROLES_ENABLED)[number];

export const DEFAULT_PORT = 7460;

export interface PeerEndpoint {
  readonly origin: string;
  /** Whom its certificate must name; undefined on plain http to loopback. */
  readonly spiffeId: string | undefined;
}

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

export interface RedisConfig {
  readonly url: Secret;
  /** How it is read again, where it can change. */
  readonly reading: SecretReading | undefined;
}

export interface ServerConfig {
  readonly stateDir: string;
  readonly listen: { readonly host: string; readonly port: number };
  readonly database: DatabaseConfig;
  readonly maxConnections: number;
  readonly nominator: NominatorConfig;
  /** Where rates are limited together with other processes; undefined: each limits its own. */
  readonly redis: RedisConfig | undefined;
  readonly tenant: string;
  /** The first two are simulated where they are not named; the others are not there then. */
  readonly peers: Readonly<Record<PeerName, PeerEndpoint | undefined>>;
  /** undefined: certificates of the development authority. */
  readonly tls: TlsFiles | undefined;
  /** undefined: people have the installation's token only. */
  readonly oidc: OidcConfig | undefined;
  /** undefined: there is no door for services. */
  readonly services: ServicesConfig | undefined;
  readonly objectStore: ObjectStoreConfig;
  readonly archive: ArchiveConfig;
  readonly collection: CollectionConfig;
  readonly eventLog: EventLogConfig;
  /** `s3://bucket/prefix` that jobs may name for their outputs. */
  readonly s3Outputs: readonly string[];
  /** Full paths of packages that pools may name as their provider. */
  readonly providerPaths: readonly string[];
  /** Folders that pools of other tenants than the installation's own may name files in. */
  readonly providerFiles: readonly string[];
  readonly signer: SignerConfigs;
  readonly witness: WitnessConfig | undefined;
  readonly roles: ReadonlySet<EnabledRole>;
  readonly features: ReadonlySet<Feature>;
  /** The embedded log's topic of reports is made with so many partitions, or raised to them. */
  readonly reportPartitions: number;
  readonly recomputeThreads: number;
  readonly intervals: Intervals;
  readonly ingest: IngestConfig;
  readonly rateLimits: RateLimits;
  readonly downstream: DownstreamConfig;
  readonly log: { readonly level: LogLevel; readonly file: string | undefined };
  /** Of the file's values, whatever its line ends and comments; undefined without a file. */
  readonly fileHash: string | undefined;
}

const DEFAULT_MAX_CONNECTIONS = 16;
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
  reader.add(tlsCheckRefusals(env.NODE_TLS_REJECT_UNAUTHORIZED));
  const named = options.file ?? (env.MERIT_CONFIG?.trim() === '' ? undefined : env.MERIT_CONFIG);
  const filePath = resolve(cwd, named ?? 'merit.yaml');
  const file = await readConfigFile(filePath, named !== undefined, reader);
  const config = await readValues({ env, cwd, file: file ?? {}, fileDir: dirname(filePath), reader });
  if (reader.refusals.length > 0) throw new RefusedInput(reader.refusals);
  return { ...config, fileHash: file === undefined ? undefined : contentHash(file) };
}

async function readValues(from: Sources): Promise<Omit<ServerConfig, 'fileHash'>> {
  const { env, file, reader } = from;
  const stateDir = path(from, 'MERIT_HOME', file.stateDir) ?? fileURLToPath(new URL('../.merit', import.meta.url));
  const tenant = variable(env, 'MERIT_TENANT') ?? file.tenant ?? 'default';
  const wrong = slugRefusal('tenant', tenant);
  if (wrong !== undefined) reader.add([wrong]);
  const tls = file.tls;
  const redis = await secretUrl(from, 'REDIS_URL', 'redisUrl', ruleRedisUrl);
  return {
    stateDir,
    listen: readListen(from),
    database: await readDatabase(from),
    maxConnections: file.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
    nominator: readNominator(from, redis),
    redis: redis?.secret === undefined ? undefined : { url: redis.secret, reading: redis.reading },
    tenant,
    peers: {
      sentinelNet: readPeer(from, 'sentinelNet'),
      finance: readPeer(from, 'finance'),
      agentManager: readPeer(from, 'agentManager'),
      reasoningGraph: readPeer(from, 'reasoningGraph'),
      kernel: readPeer(from, 'kernel'),
    },
    tls:
      tls === undefined
        ? undefined
        : {
            certFile: resolve(from.fileDir, tls.certFile),
            keyFile: resolve(from.fileDir, tls.keyFile),
            caFile: resolve(from.fileDir, tls.caFile),
          },
    oidc: oidcConfig(file.oidc, (named) => resolve(from.fileDir, named), reader),
    services: servicesConfig(file.services, tls !== undefined, reader),
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
    archive: archiveConfig(file.archive, reader),
    collection: collectionConfig(file.collection, reader),
    eventLog: await eventLogConfig({
      brokers: variable(env, 'KAFKA_BROKERS'),
      file: file.eventLog,
      fileDir: from.fileDir,
      reader,
    }),
    s3Outputs: readS3Outputs(from),
    providerPaths: readFullPaths(from, 'MERIT_PROVIDER_PATHS', 'providerPaths', 'packages'),
    providerFiles: readFullPaths(from, 'MERIT_PROVIDER_FILES', 'providerFiles', 'folders'),
    signer: signerConfig(file.signer, (named) => resolve(from.fileDir, named), join(stateDir, 'signer.pem'), reader),
    witness: witnessConfig(file.witness, (named) => resolve(from.fileDir, named), reader),
    roles: readRoles(from),
    features: readFeatures(from),
    reportPartitions: file.reportPartitions ?? 1,
    recomputeThreads: file.recomputeThreads ?? 2,
    intervals: readIntervals(from),
    ingest: ingestConfig(file.ingest, reader),
    rateLimits: rateLimits(file.rateLimit, reader),
    downstream: downstreamConfig(file.downstream, reader),
    log: readLog(from),
  };
}

function readListen(from: Sources): ServerConfig['listen'] {
  const { env, file, reader } = from;
  const host = variable(env, 'MERIT_HOST') ?? file.listen?.host ?? '127.0.0.1';
  if (!isLoopbackHost(hostInUrl(host))) {
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

const PEER_URLS = {
  sentinelNet: 'MERIT_SENTINELNET_URL',
  finance: 'MERIT_FINANCE_URL',
  agentManager: 'MERIT_AGENT_MANAGER_URL',
  reasoningGraph: 'MERIT_REASONING_GRAPH_URL',
  kernel: 'MERIT_KERNEL_URL',
} as const;
type PeerName = keyof typeof PEER_URLS;

function readPeer(from: Sources, peer: PeerName): PeerEndpoint | undefined {
  const { env, file, reader } = from;
  const inFile = file.peers?.[peer];
  const set = variable(env, PEER_URLS[peer]);
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

function readFullPaths(
  from: Sources,
  name: 'MERIT_PROVIDER_PATHS' | 'MERIT_PROVIDER_FILES',
  field: 'providerPaths' | 'providerFiles',
  of: string,
): readonly string[] {
  const paths = variable(from.env, name)?.split(delimiter) ?? from.file[field] ?? [];
  if (!paths.every(isAbsolute))
    from.reader.refuse(
      'format',
      field,
      'names what is no full path',
      `write full paths of ${of}, several with ${delimiter} between`,
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
