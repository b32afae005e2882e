import { availableParallelism } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { slugRefusal } from '../../core/ids.ts';
import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';

/** `config` of a pool whose provider is `local`. */
export interface LocalConfig {
  /** Absolute; each attempt has a folder in it. Default: `jobs` in Merit's state folder. */
  readonly root?: string;
  /** What may be booked. Default: the machine's processors, and no GPU. */
  readonly cpus?: number;
  readonly gpus?: number;
  /** A Python environment whose bin folder comes first on the jobs' PATH. */
  readonly venvDir?: string;
  /** Of one job's log; what comes after is dropped. */
  readonly logLimitBytes?: number;
  /** 0 to 19: how far jobs stand back behind Merit itself. */
  readonly niceness?: number;
  /** Between SIGTERM and SIGKILL. */
  readonly stopGraceSeconds?: number;
  readonly flavour?: string;
  readonly centsPerUnitHour?: number;
  readonly currency?: string;
}

/** The configuration with its defaults filled in. */
export interface LocalSettings {
  readonly root: string;
  readonly cpuMilli: bigint;
  readonly gpus: number;
  readonly path: string;
  readonly logLimitBytes: number;
  readonly niceness: number;
  readonly stopGraceMs: number;
  readonly flavour: string;
  readonly price: { readonly cents: bigint; readonly currency: string } | undefined;
}

const LOG_LIMIT_BYTES = 64 * 1024 * 1024;
const NICENESS = 5;
const STOP_GRACE_SECONDS = 10;
const CPUS_LIMIT = 4096;
const GPUS_LIMIT = 64;

export const localConfigSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    root: { type: 'string' },
    cpus: { type: 'integer', minimum: 1, maximum: CPUS_LIMIT },
    gpus: { type: 'integer', minimum: 0, maximum: GPUS_LIMIT },
    venvDir: { type: 'string' },
    logLimitBytes: { type: 'integer', minimum: 1 },
    niceness: { type: 'integer', minimum: 0, maximum: 19 },
    stopGraceSeconds: { type: 'integer', minimum: 0, maximum: 3600 },
    flavour: { type: 'string' },
    centsPerUnitHour: { type: 'integer', minimum: 0 },
    currency: { type: 'string', pattern: '^[A-Z]{3}$' },
  },
} as const;

/** Checks all of it and lists every error at once. Throws RefusedInput. */
export function localSettings(config: LocalConfig, stateDir: string): LocalSettings {
  const refusals = [
    ...pathRefusal('root', config.root),
    ...pathRefusal('venvDir', config.venvDir),
    ...rangeRefusal('cpus', config.cpus, 1, CPUS_LIMIT),
    ...rangeRefusal('gpus', config.gpus, 0, GPUS_LIMIT),
    ...rangeRefusal('logLimitBytes', config.logLimitBytes, 1, Number.MAX_SAFE_INTEGER),
    ...rangeRefusal('niceness', config.niceness, 0, 19),
    ...rangeRefusal('stopGraceSeconds', config.stopGraceSeconds, 0, 3600),
    ...rangeRefusal('centsPerUnitHour', config.centsPerUnitHour, 0, Number.MAX_SAFE_INTEGER),
    ...(config.flavour === undefined ? [] : [slugRefusal('flavour', config.flavour)]),
    config.currency === undefined || /^[A-Z]{3}$/.test(config.currency)
      ? undefined
      : refuse('format', 'currency', 'is not a currency code', 'write three capitals, as in USD'),
  ].filter((refusal) => refusal !== undefined);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const systemPath = process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin';
  return {
    root: config.root ?? join(stateDir, 'jobs'),
    cpuMilli: BigInt(config.cpus ?? availableParallelism()) * 1000n,
    gpus: config.gpus ?? 0,
    path: config.venvDir === undefined ? systemPath : `${join(config.venvDir, 'bin')}:${systemPath}`,
    logLimitBytes: config.logLimitBytes ?? LOG_LIMIT_BYTES,
    niceness: config.niceness ?? NICENESS,
    stopGraceMs: (config.stopGraceSeconds ?? STOP_GRACE_SECONDS) * 1000,
    flavour: config.flavour ?? 'default',
    price:
      config.centsPerUnitHour === undefined
        ? undefined
        : { cents: BigInt(config.centsPerUnitHour), currency: config.currency ?? 'USD' },
  };
}

function pathRefusal(field: string, path: string | undefined): Refusal[] {
  if (path === undefined || isAbsolute(path)) return [];
  return [refuse('format', field, 'must be an absolute path', 'write the full path')];
}

function rangeRefusal(field: string, value: number | undefined, least: number, most: number): Refusal[] {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least && value <= most)) return [];
  return [refuse('range', field, 'is out of range', `write a whole number from ${least} to ${most}`)];
}
