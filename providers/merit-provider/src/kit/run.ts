import type { ProviderDefinition } from '../contract.ts';
import { PROVIDER_CONTRACT_VERSION } from '../contract.ts';
import type { TestBackend, TestBackendDefinition } from '../test-backend.ts';
import { type Check, shown } from './check.ts';
import { END_CHECKS } from './end-checks.ts';
import { FAULT_CHECKS } from './fault-checks.ts';
import { CONTRACT, SHAPE_CHECKS } from './shape-checks.ts';
import { SUBMIT_CHECKS } from './submit-checks.ts';
import { SWEEP_CHECKS } from './sweep-checks.ts';
import { World, type WorldOptions } from './world.ts';

const CHECKS: readonly Check[] = [
  CONTRACT,
  ...SHAPE_CHECKS,
  ...SUBMIT_CHECKS,
  ...FAULT_CHECKS,
  ...SWEEP_CHECKS,
  ...END_CHECKS,
];

export const CHECK_NAMES: readonly string[] = CHECKS.map((check) => check.name);

/** On the wall: what hangs is given up. */
const VIRTUAL_LIMIT_MS = 60_000;
const REAL_PATIENCE_MS = 120_000;
/** Of one check on a real backend, in turns of patience. */
const REAL_LIMIT_TURNS = 4;
const END_LIMIT_MS = 60_000;
/** Checks at once: each has a backend of its own, and jobs of a real one take their time. */
const AT_ONCE = 4;
const STOPPED = 'the kit was stopped';

export type Verdict = 'passed' | 'failed' | 'not_exercised';

export interface CheckResult {
  readonly check: string;
  readonly rule: string;
  readonly verdict: Verdict;
  /** What was wrong, or why it could not be tried. */
  readonly problem?: string;
  readonly tookMs: number;
}

export interface KitReport {
  readonly provider: string;
  readonly contractVersion: number;
  readonly passed: number;
  readonly failed: number;
  readonly notExercised: number;
  readonly badge: string;
  readonly checks: readonly CheckResult[];
}

export interface KitOptions {
  /** What it runs on; absent: the definition's own test backend. */
  readonly backend?: TestBackendDefinition;
  /** Names of the checks to run; absent: all. */
  readonly only?: readonly string[];
  /** How long a state may take to come on a real backend. Default 2 minutes. */
  readonly patienceMs?: number;
  readonly checkConfig?: (config: unknown) => readonly string[];
  readonly onResult?: (result: CheckResult) => void;
  readonly signal?: AbortSignal;
}

/** A backend that is simply there, with nothing of its own that the kit could drive: what the kit can try by the provider alone. */
export function plainBackend(config: unknown, asks: Asks = {}): TestBackendDefinition {
  return { time: 'real', start: async () => ({ ...asks, config, close: async () => {} }) };
}

/** What the kit's jobs ask for on a backend. */
export type Asks = Pick<TestBackend, 'flavour' | 'gpuMilli' | 'cpuMilli'>;

/** Tries to break a provider. Throws only where there is nothing to try it on. */
export async function runKit(given: ProviderDefinition<never>, options: KitOptions = {}): Promise<KitReport> {
  const definition = given as unknown as ProviderDefinition<unknown>;
  const backend = options.backend ?? (await definition.testBackend?.())?.default;
  if (backend === undefined)
    throw new Error(`provider ${definition.kind} has no testBackend: name one, or give a config of a real backend`);
  const world: WorldOptions = {
    definition,
    backend,
    patienceMs: options.patienceMs ?? REAL_PATIENCE_MS,
    checkConfig: options.checkConfig,
    signal: options.signal,
  };
  const results = new Map<string, CheckResult>();
  const tell = (result: CheckResult): void => {
    results.set(result.check, result);
    options.onResult?.(result);
  };
  const wanted = CHECKS.filter((check) => options.only === undefined || options.only.includes(check.name));
  const first = await tried(CONTRACT, world);
  if (wanted.includes(CONTRACT) || first.verdict !== 'passed') tell(first);
  const rest = wanted.filter((check) => check !== CONTRACT);
  const run = async (check: Check): Promise<void> => {
    if (options.signal?.aborted === true) return tell(untried(check, STOPPED));
    if (first.verdict !== 'passed') return tell(untried(check, 'it has not the form of the contract'));
    tell(await tried(check, world));
  };
  const beside = rest.filter((check) => check.alone !== true);
  await inTurns(beside, AT_ONCE, run);
  await inTurns(
    rest.filter((check) => check.alone === true),
    1,
    run,
  );
  return reportOf(
    definition.kind,
    CHECK_NAMES.flatMap((name) => results.get(name) ?? []),
  );
}

