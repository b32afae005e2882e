import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MAX_CODE_BYTES } from '../../artifacts/code.ts';
import { canonicalText } from '../../core/canonical.ts';
import type { ArchiveFile } from '../../scoring/backtest/readings/read-shard.ts';
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

/** Of reports that are sent as code of the jobs: the rest is left to the suites beside them. */
const MAX_SENT_BYTES = MAX_CODE_BYTES - 4 * 1024 * 1024;

/**
 * Each node's own merit, where it has one, else the one that asks, which a node of the same machine or image has at the same path. What
 * is to be read lies in files beside it: nothing that was given is spliced into the line. A node that has not what it needs says which before all else.
 */
export const RUN = [
  'own() { if command -v merit >/dev/null 2>&1; then merit "$@"; else "$BACKTEST_NODE" "$BACKTEST_LAUNCHER" "$@"; fi; }',
  'stop() { echo "$1" >&2; exit 69; }',
  'command -v merit >/dev/null 2>&1 || [ -x "$BACKTEST_NODE" -a -f "$BACKTEST_LAUNCHER" ] || stop "this node has no merit: install it on the nodes of the pool"',
  'while IFS= read -r file; do [ -f "$file" ] || stop "this node has no file $file: mount it there by the same path, or have it sent (--files sent)"; done < reports.txt',
  'set --; [ ! -f against.json ] || set -- --against against.json',
  `own backtest --suite suite.json "$@" --reports-list reports.txt --shard "$MERIT_ARRAY_INDEX/$MERIT_ARRAY_COUNT" --into "$MERIT_OUTPUTS/${READINGS}"`,
].join('\n');

export interface ShardsAsked {
  /** Names of pools, or a kind of provider: all of its pools. */
  readonly on: readonly string[];
  readonly shards: number;
  readonly lease: string;
  readonly cpus: number;
  readonly division: string | undefined;
  readonly reports: readonly string[];
  /** `sent`: with the jobs' code; `shared`: they lie at the same paths where the jobs run. undefined: as `howFiles` finds. */
  readonly files: 'sent' | 'shared' | undefined;
}

export interface ShardsRead {
  readonly readings: readonly string[];
  /** As they were given, whatever they are called where they were read. */
  readonly names: readonly string[];
}

/**
 * Books an archive's shards as one array of jobs and waits for them; resolves with the paths of their readings, below `folder`. An interrupt
 * cancels what has not ended. Throws CliError.
 */
export async function readShardsOn(
  invocation: Invocation,
  { suite, against }: BacktestInputs,
  asked: ShardsAsked,
  folder: string,
): Promise<ShardsRead> {
  const { io, signal } = invocation;
  const client = await connect(invocation);
  const files = await archiveFiles(asked.reports.map((path) => (path === '-' ? path : resolve(io.cwd, path))));
  const pools = await poolsOf(client, asked.on);
  const how = asked.files ?? howFiles(pools, files);
  if (how === 'sent') requireSendable(files);
  const jobName = `backtest-${suite.name}`.slice(0, 64);
  const code = await mkdtemp(join(tmpdir(), 'merit-backtest-'));
  let tasks: readonly string[];
  try {
    await writeFile(join(code, 'suite.json'), canonicalText(suite.document));
    if (against !== null) await writeFile(join(code, 'against.json'), canonicalText(against.document));
    const names = how === 'sent' ? await copiedInto(code, files) : files.map(({ name }) => name);
    await writeFile(join(code, 'reports.txt'), names.map((name) => `${name}\n`).join(''));
    const job = await withDivision(client, io, {
      name: jobName,
      ...(asked.division === undefined ? {} : { division: asked.division }),
      workdir: await storeWorkdir(client, io, code),
      resources: { cpus: asked.cpus },
      pools: pools.map(({ name }) => name),
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
  io.note(
    how === 'sent' ? 'the reports were sent with them' : 'they read the reports where they lie, by the same paths',
  );
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
  return { readings: paths, names: files.map(({ name }) => name) };
}

interface PoolKind {
  readonly name: string;
  readonly provider: string;
}

/**
 * Jobs of `local` read the files where they lie. Whether another pool's nodes see them nobody tells, so they are sent where they are no more than may be;
 * larger ones have to be there by the same paths, which each job looks at first.
 */
export function howFiles(pools: readonly PoolKind[], files: readonly ArchiveFile[]): 'sent' | 'shared' {
  return pools.every(({ provider }) => provider === 'local') || bytesOf(files) > MAX_SENT_BYTES ? 'shared' : 'sent';
}

function bytesOf(files: readonly ArchiveFile[]): number {
  return files.reduce((all, { bytes }) => all + bytes, 0);
}

function requireSendable(files: readonly ArchiveFile[]): void {
  const bytes = bytesOf(files);
  if (bytes <= MAX_SENT_BYTES) return;
  const problem = `the reports are ${(bytes / 1024 ** 2).toFixed(1)} MiB, and at most ${MAX_SENT_BYTES / 1024 ** 2} MiB are sent with jobs`;
  throw new CliError(EXIT.badValue, 'too_large', problem, {
    mend: 'put them where the nodes of the pool see them by the same paths, and ask with --files shared',
  });
}

/** By numbers: what they are called here may be no name there. */
async function copiedInto(code: string, files: readonly ArchiveFile[]): Promise<readonly string[]> {
  await mkdir(join(code, 'reports'));
  const names = files.map((_file, i) => `reports/${i}.ndjson`);
  for (const [i, { name }] of files.entries()) await copyFile(name, join(code, names[i]!));
  return names;
}

async function poolsOf(client: Client, on: readonly string[]): Promise<readonly PoolKind[]> {
  const pools = (await client.all<Row>('/v1/pools')).map((pool) => ({
    name: String(pool.name),
    provider: String(pool.provider),
  }));
  return on.flatMap((name) => {
    const named = pools.filter((pool) => pool.name === name);
    if (named.length > 0) return named;
    const ofKind = pools.filter(({ provider }) => provider === name);
    if (ofKind.length > 0) return ofKind;
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
      const { state, reasons } = await patiently(io, signal, () => client.get<Row>(`/v1/jobs/${id}`));
      const exit = endExit(state);
      if (exit === undefined) continue;
      left.delete(id);
      if (exit !== EXIT.ok)
        throw new CliError(
          exit,
          'shard_failed',
          `shard ${tasks.indexOf(id)} (job ${id}) ended ${String(state)}${whyOf(reasons)}`,
          {
            mend: `see "merit why ${id}" and "merit logs ${id}"; the others were cancelled`,
          },
        );
      io.progress(`${tasks.length - left.size} of ${tasks.length} shards are read`);
    }
    if (left.size === 0) return;
    await sleep(POLL_MS, undefined, { signal });
  }
}

function whyOf(reasons: unknown): string {
  const [first] = Array.isArray(reasons) ? (reasons as readonly { readonly text?: unknown }[]) : [];
  return typeof first?.text === 'string' ? `: ${first.text}` : '';
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
