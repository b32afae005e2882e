import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MAX_CODE_BYTES } from '../../artifacts/code.ts';
import { type Client, connect } from './client.ts';
import { CliError, EXIT } from './exit.ts';
import { patiently } from './follow.ts';
import type { Invocation } from './invocation.ts';
import { withDivision } from './job-file.ts';
import { endExit } from './job-ref.ts';
import type { Row } from './render.ts';
import { storeWorkdir } from './workdir.ts';

/** Work that is cut into shards, each a job of one array. */

const POLL_MS = 1_000;

/** Of data that is sent as code of the jobs: the rest is left to what stands beside it. */
const MAX_SENT_BYTES = MAX_CODE_BYTES - 4 * 1024 * 1024;

/**
 * The first lines of each job. Each node's own merit, where it has one, else the one that asks, which a node of the same machine or image has at the
 * same path. A node that has not what it needs says which before all else.
 */
export const OWN_MERIT = [
  'own() { if command -v merit >/dev/null 2>&1; then merit "$@"; else "$SHARD_NODE" "$SHARD_LAUNCHER" "$@"; fi; }',
  'stop() { echo "$1" >&2; exit 69; }',
  'command -v merit >/dev/null 2>&1 || [ -x "$SHARD_NODE" -a -f "$SHARD_LAUNCHER" ] || stop "this node has no merit: install it on the nodes of the pool"',
];

type How = 'sent' | 'shared';

export interface JobsAsked {
  /** Names of pools, or a kind of provider: all of its pools. */
  readonly on: readonly string[];
  readonly shards: number;
  readonly lease: string;
  readonly cpus: number;
  readonly division: string | undefined;
  /** `sent`: with the jobs' code; `shared`: it lies at the same paths where the jobs run. undefined: as `howSent` finds. */
  readonly files: How | undefined;
}

/** From the flags that `jobFlags` defines. */
export function jobsAsked(options: Invocation['options']): JobsAsked {
  return {
    on: options.on as readonly string[],
    shards: options.shards as number,
    lease: String(options.lease),
    cpus: options.cpus as number,
    division: options.division as string | undefined,
    files: options.files as How | undefined,
  };
}

interface PoolKind {
  readonly name: string;
  readonly provider: string;
}

export async function poolsOf(client: Client, on: readonly string[]): Promise<readonly PoolKind[]> {
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

/**
 * Jobs of `local` read data where it lies. Whether another pool's nodes see it nobody tells, so it is sent where it is no more than may be;
 * what is larger has to be there by the same paths, which each job looks at first.
 */
export function howSent(pools: readonly PoolKind[], bytes: number): How {
  return pools.every(({ provider }) => provider === 'local') || bytes > MAX_SENT_BYTES ? 'shared' : 'sent';
}

/** As was asked, else as `howSent` finds. `what`: such as "the reports are". Throws CliError where it is more than may be sent. */
export function howAsked({ files }: JobsAsked, pools: readonly PoolKind[], bytes: number, what: string): How {
  const how = files ?? howSent(pools, bytes);
  if (how === 'shared' || bytes <= MAX_SENT_BYTES) return how;
  const problem = `${what} ${(bytes / 1024 ** 2).toFixed(1)} MiB, and at most ${MAX_SENT_BYTES / 1024 ** 2} MiB are sent with jobs`;
  throw new CliError(EXIT.badValue, 'too_large', problem, {
    mend: 'put them where the nodes of the pool see them by the same paths, and ask with --files shared',
  });
}

/** Books an array whose code is what `fill` writes into a folder, and gives the ids of its tasks in order. */
export async function bookShards(
  client: Client,
  { io }: Invocation,
  asked: JobsAsked,
  array: {
    readonly name: string;
    readonly count: number;
    readonly pools: readonly PoolKind[];
    readonly fill: (folder: string) => Promise<void>;
    readonly run: string;
    readonly envs?: Readonly<Record<string, string>>;
  },
): Promise<readonly string[]> {
  const code = await mkdtemp(join(tmpdir(), 'merit-shards-'));
  try {
    await array.fill(code);
    const job = await withDivision(client, io, {
      name: array.name,
      ...(asked.division === undefined ? {} : { division: asked.division }),
      workdir: await storeWorkdir(client, io, code),
      resources: { cpus: asked.cpus },
      pools: array.pools.map(({ name }) => name),
      lease: asked.lease,
      array: { count: array.count },
      max_restarts: 1,
      envs: {
        ...array.envs,
        SHARD_NODE: process.execPath,
        SHARD_LAUNCHER: fileURLToPath(new URL('../../bin/merit.mjs', import.meta.url)),
      },
      run: array.run,
    });
    const booked = await client.json<Row>('POST', '/v1/jobs', { body: job });
    const tasks = booked.tasks as readonly string[];
    io.note(`booked ${tasks.length} shards as array ${tasks[0]}`);
    return tasks;
  } finally {
    await rm(code, { recursive: true, force: true });
  }
}

/** Resolves when all have ended well; else throws CliError, with the others cancelled. An interrupt cancels what has not ended. */
export async function endOfShards(
  client: Client,
  invocation: Invocation,
  name: string,
  tasks: readonly string[],
): Promise<void> {
  try {
    await waitFor(client, invocation, name, tasks);
  } catch (error) {
    await cancelAll(invocation, tasks);
    throw error;
  }
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