async function inTurns<T>(items: readonly T[], atOnce: number, run: (item: T) => Promise<void>): Promise<void> {
  const left = [...items];
  const worker = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await run(next);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

function untried({ name, rule }: Check, why: string): CheckResult {
  return { check: name, rule, verdict: 'not_exercised', problem: why, tookMs: 0 };
}

/** A check, and the end of all that it left: what could not be ended may run on, and cost. */
async function tried(check: Check, options: WorldOptions): Promise<CheckResult> {
  let world: World | undefined;
  const result = await judged(check, options, (made) => {
    world = made;
  });
  try {
    if (world !== undefined) await within(END_LIMIT_MS, world.end(), `it did not end within ${END_LIMIT_MS / 1000} s`);
    return result;
  } catch (error) {
    const left = `what the check left could not be ended: ${error instanceof Error ? error.message : shown(error)}`;
    const problem = result.problem === undefined ? left : `${result.problem}; ${left}`;
    return { ...result, problem, verdict: result.verdict === 'passed' ? 'failed' : result.verdict };
  }
}

async function judged(check: Check, options: WorldOptions, begun: (world: World) => void): Promise<CheckResult> {
  const beganMs = performance.now();
  const { name, rule } = check;
  const ended = (verdict: Verdict, problem?: string): CheckResult => {
    const tookMs = Math.round(performance.now() - beganMs);
    return { check: name, rule, verdict, tookMs, ...(problem === undefined ? {} : { problem }) };
  };
  const limitMs = options.backend.time === 'real' ? options.patienceMs * REAL_LIMIT_TURNS : VIRTUAL_LIMIT_MS;
  try {
    const made = await World.make(options);
    begun(made);
    const lacking = (check.needs ?? []).filter((need) => made.backend[need] === undefined);
    if (lacking.length > 0) return ended('not_exercised', `its test backend has no ${lacking.join(', ')}`);
    await within(
      limitMs,
      made.begin().then(() => check.run(made)),
      `the check did not end within ${limitMs / 1000} s`,
    );
    return ended('passed');
  } catch (error) {
    // What a verb says of a signal that we aborted is no verdict on it.
    if (options.signal?.aborted === true) return ended('not_exercised', STOPPED);
    if (error instanceof Error && error.name === 'NotExercised') return ended('not_exercised', error.message);
    return ended('failed', problemOf(error));
  }
}

function problemOf(error: unknown): string {
  if (error instanceof Error && error.name === 'Broken') return error.message;
  const code = error instanceof Error && 'code' in error ? ` ${shown(error.code)}` : '';
  return `a call throws ${error instanceof Error ? `${error.name}${code}: ${shown(error.message)}` : shown(error)}`;
}

async function within<T>(limitMs: number, work: Promise<T>, otherwise: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(otherwise)), limitMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function reportOf(provider: string, checks: readonly CheckResult[]): KitReport {
  const count = (verdict: Verdict) => checks.filter((one) => one.verdict === verdict).length;
  const passed = count('passed');
  const failed = count('failed');
  const notExercised = count('not_exercised');
  const tally = `${passed}/${passed + failed} checks, ${notExercised} not exercised`;
  const badge = `merit provider contract v${PROVIDER_CONTRACT_VERSION}: ${tally}`;
  return { provider, contractVersion: PROVIDER_CONTRACT_VERSION, passed, failed, notExercised, badge, checks };
}
