import { describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../../core/refusal.ts';
import { providerRefusals } from '../../../../providers/registry.ts';
import sageMaker from '../../../../providers/sagemaker/adapter.ts';
import {
  checkSageMakerConfig,
  type SageMakerConfig,
  sageMakerConfigSchema,
} from '../../../../providers/sagemaker/config.ts';
import { jobOptionsRefusals } from '../../../../providers/sagemaker/job-options.ts';
import { A10G } from '../../../support/sagemaker/world.ts';

const [GOOD] = sageMakerConfigSchema.examples as unknown as readonly [SageMakerConfig];
const [FLAVOUR] = GOOD.flavours as [SageMakerConfig['flavours'][0]];

const schemaFields = async (config: unknown) => [
  ...new Set((await providerRefusals({ kind: 'sagemaker', config }, [])).map(({ field }) => field)),
];

describe('a pool’s config', () => {
  test('is taken where it is right, and a pool without one is told what it lacks', async () => {
    expect(await schemaFields(GOOD)).toEqual([]);
    expect(await schemaFields(undefined)).toEqual(
      ['region', 'roleArn', 's3', 'flavours'].map((name) => `provider.config.${name}`),
    );
  });

  test.each([
    ['region', { region: 'Frankfurt' }],
    ['roleArn', { roleArn: 'merit' }],
    ['roles.0', { roles: ['arn:aws:iam::1:role/x'] }],
    ['s3', { s3: 's3://example-merit/training/' }],
    ['s3', { s3: 'https://example/merit' }],
    ['image', { image: 'a b' }],
    ['endpoint', { endpoint: 'ftp://x' }],
    ['vpc.securityGroupIds', { vpc: { subnets: ['subnet-1'] } }],
    ['tags.team', { tags: { team: '<b>' } }],
    ['queue', { queue: 'x' }],
    ['flavours', { flavours: [] }],
    ['flavours.0.instanceType', { flavours: [{ ...FLAVOUR, instanceType: 'g5.xlarge' }] }],
    ['flavours.0.instances', { flavours: [{ ...FLAVOUR, instances: 0 }] }],
    ['extensionSeconds', { extensionSeconds: -1 }],
  ])('is refused by its %s', async (field, change) => {
    expect(await schemaFields({ ...GOOD, ...change })).toEqual([`provider.config.${field}`]);
  });

  test('is refused for what no schema can say, all of it at once', () => {
    const wrong = {
      ...GOOD,
      flavours: [FLAVOUR, FLAVOUR],
      credentialsFile: 'relative.json',
      profile: 'x',
      tags: { 'merit:tag': 'mine' },
    };
    let refusals: readonly { readonly field: string }[] = [];
    try {
      checkSageMakerConfig(wrong, [{ ...A10G, flavour: 'h100' }]);
    } catch (error) {
      refusals = (error as RefusedInput).refusals;
      expect(error).toBeInstanceOf(RefusedInput);
    }
    expect(refusals.map(({ field }) => field)).toEqual([
      'flavours',
      'flavours',
      'credentialsFile',
      'profile',
      'tags/merit:tag',
    ]);
  });
});

describe('what a job asks of SageMaker', () => {
  test('is taken where it is right', () => {
    const vpc = { subnets: ['subnet-0a'], securityGroupIds: ['sg-0a'] };
    const channels = { train: { s3: 's3://bucket/train', mode: 'Pipe' } };
    expect(jobOptionsRefusals({ image: 'x:1', vpc, channels, hyperparameters: { a: '' }, volumeGib: 1 })).toEqual([]);
    expect(jobOptionsRefusals(undefined)).toEqual([]);
    expect(sageMaker.checkOptions).toBe(jobOptionsRefusals);
  });

  test.each([
    ['', 'text', 'is no object', 'write below it: image, roleArn'],
    ['.queue', { queue: 1 }, 'is not known', 'there are image, roleArn'],
    ['.image', { image: 'a b' }, '', 'without spaces'],
    ['.roleArn', { roleArn: 'admin' }, '', 'arn:aws:iam::'],
    ['.hyperparameters.lr', { hyperparameters: { lr: 0.1 } }, '', 'numbers in quotes'],
    ['.hyperparameters.lr', { hyperparameters: { lr: 'a\nb' } }, '', 'on one line'],
    ['.channels.train.s3', { channels: { train: {} } }, 'is missing', 's3://'],
    ['.channels.train.mode', { channels: { train: { s3: 's3://bucket', mode: 'Tape' } } }, '', 'FastFile'],
    ['.channels.merit', { channels: { merit: { s3: 's3://bucket' } } }, 'is Merit’s own channel', 'another name'],
    ['.channels.a b', { channels: { 'a b': { s3: 's3://bucket' } } }, 'is no name', '1 to 64'],
    ['.checkpoints', { checkpoints: '/tmp' }, '', 's3://bucket/prefix'],
    ['.vpc.subnets', { vpc: { securityGroupIds: ['sg-1'] } }, 'is missing', 'subnet-…'],
  ])('is refused at options.sagemaker%s, with the mend', (field, given, problem, mend) => {
    const refusals = jobOptionsRefusals(given);
    expect(refusals).toHaveLength(1);
    expect(refusals[0]).toMatchObject({
      field: `options.sagemaker${field}`,
      problem: expect.stringContaining(problem),
      mend: expect.stringContaining(mend),
    });
  });
});
