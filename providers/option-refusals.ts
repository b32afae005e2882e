import { type Refusal, refuse } from '../core/refusal.ts';
import { cleanMessage } from './provider.ts';
import { type AnyDefinition, loadProvider } from './registry.ts';

/** Told of one kind's options at most. */
const OPTION_PROBLEMS_LIMIT = 16;

/**
 * What is wrong with a job's `options`, by the kinds of provider of the pools that it may run on: a kind that none of them is, and what a
 * kind's own check says. A provider that cannot be loaded, or whose check is broken, says nothing: its pool is told of elsewhere.
 */
export async function optionRefusals(
  options: Readonly<Record<string, unknown>>,
  providers: readonly string[],
  paths: readonly string[],
): Promise<readonly Refusal[]> {
  const loaded = await Promise.all(
    [...new Set(providers)].map((kind) => loadProvider(kind, paths).catch(() => undefined)),
  );
  const kinds = new Map(loaded.flatMap((one) => (one === undefined ? [] : [[one.kind, one] as const])));
  const whole = loaded.length > 0 && !loaded.includes(undefined);
  return Object.entries(options).flatMap(([kind, given]) => {
    const definition = kinds.get(kind);
    if (definition !== undefined) return ownRefusals(definition, given);
    if (!whole) return [];
    const mend = `remove it, or name a pool of that kind: those of this job are ${[...kinds.keys()].join(', ')}`;
    return [refuse('unknown_provider', `options.${kind}`, 'is for a kind of provider that none of its pools is', mend)];
  });
}

function ownRefusals({ checkOptions }: AnyDefinition, given: unknown): readonly Refusal[] {
  try {
    const told = checkOptions?.(given) ?? [];
    return told.slice(0, OPTION_PROBLEMS_LIMIT).map(({ field, problem, mend }) => {
      const texts = [field, problem, mend].map((text) => cleanMessage(String(text))) as [string, string, string];
      return refuse('option', ...texts);
    });
  } catch {
    // The provider is asked again at submit, where what it throws is its pool's.
    return [];
  }
}
