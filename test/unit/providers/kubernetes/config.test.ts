import { describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../../core/refusal.ts';
import {
  checkKubernetesConfig,
  type KubernetesConfig,
  kubernetesConfigSchema,
} from '../../../../providers/kubernetes/config.ts';
import { checkAllowed, jobOptionsRefusals } from '../../../../providers/kubernetes/job-options.ts';
import { providerRefusals } from '../../../../providers/registry.ts';

const [GOOD] = kubernetesConfigSchema.examples as unknown as readonly [KubernetesConfig];
const [FLAVOUR] = GOOD.flavours as [KubernetesConfig['flavours'][0]];
const POOLED = { spot: false, currency: 'USD', centsPerUnitHour: 1n };

const schemaFields = async (config: unknown) => [
  ...new Set((await providerRefusals({ kind: 'kubernetes', config }, [])).map(({ field }) => field)),
];

const refusedFields = (
  config: Partial<KubernetesConfig>,
  pool = [{ flavour: 'a100', resource: 'gpu' as const, ...POOLED }],
) => {
  try {
    checkKubernetesConfig({ ...GOOD, ...config }, pool);
    return [];
  } catch (error) {
    expect(error).toBeInstanceOf(RefusedInput);
    return (error as RefusedInput).refusals.map(({ field }) => field);
  }
};

describe('a pool’s config', () => {
  test('is taken where it is right, and a pool without one is told what it lacks', async () => {
    expect(await schemaFields(GOOD)).toEqual([]);
    expect(refusedFields({})).toEqual([]);
    expect(await schemaFields(undefined)).toEqual(['provider.config.flavours']);
  });

  test.each([
    ['namespace', { namespace: 'Training' }],
    ['image', { image: 'a b' }],
    ['imagePullPolicy', { imagePullPolicy: 'Sometimes' }],
    ['secrets.0', { secrets: ['A'] }],
    ['noticeSeconds', { noticeSeconds: 0 }],
    ['token', { token: 'hunter2' }],
    ['flavours', { flavours: [] }],
    ['flavours.0.gpuResource', { flavours: [{ ...FLAVOUR, gpuResource: 'a/b/c' }] }],
    ['flavours.0.tolerations.0.effect', { flavours: [{ ...FLAVOUR, tolerations: [{ effect: 'Never' }] }] }],
  ])('is refused by its schema for %s', async (field, config) => {
    expect(await schemaFields({ ...GOOD, ...config })).toEqual([`provider.config.${field}`]);
  });

  test.each([
    ['kubeconfig', { kubeconfig: 'kube.yaml' }],
    ['tokenFile', { tokenFile: './token' }],
    ['flavours', { flavours: [FLAVOUR, FLAVOUR] }],
    ['flavours', { flavours: [{ ...FLAVOUR, name: 'other' }] }],
    ['flavours/0/gpuResource', { flavours: [{ name: 'a100' }] }],
    ['labels/merit/tag', { labels: { 'merit/tag': 'x' } }],
    ['annotations/kueue.x-k8s.io/queue-name', { annotations: { 'kueue.x-k8s.io/queue-name': 'x' } }],
  ] as const)('is refused for %s, which no schema can say', (field, config) => {
    expect(refusedFields(config)).toEqual([field]);
  });

  test('has no context without the kubeconfig that has it', () => {
    const { kubeconfig: _, ...inPod } = GOOD;
    expect(() => checkKubernetesConfig({ ...inPod, context: 'x' }, undefined)).toThrow('name the kubeconfig');
    expect(() => checkKubernetesConfig(inPod, undefined)).not.toThrow();
  });
});

describe('a job’s options', () => {
  test.each([
    ['options.kubernetes', 'x'],
    ['options.kubernetes.Image', { Image: 'x' }],
    ['options.kubernetes.image', { image: 'a b' }],
    ['options.kubernetes.shmGib', { shmGib: 0 }],
    ['options.kubernetes.secrets', { secrets: 'wandb' }],
    ['options.kubernetes.claims.0.path', { claims: [{ name: 'x', path: 'data' }] }],
    ['options.kubernetes.claims', { claims: [{ name: 'x', path: '/merit/run' }] }],
    ['options.kubernetes.nodeSelector', { nodeSelector: { 'a b': 'x' } }],
  ])('are refused by the field %s', (field, options) => {
    expect(jobOptionsRefusals(options).map((one) => one.field)).toEqual([field]);
  });

  test('ask only for what the pool names', () => {
    const config = { ...GOOD, serviceAccount: 'train', priorityClasses: ['low'], secrets: ['wandb'], claims: ['data'] };
    const all = {
      serviceAccount: 'train',
      priorityClass: 'low',
      secrets: ['wandb'],
      claims: [{ name: 'data', path: '/data' }],
    };
    expect(jobOptionsRefusals(all)).toEqual([]);
    checkAllowed(config, all);
    for (const wrong of [
      { serviceAccount: 'root' },
      { priorityClass: 'system' },
      { secrets: ['other'] },
      { claims: [{ name: 'x', path: '/x' }] },
    ])
      expect(() => checkAllowed(config, wrong)).toThrow(`options.kubernetes.${Object.keys(wrong)[0]}`);
    const { image: _, ...noImage } = GOOD;
    expect(() => checkAllowed(noImage, {})).toThrow('options.kubernetes.image: is missing');
  });
});
