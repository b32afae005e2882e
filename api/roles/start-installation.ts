import { randomBytes } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { RefusedInput } from '../../core/refusal.ts';
import type { PeerHttp } from '../../peers/peer-call.ts';
import type { Clock } from '../../platform/clock.ts';
import type { PeerEndpoint, ServerConfig } from '../../platform/config.ts';
import { devSpiffeId, ensureDevCertificates } from '../../platform/dev-ca.ts';
import { startEmbeddedPostgres } from '../../platform/embedded-postgres.ts';
import { openHttpClient } from '../../platform/http-client.ts';
import { migrate } from '../../platform/migrate.ts';
import { clientTls, loadTls } from '../../platform/mtls.ts';
import { probeRoles } from '../../platform/probe-roles.ts';
import { claimServer, replaceFileSync, startKeeper } from '../../platform/processes.ts';
import { stateLayout } from '../../platform/state-layout.ts';
import type { Log } from '../../scheduler/apply/context.ts';
import { requireFreePort } from './listen.ts';
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
      sentinelNet: peers.sentinelNet,
      finance: peers.finance,
      ownRay: ray,
      config,
      token,
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
): Promise<{ readonly app: string; readonly engine: string }> {
  const { config, say } = options;
  if (config.database.kind === 'external') {
    const { appUrl, engineUrl, migrateUrl } = config.database;
    if (migrateUrl !== undefined) await migrate({ ownerUrl: migrateUrl.reveal() });
    await refuseStrongRoles(appUrl.reveal(), engineUrl.reveal());
    return { app: appUrl.reveal(), engine: engineUrl.reveal() };
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

async function refuseStrongRoles(appUrl: string, engineUrl: string): Promise<void> {
  const refusals = await probeRoles({ appUrl, engineUrl });
  if (refusals.length > 0) throw new RefusedInput(refusals);
}

async function peerClients(
  options: InstallationOptions,
  stateDir: string,
  closers: (() => Promise<unknown>)[],
): Promise<{ readonly sentinelNet: PeerHttp; readonly finance: PeerHttp }> {
  const { config, clock, say } = options;
  const certificates = join(stateDir, 'tls');
  const own = await ensureDevCertificates({
    dir: certificates,
    services: ['merit', 'sentinelnet', 'finance'],
    nowMs: clock.now(),
  });
  let { sentinelNet, finance } = config.peers;
  if (sentinelNet === undefined || finance === undefined) {
    say('starting the simulators of SentinelNet and Finance');
    const simulators = await startSimulatorProcess({ stateDir, certificates, clock });
    closers.unshift(() => simulators.stop());
    sentinelNet ??= { origin: simulators.urls.sentinelnet, spiffeId: devSpiffeId('sentinelnet') };
    finance ??= { origin: simulators.urls.finance, spiffeId: devSpiffeId('finance') };
  }
  const material = await loadTls(config.tls ?? own.merit, clock.now());
  const open = ({ origin, spiffeId }: PeerEndpoint): PeerHttp => {
    const client = openHttpClient(
      spiffeId === undefined ? { origin } : { origin, tls: clientTls(material, [spiffeId]) },
    );
    closers.unshift(() => client.close());
    return (request) => client.send(request);
  };
  return { sentinelNet: open(sentinelNet), finance: open(finance) };
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
