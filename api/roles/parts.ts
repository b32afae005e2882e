import { openSigningKeys, type SigningKeys } from '../../ledger/audit/signing-keys.ts';
import { finance as financeClient } from '../../peers/finance/client.ts';
import { sentinelNet as sentinelClient } from '../../peers/sentinelnet/client.ts';
import type { EventLog } from '../../platform/event-log.ts';
import { createMetrics, type Metrics } from '../../platform/metrics.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { openObjectStore } from '../../platform/object-store-config.ts';
import { type Database, openDatabase } from '../../platform/postgres.ts';
import { openSigner } from '../../platform/signer-config.ts';
import { watchedSigner } from '../../platform/signer-watch.ts';
import type { ConsumerContext } from '../../scoring/context.ts';
import { appendReports } from '../../scoring/ingest/pack-reports.ts';
import { ReaderThread } from '../../scoring/ingest/reader-thread.ts';
import { sentinelNetPolicy } from '../../scoring/promotion/sentinelnet-policy.ts';
import { RecentCommits } from '../../scoring/realtime/recent-commits.ts';
import { tenantsOf } from './access.ts';
import type { SagaParts } from './engine.ts';
import { openServerLog } from './event-log.ts';
import { hasEnded, processHolder } from './holder.ts';
import { type ServerMetrics, serverMetrics } from './metrics.ts';
import { PoolProviders } from './provider-source.ts';
import type { ServerOptions } from './server-options.ts';
import { openTrailWitness, type TrailWitness } from './witness.ts';

/** What a server's loops and its doors share. */
export interface ServerParts {
  readonly db: Database;
  readonly registry: Metrics;
  readonly metrics: ServerMetrics;
  readonly eventLog: EventLog;
  readonly store: ObjectStore;
  readonly keys: SigningKeys;
  readonly witness: TrailWitness;
  readonly providers: PoolProviders;
  /** Names this process. */
  readonly holder: string;
  readonly saga: SagaParts;
  /** What reads the report log works with; whoever leads adds its epoch. */
  readonly reading: ConsumerContext;
  /** What live windows are kept up with. */
  readonly recentCommits: RecentCommits;
}

/** Opens them, on a migrated database; what is to be closed is put before `closers`. Starts nothing. */
export async function openParts(options: ServerOptions, closers: (() => Promise<unknown>)[]): Promise<ServerParts> {
  const { clock, config, log, stateDir, appUrl, engineUrl } = options;
  const { eventLog: logConfig, reportPartitions, tenant } = config;
  const db = openDatabase({ appUrl, engineUrl, maxConnections: config.maxConnections });
  closers.unshift(() => db.close());
  await db.asEngine((tx) =>
    tx.execute('insert into tenants (tenant) select unnest($1::text[]) on conflict do nothing', [tenantsOf(config)]),
  );
  const registry = createMetrics({ processMetrics: true });
  const metrics = serverMetrics(registry);
  const from = { config: logConfig, reportPartitions, tenant, db, engineUrl, watch: metrics.kafka, log };
  const eventLog = await openServerLog(from);
  closers.unshift(() => eventLog.close());
  const reader = new ReaderThread();
  closers.unshift(() => reader.close());
  const store = await openObjectStore(config.objectStore, metrics.store);
  const { next } = config.signer;
  const keys = await openSigningKeys(
    db,
    watchedSigner(await openSigner(config.signer.current), metrics.signer),
    next === undefined ? undefined : watchedSigner(await openSigner(next), metrics.signer),
  );
  const witness = await openTrailWitness({
    db,
    clock,
    tenant,
    config: config.witness,
    restart: options.restartWitness,
    watch: metrics.witness(log),
  });
  const providers = new PoolProviders({
    db,
    clock,
    stateDir,
    ownRay: options.ownRay,
    paths: config.providerPaths,
    trust: { tenant, stateDir, files: config.providerFiles },
    watch: metrics.providers,
  });
  closers.unshift(() => providers.close());
  const sentinelNet = sentinelClient({ http: options.sentinelNet });
  const holder = processHolder();
  const saga: SagaParts = {
    db,
    clock,
    sentinelNet,
    finance: financeClient({ http: options.finance }),
    providers,
    store,
    publishReports: (ndjson, source) => appendReports(eventLog, ndjson, source),
    stateDir,
    s3Outputs: config.s3Outputs,
    planEveryMs: config.intervals.planMs,
    sweepEveryMs: config.intervals.reconcileMs,
    idempotencyRetentionMs: config.intervals.idempotencyRetentionMs,
    tag: `merit-${options.instanceId}`,
    log,
    metrics: metrics.saga,
  };
  const recentCommits = new RecentCommits();
  const reading: ConsumerContext = {
    db,
    holder,
    isGone: hasEnded,
    clock,
    eventLog,
    reader,
    recentCommits,
    signer: keys.signer,
    policy: sentinelNetPolicy(sentinelNet),
    rollouts: config.features.has('suite-rollouts'),
    metrics: metrics.scoring,
    log,
  };
  return { db, registry, metrics, eventLog, store, keys, witness, providers, holder, saga, reading, recentCommits };
}
