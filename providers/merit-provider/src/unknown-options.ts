import type { OptionProblem } from './contract.ts';

/** Fields of a job's options of `kind` that are none of `names`; also where they are no object at all. What the known ones may be is the caller's. */
export function unknownOptions(kind: string, names: readonly string[], options: unknown): readonly OptionProblem[] {
  const root = `options.${kind}`;
  const there = names.length === 0 ? `${kind} has no options` : `there are ${names.join(', ')}`;
  if (options === undefined) return [];
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    return [
      { field: root, problem: 'is no object', mend: names.length === 0 ? 'remove it' : `write below it: ${there}` },
    ];
  return Object.keys(options)
    .filter((name) => !names.includes(name))
    .map((name) => ({ field: `${root}.${name}`, problem: 'is not known', mend: `remove it: ${there}` }));
}
