import { describe, expect, test } from 'vitest';
import type { Job } from '../../../../providers/kubernetes/manifest.ts';
import { observationOf, startToMark } from '../../../../providers/kubernetes/observation.ts';
import type { Pod, PodStatus } from '../../../../providers/kubernetes/pod.ts';

const job = (status: Job['status'] = {}, spec: Job['spec'] = {}): Job => ({
  metadata: { name: 'm-b1-1', uid: 'u1', annotations: { 'merit/started': 'true' } },
  spec: { completions: 1, ...spec },
  status,
});
const pod = (status: PodStatus, rank?: number, uid = 'pod-1'): Pod => ({
  metadata: {
    name: `m-b1-1-${rank ?? 'x'}`,
    uid,
    ...(rank === undefined ? {} : { labels: { 'batch.kubernetes.io/job-completion-index': String(rank) } }),
  },
  status,
});
const failed = (reason: string, message = '') => ({
  conditions: [{ type: 'Failed', status: 'True', reason, message }],
});
const ended = (exitCode: number, more: object = {}, status: PodStatus = {}): PodStatus => ({
  phase: exitCode === 0 ? 'Succeeded' : 'Failed',
  containerStatuses: [
    {
      name: 'job',
      state: {
        terminated: { exitCode, startedAt: '2027-01-01T00:00:00Z', finishedAt: '2027-01-01T00:01:00Z', ...more },
      },
    },
  ],
  ...status,
});
const running: PodStatus = {
  phase: 'Running',
  containerStatuses: [{ name: 'job', state: { running: { startedAt: '2027-01-01T00:00:00Z' } } }],
};
const disrupted = (reason: string) => ({
  conditions: [{ type: 'DisruptionTarget', status: 'True', reason, message: 'taken' }],
});
const limit = failed('BackoffLimitExceeded', 'Job has reached the specified backoff limit');

test.each([
  ['complete', job({ conditions: [{ type: 'Complete', status: 'True' }] }), ended(0), 'succeeded', 0, ''],
  ['an exit code', job(limit), ended(3, { message: 'Traceback' }), 'failed', 3, 'Traceback'],
  ['out of memory', job(limit), ended(137, { reason: 'OOMKilled' }), 'failed', 137, 'used more memory'],
  ['notice', job(limit), ended(143, {}, { reason: 'DeadlineExceeded' }), 'stopped', 143, 'DeadlineExceeded'],
  ['the lease', job(failed('DeadlineExceeded', 'longer than')), ended(143), 'stopped', 143, ''],
  [
    'an eviction by the node',
    job(limit),
    ended(137, {}, { reason: 'Evicted', message: 'low on memory' }),
    'preempted',
    undefined,
    'low on memory',
  ],
  [
    'an eviction by its own doing',
    job(limit),
    ended(137, {}, { reason: 'Evicted', message: 'Pod ephemeral local storage usage exceeds the total limit' }),
    'failed',
    137,
    'exceeds',
  ],
  [
    'a disruption',
    job(limit),
    ended(143, {}, disrupted('PreemptionByScheduler')),
    'preempted',
    undefined,
    'PreemptionByScheduler',
  ],
  [
    'a node that could not have it',
    job(limit),
    { phase: 'Failed', reason: 'OutOfnvidia.com/gpu', message: 'x' },
    'preempted',
    undefined,
    'OutOf',
  ],
] as const)('a Job ended by %s is told as it is', (_what, given, status, outcome, exitCode, words) => {
  const seen = observationOf({ job: given as Job, pods: [pod(status as PodStatus)] });
  expect(seen).toMatchObject({ state: 'ended', outcome, exitCode, message: expect.stringContaining(words) });
});

test('a pod that was taken away and is gone is told by its Job’s own word', () => {
  const message = 'Pod x/y has condition DisruptionTarget matching FailJob rule at index 0';
  expect(observationOf({ job: job(failed('PodFailurePolicy', message)), pods: [] })).toMatchObject({
    outcome: 'preempted',
    message,
  });
  expect(observationOf({ job: job(limit), pods: [] })).toMatchObject({ outcome: 'failed', exitCode: undefined });
});

test('of a gang the end that ended the others is told, with its rank', () => {
  const pods = [pod(ended(143, { finishedAt: '2027-01-01T00:02:00Z' }), 0), pod(ended(9, { message: 'broken' }), 1)];
  expect(observationOf({ job: job(limit, { completions: 2 }), pods })).toMatchObject({
    exitCode: 9,
    message: '(rank 1) broken',
  });
});

