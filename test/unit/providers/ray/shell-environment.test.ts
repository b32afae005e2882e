import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { rayEnvironment } from '../../../../providers/ray/shell-environment.ts';

/** As Ray 2.60 does it on the node (`update_envs`): what is known is put in, `${NAME}` that is not known is deleted. */
function asRayExpands(value: string, known: Readonly<Record<string, string>>): string {
  return value
    .replace(/\$(\w+|\{[^}]*\})/g, (all, name: string) => known[name.replace(/^\{|\}$/g, '')] ?? all)
    .replace(/\$\{[A-Z0-9_]+\}/g, '');
}

const NODE = { PATH: process.env.PATH ?? '', HOME: '/root', A: 'a' };
const PARTS = ['$', '{', '}', 'HOME', 'NONE', 'A', '$(id)', "'", '"', '\\', '`', '\n', ' ', 'é', '😀', ';', '!'];
const value = fc.array(fc.constantFrom(...PARTS), { maxLength: 8 }).map((parts) => parts.join(''));

test('every value reaches the command as it was given, although Ray expands what looks like a variable', () => {
  fc.assert(
    fc.property(fc.record({ B: value, C_2: value, z: value }), value, (env, text) => {
      const parameters = JSON.stringify({ [text]: text });
      const { env: sent, prefix } = rayEnvironment({ ...env, MERIT_PARAMETERS: parameters });
      const there: Record<string, string> = { ...NODE };
      for (const [name, one] of Object.entries(sent)) there[name] = asRayExpands(one, there);
      const print = `${prefix}printf '%s\\0' "$B" "$C_2" "$z" "$MERIT_PARAMETERS"`;
      const [b, c, z, got = ''] = execFileSync('sh', ['-c', print], { env: there, encoding: 'utf8' }).split('\0');
      expect([b, c, z]).toEqual([env.B, env.C_2, env.z]);
      expect(got).toBe(parameters);
      expect(JSON.parse(asRayExpands(sent.MERIT_PARAMETERS ?? '', NODE))).toEqual({ [text]: text });
    }),
    { numRuns: 60, seed: 1 },
  );
});

test('an environment without a dollar is sent as it is, before the bare command', () => {
  expect(rayEnvironment({ A: 'x', B: '' })).toEqual({ env: { A: 'x', B: '' }, prefix: '' });
});
