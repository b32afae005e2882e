import { describe, expect, test } from 'vitest';
import { clusterToMark, observationOf } from '../../../../providers/kuberay/observation.ts';
import type { RayJobStatus } from '../../../../providers/kuberay/ray-job.ts';
import type { Pod } from '../../../../providers/kubernetes/pod.ts';

const KEY = 'm-b1-1';
const metadata = { name: KEY, uid: 'u1' };
const head = (status: Pod['status']): Pod => ({
  metadata: { name: 'h', labels: { 'ray.io/node-type': 'head' } },
  ...(status === undefined ? {} : { status }),
});
const RUNNING = head({ phase: 'Running' });
const see = (status: RayJobStatus, pods: readonly Pod[] = [RUNNING], more: object = {}) =>
  observationOf({ job: { metadata, status, ...more }, pods, silentMs: 0 }, { operatorSilentMs: 30_000 });
const told = (status: RayJobStatus) => {
  const seen = see(status);
  return seen.state === 'ended' ? [seen.outcome, seen.exitCode] : [seen.state];
};
const FAILED = 'Job entrypoint command failed with exit code 3, last available logs (truncated to 20,000 chars):\n';

describe('KubeRay’s word of the whole and Ray’s word of the job', () => {
  test.each<[string, string | undefined, string | undefined, readonly unknown[]]>([
    ['Running', undefined, undefined, ['pending']],
    ['Running', 'PENDING', undefined, ['pending']],
    ['Running', 'RUNNING', undefined, ['running']],
    ['Running', 'SUCCEEDED', undefined, ['succeeded', 0]],
    ['Complete', 'SUCCEEDED', undefined, ['succeeded', 0]],
    ['Complete', 'STOPPED', undefined, ['stopped', undefined]],
    ['Failed', 'FAILED', 'AppFailed', ['failed', undefined]],
    ['Failed', 'RUNNING', 'DeadlineExceeded', ['stopped', undefined]],
    ['Failed', undefined, 'DeadlineExceeded', ['preempted', undefined]],
    ['Failed', undefined, 'SubmissionFailed', ['preempted', undefined]],
    ['Complete', 'SUCCEEDED', 'JobDeploymentStatusTransitionGracePeriodExceeded', ['succeeded', 0]],
    ['ValidationFailed', undefined, 'ValidationFailed', ['failed', undefined]],
    ['Suspending', 'RUNNING', undefined, ['pending']],
    ['Suspended', undefined, undefined, ['pending']],
    ['Retrying', 'FAILED', undefined, ['pending']],
    ['Running', 'HIBERNATING', undefined, ['unknown-status']],
    ['Waiting', undefined, undefined, ['unknown-status']],
  ])('%s, %s, %s is told as %j', (jobDeploymentStatus, jobStatus, reason, wanted) => {
    const status = {
      jobDeploymentStatus,
      ...(jobStatus === undefined ? {} : { jobStatus }),
      ...(reason === undefined ? {} : { reason }),
    };
    expect(told(status)).toEqual(wanted);
  });
});

describe('a job that failed', () => {
  const failed = (message: string, entrypoint = 'python train.py') =>
    see({ jobDeploymentStatus: 'Failed', jobStatus: 'FAILED', reason: 'AppFailed', message }, [], {
      spec: { entrypoint },
    });

  test('tells its exit code, which stands in Ray’s text only', () => {
    expect(failed(`${FAILED}Traceback`)).toMatchObject({ outcome: 'failed', exitCode: 3 });
  });

  test('may print what it likes: only Ray’s own beginning is read', () => {
    const text = `${FAILED}Job entrypoint command failed with exit code 0`;
    expect(failed(text)).toMatchObject({ outcome: 'failed', exitCode: 3 });
  });

  test('is a preempted one where the node went away under it', () => {
    const text = 'Unexpected error occurred: The actor died unexpectedly: its node was terminated';
    expect(failed(`${text}. The actor is dead because its node has died.`)).toMatchObject({ outcome: 'preempted' });
  });

  test('of several nodes says which, and is a preempted one where a node of it was lost', () => {
    const gang = 'exec python -m merit_gang';
    const lines = `${FAILED}x\n[merit] rank 1 of 2 was lost: its node has died`;
    expect(failed(lines, gang)).toMatchObject({ outcome: 'preempted' });
    expect(failed(`${FAILED}x\n[merit] rank 1 of 2 on 10.0.0.7 failed with exit code 3`, gang)).toMatchObject({
      outcome: 'failed',
      message: expect.stringContaining('rank 1 of 2 on 10.0.0.7'),
    });
  });
});