test('a gang runs once all of it does, and until then the waiting one says why', () => {
  const waits: PodStatus = {
    phase: 'Pending',
    conditions: [
      { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/3 nodes are available' },
    ],
  };
  const gang = job({}, { completions: 2 });
  expect(observationOf({ job: gang, pods: [pod(running, 0), pod(waits, 1)] })).toMatchObject({
    state: 'pending',
    message: 'Unschedulable: 0/3 nodes are available',
  });
  expect(observationOf({ job: gang, pods: [pod(running, 0)] }, 'FailedCreate: exceeded quota')).toMatchObject({
    state: 'pending',
    message: 'FailedCreate: exceeded quota',
  });
  expect(observationOf({ job: gang, pods: [pod(running, 0), pod(running, 1)] })).toMatchObject({ state: 'running' });
});

test.each([
  ['ErrImagePull', 'failed to resolve reference: not found', 'ended'],
  ['ImagePullBackOff', 'Back-off pulling image: 403 Forbidden', 'ended'],
  ['InvalidImageName', 'couldn’t parse', 'ended'],
  ['ErrImagePull', 'dial tcp: i/o timeout', 'pending'],
  ['ContainerCreating', '', 'pending'],
])('a container that waits for %s (%s) is %s', (reason, message, state) => {
  const status = { phase: 'Pending', containerStatuses: [{ name: 'job', state: { waiting: { reason, message } } }] };
  expect(observationOf({ job: job(), pods: [pod(status)] })).toMatchObject({
    state,
    message: expect.stringContaining(reason),
  });
});

test('what was not started is absent, what a queue holds is pending, and a phase never heard of is told as that', () => {
  expect(observationOf({ job: { ...job(), metadata: { name: 'm-b1-1', uid: 'u1' } }, pods: [] })).toEqual({
    state: 'absent',
  });
  expect(observationOf({ job: job({}, { suspend: true }), pods: [] })).toMatchObject({ state: 'pending' });
  expect(observationOf({ job: job(), pods: [pod({ phase: 'Hibernating\u001b[31m' })] })).toMatchObject({
    state: 'unknown-status',
    word: 'Hibernating',
  });
});

describe('a Job that its queue suspends', () => {
  const FIRST = '2027-01-01T00:00:00Z';
  const suspended = {
    type: 'Suspended',
    status: 'True',
    message: 'Job suspended',
    lastTransitionTime: '2027-01-01T00:05:00Z',
  };
  const ran = (status: Job['status'], spec: Job['spec'] = {}): Job => ({
    ...job(status, spec),
    metadata: {
      ...job().metadata,
      annotations: { 'merit/started': 'true', 'merit/ran': FIRST, 'merit/ran-pod': 'pod-1' },
    },
  });

  test('is to be marked once a pod of it has begun, with the start in which it has, and once', () => {
    const started = job({ startTime: FIRST }, { completions: 2 });
    expect(startToMark({ job: started, pods: [pod({ phase: 'Pending' }, 0)] })).toBeUndefined();
    const marks = { 'merit/ran': FIRST, 'merit/ran-pod': 'pod-1' };
    expect(startToMark({ job: started, pods: [pod(running, 0)] })).toEqual(marks);
    expect(startToMark({ job: ran({ startTime: FIRST }), pods: [pod(running)] })).toBeUndefined();
  });

  test('waits where it never ran, and is preempted where it did', () => {
    const status = { conditions: [suspended] };
    expect(observationOf({ job: job(status, { suspend: true }), pods: [] })).toMatchObject({ state: 'pending' });
    expect(observationOf({ job: ran(status, { suspend: true }), pods: [] })).toMatchObject({
      state: 'ended',
      outcome: 'preempted',
      exitCode: undefined,
      message: 'Suspended after it ran: Job suspended',
      startedAtMs: Date.parse(FIRST),
      endedAtMs: Date.parse('2027-01-01T00:05:00Z'),
    });
  });

  test('runs for as long as its pods save their work', () => {
    const given = ran({ startTime: FIRST, conditions: [suspended] }, { suspend: true });
    expect(observationOf({ job: given, pods: [pod(running)] })).toMatchObject({ state: 'running' });
  });

  test('is the preempted one, too, once it is let go again: the command would run from its beginning', () => {
    const again = ran({ startTime: '2027-01-01T00:09:00Z' });
    for (const pods of [[], [pod(running)]])
      expect(observationOf({ job: again, pods })).toMatchObject({ state: 'ended', outcome: 'preempted' });
    expect(observationOf({ job: ran({ startTime: FIRST }), pods: [pod(running)] })).toMatchObject({ state: 'running' });
  });

  test('is that also where it was let go again within a second, which its times do not tell: its pod is another one', () => {
    const again = ran({ startTime: FIRST });
    const other = pod(running, undefined, 'pod-2');
    expect(observationOf({ job: again, pods: [other] })).toMatchObject({ state: 'ended', outcome: 'preempted' });
    expect(observationOf({ job: again, pods: [other, pod(running)] })).toMatchObject({ state: 'running' });
    expect(observationOf({ job: again, pods: [] })).toMatchObject({ state: 'pending' });
    const gang = ran({ startTime: FIRST }, { completions: 2 });
    const rest = [pod(running, 0, 'pod-2'), pod(running, 1, 'pod-3')];
    expect(observationOf({ job: gang, pods: rest })).toMatchObject({ state: 'running' });
  });
});
