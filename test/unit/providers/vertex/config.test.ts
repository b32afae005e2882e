import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../../core/refusal.ts';
import { providerRefusals } from '../../../../providers/registry.ts';
import {
  ACCELERATORS,
  checkVertexConfig,
  type VertexConfig,
  vertexConfigSchema,
} from '../../../../providers/vertex/config.ts';
import { jobOptionsRefusals } from '../../../../providers/vertex/job-options.ts';
import { keepOnlyJobs, type ProtoNode } from '../../../../providers/vertex/job-protos.ts';
import { L4 } from '../../../support/vertex/flavours.ts';

const [GOOD] = vertexConfigSchema.examples as unknown as readonly [VertexConfig];
const [FLAVOUR] = GOOD.flavours as [VertexConfig['flavours'][0]];

const schemaFields = async (config: unknown) => [
  ...new Set((await providerRefusals({ kind: 'vertex', config }, [])).map(({ field }) => field)),
];

describe('a pool’s config', () => {
  test('is taken where it is right, and a pool without one is told what it lacks', async () => {
    expect(await schemaFields(GOOD)).toEqual([]);
    expect(await schemaFields(undefined)).toEqual(
      ['project', 'region', 'gcs', 'flavours'].map((name) => `provider.config.${name}`),
    );
  });

  test.each([
    ['project', { project: 'Merit' }],
    ['region', { region: 'Frankfurt' }],
    ['gcs', { gcs: 'gs://example-merit/training/' }],
    ['gcs', { gcs: 's3://example/merit' }],
    ['image', { image: 'a b' }],
    ['serviceAccount', { serviceAccount: 'merit' }],
    ['serviceAccounts.0', { serviceAccounts: ['a@example.com'] }],
    ['endpoint', { endpoint: 'ftp://x' }],
    ['network', { network: 'projects/example/global/networks/x' }],
    ['networkAttachment', { networkAttachment: 'x' }],
    ['kmsKey', { kmsKey: 'alias/merit' }],
    ['bootDiskType', { bootDiskType: 'floppy' }],
    ['bootDiskGb', { bootDiskGb: 10 }],
    ['labels.team', { labels: { team: 'Search' } }],
    ['queue', { queue: 'x' }],
    ['flavours', { flavours: [] }],
    ['flavours.0.machineType', { flavours: [{ ...FLAVOUR, machineType: 'big' }] }],
    ['flavours.0.accelerator', { flavours: [{ ...FLAVOUR, accelerator: 'L4' }] }],
    ['flavours.0.machines', { flavours: [{ ...FLAVOUR, machines: 0 }] }],
    ['extensionSeconds', { extensionSeconds: -1 }],
  ])('is refused by its %s', async (field, change) => {
    expect(await schemaFields({ ...GOOD, ...change })).toEqual([`provider.config.${field}`]);
  });

  test('is refused for what no schema can say, all of it at once', () => {
    const { accelerator: _none, ...bare } = FLAVOUR;
    const wrong: VertexConfig = {
      ...GOOD,
      flavours: [FLAVOUR, FLAVOUR, { ...bare, name: 'bare' }, { ...FLAVOUR, name: 'none', gpus: 0 }],
      credentialsFile: 'relative.json',
      network: 'projects/1/global/networks/x',
      networkAttachment: 'projects/1/regions/r/networkAttachments/x',
      labels: { merit_tag: 'mine' },
    };
    let refusals: readonly { readonly field: string }[] = [];
    try {
      checkVertexConfig(wrong, [{ ...L4, flavour: 'h100' }]);
    } catch (error) {
      refusals = (error as RefusedInput).refusals;
      expect(error).toBeInstanceOf(RefusedInput);
    }
    expect(refusals.map(({ field }) => field)).toEqual([
      'flavours',
      'flavours',
      'flavours/2/accelerator',
      'flavours/3/accelerator',
      'credentialsFile',
      'networkAttachment',
      'labels/merit_tag',
    ]);
    const { network: _gone, networkAttachment: _gone2, ...rest } = GOOD;
    expect(() => checkVertexConfig({ ...rest, reservedIpRanges: ['x'] }, undefined)).toThrow(RefusedInput);
    expect(() => checkVertexConfig(GOOD, undefined)).not.toThrow();
  });
});

describe('a job’s options', () => {
  test('are taken where they are right', () => {
    const good = {
      image: 'r/x:1',
      serviceAccount: 'a-b@example-merit.iam.gserviceaccount.com',
      network: 'projects/1/global/networks/x',
      output: 'gs://example-merit/x',
      bootDiskGb: 200,
      tensorboard: 'projects/1/locations/europe-west4/tensorboards/7',
    };
    expect(jobOptionsRefusals(good)).toEqual([]);
    expect(jobOptionsRefusals(undefined)).toEqual([]);
  });

  test.each([
    ['image', 'a b', 'registry/name'],
    ['serviceAccount', 'me', 'gserviceaccount'],
    ['network', 'x', 'NUMBER'],
    ['output', 's3://x', 'gs://'],
    ['tensorboard', 'x', 'tensorboards'],
    ['queue', 'x', 'there are image'],
  ])('are refused by %s, with what to write instead', (field, value, mend) => {
    expect(jobOptionsRefusals({ [field]: value })).toMatchObject([
      { field: `options.vertex.${field}`, mend: expect.stringContaining(mend) },
    ]);
  });
});

test('what is left of the SDK’s description has all that its service of jobs reaches, and each accelerator', () => {
  const protos = createRequire(import.meta.url)('@google-cloud/aiplatform/build/protos/protos.json') as ProtoNode;
  keepOnlyJobs(protos);
  const once = JSON.stringify(protos).length;
  keepOnlyJobs(protos);
  expect(JSON.stringify(protos)).toHaveLength(once);
  const platform = protos.nested!.google!.nested!.cloud!.nested!.aiplatform!.nested!;
  const v1 = platform.v1!.nested as Record<string, { readonly values?: object }>;
  expect(Object.keys(platform)).toEqual(['v1']);
  expect(Object.keys(v1)).toEqual(expect.arrayContaining(['JobService', 'CustomJob', 'EncryptionSpec', 'NasJob']));
  expect(v1.FeaturestoreService).toBeUndefined();
  expect(Object.keys(v1.AcceleratorType!.values!)).toEqual(expect.arrayContaining([...ACCELERATORS]));
});
