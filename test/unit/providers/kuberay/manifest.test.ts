import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { codeMaps, packCode } from '../../../../providers/kuberay/code-volume.ts';
import { type Flavour, flavoursOf, type KubeRayConfig } from '../../../../providers/kuberay/config.ts';
import { checkFits, deadlineSeconds, rayJobOf } from '../../../../providers/kuberay/manifest.ts';
import { isName } from '../../../../providers/kuberay/ownership.ts';
import { ownerOf } from '../../../../providers/kubernetes/ownership.ts';
import type { AttemptSpec } from '../../../../providers/provider.ts';

const CONFIG: KubeRayConfig = {
  image: 'ray:1',
  rayVersion: '2.60.0',
  priorityClass: 'batch',
  serviceAccount: 'jobs',
  imagePullSecrets: ['registry'],
  labels: { team: 'ml' },
  flavours: [
    {
      name: 'h100',
      gpuResource: 'nvidia.com/gpu',
      nodeSelector: { gpu: 'h100' },
      tolerations: [{ key: 'spot', operator: 'Exists' }],
      topologyKey: 'topology.kubernetes.io/zone',
      spot: true,
    },
  ],
};
const [FLAVOUR] = flavoursOf(CONFIG) as [Flavour];
const SPEC: AttemptSpec = {
  key: 'm-b1-1',
  tag: 'here',
  bookingId: 'b1',
  attempt: 1,
  entrypoint: 'python train.py',
  workdir: undefined,
  env: { A: 'one', B: '$HOME' },
  resources: { gpuMilli: 4000n, cpuMilli: 8500n, memoryBytes: 64n * 1024n ** 3n },
  flavour: 'h100',
  leaseMs: 90_500,
};
const NO_CODE = { workdir: undefined, gang: undefined };
const signal = new AbortController().signal;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'merit-kuberay-'));
});
afterEach(() => rm(folder, { recursive: true }));

describe('the RayJob of an attempt', () => {
  const job = (more: Partial<AttemptSpec> = {}, options = {}) =>
    rayJobOf({ ...SPEC, ...more }, FLAVOUR, options, NO_CODE, CONFIG);

  test('is started by KubeRay over HTTP, once, and its cluster is kept for its log for a while', () => {
    expect(job().spec).toMatchObject({
      jobId: 'm-b1-1',
      submissionMode: 'HTTPMode',
      backoffLimit: 0,
      shutdownAfterJobFinishes: true,
      ttlSecondsAfterFinished: 300,
      activeDeadlineSeconds: 91 + 900,
      metadata: { merit_tag: 'here', merit_booking: 'b1', merit_attempt: '1' },
    });
  });

  test('hands the environment over as it is, in spite of Ray, which expands it', () => {
    const { entrypoint, runtimeEnvYAML } = job().spec;
    const { env_vars: env } = JSON.parse(runtimeEnvYAML) as { env_vars: Record<string, string> };
    expect(env).toMatchObject({ A: 'one', MERIT_NODE_RANK: '0', RAY_JOB_STOP_WAIT_TIME_S: '30' });
    expect(env).not.toHaveProperty('B');
    expect(entrypoint).toMatch(/^eval .*; python train\.py$/);
  });

  test('of one node is a head alone, with all that the node has', () => {
    const { rayClusterSpec } = job().spec;
    expect(rayClusterSpec).toMatchObject({ rayVersion: '2.60.0', authOptions: { mode: 'token' } });
    expect(rayClusterSpec).not.toHaveProperty('workerGroupSpecs');
    const { spec, metadata } = rayClusterSpec.headGroupSpec.template;
    const amounts = { cpu: '8500m', memory: String(64 * 1024 ** 3), 'nvidia.com/gpu': '4' };
    expect(spec).toMatchObject({
      restartPolicy: 'Never',
      priorityClassName: 'batch',
      serviceAccountName: 'jobs',
      imagePullSecrets: [{ name: 'registry' }],
      nodeSelector: { gpu: 'h100' },
      tolerations: [{ key: 'spot', operator: 'Exists' }],
      containers: [{ name: 'ray-head', image: 'ray:1', resources: { requests: amounts, limits: amounts } }],
    });
    expect(spec).not.toHaveProperty('affinity');
    expect(metadata.labels).toMatchObject({ team: 'ml', 'merit/key': 'm-b1-1', 'merit/tag': 'here' });
  });

  test('of several nodes has one worker less, all in one zone, and each on a machine of its own where it says so', async () => {
    const labelSelector = { matchLabels: { 'merit/key': 'm-b1-1' } };
    const gang = await packCode(undefined, true, signal);
    const options = { spread: 'strict', image: 'ray:2' } as const;
    const { rayClusterSpec, entrypoint } = rayJobOf({ ...SPEC, nodes: 4 }, FLAVOUR, options, gang, CONFIG).spec;
    const [group] = rayClusterSpec.workerGroupSpecs ?? [];
    expect(group).toMatchObject({ replicas: 3, minReplicas: 3, maxReplicas: 3 });
    for (const { template } of [rayClusterSpec.headGroupSpec, ...(rayClusterSpec.workerGroupSpecs ?? [])])
      expect(template.spec).toMatchObject({
        containers: [{ image: 'ray:2', resources: { limits: { 'nvidia.com/gpu': '4' } } }],
        affinity: {
          podAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: [
              { labelSelector, topologyKey: 'topology.kubernetes.io/zone' },
            ],
          },
          podAntiAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: [{ labelSelector, topologyKey: 'kubernetes.io/hostname' }],
          },
        },
      });
    expect(entrypoint).toBe('exec python -m merit_gang');
  });

  test('has pods without a token of Kubernetes, unless the pool names a service account', () => {
    const { serviceAccount: _, ...config } = CONFIG;
    const mounts = [CONFIG, config].map((one) => {
      const { headGroupSpec, workerGroupSpecs = [] } = rayJobOf({ ...SPEC, nodes: 2 }, FLAVOUR, {}, NO_CODE, one).spec
        .rayClusterSpec;
      return [headGroupSpec, ...workerGroupSpecs].map(({ template }) => template.spec.automountServiceAccountToken);
    });
    expect(mounts).toEqual([
      [true, true],
      [false, false],
    ]);
  });

  test('asks for no token only where the pool says so by name', () => {
    const open = rayJobOf(SPEC, FLAVOUR, {}, NO_CODE, { ...CONFIG, allowUnauthenticated: true });
    expect(open.spec.rayClusterSpec).not.toHaveProperty('authOptions');
  });
});

