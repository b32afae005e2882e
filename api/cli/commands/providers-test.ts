import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { durationMs } from '../../../core/duration.ts';
import { refusalText } from '../../../core/refusal.ts';
import { parse } from '../../../core/schema.ts';
import { cents, PoolFile } from '../../../pools/pool-file.ts';
import {
  type Asks,
  CHECK_NAMES,
  type CheckResult,
  type KitOptions,
  type KitReport,
  plainBackend,
  proxiedBackend,
  runKit,
} from '../../../providers/merit-provider/src/kit/index.ts';
import { type AnyDefinition, BUILT_IN_KINDS, configRefusals, loadProvider } from '../../../providers/registry.ts';
import { CliError, EXIT, usage } from '../exit.ts';
import { readDescription } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, type Shape, showOne, table } from '../render.ts';
import type { Format } from '../values.ts';

const VERDICTS = { passed: 'passed', failed: 'FAILED', not_exercised: 'not exercised' };

const CHECKS: Shape = {
  name: (row) => failedOf(row).join('\n'),
  columns: [
    { head: 'CHECK', cell: (row) => row.check },
    { head: 'VERDICT', cell: (row) => VERDICTS[row.verdict as CheckResult['verdict']] },
    { head: 'MS', cell: (row) => row.tookMs, wide: true },
    { head: 'WHAT', cell: (row) => row.problem ?? row.rule },
  ],
};

function failedOf(report: Row): readonly string[] {
  const checks = report.checks as readonly CheckResult[];
  return checks.filter(({ verdict }) => verdict === 'failed').map(({ check }) => check);
}

/** `merit providers test`: the conformance kit. Exit 8 where a check failed, 11 where none, or with --strict not every one, could be tried. */
export default async function providersTest({ args, options, io, signal }: Invocation): Promise<number> {
  const definition = await loadProvider(targetOf(args[0] ?? '', io.cwd), 'any');
  const given = options.config === undefined ? undefined : await readDescription(io, String(options.config));
  const report = await runKit(definition as never, {
    ...onlyThese(options.only as readonly string[] | undefined),
    ...backendFor(
      args[0] ?? '',
      definition,
      given,
      options.proxy as string | undefined,
      options.flavour as string | undefined,
    ),
    ...(options.patience === undefined ? {} : { patienceMs: durationMs(String(options.patience)) ?? 0 }),
    checkConfig: (config) => configRefusals(definition, config).map(refusalText),
    onResult: ({ check, verdict }) => io.progress(`${VERDICTS[verdict]} ${check}`),
    signal,
  });
  const rows = report.checks as readonly object[] as readonly Row[];
  const text = `${table(CHECKS.columns, rows, options.output === 'wide')}${report.badge}\n`;
  await showOne(io, options.output as Format, CHECKS, report as object as Row, text);
  // Told as what it is: an interrupted kit is no verdict.
  signal.throwIfAborted();
  return exitOf(report, options.strict === true);
}

/** A kind that ships with Merit, what is there in the working folder, or the name of an installed package. */
function targetOf(given: string, cwd: string): string {
  if (BUILT_IN_KINDS.includes(given)) return given;
  const path = resolve(cwd, given);
  const isPath = given.startsWith('.') || given.startsWith('/');
  if (existsSync(path)) return path;
  if (!isPath) return given;
  throw new CliError(EXIT.notFound, 'not_found', `${JSON.stringify(given)} does not exist`, { mend: 'check the path' });
}

/** `: {"url": "…"}`: the schema's own example, else the fields that it asks for. */
function exampleOf(schema: object): string {
  const { examples = [], required = [] } = schema as {
    readonly examples?: readonly unknown[];
    readonly required?: readonly string[];
  };
  if (examples.length === 0 && required.length === 0) return '';
  return `: ${JSON.stringify(examples[0] ?? Object.fromEntries(required.map((field) => [field, '…'])))}`;
}

function backendFor(
  target: string,
  definition: AnyDefinition,
  given: Readonly<Record<string, unknown>> | undefined,
  proxy: string | undefined,
  flavour: string | undefined,
): Pick<KitOptions, 'backend'> {
  if (given === undefined) {
    if (proxy !== undefined || flavour !== undefined)
      throw usage('--proxy and --flavour are for a real backend', 'give it with --config FILE');
    if (definition.testBackend !== undefined) return {};
    const problem = `provider ${definition.kind} has no testBackend to run on`;
    const file = `${definition.kind}.yaml`;
    const holds = exampleOf(definition.configSchema);
    const mend = `name a real backend, whose jobs cost what they cost: "merit providers test ${target} --config ${file}", where ${file} is a pool's file, or the config alone${holds}; its author gives one in defineProvider`;
    throw new CliError(EXIT.badConfiguration, 'no_test_backend', problem, { mend });
  }
  const { config, asks } = given.kind === 'Pool' ? fromPool(given, flavour) : { config: given, asks: {} };
  if (proxy === undefined) return { backend: plainBackend(config, asks) };
  if (!/^https?:/.test(String(config[proxy])))
    throw new CliError(EXIT.badValue, 'bad_value', `--proxy: ${proxy} is no http address in the config`, {
      mend: 'name the field that holds the address of the backend',
    });
  return { backend: proxiedBackend(config, proxy, asks) };
}

/** The provider's config, and what jobs of one of the pool's flavours ask for. */
function fromPool(
  given: unknown,
  wanted: string | undefined,
): { config: Readonly<Record<string, unknown>>; asks: Asks } {
  const { provider, flavours } = parse(PoolFile, given);
  const found = flavours.find(({ name }) => wanted === undefined || name === wanted);
  if (found === undefined)
    throw new CliError(EXIT.badValue, 'bad_value', `--flavour: the pool has no ${wanted}`, {
      mend: `it has ${flavours.map(({ name }) => name).join(', ')}`,
    });
  const { name, resource, spot = false, price } = found;
  const offer = { flavour: name, resource, spot, currency: price.currency, centsPerUnitHour: cents(price.perUnitHour) };
  return {
    config: provider.config ?? {},
    asks: { flavour: offer, ...(resource === 'gpu' ? { gpuMilli: 1000n } : {}) },
  };
}

function onlyThese(names: readonly string[] | undefined): Pick<KitOptions, 'only'> {
  if (names === undefined) return {};
  const unknown = names.find((name) => !CHECK_NAMES.includes(name));
  if (unknown === undefined) return { only: names };
  throw new CliError(EXIT.badValue, 'bad_value', `--only: there is no check ${JSON.stringify(unknown)}`, {
    mend: `the checks are ${CHECK_NAMES.join(', ')}`,
  });
}

function exitOf({ passed, failed, notExercised }: KitReport, strict: boolean): number {
  if (failed > 0) return EXIT.jobFailed;
  return passed === 0 || (strict && notExercised > 0) ? EXIT.incomplete : EXIT.ok;
}
