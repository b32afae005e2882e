import { describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../../core/refusal.ts';
import { providerRefusals } from '../../../../providers/registry.ts';
import slurm from '../../../../providers/slurm/adapter.ts';
import {
  checkSlurmConfig,
  flavoursOf,
  type SlurmConfig,
  slurmConfigSchema,
} from '../../../../providers/slurm/config.ts';
import { jobOptionsRefusals } from '../../../../providers/slurm/job-options.ts';

const [GOOD] = slurmConfigSchema.examples as unknown as readonly [SlurmConfig];
const { socket: _, ...NOWHERE } = GOOD;
const A100 = { flavour: 'a100', resource: 'gpu', spot: false, currency: 'EUR', centsPerUnitHour: 200n } as const;

const schemaFields = async (config: unknown) => [
  ...new Set((await providerRefusals({ kind: 'slurm', config }, [])).map(({ field }) => field)),
];

function fieldsOf(config: SlurmConfig, pool: Parameters<typeof checkSlurmConfig>[1] = undefined): readonly string[] {
  try {
    checkSlurmConfig(config, pool);
    return [];
  } catch (error) {
    expect(error).toBeInstanceOf(RefusedInput);
    return (error as RefusedInput).refusals.map(({ field }) => field);
  }
}

describe('a pool’s config', () => {
  test('is taken where it is right, and a pool without one is told what it lacks', async () => {
    expect(await schemaFields(GOOD)).toEqual([]);
    expect(fieldsOf(GOOD, [A100])).toEqual([]);
    expect(fieldsOf({ ...NOWHERE, url: 'https://slurm:6820', tokenFile: '/run/jwt', caFile: '/run/ca.pem' })).toEqual(
      [],
    );
    expect(await schemaFields(undefined)).toEqual(
      ['user', 'shared', 'partition', 'flavours'].map((name) => `provider.config.${name}`),
    );
  });

  test.each([
    ['url', { url: 'https://host/slurm' }],
    ['version', { version: 'v0.0.41' }],
    ['user', { user: 'root; id' }],
    ['shared', { shared: '/a b' }],
    ['shared', { shared: "/a'$(id)" }],
    ['partition', { partition: 'a,b' }],
    ['account', { account: '' }],
    ['constraint', { constraint: '[a*2&b*2]' }],
    ['noticeSeconds', { noticeSeconds: -1 }],
    ['queue', { queue: 'x' }],
    ['flavours', { flavours: [] }],
    ['flavours.0.gres', { flavours: [{ name: 'a100', gres: 'gpu:a100:2' }] }],
  ])('is refused by its %s', async (field, change) => {
    expect(await schemaFields({ ...GOOD, ...change })).toEqual([`provider.config.${field}`]);
  });

  test('is refused for what no schema can say, all of it at once', () => {
    expect(fieldsOf(NOWHERE)).toEqual(['url']);
    expect(fieldsOf({ ...GOOD, url: 'https://slurm:6820' })).toEqual(['url']);
    expect(fieldsOf({ ...NOWHERE, url: 'http://slurm:6820', caFile: 'ca.pem' })).toEqual([
      'url',
      'tokenFile',
      'caFile',
      'caFile',
    ]);
    const flavours = [{ name: 'a100' }, { name: 'a100' }];
    expect(fieldsOf({ ...GOOD, shared: '/a/../b', flavours }, [A100, { ...A100, flavour: 'h100' }])).toEqual([
      'flavours',
      'flavours',
      'flavours',
      'shared',
    ]);
  });

  test('gives a flavour its pool’s price, and what it does not say itself', () => {
    const flavours = [{ name: 'a100', gres: 'gpu:a100', partition: 'big', spot: true }, { name: 'cpu' }];
    expect(flavoursOf({ ...GOOD, constraint: 'ib', flavours }, [A100])).toEqual([
      {
        name: 'a100',
        gres: 'gpu:a100',
        partition: 'big',
        spot: true,
        constraint: 'ib',
        centsPerUnitHour: 200,
        currency: 'EUR',
      },
      { name: 'cpu', partition: 'gpu', spot: false, constraint: 'ib' },
    ]);
  });
});

describe('what a job asks of Slurm', () => {
  test('is taken where it is right', () => {
    const all = {
      account: 'a',
      qos: 'b',
      reservation: 'c',
      constraint: 'a100&(ib|nvlink)',
      licenses: 'm:2,n@x',
      nice: 5,
    };
    expect(jobOptionsRefusals(all)).toEqual([]);
    expect(jobOptionsRefusals(undefined)).toEqual([]);
    expect(slurm.checkOptions).toBe(jobOptionsRefusals);
  });

  test.each([
    ['', 'text', 'is no object', 'write below it: account, qos'],
    ['.partition', { partition: 'x' }, 'is not known', 'there are account, qos'],
    ['.account', { account: 'a b' }, '', 'one of those that the pool names'],
    ['.constraint', { constraint: 'a;b' }, '', 'features of nodes'],
    ['.licenses', { licenses: 'a b' }, '', 'name:count'],
  ])('is refused at options.slurm%s, with the mend', (field, given, problem, mend) => {
    const refusals = jobOptionsRefusals(given);
    expect(refusals).toHaveLength(1);
    expect(refusals[0]).toMatchObject({
      field: `options.slurm${field}`,
      problem: expect.stringContaining(problem),
      mend: expect.stringContaining(mend),
    });
  });
});
