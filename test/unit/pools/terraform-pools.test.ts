import { describe, expect, test } from 'vitest';
import { RefusedInput, refusalText } from '../../../core/refusal.ts';
import { type PoolFile, parsePool } from '../../../pools/pool-file.ts';
import { documentOf, poolsOfTerraform } from '../../../pools/terraform-pools.ts';

const H100 = {
  name: 'h100',
  resource: 'gpu',
  capacity: 8,
  gpuType: null,
  spot: false,
  price: { currency: 'USD', perUnitHour: '2.50' },
};
const EAST = {
  name: 'east',
  provider: { kind: 'ray', config: { address: 'https://ray.example', caFile: null } },
  flavours: [H100],
};
const shown = (value: unknown, rest: object = {}) => ({
  format_version: '1.0',
  terraform_version: '1.11.4',
  values: { outputs: { merit_pool: { sensitive: false, value, ...rest } }, root_module: {} },
});

function refused(value: unknown): readonly string[] {
  try {
    poolsOfTerraform(value);
  } catch (error) {
    if (error instanceof RefusedInput) return error.refusals.map(refusalText);
    throw error;
  }
  return [];
}

describe('what terraform show tells', () => {
  test('is one pool, or several, without the attributes that are not there', () => {
    const [pool] = poolsOfTerraform(shown(EAST));
    expect(pool).toEqual({
      name: 'east',
      provider: { kind: 'ray', config: { address: 'https://ray.example' } },
      flavours: [
        { name: 'h100', resource: 'gpu', capacity: 8, spot: false, price: { currency: 'USD', perUnitHour: '2.50' } },
      ],
    });
    expect(poolsOfTerraform(shown([EAST, { ...EAST, name: 'west' }])).map(({ name }) => name)).toEqual([
      'east',
      'west',
    ]);
  });

  test.each([
    ['another major version', { ...shown(EAST), format_version: '2.0' }, 'format_version: is 2.0'],
    ['no version', { values: {} }, 'format_version: is missing'],
    ['a plan’s or nobody’s JSON', [], 'format_version: is missing'],
    ['nothing applied', { format_version: '1.0' }, 'nothing was applied there'],
    ['no such output', { format_version: '1.0', values: { outputs: {} } }, 'outputs.merit_pool: is missing'],
    ['a secret', shown(EAST, { sensitive: true }), 'outputs.merit_pool: is marked sensitive'],
    ['no pool at all', shown([]), 'merit_pool: is 0 pools'],
    ['one name twice', shown([EAST, EAST]), 'merit_pool.1.name: is east, as that of merit_pool.0 is'],
    [
      'a live size',
      shown({ ...EAST, flavours: [{ ...H100, nodes: [{ name: 'a', gpus: 8 }] }] }),
      'merit_pool.flavours.0.nodes',
    ],
    ['quotas', shown({ ...EAST, quotas: {} }), 'merit_pool.quotas'],
    ['a name that Merit has not', shown([{ ...EAST, name: 'East' }]), 'merit_pool.0.name'],
  ])('is refused where it is %s', (_, value, text) => {
    expect(refused(value).join('\n')).toContain(text);
  });
});

describe('the document of a pool', () => {
  const [pool] = poolsOfTerraform(shown(EAST));

  test('is a whole one where there was none, and grants nobody anything', () => {
    expect(parsePool(documentOf(pool!, undefined)).quotas).toEqual({});
  });

  test('keeps quotas, windows, overcommit and machines, which are not Terraform’s', () => {
    const standing: PoolFile = {
      apiVersion: 'merit/v1',
      kind: 'Pool',
      name: 'east',
      provider: { kind: 'local' },
      overcommit: true,
      offPeak: [{ cron: '0 20 * * *', duration: '10h', timeZone: 'UTC' }],
      quotas: { vision: { h100: 6 } },
      flavours: [
        {
          name: 'h100',
          resource: 'gpu',
          capacity: 4,
          nodes: [{ name: 'node-1', gpus: 8 }],
          liveCapacity: true,
          price: { currency: 'USD', perUnitHour: '1.00' },
        },
      ],
    };
    const document = documentOf(pool!, standing);
    expect(document).toEqual({
      ...standing,
      provider: pool!.provider,
      flavours: [{ ...pool!.flavours[0], nodes: [{ name: 'node-1', gpus: 8 }], liveCapacity: true }],
    });
    expect(documentOf(pool!, document)).toEqual(document);
  });
});
