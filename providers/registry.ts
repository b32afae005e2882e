import { pathToFileURL } from 'node:url';
import { OperatingError } from '../core/operating-error.ts';
import { PROVIDER_CONTRACT_VERSION, type ProviderDefinition } from './provider.ts';

/** The kinds that ship with Merit, imported when a pool first needs one. Any other kind is a package name or a path. */
const BUILT_IN: Readonly<Record<string, () => Promise<{ readonly default: ProviderDefinition<never> }>>> = {
  local: () => import('./local/adapter.ts'),
  ray: () => import('./ray/adapter.ts'),
};

/** The definition of a provider kind. Throws OperatingError `part-missing` where no package of that name exports one. */
export async function loadProvider(kind: string): Promise<ProviderDefinition<unknown>> {
  const builtIn = Object.hasOwn(BUILT_IN, kind) ? BUILT_IN[kind] : undefined;
  const specifier = kind.startsWith('/') || kind.startsWith('./') ? pathToFileURL(kind).href : kind;
  const module = await (builtIn ?? (() => import(specifier)))().catch((cause: unknown) => {
    throw new OperatingError('part-missing', 'never', `loading provider ${kind}`, {
      cause,
      mend: `npm install ${kind}, or name a provider that is installed`,
    });
  });
  const definition = (module as { default?: ProviderDefinition<unknown> }).default;
  if (typeof definition?.open !== 'function') {
    throw new OperatingError('part-missing', 'never', `loading provider ${kind}`, {
      cause: 'its default export is not made by defineProvider',
      mend: `export default defineProvider({…}) of contract version ${PROVIDER_CONTRACT_VERSION}`,
    });
  }
  return definition;
}
