import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { childOptions } from '../../platform/embedded-postgres/cluster.ts';
import type { NativePostgres } from '../../platform/embedded-postgres/native.ts';
import { clientConfig } from '../../platform/pg-client.ts';
import type { RunAs } from '../../platform/state-layout.ts';

const READY_LIMIT_MS = 120_000;

export interface Cluster {
  readonly child: ChildProcess;
  readonly adminUrl: string;
}

/** Those that are about to take writes too. */
const started: Cluster[] = [];

/** Starts Postgres on a data folder, with whatever settings, and waits until it takes writes. */
export async function startCluster(
  native: NativePostgres,
  user: RunAs | undefined,
  dataDir: string,
  options: { readonly port: number; readonly password: string; readonly settings: Readonly<Record<string, string>> },
): Promise<Cluster> {
  const settings = Object.entries({
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_wal_senders: '0',
    jit: 'off',
    port: String(options.port),
    ...options.settings,
  }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  // A group of its own, so that all of it can be killed at once.
  const child = spawn(native.postgres, ['-D', dataDir, ...settings], {
    ...childOptions(native, user),
    detached: true,
    stdio: ['ignore', 'ignore', process.env.DRILL_LOG === '1' ? 'inherit' : 'ignore'],
  });
  const cluster = { child, adminUrl: `postgres://merit_admin:${options.password}@127.0.0.1:${options.port}/postgres` };
  started.push(cluster);
  await untilReady(cluster, dataDir);
  return cluster;
}

async function untilReady({ child, adminUrl }: Cluster, dataDir: string): Promise<void> {
  for (const deadline = performance.now() + READY_LIMIT_MS; ; await sleep(50)) {
    if (child.exitCode !== null) throw new Error(`Postgres on ${dataDir} ended with ${child.exitCode}`);
    if (performance.now() > deadline) throw new Error(`Postgres on ${dataDir} does not take writes`);
    const ready = await asAdmin(adminUrl, async (client) => {
      const { rows } = await client.query<{ recovering: boolean }>('select pg_is_in_recovery() as recovering');
      return rows[0]?.recovering === false;
    }).catch(() => false);
    if (ready) return;
  }
}

export async function asAdmin<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(clientConfig(url, 'merit drill'));
  client.on('error', () => {});
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end().catch(() => {});
  }
}

/** The power goes: no process of it writes another byte. */
export async function killCluster({ child }: Cluster): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('close', resolve));
  process.kill(-child.pid, 'SIGKILL');
  await ended;
}

/** Nothing that was started outlives the drill. */
export async function killClusters(): Promise<void> {
  for (const cluster of started) await killCluster(cluster);
}
