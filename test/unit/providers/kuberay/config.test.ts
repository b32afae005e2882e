import { describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../../core/refusal.ts';
import { check } from '../../../../core/schema.ts';
import { checkKubeRayConfig, type KubeRayConfig, kubeRayConfigSchema } from '../../../../providers/kuberay/config.ts';
import { jobOptionsRefusals } from '../../../../providers/kuberay/job-options.ts';

const [GOOD] = kubeRayConfigSchema.examples as unknown as [KubeRayConfig];
const POOL = [{ flavour: 'h100', resource: 'gpu', spot: false, currency: 'USD', centsPerUnitHour: 1n }] as const;

function refusals(config: KubeRayConfig, pool: Parameters<typeof checkKubeRayConfig>[1] = POOL): readonly string[] {
  try {
    checkKubeRayConfig(config, pool);
    return [];
  } catch (error) {
    if (error instanceof RefusedInput) return error.refusals.map(({ field, problem }) => `${field} ${problem}`);
    throw error;
  }
}

describe('a pool on KubeRay', () => {
  test('is taken as its example has it', () => {
    expect(check(kubeRayConfigSchema as never, GOOD)).toEqual([]);
    expect(refusals(GOOD)).toEqual([]);
  });

  test.each<[string, object]>([
    ['a namespace that is none', { namespace: 'Training' }],
    ['a version that is none', { rayVersion: 'latest' }],
    ['no image', { image: '' }],
    ['a label that is none', { flavours: [{ name: 'x', nodeSelector: { 'a b': 'c' } }] }],
    ['a topology that is none', { flavours: [{ name: 'x', topologyKey: '/' }] }],
    ['a field that it does not have', { submissionMode: 'K8sJobMode' }],
    ['no flavours', { flavours: [] }],
  ])('is refused with %s', (_, part) => {
    expect(check(kubeRayConfigSchema as never, { ...GOOD, ...part })).not.toEqual([]);
  });

  test('is told all that its schema cannot say at once', () => {
    const { flavours, ...rest } = GOOD;
    const config = {
      ...rest,
      kubeconfig: 'kubeconfig',
      tokenFile: 'token',
      dashboards: 'https://ray.example/{service}',
      labels: { 'ray.io/cluster': 'x' },
      annotations: { 'merit/tag': 'x' },
      rayVersion: '2.51.9',
      flavours: [{ name: 'a100' }, { name: 'a100' }],
    };
    expect(refusals(config)).toEqual([
      'flavours two have the same name',
      'flavours say nothing of h100',
      'kubeconfig must be an absolute path',
      'tokenFile must be an absolute path',
      'dashboards lacks {namespace}',
      'rayVersion is 2.51.9, which cannot ask for a token',
      'labels/ray.io/cluster is Merit’s or KubeRay’s',
      'annotations/merit/tag is Merit’s or KubeRay’s',
    ]);
    expect(flavours).toHaveLength(1);
  });

  test('may have a Ray without tokens where it says so by name', () => {
    expect(refusals({ ...GOOD, rayVersion: '2.9.3', allowUnauthenticated: true })).toEqual([]);
  });
});

describe('the options of a job', () => {
  test.each<[unknown, readonly string[]]>([
    [undefined, []],
    [{ image: 'r/x:1', spread: 'strict', nodeSelector: { zone: 'a' }, runtime_env: { pip: ['torch'] } }, []],
    ['fast', ['options.kuberay']],
    [{ queue: 'x' }, ['options.kuberay.queue']],
    [{ image: 'two words' }, ['options.kuberay.image']],
    [{ spread: 'loose' }, ['options.kuberay.spread']],
    [
      { nodeSelector: { 'a b': 'c', zone: 'in(a,b)' } },
      ['options.kuberay.nodeSelector.a b', 'options.kuberay.nodeSelector.zone'],
    ],
    [{ runtime_env: { working_dir: 's3://x' } }, ['options.kuberay.runtime_env.working_dir']],
    [{ runtime_env: { image_uri: 'r/x:1' } }, ['options.kuberay.runtime_env.image_uri']],
  ])('%j: wrong are %j', (options, fields) => {
    expect(jobOptionsRefusals(options).map(({ field }) => field)).toEqual(fields);
  });
});
