import { readdir, readFile, stat } from 'node:fs/promises';
import { registerHooks } from 'node:module';
import { isAbsolute, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { OperatingError } from '../core/operating-error.ts';
import { type Refusal, RefusedInput, refuse } from '../core/refusal.ts';
import { check, type TSchema } from '../core/schema.ts';
import { guarded, type ProviderWatch } from './guarded.ts';
import {
  CAPABILITY_NAMES,
  KIND_FORM,
  type OpenContext,
  PROVIDER_CONTRACT_VERSION,
  type Provider,
  type ProviderDefinition,
  VERB_NAMES,
  WINDOW_LIMIT_MS,
} from './provider.ts';

const OPEN_TIMEOUT_MS = 30_000;

export type AnyDefinition = ProviderDefinition<unknown>;

/** The kinds that ship with Merit, imported when a pool first needs one. Any other kind is a package name or a path. */
const BUILT_IN: Readonly<Record<string, () => Promise<{ readonly default: ProviderDefinition<never> }>>> = {
  kuberay: () => import('./kuberay/adapter.ts'),
  kubernetes: () => import('./kubernetes/adapter.ts'),
  local: () => import('./local/adapter.ts'),
  ray: () => import('./ray/adapter.ts'),
  sagemaker: () => import('./sagemaker/adapter.ts'),
  slurm: () => import('./slurm/adapter.ts'),
  vertex: () => import('./vertex/adapter.ts'),
};
export const BUILT_IN_KINDS = Object.keys(BUILT_IN);

/** Packages with this keyword are providers; `merit providers ls` looks for it. */
export const PROVIDER_KEYWORD = 'merit-provider';
/** As npm has them; no URL and no path is one. */
const PACKAGE_NAME = /^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/;
const PACKAGE_NAME_LIMIT = 214;

/** What providers import of Merit is Merit's own copy, wherever they lie, so that a process has one contract. */
const OWN: ReadonlyMap<string, string> = new Map([
  ['merit-provider', new URL('./merit-provider/src/index.ts', import.meta.url).href],
  ['merit-provider/kit', new URL('./merit-provider/src/kit/index.ts', import.meta.url).href],
]);
let hooked = false;

function giveOwnCopy(): void {
  if (hooked) return;
  hooked = true;
  registerHooks({
    resolve: (specifier, context, next) => {
      const url = OWN.get(specifier);
      return url === undefined ? next(specifier, context) : { url, shortCircuit: true };
    },
  });
}

/**
 * The definition of a provider: a kind that ships with Merit, the name of an installed package, or the absolute path of one. What is
 * loaded runs as Merit does, so whoever may only name providers loads from `paths` and nothing else that lies about.
 * Throws OperatingError `part-missing`, with the mend, where there is none or its contract is another version's.
 */
export async function loadProvider(kind: string, paths: 'any' | readonly string[] = []): Promise<AnyDefinition> {
  const refusal = specifierRefusal(kind, paths);
  if (refusal !== undefined)
    throw new OperatingError('part-missing', 'never', `loading provider ${JSON.stringify(kind)}`, {
      cause: refusal.problem,
      mend: refusal.mend,
    });
  const builtIn = Object.hasOwn(BUILT_IN, kind) ? BUILT_IN[kind] : undefined;
  const importPackage = async () => {
    giveOwnCopy();
    return import(isPath(kind) ? await entryOf(kind) : kind);
  };
  const module = await (builtIn ?? importPackage)().catch((cause: unknown) => {
    throw new OperatingError('part-missing', 'never', `loading provider ${kind}`, {
      cause,
      mend: isPath(kind)
        ? 'name the folder of a package, or its main file'
        : `npm install ${kind}, or name a provider that is installed`,
    });
  });
  const definition = (module as { default?: AnyDefinition }).default;
  const problem = definitionProblem(definition);
  if (problem !== undefined)
    throw new OperatingError('part-missing', 'never', `loading provider ${kind}`, {
      cause: problem.problem,
      mend: problem.mend,
    });
  return definition as AnyDefinition;
}

function specifierRefusal(
  kind: string,
  paths: 'any' | readonly string[],
): { readonly problem: string; readonly mend: string } | undefined {
  if (!isPath(kind)) {
    if (kind.length <= PACKAGE_NAME_LIMIT && PACKAGE_NAME.test(kind)) return undefined;
    return {
      problem: 'it is neither the name of a package nor a full path',
      mend: 'name a package, or write its full path',
    };
  }
  if (paths === 'any' || paths.includes(kind)) return undefined;
  return {
    problem: 'this server does not load providers from that path',
    mend: 'its operator names the path in MERIT_PROVIDER_PATHS, or installs the package beside Merit',
  };
}

function isPath(kind: string): boolean {
  return isAbsolute(kind);
}

/** A folder's entry is what its package.json exports; a file is its own. */
async function entryOf(path: string): Promise<string> {
  if (!(await stat(path)).isDirectory()) return pathToFileURL(path).href;
  const { exports, main } = await manifestOf(path);
  return pathToFileURL(join(path, mainFile(exports) ?? (typeof main === 'string' ? main : 'index.js'))).href;
}

/** `exports` as a text, or under `.`, or by the conditions that a package of plain JavaScript uses. */
function mainFile(exports: unknown): string | undefined {
  if (typeof exports === 'string') return exports;
  if (typeof exports !== 'object' || exports === null) return undefined;
  const { '.': dot, import: imported, default: fallback } = exports as Readonly<Record<string, unknown>>;
  return mainFile(dot ?? imported ?? fallback);
}

/** What keeps a module's default export from being a provider of this contract; undefined: nothing. */
function definitionProblem(given: unknown): { readonly problem: string; readonly mend: string } | undefined {
  const mend = `export default defineProvider({ kind, contractVersion: ${PROVIDER_CONTRACT_VERSION}, … }), see docs/providers.md`;
  if (typeof given !== 'object' || given === null || typeof (given as AnyDefinition).open !== 'function')
    return { problem: 'its default export is not made by defineProvider', mend };
  const { kind, contractVersion, configSchema, capabilities } = given as Readonly<Record<string, unknown>>;
  if (typeof kind !== 'string' || !KIND_FORM.test(kind))
    return { problem: 'kind: must be 1 to 63 of a-z, 0-9 and inner dashes', mend };
  if (!Number.isSafeInteger(contractVersion))
    return { problem: 'contractVersion: must be the number of the contract that it was written for', mend };
  if ((contractVersion as number) > PROVIDER_CONTRACT_VERSION)
    return {
      problem: `contractVersion: it was written for contract ${contractVersion}, this Merit has ${PROVIDER_CONTRACT_VERSION}`,
      mend: 'update Merit, or install an earlier version of the package',
    };
  if ((contractVersion as number) < PROVIDER_CONTRACT_VERSION)
    return {
      problem: `contractVersion: it was written for contract ${contractVersion}, which this Merit no longer takes`,
      mend: `install a version of the package for contract ${PROVIDER_CONTRACT_VERSION}`,
    };
  if (typeof configSchema !== 'object' || configSchema === null)
    return { problem: 'configSchema: must be a JSON Schema', mend };
  if (!areCapabilities(capabilities)) return { problem: `capabilities: ${CAPABILITIES_RULE}`, mend };
  return undefined;
}

/** All that is wrong with a provider's config by its own schema; none: it may be opened. Fields are dotted paths. */
export function configRefusals(definition: AnyDefinition, config: unknown): readonly Refusal[] {
  try {
    return check(definition.configSchema as TSchema, config);
  } catch (cause) {
    throw new OperatingError('part-missing', 'never', `checking the config of provider ${definition.kind}`, {
      cause: `its configSchema is no JSON Schema: ${cause instanceof Error ? cause.message : String(cause)}`,
      mend: 'mend configSchema in the package',
    });
  }
}

/**
 * What a pool says of its provider and cannot be: a kind that cannot be loaded, a config that its schema refuses. Fields begin with
 * `provider`. Merit's own Ray needs no config.
 */
export async function providerRefusals(
  { kind, config }: { readonly kind: string; readonly config?: unknown },
  paths: readonly string[],
): Promise<readonly Refusal[]> {
  try {
    const definition = await loadProvider(kind, paths);
    return kind === 'ray' && config === undefined ? [] : configRefusals(definition, config ?? {}).map(inConfig);
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    return [
      refuse('provider', 'provider.kind', error.message, error.mend ?? 'merit providers ls shows what is installed'),
    ];
  }
}

/**
 * Checks `config` by the definition's schema, opens it, and holds it to the contract from then on. Throws RefusedInput whose fields begin
 * with `provider.config`, OperatingError `part-missing`, or what `open` throws.
 */
export async function openProvider(
  definition: AnyDefinition,
  config: unknown,
  context: OpenContext,
  watch?: ProviderWatch,
): Promise<Provider> {
  const refusals = configRefusals(definition, config);
  if (refusals.length > 0) throw new RefusedInput(refusals.map(inConfig));
  const provider = await opened(definition, config, context).catch((error: unknown) => {
    throw error instanceof RefusedInput ? new RefusedInput(error.refusals.map(inConfig)) : error;
  });
  const problem = providerProblem(provider);
  if (problem === undefined) return guarded(provider, watch);
  throw new OperatingError('part-missing', 'never', `opening provider ${definition.kind}`, {
    cause: problem,
    mend: 'merit providers test names what it lacks',
  });
}

/** One that comes later than anybody waits for it is closed. */
async function opened(definition: AnyDefinition, config: unknown, context: OpenContext): Promise<Provider> {
  let timer: NodeJS.Timeout | undefined;
  const opening = definition.open(config, context);
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      void opening.then((provider) => provider.close()).catch(() => {});
      const doing = `opening provider ${definition.kind}`;
      const cause = `it did not open within ${OPEN_TIMEOUT_MS / 1000} s, though open touches no network`;
      reject(new OperatingError('timeout', 'safe', doing, { cause }));
    }, OPEN_TIMEOUT_MS);
  });
  return Promise.race([opening, late]).finally(() => clearTimeout(timer));
}