describe('a head that is lost while KubeRay tells the job as running', () => {
  const running = { jobDeploymentStatus: 'Running', jobStatus: 'RUNNING' };

  test.each<[string, readonly Pod[], RegExp]>([
    ['its pod is gone', [], /^its head was lost: its pod is gone/],
    [
      'its pod was evicted',
      [head({ phase: 'Failed', reason: 'Evicted', message: 'disk' })],
      /^its head was lost: Evicted: disk$/,
    ],
    [
      'its pod was preempted',
      [
        head({
          phase: 'Failed',
          conditions: [{ type: 'DisruptionTarget', status: 'True', reason: 'PreemptionByScheduler' }],
        }),
      ],
      /^its head was lost: PreemptionByScheduler$/,
    ],
  ])('%s: the attempt is a preempted one', (_, pods, message) => {
    expect(see(running, pods)).toMatchObject({ outcome: 'preempted', message: expect.stringMatching(message) });
  });

  test('that somebody deletes is stopped, not preempted', () => {
    const job = { metadata: { ...metadata, deletionTimestamp: '2027-01-01T00:00:00Z' }, status: running };
    expect(observationOf({ job, pods: [], silentMs: 0 }, { operatorSilentMs: 1 })).toMatchObject({
      outcome: 'stopped',
    });
  });

  test('of a node that died is told as lost once its pod is to be taken away, though it is told as running', () => {
    const pod = (ready: string): Pod => ({
      metadata: { ...RUNNING.metadata, deletionTimestamp: '2027-01-01T00:00:00Z' },
      status: {
        phase: 'Running',
        conditions: [
          { type: 'DisruptionTarget', status: 'True', reason: 'DeletionByTaintManager' },
          { type: 'Ready', status: ready },
        ],
      },
    });
    expect(see(running, [pod('True')])).toMatchObject({ state: 'running' });
    expect(see(running, [pod('False')])).toMatchObject({
      outcome: 'preempted',
      message: 'its head was lost: DeletionByTaintManager',
    });
  });

  test('while a pod waits for its end it is still there', () => {
    const ending = { ...RUNNING, metadata: { ...RUNNING.metadata, deletionTimestamp: '2027-01-01T00:00:00Z' } };
    expect(see(running, [ending])).toMatchObject({ state: 'running' });
  });
});

describe('what it waits for', () => {
  const initializing = (pods: readonly Pod[], conditions: readonly object[] = []) =>
    see({ jobDeploymentStatus: 'Initializing', rayClusterStatus: { conditions: conditions as never } }, pods);
  const waiting = (reason: string, message: string): Pod =>
    head({ phase: 'Pending', containerStatuses: [{ name: 'ray-head', state: { waiting: { reason, message } } }] });

  test.each<[string, readonly Pod[], RegExp]>([
    ['no pods yet', [], /^KubeRay makes the cluster’s pods$/],
    ['an image', [waiting('ImagePullBackOff', 'no such image')], /^h: ImagePullBackOff: no such image$/],
    [
      'room',
      [
        head({
          phase: 'Pending',
          conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/3 nodes' }],
        }),
      ],
      /^h: Unschedulable: 0\/3 nodes$/,
    ],
    ['containers', [waiting('ContainerCreating', '')], /^0 of 1 pods are ready$/],
  ])('%s', (_, pods, message) => {
    expect(initializing(pods)).toMatchObject({ state: 'pending', message: expect.stringMatching(message) });
  });

  test('is nothing where no waiting mends it: it has failed', () => {
    expect(initializing([waiting('ErrImagePull', 'r/x:1: not found')])).toMatchObject({
      outcome: 'failed',
      message: 'it can never begin: ErrImagePull: r/x:1: not found',
    });
  });

  test('is the quota where KubeRay ran into it', () => {
    const failure = { type: 'ReplicaFailure', status: 'True', message: 'pods "x" is forbidden: exceeded quota: team' };
    expect(initializing([], [failure])).toMatchObject({
      message: 'the namespace’s quota is exceeded: pods "x" is forbidden: exceeded quota: team',
    });
  });

  test('is KubeRay’s operator, after a while without a word of it', () => {
    const silent = (silentMs: number) =>
      observationOf({ job: { metadata }, pods: [], silentMs }, { operatorSilentMs: 30_000 });
    expect(silent(29_999)).toMatchObject({ state: 'pending', message: 'KubeRay has not taken it up yet' });
    expect(silent(30_000)).toMatchObject({ message: expect.stringMatching(/operator says nothing of it for 30 s/) });
  });
});

describe('one that somebody suspends', () => {
  const running = { jobDeploymentStatus: 'Running', jobStatus: 'RUNNING', rayClusterName: 'c1' };
  const ran = { metadata: { ...metadata, annotations: { 'merit/ran': 'c1' } } };

  test('is to be marked once Ray runs it, with its cluster, and once', () => {
    expect(clusterToMark({ metadata, status: { ...running, jobStatus: 'PENDING' } })).toBeUndefined();
    expect(clusterToMark({ metadata, status: running })).toBe('c1');
    expect(clusterToMark({ ...ran, status: running })).toBeUndefined();
    expect(see(running, [RUNNING], ran)).toMatchObject({ state: 'running' });
  });

  test.each<[string, RayJobStatus]>([
    ['suspended', { jobDeploymentStatus: 'Suspended', rayClusterName: '' }],
    ['resumed', { jobDeploymentStatus: '' }],
    ['about to begin anew', { jobDeploymentStatus: 'Initializing', rayClusterName: 'c2' }],
    ['running anew', { ...running, rayClusterName: 'c2' }],
  ])('after it ran is a preempted one where it is %s', (_, status) => {
    expect(see(status, [], ran)).toMatchObject({ state: 'ended', outcome: 'preempted' });
  });

  test('runs for as long as its pods save their work, and has the end that it had', () => {
    const suspending = { ...running, jobDeploymentStatus: 'Suspending' };
    expect(see(suspending, [RUNNING], ran)).toMatchObject({ state: 'running' });
    expect(see(suspending, [], ran)).toMatchObject({ outcome: 'preempted' });
    expect(see({ ...running, jobStatus: 'SUCCEEDED' }, [], ran)).toMatchObject({ outcome: 'succeeded' });
  });
});
