import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { type Refusal, refuse } from '../core/refusal.ts';
import { check, type Static, Type } from '../core/schema.ts';
import { ArchiveFile } from './archive-config.ts';
import { CollectionFile } from './collection-config.ts';
import { DownstreamFile, IngestFile, RateLimitFile } from './config-doors.ts';
import type { Ruled } from './config-rules.ts';
import { EventLogFile } from './event-log-config.ts';
import { OidcFile, ServicesFile } from './identity-config.ts';
import { ObjectStoreFile } from './object-store-config.ts';
import { SecretUrlFile } from './secret-url.ts';
import { SignerFile } from './signer-config.ts';
import { WitnessFile } from './witness-config.ts';
import { parseYaml } from './yaml.ts';

const Text = Type.String({ minLength: 1, maxLength: 4096 });
const Optional = Type.Optional;
const closed = { additionalProperties: false } as const;
const Peer = Type.Object({ url: Text, spiffeId: Optional(Text) }, closed);

/** merit.yaml. Everything is optional. */
export const ConfigFile = Type.Object(
  {
    stateDir: Optional(Text),
    listen: Optional(
      Type.Object({ host: Optional(Text), port: Optional(Type.Integer({ minimum: 0, maximum: 65_535 })) }, closed),
    ),
    databaseUrl: Optional(SecretUrlFile),
    databaseUrlFile: Optional(Text),
    engineDatabaseUrl: Optional(SecretUrlFile),
    engineDatabaseUrlFile: Optional(Text),
    migrateDatabaseUrl: Optional(SecretUrlFile),
    migrateDatabaseUrlFile: Optional(Text),
    /** Who says which process leads: postgres, redis or kubernetes. Postgres fences the leader in each case. */
    nominator: Optional(Text),
    redisUrl: Optional(SecretUrlFile),
    redisUrlFile: Optional(Text),
    /** Where the leases are; without a kubeconfig in the cluster of the pod. */
    kubernetes: Optional(
      Type.Object({ kubeconfig: Optional(Text), namespace: Optional(Text), leasePrefix: Optional(Text) }, closed),
    ),
    maxConnections: Optional(Type.Integer({ minimum: 2, maximum: 500 })),
    tenant: Optional(Text),
    /** Of the embedded log's reports: as many processes may read them side by side. They are raised, never lowered. */
    reportPartitions: Optional(Type.Integer({ minimum: 1, maximum: 32 })),
    /** Shards of recomputes that a process of the role counts at once; 0: it leaves them to others, or to jobs, and finishes what those did. */
    recomputeThreads: Optional(Type.Integer({ minimum: 0, maximum: 32 })),
    peers: Optional(
      Type.Object(
        {
          sentinelNet: Optional(Peer),
          finance: Optional(Peer),
          agentManager: Optional(Peer),
          reasoningGraph: Optional(Peer),
          kernel: Optional(Peer),
        },
        closed,
      ),
    ),
    tls: Optional(Type.Object({ certFile: Text, keyFile: Text, caFile: Text }, closed)),
    /** People who show a token of an identity provider. */
    oidc: Optional(OidcFile),
    /** The door for services, which show a certificate. */
    services: Optional(ServicesFile),
    objectStoreDir: Optional(Text),
    objectStore: Optional(ObjectStoreFile),
    archive: Optional(ArchiveFile),
    collection: Optional(CollectionFile),
    eventLog: Optional(EventLogFile),
    s3Outputs: Optional(Type.Array(Text, { maxItems: 64 })),
    providerPaths: Optional(Type.Array(Text, { maxItems: 64 })),
    providerFiles: Optional(Type.Array(Text, { maxItems: 64 })),
    signer: Optional(SignerFile),
    /** Where a copy of the signed checkpoints goes that nobody can take back. */
    witness: Optional(WitnessFile),
    roles: Optional(Type.Array(Text, { minItems: 1, maxItems: 16 })),
    features: Optional(Type.Array(Text, { maxItems: 64 })),
    ingest: Optional(IngestFile),
    rateLimit: Optional(RateLimitFile),
    downstream: Optional(DownstreamFile),
    intervals: Optional(
      Type.Object(
        {
          plan: Optional(Text),
          reconcile: Optional(Text),
          checkpoint: Optional(Text),
          drain: Optional(Text),
          idempotencyRetention: Optional(Text),
        },
        closed,
      ),
    ),
    log: Optional(Type.Object({ level: Optional(Text), file: Optional(Text) }, closed)),
  },
  closed,
);
export type ConfigFile = Static<typeof ConfigFile>;

const MAX_FILE_BYTES = 1024 * 1024;

/** Gathers refusals, so that all are told together. */
export class Reader {
  readonly refusals: Refusal[] = [];

  add(refusals: readonly Refusal[]): void {
    this.refusals.push(...refusals);
  }

  refuse(code: string, field: string, problem: string, mend: string): void {
    this.refusals.push(refuse(code, field, problem, mend));
  }

  /** The value, or `otherwise` once its refusal is noted. */
  take<T>(ruled: Ruled<T>, otherwise: T): T {
    if (ruled.ok) return ruled.value;
    this.refusals.push(ruled.refusal);
    return otherwise;
  }
}

/** The file's values; undefined where it is absent and was not named, or refused. */
export async function readConfigFile(path: string, named: boolean, reader: Reader): Promise<ConfigFile | undefined> {
  let text: string;
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const facts = await handle.stat();
      if (!facts.isFile()) throw new Error('it is not a regular file');
      if (facts.size > MAX_FILE_BYTES) throw new Error('it is larger than 1 MiB');
      text = await handle.readFile('utf8');
    } finally {
      await handle.close();
    }
  } catch (error) {
    const absent = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (absent && !named) return undefined;
    const problem = absent ? `${path} does not exist` : `${path} cannot be read: ${(error as Error).message}`;
    reader.refuse('config_file', '', problem, 'name a file that can be read');
    return undefined;
  }
  const reading = parseYaml(text);
  if (!reading.ok) {
    reader.add(reading.refusals.map((one) => ({ ...one, problem: `${path}: ${one.problem}` })));
    return undefined;
  }
  if (reading.value === null) {
    reader.refuse('config_file', '', `${path} is empty`, 'write `{}` for the defaults, or name another file');
    return undefined;
  }
  const refusals = check(ConfigFile, reading.value);
  reader.add(refusals);
  return refusals.length === 0 ? (reading.value as ConfigFile) : undefined;
}
