import { randomBytes } from 'node:crypto';
import { openTenantReads, type TenantReads } from '../../platform/postgres-reads.ts';
import type { RateLimiter } from '../../platform/rate-limit.ts';
import { QueueView } from '../../scheduler/apply/queue-view.ts';
import { limitIdentities } from '../http/rate-limits.ts';
import { roomServices } from '../http/rooms.ts';
import { buildHttpServer } from '../http/server.ts';
import { openServiceDoor } from '../http/service-door.ts';
import type { Services } from '../http/services.ts';
import { type Access, openAccess } from './access.ts';
import { openLimiter, openNominator } from './between-processes.ts';
import { told } from './listen.ts';
import { type ServerLoops, startLoops } from './loops.ts';
import { openParts, type ServerParts } from './parts.ts';
import { readiness } from './readiness.ts';
import type { ServerOptions } from './server-options.ts';

export interface Server {
  /** `http://127.0.0.1:7460` */
  readonly url: string;
  /** Stops taking requests, lets steps under way end, closes everything. May be called again. */
  stop(): Promise<void>;
}

/** The server on a migrated database: its doors now, its engine whenever this process leads. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const closers: (() => Promise<unknown>)[] = [];
  try {
    const { config, token, tls, clock, log } = options;
    const { kernel } = options.told;
    const parts = await openParts(options, closers);
    const { db, registry, metrics } = parts;
    const access = await openAccess({ config, token, tls, kernel, db, clock, metrics: registry, log });
    const nominator = await openNominator(options);
    closers.unshift(() => nominator.close());
    const loops = startLoops(options, parts, nominator, access.run);
    closers.unshift(() => loops.stop());
    const limiter = await openLimiter(options, metrics.rates(log));
    closers.unshift(() => limiter.close());
    const reads = openTenantReads(options.appUrl);
    closers.unshift(() => reads.close());
    const url = await openDoors(options, servicesOf({ options, parts, loops, access, limiter, reads }), closers);
    return { url, stop: once(closers) };
  } catch (error) {
    await once(closers)();
    throw error;
  }
}

/** What the routes are given. */
function servicesOf({
  options,
  parts,
  loops,
  access,
  limiter,
  reads,
}: {
  readonly options: ServerOptions;
  readonly parts: ServerParts;
  readonly loops: ServerLoops;
  readonly access: Access;
  readonly limiter: RateLimiter;
  readonly reads: TenantReads;
}): Services {
  const { config, clock, log } = options;
  const { db, eventLog, store, keys, witness, providers, metrics } = parts;
  const { backlog, leads, faults } = loops;
  return roomServices({
    version: options.version,
    clock,
    db,
    log,
    metrics: metrics.http,
    reads,
    realtimeMetrics: metrics.realtime,
    recentCommits: parts.recentCommits,
    environment: parts.saga.tag,
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
      kafka: config.eventLog.kind === 'kafka' ? eventLog : undefined,
      leads,
      faults,
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
  });
}

/** The one for people, and that for services where there are any. Returns the URL of the first. */
async function openDoors(
  { config, tls, log }: ServerOptions,
  services: Services,
  closers: (() => Promise<unknown>)[],
): Promise<string> {
  const app = buildHttpServer(services);
  const { drainMs } = config.intervals;
  closers.unshift(async () => {
    const timer = setTimeout(() => app.server.closeAllConnections(), drainMs);
    await app.close();
    clearTimeout(timer);
  });
  if (config.services !== undefined) {
    const { listen } = config.services;
    const door = await told(listen, () => openServiceDoor({ app, tls, listen }));
    closers.unshift(() => door.close(drainMs));
    log.info({ url: door.url, spiffeId: tls.current().spiffeId }, 'the door for services is open');
  }
  return told(config.listen, () => app.listen(config.listen));
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
