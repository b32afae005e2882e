import { chmod, mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../platform/embedded-postgres/start.ts';
import { migrate } from '../../platform/migrate.ts';
import { clientConfig } from '../../platform/pg-client.ts';
import { claimServer, endPart, liveServer, readParts, startKeeper } from '../../platform/processes.ts';
import { type StateLayout, stateLayout } from '../../platform/state-layout.ts';

export const TEMPLATE_DATABASE = 'merit_template';
const RUN_PREFIX = 'merit-test-run-';
/** A test run that was killed is not started again: its parts need not wait for a successor. */
const KEEPER_GRACE_MS = 1_000;

/** A folder of its own below the system's temporary folder, which the user that Postgres runs as can reach. */
export async function reachableTempDir(prefix = 'merit-test-case-'): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), prefix));
  await chmod(folder, 0o755);
  return folder;
}

/** A layout whose data lies in `folder` and not in /var/lib. */
export async function layoutIn(folder: string): Promise<StateLayout> {
  const stateDir = join(folder, 'state');
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  return stateLayout({ stateDir, dataDir: join(folder, 'pg') });
}

/** The one Postgres of a test run, with a migrated template database. Ended by `stop`, or by its keeper when the run is killed. */
export async function startTestPostgres(): Promise<{ readonly postgres: EmbeddedPostgres; stop(): Promise<void> }> {
  await sweepDeadRuns();
  const folder = await reachableTempDir(RUN_PREFIX);
  const layout = await layoutIn(folder);
  const claim = claimServer(layout.stateDir);
  startKeeper(layout.stateDir, { graceMs: KEEPER_GRACE_MS });
  const postgres = await startEmbeddedPostgres({ ...layout, log: () => {} });
  const stop = async () => {
    await postgres.stop();
    claim.release();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await makeTemplate(postgres);
  } catch (error) {
    await stop();
    throw error;
  }
  return { postgres, stop };
}

async function makeTemplate(postgres: EmbeddedPostgres): Promise<void> {
  const admin = new pg.Client(clientConfig(postgres.urls.admin, 'merit test'));
  await admin.connect();
  await admin.query(`create database ${TEMPLATE_DATABASE} owner merit_owner encoding 'UTF8' template template0`);
  await admin.end();
  await migrate({ ownerUrl: onDatabase(postgres.urls.owner, TEMPLATE_DATABASE) });
}

/** The URL with another database. */
export function onDatabase(url: string, database: string): string {
  const parsed = new URL(url);
  parsed.pathname = `/${database}`;
  return parsed.href;
}

/** A folder this old without a live run is rubbish; a younger one may be a run that just begins. */
const RUBBISH_AGE_MS = 3_600_000;

/** Ends what test runs left behind that were killed together with their keeper. */
async function sweepDeadRuns(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(RUN_PREFIX)) continue;
    const folder = join(tmpdir(), name);
    const stateDir = join(folder, 'state');
    if (liveServer(stateDir) !== undefined) continue;
    const parts = readParts(stateDir);
    const facts = await stat(folder).catch(() => undefined);
    if (facts === undefined || (parts.length === 0 && Date.now() - facts.mtimeMs < RUBBISH_AGE_MS)) continue;
    for (const part of parts) await endPart(part);
    await rm(folder, { recursive: true, force: true });
  }
}
