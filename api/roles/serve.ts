import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { runSequencer } from '../../ledger/audit/sequencer.ts';
import { finance as financeClient } from '../../peers/finance/client.ts';
import type { PeerHttp } from '../../peers/peer-call.ts';
import { sentinelNet as sentinelClient } from '../../peers/sentinelnet/client.ts';
import type { Clock } from '../../platform/clock.ts';
import type { ServerConfig } from '../../platform/config.ts';
import { createTopic, openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import { createMetrics } from '../../platform/metrics.ts';
import type { Nominator, Seat } from '../../platform/nominator.ts';
import { kubernetesNominator } from '../../platform/nominator-kubernetes.ts';
import { postgresNominator } from '../../platform/nominator-postgres.ts';
import { redisNominator } from '../../platform/nominator-redis.ts';
import { openObjectStore } from '../../platform/object-store-config.ts';
import { openDatabase } from '../../platform/postgres.ts';
import { openTenantReads } from '../../platform/postgres-reads.ts';
import { openFileSigner } from '../../platform/signer-file.ts';
import { watchQuotas } from '../../pools/watch-quotas.ts';
import type { Log } from '../../scheduler/apply/context.ts';
import { watchEtas } from '../../scheduler/apply/eta-record.sql.ts';
import { QueueView } from '../../scheduler/apply/queue-view.ts';
import { runRecomputes } from '../../scoring/batch/recompute-worker.ts';
import type { ScoringContext } from '../../scoring/context.ts';
import { runConsumer } from '../../scoring/ingest/consumer.ts';
import { appendReports } from '../../scoring/ingest/pack-reports.ts';
import { ReaderThread } from '../../scoring/ingest/reader-thread.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { sentinelNetPolicy } from '../../scoring/promotion/sentinelnet-policy.ts';
import { runRetrains } from '../../scoring/retrain/retrain-worker.ts';
import { roomServices } from '../http/rooms.ts';
import { buildHttpServer } from '../http/server.ts';
import { tokenIdentifier } from '../http/token.ts';
import { allocatorLoop, type LeaderLoop, reconcilerLoop, runEngine, type SagaParts } from './engine.ts';
import { told } from './listen.ts';
import { serverMetrics } from './metrics.ts';
import type { OwnRay } from './own-ray.ts';
import { PoolProviders } from './provider-source.ts';
import { readiness } from './readiness.ts';

/** The embedded log's partitions. */
const PARTITIONS = 1;

export interface ServerOptions {
  readonly version: string;
  readonly stateDir: string;
  /** Names this installation at providers. */
  readonly instanceId: string;
  readonly appUrl: string;
  readonly engineUrl: string;
  readonly sentinelNet: PeerHttp;
  readonly finance: PeerHttp;
  readonly ownRay: OwnRay;
  readonly config: Pick<
    ServerConfig,
    | 'listen'
    | 'tenant'
    | 'maxConnections'
    | 'nominator'
    | 'objectStore'
    | 's3Outputs'
    | 'providerPaths'
    | 'signerKeyFile'
    | 'roles'
    | 'features'
    | 'intervals'
  >;
  /** The bearer token that people and the CLI use. */
  readonly token: string;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Server {
  /** `http://127.0.0.1:7460` */
  readonly url: string;
  /** Stops taking requests, lets steps under way end, closes everything. May be called again. */
  stop(): Promise<void>;
}

/** The server on a migrated database: its doors now, its engine whenever this process leads. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const { clock, config, log, stateDir } = options;
  const db = openDatabase({
    appUrl: options.appUrl,
    engineUrl: options.engineUrl,
    maxConnections: config.maxConnections,
  });
  const closers: (() => Promise<unknown>)[] = [() => db.close()];
  try {
    await db.asEngine(async (tx) => {
      await tx.execute('insert into tenants (tenant) values ($1) on conflict do nothing', [config.tenant]);
      await createTopic(tx, REPORTS_TOPIC, PARTITIONS);
    });
    const metrics = serverMetrics(createMetrics({ processMetrics: true }));
    const eventLog = openPostgresEventLog({ db, listenUrl: options.engineUrl, appendAs: 'engine' });
    closers.unshift(() => eventLog.close());
    const reader = new ReaderThread();
    closers.unshift(() => reader.close());
    const store = await openObjectStore(config.objectStore, metrics.store);
    const signer = await openFileSigner({ path: config.signerKeyFile, create: true });
    const providers = new PoolProviders({ db, clock, stateDir, ownRay: options.ownRay, paths: config.providerPaths });
    closers.unshift(() => providers.close());
    const sentinelNet = sentinelClient({ http: options.sentinelNet });
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
    const scoring = (epoch: bigint): ScoringContext => ({
      db,
      epoch,
      clock,
      eventLog,
      reader,
      signer,
      policy: sentinelNetPolicy(sentinelNet),
      rollouts: config.features.has('suite-rollouts'),
      metrics: metrics.scoring,
      log,
    });
    const seats = new Map<Seat, readonly LeaderLoop[]>();
    if (config.roles.has('allocator')) {
      const retrains = (epoch: bigint, signal: AbortSignal) => runRetrains(scoring(epoch), signal);
      const quotas = (epoch: bigint, signal: AbortSignal) =>
        watchQuotas({ db, epoch, clock, log, metrics: metrics.quotas }, signal);
      seats.set('engine', [
        allocatorLoop(saga, options.engineUrl),
        { name: 'retrains', run: retrains },
        { name: 'quotas', run: quotas },
        { name: 'etas', run: (_epoch, signal) => watchEtas({ db, clock, log, metrics: metrics.etas }, signal) },
      ]);
    }
    if (config.roles.has('reconciler')) seats.set('reconciler', [reconcilerLoop(saga)]);
    if (config.roles.has('ingest')) {
      const consumer = (epoch: bigint, signal: AbortSignal) => runConsumer(scoring(epoch), signal);
      seats.set('ingest', [{ name: 'consumer', run: consumer }]);
    }
    // Whoever writes events stands ready to seal them.
    if (seats.size > 0) {
      const { checkpointMs } = config.intervals;
      const sealing = { db, signer, clock, checkpointEveryMs: checkpointMs, watch: metrics.sequencer(log) };
      seats.set('audit', [{ name: 'sequencer', run: (epoch, signal) => runSequencer({ ...sealing, epoch }, signal) }]);
    }
    const holder = `${hostname()}/${process.pid}`;
    const stopEngine = new AbortController();
    const nominator = await nominatorOf(options);
    closers.unshift(() => nominator.close());
    const led = new Set<Seat>();
    const engine = runEngine(
      {
        engineUrl: options.engineUrl,
        nominator,
        holder,
        clock,
        log,
        seats,
        onLead: (seat, leads) => {
          if (leads) led.add(seat);
          else led.delete(seat);
          metrics.leading(seat, leads);
        },
      },
      stopEngine.signal,
    );
    // Needs no seat: what it claims is its own, in any number of processes.
    const recompute = { db, clock, eventLog, log, holder, metrics: metrics.recompute };
    const recomputes =
      config.roles.has('recompute') && config.features.has('suite-rollouts')
        ? runRecomputes(recompute, stopEngine.signal)
        : undefined;
    closers.unshift(async () => {
      stopEngine.abort();
      // A step that a slow peer holds up longer than this goes on after the next start, as after a crash.
      const ended = new AbortController();
      const loops = Promise.all([engine, recomputes]).finally(() => ended.abort());
      await Promise.race([loops, clock.sleep(config.intervals.drainMs, ended.signal)]);
    });
    const reads = openTenantReads(options.appUrl);
    closers.unshift(() => reads.close());
    const app = buildHttpServer(
      roomServices({
        version: options.version,
        clock,
        db,
        log,
        metrics: metrics.http,
        reads,
        realtimeMetrics: metrics.realtime,
        queues: new QueueView({ db, clock, providers }),
        cursorSecret: randomBytes(32),
        allowedHosts: [],
        identify: tokenIdentifier(options.token, {
          principal: 'token:local',
          tenant: config.tenant,
          functions: ['read', 'submit', 'report', 'operate'],
          producers: 'any',
        }),
        readiness: readiness({
          db,
          store,
          clock,
          leads: () => led,
          sentinelNet: options.sentinelNet,
          finance: options.finance,
        }),
        store,
        eventLog,
        providers,
        signer,
        features: config.features,
      }),
    );
    closers.unshift(async () => {
      const timer = setTimeout(() => app.server.closeAllConnections(), config.intervals.drainMs);
      await app.close();
      clearTimeout(timer);
    });
    const url = await told(config.listen, () => app.listen(config.listen));
    return { url, stop: once(closers) };
  } catch (error) {
    await once(closers)();
    throw error;
  }
}

/** Closes in order, the newest first, whatever one of them throws; later calls wait for the first. */
function once(closers: readonly (() => Promise<unknown>)[]): () => Promise<void> {
  let closing: Promise<void> | undefined;
  return () => {
    closing ??= (async () => {
      for (const close of closers) await close().catch(() => {});
    })();
    return closing;
  };
}

/** Processes on one database are one installation; two of them on one Redis are told apart by their databases' names. */
function nominatorOf({ config, engineUrl }: ServerOptions): Nominator | Promise<Nominator> {
  const { nominator } = config;
  if (nominator.kind === 'postgres') return postgresNominator(engineUrl);
  if (nominator.kind === 'kubernetes') {
    const { kubeconfig, namespace, leasePrefix } = nominator;
    return kubernetesNominator({ kubeconfig }, { namespace, prefix: leasePrefix });
  }
  return redisNominator(nominator.url.reveal(), new URL(engineUrl).pathname.slice(1));
}
