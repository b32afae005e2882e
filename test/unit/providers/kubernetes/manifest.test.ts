import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { KubernetesConfig } from '../../../../providers/kubernetes/config.ts';
import type { Flavour } from '../../../../providers/kubernetes/flavour.ts';
import { checkResources, jobManifest, podManifest } from '../../../../providers/kubernetes/manifest.ts';
import { checkName, ownerIn, ownerOf, tagSelector } from '../../../../providers/kubernetes/ownership.ts';
import { startFiles } from '../../../../providers/kubernetes/start.ts';
import type { AttemptSpec } from '../../../../providers/provider.ts';

const FLAVOUR: Flavour = { name: 'a', gpuResource: 'nvidia.com/gpu', nodeSelector: { pool: 'a' }, spot: true };
const CONFIG: KubernetesConfig = { image: 'train:1', flavours: [FLAVOUR], labels: { team: 'search' } };
const SPEC: AttemptSpec = {
  key: 'm-b1-1',
  tag: 'here',
  bookingId: 'b1',
  attempt: 1,
  entrypoint: 'python train.py --secret hunter2',
  workdir: undefined,
  env: { PASSWORD: 'hunter2' },
  resources: { gpuMilli: 2000n, cpuMilli: 500n, memoryBytes: 1024n },
  flavour: 'a',
  leaseMs: 60_000,
};
const signal = AbortSignal.timeout(60_000);

/** What of a Job these tests look at. */
interface Made {
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
  readonly spec: Readonly<Record<string, unknown>> & {
    readonly template: { readonly spec: Readonly<Record<string, unknown>> };
  };
}

const made = (spec: Partial<AttemptSpec> = {}, config: Partial<KubernetesConfig> = {}, options = {}) => {
  const whole = { ...SPEC, ...spec };
  return jobManifest(whole, ownerOf(whole, 'kubernetes'), FLAVOUR, options, { ...CONFIG, ...config }, 2) as Made;
};

test('an attempt is one Job, suspended, tried once, ended by its lease at last, with nothing of the tenant’s in it', () => {
  const { metadata, spec } = made();
  expect(spec).toMatchObject({
    suspend: true,
    backoffLimit: 0,
    completions: 1,
    completionMode: 'NonIndexed',
    activeDeadlineSeconds: 960,
  });
  expect(metadata.labels).toMatchObject({ 'merit/key': 'm-b1-1', 'merit/tag': 'here', team: 'search' });
  const pod = spec.template.spec;
  expect(pod).toMatchObject({
    restartPolicy: 'Never',
    nodeSelector: { pool: 'a' },
    automountServiceAccountToken: false,
  });
  expect(pod.tolerations).toEqual([{ key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }]);
  const [container] = pod.containers as readonly { resources: object; command: readonly string[] }[];
  expect(container?.resources).toEqual({
    requests: { cpu: '500m', memory: '1024', 'nvidia.com/gpu': '2' },
    limits: { memory: '1024', 'nvidia.com/gpu': '2' },
  });
  expect(JSON.stringify(made())).not.toContain('hunter2');
});

test('a gang is an indexed Job with a name for each pod; a queue is told by its label', () => {
  const gang = made({ nodes: 3 }, { queue: 'team' });
  expect(gang.spec).toMatchObject({ parallelism: 3, completions: 3, completionMode: 'Indexed' });
  expect(gang.spec.template.spec).toMatchObject({ subdomain: 'm-b1-1' });
  expect(gang.metadata.labels['kueue.x-k8s.io/queue-name']).toBe('team');
});

test('whose a thing is stands with it whole, and what a repetition may change is no part of it', () => {
  const owner = ownerOf(SPEC, 'kubernetes');
  const object = made() as never;
  expect(ownerIn(object)).toEqual(owner);
  expect(ownerIn({ metadata: { name: 'x', labels: { 'merit/key': 'm-b1-1' } } })).toBeUndefined();
  expect(ownerOf({ ...SPEC, env: { NEWER: '1' }, leaseMs: 1 }, 'kubernetes')).toEqual(owner);
  expect(ownerOf({ ...SPEC, entrypoint: 'other' }, 'kubernetes')).not.toEqual(owner);
  // A tag that no label can carry is found by its hash.
  expect(tagSelector('x'.repeat(100))).toMatch(/^merit\/tag=sha256-[0-9a-f]{40}$/);
});

test('names that Kubernetes would not take are refused before anything is made, those of a gang’s pods too', () => {
  checkName(`m-${'x'.repeat(61)}`);
  for (const [key, suffix] of [
    [`m-${'x'.repeat(62)}`, 0],
    ['M-1', 0],
    ['m_1', 0],
    ['1-m', 0],
    [`m-${'x'.repeat(61)}`, 2],
  ] as const)
    expect(() => checkName(key, suffix)).toThrow('takes names of 1 to');
});

test('a part of a GPU, and a GPU where there is none, are refused', () => {
  const half = { ...SPEC, resources: { ...SPEC.resources, gpuMilli: 500n } };
  expect(() => checkResources(half, FLAVOUR)).toThrow('whole GPUs');
  const { gpuResource: _, ...plain } = FLAVOUR;
  expect(() => checkResources(SPEC, plain)).toThrow('has no GPU');
});

test('the pod that is tried is the one that would be made', () => {
  const job = made();
  expect(podManifest(job, 'm-b1-1')).toMatchObject({
    kind: 'Pod',
    metadata: { name: 'm-b1-1-try' },
    spec: job.spec.template.spec,
  });
});

test('a command that ends well after its notice is no job that is done, and one that ends by itself is', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'merit-start-'));
  const run = async (entrypoint: string, notice: boolean) => {
    const [files] = await startFiles({ ...SPEC, entrypoint }, signal);
    const script = join(folder, 'start.sh');
    await writeFile(script, files?.['start.sh']?.toString('utf8').replaceAll('/merit/home', folder) ?? '');
    return new Promise<number | string | undefined>((resolve) => {
      const child = execFile('/bin/sh', [script], (error) => resolve(error === null ? 0 : (error.code ?? undefined)));
      child.stdout?.on('data', () => notice && child.kill('SIGTERM'));
    });
  };
  const saves = 'trap "exit 0" TERM; echo ready; while :; do sleep 0.1; done';
  expect(await run(saves, true)).toBe(143);
  expect(await run('echo ready; exit 0', false)).toBe(0);
  expect(await run('echo ready; exit 7', false)).toBe(7);
  await rm(folder, { recursive: true });
});
