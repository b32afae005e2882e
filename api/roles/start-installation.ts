import { randomBytes } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { RefusedInput } from '../../core/refusal.ts';
import type { PeerHttp } from '../../peers/peer-call.ts';
import type { Clock } from '../../platform/clock.ts';
import type { PeerEndpoint, ServerConfig } from '../../platform/config.ts';
import { devSpiffeId, ensureDevCertificates } from '../../platform/dev-ca.ts';
import { startEmbeddedPostgres } from '../../platform/embedded-postgres/start.ts';
import { openHttpClient } from '../../platform/http-client.ts';
import { migrate } from '../../platform/migrate.ts';
import type { DatabaseUrl } from '../../platform/pg-login.ts';
import { type LoginField, probeLogin, probeRoles } from '../../platform/probe-roles.ts';
import { claimServer, replaceFileSync, startKeeper } from '../../platform/processes.ts';
import { probeRedis, type RedisUrl } from '../../platform/redis.ts';
import type { Secret } from '../../platform/secret.ts';
import type { SecretReading } from '../../platform/secret-url.ts';
import { stateLayout } from '../../platform/state-layout.ts';
import { openRotatingTls, type RotatingTls } from '../../platform/tls-rotation.ts';
import type { Log } from '../../scheduler/apply/context.ts';
import { followLogin } from './follow-login.ts';
import { requireFreePort } from './listen.ts';
import type { ToldPeers } from './notices.ts';
import { noRay, type OwnRay, startOwnRay } from './own-ray.ts';
import { type Server, startServer } from './serve.ts';
import { startSimulatorProcess } from './start-simulators.ts';

/** Everything of an installation on one machine, running. */
export interface Installation {
  readonly url: string;
  readonly ray: OwnRay;
  /** Ends it in reverse order of its start; may be called again. */
  stop(): Promise<void>;
}

export interface InstallationOptions {
  readonly config: ServerConfig;
  readonly version: string;
  /** The Python of a venv with Ray; undefined: no Ray of its own, for the reason given. */
  readonly python: string | { readonly missing: string };
  /** Why the audit trail may be shorter than its witness this once. */
  readonly restartWitness?: string | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** Progress for a person. */
  readonly say: (line: string) => void;
}

/** Where a running server says how to reach it. */
const SERVER_RECORD = 'server.json';

/**
 * Starts what the configuration does not name: Postgres, the simulators of both peers, a Ray; then the server. Whatever was left running by a
 * server that was killed is adopted. What was started is ended again where a later part does not start.
 */
export async function startInstallation(options: InstallationOptions): Promise<Installation> {
  const { config, clock, log, say } = options;
  const layout = await stateLayout({ stateDir: config.stateDir });
  const { stateDir } = layout;
  const claim = claimServer(stateDir);
  const closers: (() => Promise<unknown>)[] = [async () => claim.release()];
  try {
    await requireFreePort(config.listen);
    startKeeper(stateDir);
    const ray =
      typeof options.python === 'string'
        ? startOwnRay({ stateDir, python: options.python, clock, log })
        : noRay(options.python.missing);
    closers.unshift(() => ray.stop());
    const urls = await databaseUrls(options, layout, closers);
    const peers = await peerClients(options, stateDir, closers);
    const token = await ensureToken(stateDir);
    const server = await startServer({
      version: options.version,
      stateDir,
      instanceId: layout.instanceId,
      appUrl: urls.app,
      engineUrl: urls.engine,
      redisUrl: redisUrl(options, closers),
      sentinelNet: peers.sentinelNet,
      finance: peers.finance,
      told: peers.told,
      tls: peers.tls,
      ownRay: ray,
      config,
      token,
      restartWitness: options.restartWitness,
      clock,
      log,
    });
    closers.unshift(() => server.stop());
    writeServerRecord(stateDir, server);
    closers.unshift(() => rm(join(stateDir, SERVER_RECORD), { force: true }));
    say(`ready at ${server.url}`);
    return { url: server.url, ray, stop: once(closers, log) };
  } catch (error) {
    await once(closers, log)();
    throw error;
  }
}

function writeServerRecord(stateDir: string, server: Server): void {
  replaceFileSync(
    join(stateDir, SERVER_RECORD),
    JSON.stringify({ url: server.url, tokenFile: TOKEN_FILE, pid: process.pid }),
  );
}

const TOKEN_FILE = 'token';
const TOKEN_BYTES = 32;

/** The installation's bearer token, made at the first start. */
async function ensureToken(stateDir: string): Promise<string> {
  const path = join(stateDir, TOKEN_FILE);
  const known = await readFile(path, 'utf8').catch(() => undefined);
  if (known !== undefined && known.trim() !== '') return known.trim();
  const token = randomBytes(TOKEN_BYTES).toString('base64url');
  replaceFileSync(path, `${token}\n`);
  return token;
}

