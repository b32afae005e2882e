import type { Json } from '../../core/canonical.ts';
import { type AttemptSpec, ProviderError } from '../provider.ts';
import {
  DEFAULT_EXTENSION_SECONDS,
  DEFAULT_NOTICE_SECONDS,
  DEFAULT_PATH,
  type Flavour,
  type SlurmConfig,
} from './config.ts';
import type { SlurmJobOptions } from './job-options.ts';
import { commentOf, type Owner } from './ownership.ts';
import { SLURM_LOG } from './run-folder.ts';
import { batchScript, type Places } from './start-script.ts';

const MIB = 1024n * 1024n;
const MINUTE_MS = 60_000;

/** Throws ProviderError `invalid` for what the pool cannot run, whatever is free. */
export function checkFits({ resources: { gpuMilli } }: AttemptSpec, { name, gres }: Flavour): void {
  const refused = (text: string) => new ProviderError('invalid', `flavour ${name}: ${text}`);
  if (gpuMilli > 0n && gres === undefined) throw refused('it has no GPU: name another flavour');
  if (gpuMilli % 1000n !== 0n) throw refused('Slurm gives whole GPUs: ask for a whole number of them');
}

/** Throws ProviderError `invalid` for what the pool's config does not let a job ask for. */
export function checkAllowed(config: SlurmConfig, options: SlurmJobOptions): void {
  const allowed = [
    ['account', config.account, config.accounts],
    ['qos', config.qos, config.qoses],
    ['reservation', config.reservation, config.reservations],
  ] as const;
  for (const [field, own, others = []] of allowed) {
    const asked = options[field];
    const there = own === undefined ? others : [own, ...others];
    if (asked === undefined || there.includes(asked)) continue;
    const text =
      there.length === 0
        ? 'the pool lets jobs name none: leave it out'
        : `${asked} is none of the pool's: ${there.join(', ')}`;
    throw new ProviderError('invalid', `options.slurm.${field}: ${text}`);
  }
}

/** In whole minutes, as Slurm counts. */
export function timeLimitMinutes(
  leaseMs: number,
  { extensionSeconds = DEFAULT_EXTENSION_SECONDS }: Pick<SlurmConfig, 'extensionSeconds'>,
): number {
  return Math.max(1, Math.ceil((leaseMs + extensionSeconds * 1000) / MINUTE_MS));
}

/** What slurmrestd is sent for an attempt: `script`, and `job` as v0.0.38 has it. */
export function requestOf(
  spec: AttemptSpec,
  owner: Owner,
  flavour: Flavour,
  options: SlurmJobOptions,
  places: Places,
  config: SlurmConfig,
): { readonly script: string; readonly job: { readonly [name: string]: Json } } {
  const { gpuMilli, cpuMilli, memoryBytes } = spec.resources;
  const nodes = spec.nodes ?? 1;
  const cpus = Math.max(1, Number((cpuMilli + 999n) / 1000n));
  const minutes = timeLimitMinutes(spec.leaseMs, config);
  const account = options.account ?? config.account;
  const qos = options.qos ?? flavour.qos ?? config.qos;
  const reservation = options.reservation ?? config.reservation;
  const constraint = bothOf(flavour.constraint, options.constraint);
  const shape = { nodes, cpusPerNode: cpus, noticeAfterSeconds: noticeAfter(minutes * 60, config) };
  const job = {
    name: spec.key,
    comment: commentOf(owner),
    partition: flavour.partition,
    nodes: [nodes, nodes],
    tasks: nodes,
    tasks_per_node: 1,
    cpus_per_task: cpus,
    time_limit: minutes,
    // `requeue: false` is read as nothing. An attempt runs once: Merit makes the next one.
    no_requeue: true,
    current_working_directory: places.run,
    standard_output: `${places.run}/${SLURM_LOG}`,
    open_mode: 'append',
    environment: { PATH: config.path ?? DEFAULT_PATH },
    ...(gpuMilli === 0n ? {} : { gres: `${flavour.gres}:${gpuMilli / 1000n}` }),
    ...(memoryBytes === 0n ? {} : { memory_per_node: Number((memoryBytes + MIB - 1n) / MIB) }),
    ...(account === undefined ? {} : { account }),
    ...(qos === undefined ? {} : { qos }),
    ...(reservation === undefined ? {} : { reservation }),
    ...(constraint === undefined ? {} : { constraints: constraint }),
    ...(options.licenses === undefined ? {} : { licenses: options.licenses }),
    ...(options.nice === undefined ? {} : { nice: options.nice }),
  };
  return { script: batchScript(places, shape), job };
}

/** Seconds after the beginning; of a limit that is no longer than the notice, at its half. */
function noticeAfter(limitSeconds: number, { noticeSeconds = DEFAULT_NOTICE_SECONDS }: SlurmConfig): number {
  if (noticeSeconds === 0) return 0;
  return limitSeconds > noticeSeconds ? limitSeconds - noticeSeconds : Math.ceil(limitSeconds / 2);
}

function bothOf(one: string | undefined, other: string | undefined): string | undefined {
  return one === undefined || other === undefined ? (one ?? other) : `(${one})&(${other})`;
}
