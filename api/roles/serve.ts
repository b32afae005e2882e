import { randomBytes } from 'node:crypto';
import { assert } from '../../core/assert.ts';
import { runSequencer } from '../../ledger/audit/sequencer.ts';
import { openSigningKeys } from '../../ledger/audit/signing-keys.ts';
import { finance as financeClient } from '../../peers/finance/client.ts';
import { financeReports } from '../../peers/finance/reports.ts';
import type { PeerHttp } from '../../peers/peer-call.ts';
import { sentinelNet as sentinelClient } from '../../peers/sentinelnet/client.ts';
import type { Clock } from '../../platform/clock.ts';
import type { ServerConfig } from '../../platform/config.ts';
import { createMetrics } from '../../platform/metrics.ts';
import type { Nominator, Seat } from '../../platform/nominator.ts';
import { kubernetesNominator } from '../../platform/nominator-kubernetes.ts';
import { postgresNominator } from '../../platform/nominator-postgres.ts';
import { redisNominator } from '../../platform/nominator-redis.ts';
import { openObjectStore } from '../../platform/object-store-config.ts';
import { type DatabaseUrl, urlNow } from '../../platform/pg-login.ts';
import { openDatabase } from '../../platform/postgres.ts';
import { openTenantReads } from '../../platform/postgres-reads.ts';
import type { RateLimiter } from '../../platform/rate-limit.ts';
import { type FailoverWatch, failingOpen } from '../../platform/rate-limit-failover.ts';
import { memoryRateLimiter } from '../../platform/rate-limit-memory.ts';
import { redisRateLimiter } from '../../platform/rate-limit-redis.ts';
import type { RedisUrl } from '../../platform/redis.ts';
import { openSigner } from '../../platform/signer-config.ts';
import { watchedSigner } from '../../platform/signer-watch.ts';
import type { RotatingTls } from '../../platform/tls-rotation.ts';
import { watchQuotas } from '../../pools/watch-quotas.ts';
import type { Log } from '../../scheduler/apply/context.ts';
import { watchEtas } from '../../scheduler/apply/eta-record.sql.ts';
import { QueueView } from '../../scheduler/apply/queue-view.ts';
import { watchProposals } from '../../scheduler/signatures/watch.sql.ts';
import { archivedLog } from '../../scoring/archive/archived-log.ts';
import { runArchiver } from '../../scoring/archive/archiver.ts';
import { runRecomputes } from '../../scoring/batch/recompute-worker.ts';
import type { ScoringContext } from '../../scoring/context.ts';
import { BacklogWatch } from '../../scoring/ingest/backlog.ts';
import { expireQuarantine } from '../../scoring/ingest/expire-quarantine.ts';
import { appendReports } from '../../scoring/ingest/pack-reports.ts';
import { runResending } from '../../scoring/ingest/parked.sql.ts';
import { ReaderThread } from '../../scoring/ingest/reader-thread.ts';
import { runConsumer } from '../../scoring/ingest/run-consumer.ts';
import { sentinelNetPolicy } from '../../scoring/promotion/sentinelnet-policy.ts';
import { runReplays } from '../../scoring/replay/replay-worker.ts';
import { runRetrains } from '../../scoring/retrain/retrain-worker.ts';
import { limitIdentities } from '../http/rate-limits.ts';
import { roomServices } from '../http/rooms.ts';
import { buildHttpServer } from '../http/server.ts';
import { openServiceDoor } from '../http/service-door.ts';
import { openAccess, tenantsOf } from './access.ts';
import { collectionLoop } from './collection-loop.ts';
import { downstreamLoop, downstreamSweeps } from './downstream.ts';
import { allocatorLoop, type LeaderLoop, reconcilerLoop, runEngine, type SagaParts } from './engine.ts';
import { openServerLog } from './event-log.ts';
import { financeReportLoop } from './finance-report.ts';
import { hasEnded, processHolder } from './holder.ts';
import { told } from './listen.ts';
import { serverMetrics } from './metrics.ts';
import { noticeLoops, type ToldPeers } from './notices.ts';
import type { OwnRay } from './own-ray.ts';
import { PoolProviders } from './provider-source.ts';
import { readiness } from './readiness.ts';
import { sweepLoop } from './sweeps.ts';
import { openTrailWitness } from './witness.ts';

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
    await db.asEngine((tx) =>
      tx.execute('insert into tenants (tenant) select unnest($1::text[]) on conflict do nothing', [tenantsOf(config)]),
    );
    const registry = createMetrics({ processMetrics: true });
    const metrics = serverMetrics(registry);
    const { eventLog: logConfig, reportPartitions, tenant } = config;
    const from = {
      config: logConfig,
      reportPartitions,
      tenant,
      db,
      engineUrl: options.engineUrl,
      watch: metrics.kafka,
      log,
    };
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
    const { signer } = keys;
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
    const holder = processHolder();
    const reading = {
      db,
      holder,
      isGone: hasEnded,
      clock,
      eventLog,
      reader,
      signer,
      policy: sentinelNetPolicy(sentinelNet),
      rollouts: config.features.has('suite-rollouts'),
      metrics: metrics.scoring,
      log,
    };
    const scoring = (epoch: bigint): ScoringContext => ({ ...reading, epoch });
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
        {
          name: 'proposals',
          run: (_epoch, signal) => watchProposals({ db, clock, log, metrics: metrics.signing }, signal),
        },
      ]);
    }
    if (config.roles.has('reconciler')) seats.set('reconciler', [reconcilerLoop(saga)]);
    if (config.roles.has('ingest')) {
      // Another log than the embedded one has a retention of its own.
      const policy = logConfig.kind === 'embedded' ? config.archive : { ...config.archive, logKeepMs: null };
      const archive = { db, clock, eventLog, log, store, policy, metrics: metrics.archive };
      seats.set('archive', [
        { name: 'archiver', run: (epoch, signal) => runArchiver({ ...archive, epoch }, signal) },
        { name: 'resending', run: (epoch, signal) => runResending(scoring(epoch), signal) },
      ]);
    }
    // Whoever writes events stands ready to seal them.
    if (seats.size > 0 || config.roles.has('ingest')) {
      const { checkpointMs } = config.intervals;
      const { everyMs } = config.collection;
      const sealing = { db, signer, keys, clock, checkpointEveryMs: checkpointMs, watch: metrics.sequencer(log) };
      seats.set('audit', [
        { name: 'sequencer', run: (epoch, signal) => runSequencer({ ...sealing, epoch }, signal) },
        ...witness.loops,
        ...noticeLoops({ db, clock, log, watch: metrics.notices }, options.told),
        financeReportLoop({
          db,
          clock,
          log,
          reports: financeReports({ http: options.finance }),
          watch: metrics.financeReports,
        }),
        downstreamLoop({
          db,
          clock,
          eventLog,
          installation: options.instanceId,
          // A log on Kafka is of the tenants that it is told of.
          tenants: logConfig.kind === 'kafka' ? [tenant, ...logConfig.tenants] : undefined,
          watch: metrics.publisher(log),
        }),
        sweepLoop(
          { clock, log },
          {
            quarantine: (epoch, nowMs) => expireQuarantine(db, epoch, nowMs - config.ingest.quarantineRetentionMs),
            ...downstreamSweeps(db, config.downstream.retentionMs),
          },
        ),
        ...(everyMs === null
          ? []
          : [collectionLoop({ db, store, clock, log, policy: { ...config.collection, everyMs } })]),
      ]);
    }
    const { token, tls } = options;
    const { kernel } = options.told;
    const access = await openAccess({ config, token, tls, kernel, db, clock, metrics: registry, log });
    const stopEngine = new AbortController();
    const nominator = await nominatorOf(options);
    closers.unshift(() => nominator.close());
    const led = new Set<Seat>();
    const faults = new Map<Seat, string>();
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
        onFault: (seat, why) => {
          if (why === undefined) faults.delete(seat);
          else faults.set(seat, why);
        },
      },
      stopEngine.signal,
    );
    const backlog = new BacklogWatch({
      db,
      eventLog,
      clock,
      limits: config.ingest.backlog,
      metrics: metrics.backlog,
      log,
    });
    const watching = Promise.all([
      backlog.run(stopEngine.signal),
      keys.follow(clock, stopEngine.signal),
      access.run(stopEngine.signal),
    ]);
    // These need no seat: what they claim is their own, in any number of processes.
    const consuming = config.roles.has('ingest') ? runConsumer(reading, stopEngine.signal) : undefined;
    // What the log holds no more is read from the archive.
    const { read } = archivedLog({ db, store, eventLog, prefer: 'log' });
    const recompute = { db, clock, eventLog: { ...eventLog, read }, log, holder, metrics: metrics.recompute };
    const recomputes =
      config.roles.has('recompute') && config.features.has('suite-rollouts')
        ? runRecomputes(recompute, stopEngine.signal, { maxThreads: config.recomputeThreads })
        : undefined;
    const replay = { db, clock, eventLog, log, store, holder, metrics: metrics.replay };
    const replays = config.roles.has('recompute') ? runReplays(replay, stopEngine.signal) : undefined;
    closers.unshift(async () => {
      stopEngine.abort();
      // A step that a slow peer holds up longer than this goes on after the next start, as after a crash.
      const ended = new AbortController();
      const loops = Promise.all([engine, consuming, recomputes, replays, watching]).finally(() => ended.abort());
      await Promise.race([loops, clock.sleep(config.intervals.drainMs, ended.signal)]);
    });
    const limiter = await limiterOf(options, metrics.rates(log));
    closers.unshift(() => limiter.close());
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
        environment: saga.tag,
        signingMetrics: metrics.signing,
        queues: new QueueView({ db, clock, providers }),
        cursorSecret: randomBytes(32),
        allowedHosts: access.allowedHosts,
        identify: access.identify,
        denied: access.denied,
        limitRate: limitIdentities(limiter, config.rateLimits),
        readiness: readiness({
          db,
          store,
          clock,
          kafka: logConfig.kind === 'kafka' ? eventLog : undefined,
          leads: () => led,
          faults: () => faults,
          sentinelNet: options.sentinelNet,
          finance: options.finance,
          oidc: access.keys,
          kernel: access.roles,
        }),
        store,
        eventLog,
        backlog,
        providers,
        keys,
        witness: witness.store,
        features: config.features,
      }),
    );
    closers.unshift(async () => {
      const timer = setTimeout(() => app.server.closeAllConnections(), config.intervals.drainMs);
      await app.close();
      clearTimeout(timer);
    });
    if (config.services !== undefined) {
      const { listen } = config.services;
      const door = await told(listen, () => openServiceDoor({ app, tls, listen }));
      closers.unshift(() => door.close(config.intervals.drainMs));
      log.info({ url: door.url, spiffeId: tls.current().spiffeId }, 'the door for services is open');
    }
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
function nominatorOf({ config, engineUrl, redisUrl }: ServerOptions): Nominator | Promise<Nominator> {
  const { nominator } = config;
  if (nominator.kind === 'postgres') return postgresNominator(engineUrl);
  if (nominator.kind === 'kubernetes') {
    const { kubeconfig, namespace, leasePrefix } = nominator;
    return kubernetesNominator({ kubeconfig }, { namespace, prefix: leasePrefix });
  }
  assert(redisUrl !== undefined, 'a configuration that nominates by Redis names one');
  return redisNominator(redisUrl, new URL(urlNow(engineUrl)).pathname.slice(1));
}

/** Together with other processes where there is a Redis, and by this one while it does not answer. */
async function limiterOf({ redisUrl, engineUrl }: ServerOptions, watch: FailoverWatch): Promise<RateLimiter> {
  const own = memoryRateLimiter();
  if (redisUrl === undefined) return own;
  const shared = await redisRateLimiter(redisUrl, new URL(urlNow(engineUrl)).pathname.slice(1));
  return failingOpen(shared, own, watch);
}
