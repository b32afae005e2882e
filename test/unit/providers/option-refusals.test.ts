import { expect, test } from 'vitest';
import { optionRefusals } from '../../../providers/option-refusals.ts';

const told = async (options: Readonly<Record<string, unknown>>, ...kinds: string[]) =>
  (await optionRefusals(options, kinds, [])).map(({ field, problem }) => `${field} ${problem}`);

test('options of a job are told wrong by the kinds of its pools, each by its own rules and all at once', async () => {
  const options = { ray: { spread: 'strict', lables: { zone: 'a' }, runtime_env: { pipp: [] } }, local: { gpu: 1 } };
  expect(await told(options, 'ray', 'local')).toEqual([
    'options.ray.lables is not known',
    expect.stringContaining('options.ray.runtime_env.pipp '),
    'options.local.gpu is not known',
  ]);
  expect(await told({ ray: { spread: 'strict' }, local: {} }, 'ray', 'local')).toEqual([]);
});

test('options for a kind that none of the pools is are refused, unless a provider among them cannot be loaded or there is no pool yet', async () => {
  const problem = 'options.rya is for a kind of provider that none of its pools is';
  expect(await told({ rya: {} }, 'ray')).toEqual([problem]);
  expect(await told({ rya: {} }, 'ray', '/nowhere')).toEqual([]);
  expect(await told({ rya: {} })).toEqual([]);
});