async function databaseUrls(
  options: InstallationOptions,
  layout: Awaited<ReturnType<typeof stateLayout>>,
  closers: (() => Promise<unknown>)[],
): Promise<{ readonly app: DatabaseUrl; readonly engine: DatabaseUrl }> {
  const { config, say } = options;
  if (config.database.kind === 'external') {
    const { appUrl, engineUrl, migrateUrl, readings } = config.database;
    if (migrateUrl !== undefined) await migrate({ ownerUrl: migrateUrl.reveal() });
    const stop = new AbortController();
    closers.unshift(async () => stop.abort());
    const follow = (field: LoginField, initial: Secret, reading: SecretReading | undefined): DatabaseUrl => {
      const probe = (url: string) => probeLogin(field, url);
      return followLogin({ field, of: 'database', initial, probe }, reading, options, stop.signal);
    };
    const app = follow('databaseUrl', appUrl, readings.app);
    const engine = follow('engineDatabaseUrl', engineUrl, readings.engine);
    await refuseStrongRoles(app, engine);
    return { app, engine };
  }
  say('starting Postgres');
  const postgres = await startEmbeddedPostgres({
    stateDir: layout.stateDir,
    dataDir: layout.dataDir,
    nativeRoot: layout.nativeRoot,
    postgresUser: layout.postgresUser,
    log: (line) => options.log.info({ part: 'postgres' }, line),
  });
  closers.unshift(() => postgres.stop());
  const { applied } = await migrate({ ownerUrl: postgres.urls.owner });
  if (applied.length > 0) options.log.info({ applied }, 'migrated');
  await refuseStrongRoles(postgres.urls.app, postgres.urls.engine);
  return { app: postgres.urls.app, engine: postgres.urls.engine };
}

/** Where there is a Redis: its URL, with the login as it is now. */
function redisUrl(options: InstallationOptions, closers: (() => Promise<unknown>)[]): RedisUrl | undefined {
  const { redis } = options.config;
  if (redis === undefined) return undefined;
  const stop = new AbortController();
  closers.unshift(async () => stop.abort());
  const login = { field: 'redisUrl', of: 'Redis', initial: redis.url, probe: probeRedis } as const;
  return followLogin(login, redis.reading, options, stop.signal);
}

async function refuseStrongRoles(appUrl: DatabaseUrl, engineUrl: DatabaseUrl): Promise<void> {
  const refusals = await probeRoles({ appUrl, engineUrl });
  if (refusals.length > 0) throw new RefusedInput(refusals);
}

async function peerClients(
  options: InstallationOptions,
  stateDir: string,
  closers: (() => Promise<unknown>)[],
): Promise<{
  readonly sentinelNet: PeerHttp;
  readonly finance: PeerHttp;
  readonly told: ToldPeers;
  readonly tls: RotatingTls;
}> {
  const { config, clock, say } = options;
  const certificates = join(stateDir, 'tls');
  const own = await ensureDevCertificates({
    dir: certificates,
    services: ['merit', 'sentinelnet', 'finance'],
    nowMs: clock.now(),
  });
  let { sentinelNet, finance } = config.peers;
  const { agentManager, reasoningGraph, kernel } = config.peers;
  if (sentinelNet === undefined || finance === undefined) {
    say('starting the simulators of SentinelNet and Finance');
    const simulators = await startSimulatorProcess({ stateDir, certificates, clock });
    closers.unshift(() => simulators.stop());
    sentinelNet ??= { origin: simulators.urls.sentinelnet, spiffeId: devSpiffeId('sentinelnet') };
    finance ??= { origin: simulators.urls.finance, spiffeId: devSpiffeId('finance') };
  }
  const tls = await openRotatingTls(config.tls ?? own.merit, clock);
  const open = ({ origin, spiffeId }: PeerEndpoint): PeerHttp => {
    const client = openHttpClient(spiffeId === undefined ? { origin } : { origin, tls: tls.client([spiffeId]) });
    closers.unshift(() => client.close());
    return (request) => client.send(request);
  };
  const told = {
    agentManager: agentManager === undefined ? undefined : open(agentManager),
    reasoningGraph: reasoningGraph === undefined ? undefined : open(reasoningGraph),
    kernel: kernel === undefined ? undefined : open(kernel),
  };
  return { sentinelNet: open(sentinelNet), finance: open(finance), told, tls };
}

function once(closers: readonly (() => Promise<unknown>)[], log: Log): () => Promise<void> {
  let closing: Promise<void> | undefined;
  return () => {
    closing ??= (async () => {
      for (const close of closers)
        await close().catch((error: unknown) => log.warn({ error: String(error) }, 'a part did not end cleanly'));
    })();
    return closing;
  };
}