/** A refusal of a config as one of the pool's file. */
function inConfig({ code, field, problem, mend }: Refusal): Refusal {
  return refuse(
    code,
    field === '' ? 'provider.config' : `provider.config.${field.replaceAll('/', '.')}`,
    problem,
    mend,
  );
}

function providerProblem(provider: Provider): string | undefined {
  if (typeof provider !== 'object' || provider === null) return 'open returned no provider';
  const missing = [...VERB_NAMES, 'close' as const].filter((name) => typeof provider[name] !== 'function');
  if (missing.length > 0) return `it has no ${missing.join(', ')}`;
  if (provider.contractVersion !== PROVIDER_CONTRACT_VERSION)
    return 'its contractVersion is another one than its definition’s';
  const { consistencyWindowMs, capabilities } = provider;
  if (!Number.isSafeInteger(consistencyWindowMs) || consistencyWindowMs < 0 || consistencyWindowMs > WINDOW_LIMIT_MS)
    return `its consistencyWindowMs is not a whole number up to ${WINDOW_LIMIT_MS}`;
  if (!areCapabilities(capabilities)) return `its capabilities ${CAPABILITIES_RULE}`;
  return undefined;
}

const CAPABILITIES_RULE = `must be ${CAPABILITY_NAMES.join(', ')}, each true or false`;

