import { basename } from 'node:path';
import type { Client } from './client.ts';
import { CliError, EXIT, usage } from './exit.ts';
import { readDescription } from './files.ts';
import type { Invocation } from './invocation.ts';
import type { Row } from './render.ts';
import { codePath } from './workdir.ts';

/** A job file out of `-f` and flags; flags win. Its working directory is still a local folder here. */
export async function jobFile(invocation: Invocation): Promise<Readonly<Record<string, unknown>>> {
  const { options, args, io } = invocation;
  const file = options.file === undefined ? {} : await readDescription(io, String(options.file));
  const command = args.length === 0 ? undefined : args.map(shellWord).join(' ');
  if (command !== undefined && typeof file.run === 'string')
    throw usage('the command stands in the file and after --', 'keep one of them');
  const resources = { ...(file.resources as object | undefined), ...resourcesOf(options) };
  const job: Record<string, unknown> = {
    ...file,
    ...taken(options, ['name', 'division', 'model', 'lease', 'priority', 'array', 'user']),
    ...(options.pool === undefined ? {} : { pools: options.pool }),
    ...(Object.keys(resources).length === 0 ? {} : { resources }),
    ...(options.maxCost === undefined ? {} : { budget: { max_cost: options.maxCost } }),
    ...(options.nodes === undefined ? {} : { num_nodes: options.nodes }),
    ...(options.minNodes === undefined ? {} : { min_nodes: options.minNodes }),
    ...(options.dependsOn === undefined ? {} : { depends_on: options.dependsOn }),
    ...scheduleOf(options, file),
    ...(options.maxRestarts === undefined ? {} : { max_restarts: options.maxRestarts }),
    ...(options.env === undefined
      ? {}
      : { envs: { ...(file.envs as object | undefined), ...(options.env as object) } }),
    ...(command === undefined ? {} : { run: command }),
  };
  if (job.run === undefined)
    throw usage('there is nothing to run', 'merit submit --pool POOL --cpus 1 -- python train.py, or -f job.yaml');
  job.name ??= defaultName(args, options.file);
  job.workdir = codePath(io, options, file);
  if (job.workdir === undefined) delete job.workdir;
  return job;
}

/** What the server alone knows: the division, where there is only one that could pay. */
export async function withDivision(
  client: Client,
  io: Invocation['io'],
  job: Readonly<Record<string, unknown>>,
): Promise<Readonly<Record<string, unknown>>> {
  if (job.division !== undefined) return job;
  const named = io.env.MERIT_DIVISION;
  if (named !== undefined && named !== '') return { ...job, division: named };
  const pools = Array.isArray(job.pools) ? job.pools : [];
  const { items } = await client.get<{ items: readonly Row[] }>('/v1/quotas');
  const able = new Set(
    items
      .filter((row) => row.kind === 'quota' && (pools.length === 0 || pools.includes(row.pool)))
      .map((row) => String(row.division)),
  );
  if (able.size === 1) return { ...job, division: [...able][0] };
  throw new CliError(
    EXIT.usage,
    'division',
    able.size === 0
      ? `no division has a quota in ${pools.length === 0 ? 'any pool' : pools.join(' or ')}`
      : `several divisions could pay: ${[...able].sort().join(', ')}`,
    {
      mend: able.size === 0 ? 'see "merit pools ls" and "merit quotas ls"' : 'add --division, or set MERIT_DIVISION',
    },
  );
}

function resourcesOf(options: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const typed = typeof options.gpus === 'string';
  return {
    ...(options.gpus === undefined ? {} : { [typed ? 'accelerators' : 'gpus']: options.gpus }),
    ...taken(options, ['cpus', 'memory']),
    ...(options.spot === undefined ? {} : { use_spot: options.spot }),
  };
}

function scheduleOf(
  options: Readonly<Record<string, unknown>>,
  file: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  if (options.offPeak !== true && options.deadline === undefined) return {};
  return {
    schedule: {
      ...(file.schedule as object | undefined),
      ...(options.offPeak === true ? { window: 'off-peak' } : {}),
      ...taken(options, ['deadline']),
    },
  };
}

function taken(options: Readonly<Record<string, unknown>>, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(names.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]));
}

/** A word that a POSIX shell reads back as it is. */
function shellWord(word: string): string {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** A word that names a script, as in `python train.py`; not the text of `-c`, a number, or an address. */
const SCRIPT = /^[A-Za-z0-9_./+-]*[A-Za-z0-9_]\.[A-Za-z][A-Za-z0-9]{0,4}$/;

/** After the script that the command runs, else after the program, else after the file. */
export function defaultName(args: readonly string[], file: unknown): string {
  const script =
    args.find((word, i) => i > 0 && SCRIPT.test(word)) ?? args[0] ?? (typeof file === 'string' ? file : 'job');
  const name = basename(script)
    .replace(/\.[A-Za-z0-9]+$/, '')
    .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
    .slice(0, 64);
  return name === '' || name === '-' ? 'job' : name;
}
