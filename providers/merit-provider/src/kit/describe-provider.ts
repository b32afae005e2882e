import type { ProviderDefinition } from '../contract.ts';
import { CHECK_NAMES, type CheckResult, type KitOptions, runKit } from './run.ts';

/** What `describeProvider` needs of a test runner: vitest's `describe` and `test`, or node:test's. */
export interface Runner {
  describe(name: string, body: () => void): unknown;
  test(name: string, body: () => Promise<void>): unknown;
}

/**
 * The kit as tests of a runner, one a check: `describeProvider(provider, {}, { describe, test })`. A check that could not be exercised
 * passes unless `required` names it, so name those that your backend can show.
 */
export function describeProvider(
  definition: ProviderDefinition<never>,
  options: KitOptions & { readonly required?: readonly string[] },
  { describe, test }: Runner,
): void {
  const names = CHECK_NAMES.filter((name) => options.only === undefined || options.only.includes(name));
  describe(`provider ${definition.kind} keeps the contract`, () => {
    for (const name of names) {
      test(name, async () => {
        const { checks } = await runKit(definition, { ...options, only: [name] });
        const wrong = checks.find((one) => isWrong(one, options.required ?? []));
        if (wrong !== undefined) throw new Error(`${wrong.check}: ${wrong.rule}. ${wrong.problem ?? ''}`);
      });
    }
  });
}

function isWrong({ check, verdict }: CheckResult, required: readonly string[]): boolean {
  return verdict === 'failed' || (verdict === 'not_exercised' && required.includes(check));
}