function areCapabilities(given: unknown): boolean {
  return CAPABILITY_NAMES.every(
    (name) => typeof (given as Readonly<Record<string, unknown>> | undefined)?.[name] === 'boolean',
  );
}

export interface InstalledProvider {
  readonly name: string;
  readonly version: string;
}

/** The packages beside Merit's own that say they are providers, in code-unit order. */
export async function installedProviders(): Promise<readonly InstalledProvider[]> {
  const modules = fileURLToPath(new URL('../node_modules', import.meta.url));
  const names = await readdir(modules).catch(() => []);
  const scoped = names
    .filter((name) => name.startsWith('@'))
    .map(async (scope) => (await readdir(join(modules, scope)).catch(() => [])).map((name) => `${scope}/${name}`));
  const all = [...names.filter((name) => !/^[.@]/.test(name)), ...(await Promise.all(scoped)).flat()];
  const found: InstalledProvider[] = [];
  for (const name of all.sort()) {
    const { keywords, version } = await manifestOf(join(modules, name));
    if (Array.isArray(keywords) && keywords.includes(PROVIDER_KEYWORD)) found.push({ name, version: String(version) });
  }
  return found;
}

/** What a package says of itself; nothing where there is no readable package.json. */
export async function manifestOf(folder: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    return JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Readonly<Record<string, unknown>>;
  } catch {
    return {};
  }
}