test('a deadline is the lease and what pods may take, in whole seconds that KubeRay can count', () => {
  expect(deadlineSeconds(1, { ...CONFIG, startSeconds: 5 })).toBe(6);
  expect(deadlineSeconds(Number.MAX_SAFE_INTEGER, CONFIG)).toBe(2 ** 31 - 1);
});

test.each<[string, Partial<AttemptSpec['resources']>, RegExp]>([
  ['a part of a GPU', { gpuMilli: 500n }, /whole GPUs/],
  ['nothing at all', { gpuMilli: 0n, cpuMilli: 0n }, /asks for nothing/],
])('%s is refused', (_, amounts, text) => {
  const spec = { ...SPEC, resources: { ...SPEC.resources, ...amounts } };
  expect(() => checkFits(spec, FLAVOUR)).toThrow(text);
});

test('names are such that neither KubeRay nor Kubernetes cuts one', () => {
  expect([`m-${'b'.repeat(40)}-1`, 'M-b1-1', 'm_b1', '1-b'].map((name) => isName(name))).toEqual([
    true,
    false,
    false,
    false,
  ]);
  expect(isName(`m-${'b'.repeat(41)}-1`)).toBe(false);
});

describe('the workdir', () => {
  const code = () => packCode(folder, true, signal);

  test('travels in ConfigMaps of at most a mebibyte, from which each pod puts it together before Ray starts', async () => {
    await writeFile(join(folder, 'noise'), randomBytes(2_000_000));
    const packed = await code();
    const maps = codeMaps('m-b1-1', ownerOf(SPEC, 'kuberay'), packed);
    expect(maps.map(({ metadata }) => metadata.name)).toEqual([0, 1, 2, 3].map((i) => `m-b1-1-code-${i}`));
    for (const { binaryData } of maps)
      for (const part of Object.values(binaryData)) expect(Buffer.from(part, 'base64').length).toBeLessThan(1024 ** 2);
    const { spec } = rayJobOf({ ...SPEC, nodes: 2 }, FLAVOUR, {}, packed, CONFIG);
    const runtimeEnv = JSON.parse(spec.runtimeEnvYAML) as { working_dir: string; py_modules: string[] };
    expect(runtimeEnv.working_dir).toMatch(/^file:\/\/\/merit\/code\/[0-9a-f]{40}\.zip$/);
    expect(runtimeEnv.py_modules).toHaveLength(1);
    const pod = spec.rayClusterSpec.headGroupSpec.template.spec;
    const name = runtimeEnv.working_dir.split('/').at(-1);
    expect(pod.initContainers?.[0]?.command.at(-1)).toContain(`cat /merit/parts/${name}.* > /merit/code/${name}`);
    expect(spec.entrypoint).toBe('exec python -m merit_gang');
  });

  test('that is too large for them is refused, with where else it can be', async () => {
    await writeFile(join(folder, 'noise'), randomBytes(7_500_000));
    await expect(code()).rejects.toMatchObject({ code: 'invalid', message: expect.stringMatching(/\.rayignore/) });
  });
});
