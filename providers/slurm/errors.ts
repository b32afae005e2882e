import { OperatingError } from '../../core/operating-error.ts';
import { cleanMessage, type Effect, ProviderError, type ProviderErrorCode } from '../provider.ts';

/** One of the `errors` of a reply; which of the two the number stands in depends on where slurmrestd failed. */
interface SlurmFault {
  readonly error_code?: unknown;
  readonly error_number?: unknown;
  readonly error?: unknown;
  readonly description?: unknown;
}

/** Numbers of slurm_errno.h that are looked at. */
const INVALID_JOB_ID = 2017;
const ALREADY_DONE = [2021, 2084, 2085, 2086];
const AUTH: readonly number[] = [1007, 2002, 2010, 2052];
const QUOTA: readonly number[] = [2050, 2074, 2093];
/** Nothing that repeats would mend: what was asked for is not there, or may not be. */
const INVALID: readonly number[] = [
  2000, 2001, 2003, 2004, 2005, 2006, 2008, 2009, 2012, 2014, 2018, 2023, 2025, 2029, 2031, 2036, 2037, 2040, 2041,
  2044, 2045, 2046, 2048, 2051, 2053, 2054, 2057, 2066, 2069, 2072, 2105, 2114, 2115, 2119, 2122, 2123, 2124, 2127,
  2130, 2132, 2133, 9000, 9001, 9002,
];
/** Slurm has looked, and refused it for now: nothing was taken. */
const LATER: readonly number[] = [2007, 2015, 2016, 2056, 2068, 2070, 2101, 2103, 2118, 2125, 2134];

const MENDS: Readonly<Record<number, string>> = {
  1007: 'munge does not agree between slurmrestd and slurmctld: look at their keys and clocks',
  2000: 'name a partition that sinfo shows',
  2002: 'let the pool’s user submit there, or renew its token',
  2003: 'let the pool’s user into the partition (AllowGroups), or name another',
  2014: 'no node has all of it: ask for less on each node, or name the GRES as scontrol show node does',
  2029: 'write the constraint with features that scontrol show node shows',
  2045: 'name an account that the pool’s user has (sacctmgr show assoc)',
  2050: 'wait, or let its limits be raised (sacctmgr show assoc, sacctmgr show qos)',
  2053: 'name a reservation that scontrol show reservation shows',
  2066: 'name a QOS that the pool’s user has (sacctmgr show assoc)',
};

export function faultsIn(body: unknown): readonly SlurmFault[] {
  const { errors } = (body ?? {}) as { readonly errors?: unknown };
  return Array.isArray(errors)
    ? (errors as readonly SlurmFault[]).filter((one) => typeof one === 'object' && one !== null)
    : [];
}

export function numberOf({ error_code, error_number }: SlurmFault): number | undefined {
  return [error_number, error_code].find((one): one is number => typeof one === 'number');
}

export function isOver(numbers: readonly (number | undefined)[]): boolean {
  return numbers.some((one) => one === INVALID_JOB_ID || (one !== undefined && ALREADY_DONE.includes(one)));
}

/** A reply that refuses. */
export interface Refused {
  readonly status: number;
  /** Of the JSON, where it was some. */
  readonly faults: readonly SlurmFault[];
  /** Of what was none. */
  readonly text: string;
  readonly retryAfterMs: number | undefined;
}

/**
 * What a reply that refuses means to Merit. Slurm's own numbers say that slurmctld has looked and refused, but for those of a broken connection to
 * it: then, as after any other 5xx, what was asked may have happened.
 */
export function refusalError(refused: Refused, doing: string, changes: boolean): ProviderError {
  const { status, faults, text, retryAfterMs } = refused;
  const numbers = faults.flatMap((one) => numberOf(one) ?? []);
  const code = codeOf(status, numbers);
  const words = faults.map(wordsOf).filter((said) => said !== '');
  const said = words.length > 0 ? words.join('; ') : `${status} ${text}`;
  const mend = mendOf(refused, numbers, code);
  const told = cleanMessage(`${mend === undefined ? '' : `${mend}. `}${doing}: ${said}`);
  return new ProviderError(code, told, {
    effect: effectOf(code, status, numbers, changes),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

function effectOf(code: ProviderErrorCode, status: number, numbers: readonly number[], changes: boolean): Effect {
  if (!changes || code !== 'transient' || status === 429) return 'none';
  return numbers.some((one) => LATER.includes(one)) ? 'none' : 'unknown';
}

function codeOf(status: number, numbers: readonly number[]): ProviderErrorCode {
  const has = (some: readonly number[]) => numbers.some((one) => some.includes(one));
  if (status === 401 || status === 403 || has(AUTH)) return 'auth';
  if (status === 429) return 'transient';
  if (has(QUOTA)) return 'quota_exceeded';
  if (has(INVALID)) return 'invalid';
  if (has([INVALID_JOB_ID])) return 'not_found';
  return status >= 400 && status < 500 ? 'invalid' : 'transient';
}

function mendOf({ status }: Refused, numbers: readonly number[], code: ProviderErrorCode): string | undefined {
  const own = numbers.flatMap((one) => MENDS[one] ?? [])[0];
  if (own !== undefined) return own;
  if (code === 'auth') return 'renew the token of the pool’s user; tokenFile is read at each call';
  if (status === 404 && numbers.length === 0)
    return 'this slurmrestd does not have the version that the pool names: start it with -s openapi/v0.0.38';
  return undefined;
}

function wordsOf({ error, description }: SlurmFault): string {
  const texts = [description, error].filter((one): one is string => typeof one === 'string' && one !== '');
  return [...new Set(texts)].join(': ');
}

/** What a call without a reply means: only one that never reached slurmrestd has certainly done nothing. */
export function connectionError(error: unknown, doing: string, changes: boolean): ProviderError {
  if (error instanceof ProviderError) return error;
  const text = cleanMessage(`${doing}: ${error instanceof Error ? error.message : String(error)}`);
  const isUnsent = error instanceof OperatingError && (error.retry === 'safe' || isNoSocket(error.cause));
  const code = error instanceof OperatingError && error.code === 'auth' ? 'auth' : 'transient';
  return new ProviderError(code, text, { effect: changes && !isUnsent ? 'unknown' : 'none', cause: error });
}

/** Of a Unix socket that is not there. */
function isNoSocket(cause: unknown): boolean {
  return (cause as { readonly code?: unknown } | undefined)?.code === 'ENOENT';
}
