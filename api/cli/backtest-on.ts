import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { canonicalText } from '../../core/canonical.ts';
import { archiveFiles } from './backtest-readings.ts';
import { type Client, connect } from './client.ts';
import type { BacktestInputs } from './commands/backtest.ts';
import { download, type RemoteFile } from './download.ts';
import { CliError, EXIT } from './exit.ts';
import { patiently } from './follow.ts';
import type { Invocation } from './invocation.ts';
import { withDivision } from './job-file.ts';
import { endExit } from './job-ref.ts';
import type { Row } from './render.ts';
import { storeWorkdir } from './workdir.ts';

/** What each shard leaves. */
const READINGS = 'shard.readings';
const POLL_MS = 1_000;

/**
 * Each node's own merit, where it has one, else the one that asks, which a node of the same machine or image has at the same path. What
 * is to be read lies in files beside it: nothing that was given is spliced into the line.
 */
const RUN = [
  'read() { if command -v merit >/dev/null 2>&1; then merit "$@"; else "$BACKTEST_NODE" "$BACKTEST_LAUNCHER" "$@"; fi; }',
  'set --; [ ! -f against.json ] || set -- --against against.json',
  `read backtest --suite suite.json "$@" --reports-list reports.txt --shard "$MERIT_ARRAY_INDEX/$MERIT_ARRAY_COUNT" --into "$MERIT_OUTPUTS/${READINGS}"`,
].join('\n');

export interface ShardsAsked {
  /** Names of pools, or a kind of provider: all of its pools. */
  readonly on: readonly string[];
  readonly shards: number;
  readonly lease: string;
  readonly cpus: number;
  readonly division: string | undefined;
  readonly reports: readonly string[];
}

/**
 * Books an archive's shards as one array of jobs and waits for them; resolves with the paths of their readings below `folder`. An interrupt
 * cancels what has not ended. Throws CliError.
 */
export async function readShardsOn(
  invocation: Invocation,
  { suite, against }: BacktestInputs,
  asked: ShardsAsked,
  folder: string,
): Promise<readonly string[]> {
  const { io, signal } = invocation;
  const client = await connect(invocation);
  const files = await archiveFiles(asked.reports.map((path) => (path === '-' ? path : resolve(io.cwd, path))));
  const jobName = `backtest-${suite.name}`.slice(0, 64);
  const code = await mkdtemp(join(tmpdir(), 'merit-backtest-'));
  let tasks: readonly string[];
  try {
    await writeFile(join(code, 'suite.json'), canonicalText(suite.document));
    if (against !== null) await writeFile(join(code, 'against.json'), canonicalText(against.document));
    await writeFile(join(code, 'reports.txt'), files.map(({ name }) => `${name}\n`).join(''));
    const job = await withDivision(client, io, {
      name: jobName,
      ...(asked.division === undefined ? {} : { division: asked.division }),
      workdir: await storeWorkdir(client, io, code),
      resources: { cpus: asked.cpus },
      pools: await poolsOf(client, asked.on),
      lease: asked.lease,
      array: { count: asked.shards },
      max_restarts: 1,
      envs: {
        BACKTEST_NODE: process.execPath,
        BACKTEST_LAUNCHER: fileURLToPath(new URL('../../bin/merit.mjs', import.meta.url)),
      },
      run: RUN,
    });
    const booked = await client.json<Row>('POST', '/v1/jobs', { body: job });
    tasks = booked.tasks as readonly string[];
  } finally {
    await rm(code, { recursive: true, force: true });
  }
  io.note(`booked ${tasks.length} shards as array ${tasks[0]}`);
  try {
    await waitFor(client, invocation, jobName, tasks);
  } catch (error) {
    await cancelAll(invocation, tasks);
    throw error;
  }
  const paths: string[] = [];
  for (const [shard, id] of tasks.entries()) {
    const into = join(folder, String(shard));
    await download(client, io, `/v1/jobs/${id}`, await readingsOf(client, id), into, signal);
    paths.push(join(into, READINGS));
  }
  return paths;
}

async function poolsOf(client: Client, on: readonly string[]): Promise<readonly string[]> {
  const pools = await client.all<Row>('/v1/pools');
  return on.flatMap((name) => {
    if (pools.some((pool) => pool.name === name)) return [name];
    const ofKind = pools.filter(({ provider }) => provider === name);
    if (ofKind.length > 0) return ofKind.map((pool) => String(pool.name));
    throw new CliError(EXIT.notFound, 'not_found', `there is no pool ${name}, and none of a provider of that kind`, {
      mend: 'see "merit pools ls"',
    });
  });
}

async function waitFor(
  client: Client,
  { io, signal }: Invocation,
  jobName: string,
  tasks: readonly string[],
): Promise<void> {
  const left = new Set(tasks);
  for (;;) {
    const list = () => client.all<Row>(`/v1/jobs?live=true&name=${jobName}`);
    const live = new Set((await patiently(io, signal, list)).map(({ id }) => id));
    for (const id of left) {
      if (live.has(id)) continue;
      const { state } = await patiently(io, signal, () => client.get<Row>(`/v1/jobs/${id}`));
      const exit = endExit(state);
      if (exit === undefined) continue;
      left.delete(id);
      if (exit !== EXIT.ok)
        throw new CliError(exit, 'shard_failed', `shard ${tasks.indexOf(id)} (job ${id}) ended ${String(state)}`, {
          mend: `see "merit why ${id}" and "merit logs ${id}"; the others were cancelled`,
        });
      io.progress(`${tasks.length - left.size} of ${tasks.length} shards are read`);
    }
    if (left.size === 0) return;
    await sleep(POLL_MS, undefined, { signal });
  }
}

/** With a signal of its own: the one that asked may be over. */
async function cancelAll(invocation: Invocation, tasks: readonly string[]): Promise<void> {
  const client = await connect({ io: invocation.io, signal: AbortSignal.timeout(30_000) });
  for (const id of tasks) await client.json('POST', `/v1/jobs/${id}:cancel`).catch(() => {});
}

async function readingsOf(client: Client, jobId: string): Promise<RemoteFile> {
  const { files } = await client.get<{ readonly files: readonly RemoteFile[] }>(`/v1/jobs/${jobId}/artifacts`);
  const file = files.find(({ path }) => path === READINGS);
  if (file !== undefined) return file;
  throw new CliError(EXIT.notFound, 'not_found', `job ${jobId} ended well, but left no ${READINGS}`, {
    mend: `see "merit logs ${jobId}"`,
  });
}
