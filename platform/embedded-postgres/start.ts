import { realpath } from 'node:fs/promises';
import pg from 'pg';
import { assert } from '../../core/assert.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { bootstrapDatabase } from '../bootstrap.ts';
import { clientConfig } from '../pg-client.ts';
import { endPart, forgetPart, type Part, recordPart } from '../processes.ts';
import type { RunAs } from '../state-layout.ts';
import { POLL_MS, type Running, runningServer, START_LIMIT_MS } from './adopt.ts';
import { holdsCluster, makeCluster } from './cluster.ts';
import { type Credentials, credentialsPath, newCredentials, readCredentials, writeCredentials } from './credentials.ts';
import { freePort, STOP_LIMIT_MS, startServer } from './launch.ts';
import { ensureNativePostgres } from './native.ts';

export interface EmbeddedPostgresOptions {
  /** Holds the port and the passwords (postgres.json, 0600) and the server's log. */
  readonly stateDir: string;
  readonly dataDir: string;
  /** Where the programs are copied to; `stateLayout` decides both this and the user. */
  readonly nativeRoot: string;
  /** Required where this process is root, whom Postgres refuses. */
  readonly postgresUser: RunAs | undefined;
  readonly log: (line: string) => void;
  /** A port that must be used; without it the port kept from the last start, or a free one. */
  readonly port?: number;
}

export interface EmbeddedPostgres {
  /** `admin` is on the database `postgres`, the others on `merit`. */
  readonly urls: { readonly admin: string; readonly owner: string; readonly app: string; readonly engine: string };
  /** True where the server ran already: a server of ours was killed and left it behind. */
  readonly adopted: boolean;
  readonly pid: number;
  readonly port: number;
  /** Fast shutdown; resolves when it has ended. May be called again. */
  stop(): Promise<void>;
}

const DATABASE = 'merit';

/**
 * Starts Postgres, or adopts the one that runs on this data folder; makes its roles and its database. The caller has claimed the state
 * folder (`claimServer`): a first start takes away what another one may have left unfinished.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const user = options.postgresUser;
  assert(process.getuid?.() !== 0 || user !== undefined, 'root needs a user to run Postgres as');
  const native = await ensureNativePostgres(options.nativeRoot);
  let credentials = await readCredentials(options);
  if (!(await holdsCluster(options.dataDir, native.majorVersion))) {
    if (credentials === undefined)
      credentials = writeCredentials(options.stateDir, newCredentials(options.port ?? (await freePort())));
    await makeCluster(options, native, credentials.passwords.merit_admin);
  }
  if (credentials === undefined) {
    throw new OperatingError('part-missing', 'never', `reading ${credentialsPath(options.stateDir)}`, {
      cause: `it is missing, though ${options.dataDir} holds a database`,
      mend: 'put the file back, or move the data folder away to begin anew',
    });
  }
  const dataDir = await realpath(options.dataDir);
  let running = await runningServer(dataDir, options.log);
  const adopted = running !== undefined;
  running ??= await startServer(options, native, dataDir, credentials.port);
  if (running.port !== credentials.port)
    credentials = writeCredentials(options.stateDir, { ...credentials, port: running.port });
  recordPart(options.stateDir, { name: 'postgres', pid: running.pid, signal: 'SIGINT' });
  const urlOf = (role: keyof Credentials['passwords'], database: string) =>
    `postgres://${role}:${credentials.passwords[role]}@127.0.0.1:${running.port}/${database}`;
  const admin = urlOf('merit_admin', 'postgres');
  const stop = stopper(options.stateDir, running);
  try {
    await waitForAdmin(admin);
    await bootstrapDatabase({ adminUrl: admin, passwords: credentials.passwords, database: DATABASE });
  } catch (error) {
    await stop();
    // It was dying while it was adopted: now that it is gone, it is started as after any crash.
    if (adopted && refusedConnection(error)) return startEmbeddedPostgres(options);
    throw error;
  }
  options.log(
    `Postgres ${native.majorVersion} ${adopted ? 'was running and is adopted' : 'started'} on 127.0.0.1:${running.port}`,
  );
  return {
    urls: {
      admin,
      owner: urlOf('merit_owner', DATABASE),
      app: urlOf('merit_app', DATABASE),
      engine: urlOf('merit_engine', DATABASE),
    },
    adopted,
    pid: running.pid,
    port: running.port,
    stop,
  };
}

function stopper(stateDir: string, running: Running): () => Promise<void> {
  let stopped: Promise<void> | undefined;
  const part: Part = {
    name: 'postgres',
    pid: running.pid,
    startTime: running.startTime,
    group: false,
    signal: 'SIGINT',
  };
  return () => {
    stopped ??= endPart(part, STOP_LIMIT_MS).then(() => forgetPart(stateDir, running.pid));
    return stopped;
  };
}

function refusedConnection(error: unknown): boolean {
  return ((error as Error).cause as { code?: unknown } | undefined)?.code === 'ECONNREFUSED';
}

async function waitForAdmin(url: string): Promise<void> {
  const deadline = performance.now() + START_LIMIT_MS;
  for (;;) {
    const client = new pg.Client(clientConfig(url, 'merit start'));
    client.on('error', () => {});
    try {
      await client.connect();
      return;
    } catch (cause) {
      const startingUp = (cause as { code?: unknown }).code === '57P03';
      if (!startingUp || performance.now() > deadline) {
        throw new OperatingError('database', 'safe', 'connecting to the embedded Postgres', {
          cause,
          mend: 'if its password file (postgres.json) was replaced, put the old one back',
        });
      }
    } finally {
      await client.end().catch(() => {});
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
